//! A farm in memory around the real core: what JetStream would keep, a judge that hashes, a clock that is moved by
//! hand, and a coordinator that can be killed at any step.

use crate::{
    judge::judge,
    says::{Says, loaded},
};
use bus_schemas::{
    AlgorithmId, Blob, CoordinatorId, Hash32, PoolId, SessionId, Target, TimestampMs, WorkerId,
    block::BlockState,
    command::Stuck,
    config::ConfigKey,
    event::EventData,
    heartbeat::Heartbeat,
    job::{AlgorithmRef, Job, WorkUnit},
    ledger::LedgerRecord,
    member::{Capability, JoinRequest, Leave, Member, Standing},
    set_point::{LoadLimit, LoadReason, LocalState, Reason, SetPoint},
    share::{Finding, Share},
    throttle::{KeptOrders, Throttle, ThrottleTarget},
    work::HeaderWork,
};
use coordinator_core::{
    ArrivedFound, ArrivedShare, BlockAnswer, BlockDuty, Coordinator, Effect, Input, JudgedFound, JudgedShare,
    LeaseInput, MonoMs, Now, PoolEffect, PoolInput, Recovered, ShareBasis, Template, Trouble, Verdict,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Compact bits of a target that every second hash meets.
pub const EASY_BITS: u32 = 0x207f_ffff;
/// Compact bits that no test ever meets.
pub const HARD_BITS: u32 = 0x1d00_ffff;

pub fn pool() -> PoolId {
    PoolId::new("main").unwrap()
}

pub fn worker(n: u32) -> WorkerId {
    WorkerId::new(format!("w{n}")).unwrap()
}

pub fn template(prev: u8, bits: u32, height: u64) -> Box<Template> {
    let work = HeaderWork {
        version: 0x2000_0000,
        version_mask: 0x00ff_0000,
        prev_hash: Hash32([prev; 32]),
        coinbase_prefix: Blob(vec![1]),
        coinbase_suffix: Blob(vec![2]),
        merkle_branch: vec![],
        bits,
        time: 1_000,
        min_time: 990,
        max_time: 1_010,
    };
    Box::new(Template {
        algorithm: AlgorithmRef { id: AlgorithmId::sha256d(), version: 1, digest: Blob::default() },
        work: WorkUnit::Header(work),
        network_target: Target::from_compact(bits).unwrap(),
        height,
        assembly: Blob(vec![9]),
    })
}

/// What JetStream keeps, and what is on its way.
#[derive(Default)]
pub struct Kept {
    /// With the times at which the bucket stored them.
    pub members: Vec<(Member, TimestampMs)>,
    /// With the times at which the stream stored them.
    pub jobs: Vec<(Job, TimestampMs)>,
    pub ledger: Vec<LedgerRecord>,
    pub blocks: BTreeMap<Hash32, (u64, WorkerId, BlockState)>,
    pub shares: Vec<ArrivedShare>,
    pub configs: Vec<(String, u64, Vec<u8>)>,
    pub orders: BTreeMap<ThrottleTarget, KeptOrders>,
    lease: u64,
}

pub struct Farm {
    pub core: Coordinator,
    pub kept: Kept,
    pub at: u64,
    pub events: Vec<EventData>,
    pub replies: BTreeMap<u64, Result<Member, bus_schemas::command::ErrorCode>>,
    pub acked: Vec<u64>,
    pub put_off: Vec<u64>,
    /// Whether the algorithm of candidates is loaded.
    pub knows_algorithm: bool,
    pub submitted: Vec<Hash32>,
    /// What the nodes say of every block.
    pub nodes_say: BlockAnswer,
    /// The bus cannot hold blocks.
    pub too_large: bool,
    /// How often the shell was told of another source or pace.
    pub sources: u32,
    /// How often a job was withdrawn.
    pub withdrawn: u32,
    /// The stream position up to which the living coordinator was given shares.
    fed: u64,
    pub epoch: Option<u64>,
    inputs: VecDeque<Input>,
    /// Holds the words that a ledger record was stored back, as a crash before they arrive would.
    pub mute_ledger: bool,
    pub exited: bool,
    /// How far the coordinator's wall clock is ahead of that of the bus.
    pub coordinator_ahead_ms: i64,
    /// What keeps the pool from being read, if anything does.
    pub trouble: Option<Trouble>,
    /// What keeps jobs from being stored, if anything does.
    pub unstorable: Option<Stuck>,
    /// Where shares begin in the stream that is there now.
    pub basis: ShareBasis,
    /// Judging a share of this nonce panics.
    pub panics_at: Option<u32>,
    /// Another coordinator holds the lease and renews it.
    pub elsewhere: bool,
    /// Times at which the pool was taken.
    pub taken: Vec<u64>,
    lives: u32,
    /// Who held which slot under which job, over all lives of the coordinator.
    pub holders: BTreeMap<(String, u16), (WorkerId, SessionId)>,
    revision: u64,
    throttles: u64,
}

fn new_core(life: u32) -> Coordinator {
    Coordinator::new(CoordinatorId::new(format!("c{life}")).unwrap(), 1, format!("life{life}"))
}

impl Farm {
    pub fn new(config: &str) -> Self {
        let mut farm = Self {
            core: new_core(0),
            kept: Kept::default(),
            at: 1_000,
            events: Vec::new(),
            replies: BTreeMap::new(),
            acked: Vec::new(),
            put_off: Vec::new(),
            knows_algorithm: true,
            submitted: Vec::new(),
            nodes_say: BlockAnswer::Accepted,
            too_large: false,
            sources: 0,
            withdrawn: 0,
            fed: 0,
            epoch: None,
            inputs: VecDeque::new(),
            mute_ledger: false,
            exited: false,
            coordinator_ahead_ms: 0,
            trouble: None,
            unstorable: None,
            basis: ShareBasis::default(),
            panics_at: None,
            elsewhere: false,
            taken: Vec::new(),
            lives: 0,
            holders: BTreeMap::new(),
            revision: 1,
            throttles: 0,
        };
        farm.kept.configs.push((ConfigKey::Pool(pool()).to_string(), 1, config.as_bytes().to_vec()));
        farm.boot();
        farm
    }

    fn boot(&mut self) {
        for (key, revision, value) in self.kept.configs.clone() {
            self.input(Input::Config { key, revision, value: Some(value) });
        }
        self.input(Input::ConfigComplete);
        self.input(Input::InForceComplete);
        self.input(Input::ThrottlesBegin { stream: "1".to_owned(), last: self.throttles });
        for (target, orders) in self.kept.orders.clone() {
            self.told_kept(target, orders);
        }
        self.input(Input::ThrottlesKeptComplete);
        self.input(Input::ThrottlesComplete);
    }

    /// Puts a configuration, which the bucket keeps.
    pub fn configure(&mut self, key: &str, json: &str) {
        self.revision += 1;
        let (key, value) = (key.to_owned(), json.as_bytes().to_vec());
        self.kept.configs.push((key.clone(), self.revision, value.clone()));
        self.input(Input::Config { key, revision: self.revision, value: Some(value) });
    }

    /// Gives a throttle order.
    pub fn throttle(&mut self, target: &str, cap_percent: u8, ttl_seconds: u32) {
        self.order(target, cap_percent, ttl_seconds, "test");
    }

    /// Gives a throttle order of this source.
    pub fn order(&mut self, target: &str, cap_percent: u8, ttl_seconds: u32, source: &str) {
        self.throttles += 1;
        self.order_stored(target, cap_percent, ttl_seconds, source, self.throttles, 0);
    }

    /// The stream of orders is restored from a backup that ends here.
    pub fn lose_orders_after(&mut self, sequence: u64) {
        self.throttles = sequence;
    }

    /// Lets the coordinator read an order that the stream stored some time ago.
    pub fn order_stored(
        &mut self,
        target: &str,
        cap_percent: u8,
        ttl_seconds: u32,
        source: &str,
        sequence: u64,
        age_ms: u64,
    ) {
        let (reason, source) = (String::new(), source.to_owned());
        let order = Throttle { cap_percent, threads: None, ttl_seconds, reason, source };
        let stored_at = TimestampMs(self.stream_time().0 - age_ms);
        self.input(Input::Throttle { sequence, target: target.parse().unwrap(), order, stored_at, age_ms });
    }

    /// Kills the coordinator with everything that it had not written, and starts another.
    pub fn crash(&mut self) {
        self.lives += 1;
        self.core = new_core(self.lives);
        self.inputs.clear();
        self.epoch = None;
        self.mute_ledger = false;
        self.boot();
    }

    pub fn now(&self) -> Now {
        let wall = self.stream_time().0.saturating_add_signed(self.coordinator_ahead_ms);
        Now { mono: MonoMs(self.at), wall: TimestampMs(wall) }
    }

    /// The time as the bus has it.
    pub fn stream_time(&self) -> TimestampMs {
        TimestampMs(1_700_000_000_000 + self.at)
    }

    pub fn input(&mut self, input: Input) {
        self.inputs.push_back(input);
        self.settle();
    }

    pub fn pool_input(&mut self, input: PoolInput) {
        let epoch = self.epoch.expect("the pool is owned");
        self.input(Input::Pool(pool(), epoch, input));
    }

    /// Lets time pass, waking the core at each of its deadlines.
    pub fn pass(&mut self, ms: u64) {
        let end = self.at + ms;
        while let Some(deadline) = self.core.next_deadline().filter(|d| d.0 <= end) {
            self.at = self.at.max(deadline.0).max(self.at + u64::from(deadline.0 <= self.at));
            self.input(Input::Tick);
        }
        self.at = self.at.max(end);
    }

    fn settle(&mut self) {
        loop {
            if let Some(effect) = self.core.next_effect() {
                self.perform(effect);
            } else if let Some(input) = self.inputs.pop_front() {
                let now = self.now();
                self.core.handle(input, now);
                self.core.check_invariants().unwrap();
            } else {
                return;
            }
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::AcquireLease(id) if self.elsewhere => {
                self.inputs.push_back(Input::Lease(id, LeaseInput::HeldElsewhere { renewed: true }));
            }
            Effect::AcquireLease(id) => {
                self.kept.lease += 1;
                let held_until = MonoMs(self.at + coordinator_core::ownership::LEASE_TTL_MS);
                self.inputs
                    .push_back(Input::Lease(id, LeaseInput::Acquired { epoch: self.kept.lease, held_until }));
            }
            Effect::RenewLease(id, epoch) => {
                self.kept.lease += 1;
                assert!(epoch <= self.kept.lease);
                let held_until = MonoMs(self.at + coordinator_core::ownership::LEASE_TTL_MS);
                self.inputs.push_back(Input::Lease(id, LeaseInput::Renewed { held_until }));
            }
            Effect::ReleaseLease(..) => {}
            Effect::Recover(id, epoch) => {
                self.taken.push(self.at);
                if let Some(trouble) = self.trouble.clone() {
                    self.inputs.push_back(Input::Lease(id, LeaseInput::GivenUp { epoch, trouble }));
                    return;
                }
                let block =
                    |(h, (n, w, s)): (&Hash32, &(u64, WorkerId, BlockState))| (*h, *n, w.clone(), s.clone());
                let blocks = self.kept.blocks.iter().map(block).collect();
                let found = Recovered {
                    members: self.kept.members.clone(),
                    members_at: self.stream_time(),
                    jobs: self.kept.jobs.clone(),
                    ledger: self.kept.ledger.last().cloned(),
                    blocks,
                    shares: self.basis.clone(),
                    ..Recovered::default()
                };
                self.inputs.push_back(Input::Recovered(id, epoch, Box::new(found)));
            }
            Effect::StartPool { epoch, shares_after, .. } => {
                self.epoch = Some(epoch);
                self.fed = shares_after;
            }
            Effect::StopPool(..) => self.epoch = None,
            Effect::RestartSource(..) => self.sources += 1,
            Effect::PublishStatus(..) | Effect::PublishInForce(_) => {}
            Effect::KeepOrders(target, kept) => drop(self.kept.orders.insert(target, kept.orders)),
            Effect::PublishEvent(event) => self.events.push(event.what.clone()),
            Effect::Exit => self.exited = true,
            Effect::Pool(_, epoch, effect) => self.perform_in_pool(epoch, effect),
        }
    }

    fn answer(&mut self, epoch: u64, input: PoolInput) {
        self.inputs.push_back(Input::Pool(pool(), epoch, input));
    }

    fn perform_in_pool(&mut self, epoch: u64, effect: PoolEffect) {
        match effect {
            PoolEffect::PublishJob(job, _) => {
                if let Some(stuck) = self.unstorable.clone() {
                    return self.answer(epoch, PoolInput::JobUnstorable(job.id.clone(), stuck));
                }
                job.check().unwrap();
                assert!(self.kept.jobs.iter().all(|(j, _)| j.id != job.id && j.sequence < job.sequence));
                let stored_at = self.stream_time();
                self.kept.jobs.push(((*job).clone(), stored_at));
                self.note_holders();
                self.answer(epoch, PoolInput::JobPublished(job.id.clone(), stored_at));
            }
            PoolEffect::WithdrawJob => self.withdrawn += 1,
            PoolEffect::StoreMember(member, token) => {
                let last = self.record(&member.worker);
                assert!(last.is_none_or(|m| *m == *member || m.generation < member.generation));
                self.kept.members.push(((*member).clone(), self.stream_time()));
                if let Some(token) = token {
                    self.replies.insert(token, Ok(*member));
                }
                self.note_holders();
            }
            PoolEffect::ForgetMember(worker) => self.kept.members.retain(|(m, _)| m.worker != worker),
            PoolEffect::RefuseJoin(token, error) => drop(self.replies.insert(token, Err(error.code))),
            PoolEffect::Judge(tasks) => {
                let panics = |t: &coordinator_core::JudgeTask| self.panics_at == Some(t.finding.nonce());
                let judge = |t: &coordinator_core::JudgeTask| JudgedShare {
                    sequence: t.sequence,
                    verdict: if panics(t) {
                        Verdict::Failed
                    } else {
                        judge(&t.job, t.slot, &t.finding, t.target)
                    },
                };
                // Judges work side by side: answers come in another order.
                let mut judged: Vec<_> = tasks.iter().map(judge).collect();
                judged.reverse();
                self.answer(epoch, PoolInput::Judged(judged));
            }
            PoolEffect::JudgeFound(t) => {
                let verdict = match self.knows_algorithm {
                    true => judge(&t.job, t.slot, &t.finding, t.job.network_target),
                    false => Verdict::UnknownAlgorithm,
                };
                self.answer(epoch, PoolInput::FoundJudged(JudgedFound { token: t.token, verdict }));
            }
            PoolEffect::AckFound(token) => self.acked.push(token),
            PoolEffect::PutOffFound(token) => self.put_off.push(token),
            PoolEffect::Block(duty) => self.do_block(epoch, *duty),
            PoolEffect::AppendLedger(record) => {
                let last = self.kept.ledger.last();
                assert_eq!(record.number, last.map_or(1, |r| r.number + 1), "two owners wrote the ledger");
                // Sequences count within one stream.
                let same = last.filter(|r| r.shares_stream == record.shares_stream);
                assert!(record.shares_to > same.map_or(0, |r| r.shares_to));
                let number = record.number;
                self.kept.ledger.push(*record);
                if !self.mute_ledger {
                    self.answer(epoch, PoolInput::LedgerAppended(number));
                }
            }
        }
    }

    fn do_block(&mut self, epoch: u64, duty: BlockDuty) {
        match duty {
            BlockDuty::Make { hash, job, worker, .. } => {
                if self.too_large {
                    self.answer(epoch, PoolInput::BlockUnkept(hash, "too large".into()));
                } else {
                    self.kept.blocks.insert(hash, (job.height, worker, BlockState::Found));
                    self.answer(epoch, PoolInput::BlockStored(hash));
                }
                self.submitted.push(hash);
                self.answer(epoch, PoolInput::BlockAnswered(hash, self.nodes_say.clone()));
            }
            BlockDuty::Resubmit(hash) => {
                self.submitted.push(hash);
                self.answer(epoch, PoolInput::BlockAnswered(hash, self.nodes_say.clone()));
            }
            BlockDuty::StoreState { hash, height, worker, state } => {
                self.kept.blocks.insert(hash, (height, worker, state));
            }
        }
    }

    /// Invariant over all lives: under one job, one slot belongs to one life of one worker.
    fn note_holders(&mut self) {
        let Some(job) = self.kept.jobs.last().map(|(j, _)| j.id.to_string()) else { return };
        let mut latest: BTreeMap<&WorkerId, &Member> = BTreeMap::new();
        for (member, _) in &self.kept.members {
            latest.insert(&member.worker, member);
        }
        for member in latest.values().filter(|m| m.standing == Standing::Present) {
            let holder = (member.worker.clone(), member.session.clone());
            let before = self.holders.entry((job.clone(), member.slot)).or_insert_with(|| holder.clone());
            assert_eq!(*before, holder, "slot {} under job {job} has two holders", member.slot);
        }
    }

    pub fn join(&mut self, n: u32, session: &str) -> Result<Member, bus_schemas::command::ErrorCode> {
        let token = 1_000_000 + self.at * 1_000 + u64::from(n);
        let request = Box::new(JoinRequest {
            session: SessionId::new(session).unwrap(),
            capability: Capability {
                threads: 1,
                memory_mib: 1,
                processor: String::new(),
                algorithms: vec![AlgorithmId::sha256d()],
                agent_version: String::new(),
            },
            expected_rate: None,
        });
        self.pool_input(PoolInput::Join { token, worker: worker(n), request });
        self.replies.remove(&token).expect("a join is answered")
    }

    pub fn leave(&mut self, n: u32, session: &str) {
        let leave = Leave { session: SessionId::new(session).unwrap(), reason: "test".into() };
        self.pool_input(PoolInput::Leave(worker(n), leave));
    }

    pub fn heartbeat(&mut self, n: u32, session: &str) {
        self.says(n, session, Says { rate: n.into(), set_point: loaded(100), host: None });
    }

    pub fn says(&mut self, n: u32, session: &str, says: Says) {
        let local = says.host.map(|(threads, percent)| LocalState {
            load: (percent < 100).then_some(LoadLimit { percent, reason: LoadReason::Demand, measured: 90 }),
            ..LocalState::open(threads)
        });
        self.tells(n, session, says.rate, says.set_point, local);
    }

    /// Its host's certificates do not permit the algorithm.
    pub fn is_uncertified(&mut self, n: u32, session: &str) {
        let code = "certificate-expired".to_owned();
        let local = LocalState { uncertified: Some(code), ..LocalState::open(1) };
        self.tells(n, session, 0, SetPoint::stopped(Reason::NotCertified), Some(local));
    }

    fn tells(&mut self, n: u32, session: &str, rate: u64, set_point: SetPoint, local: Option<LocalState>) {
        self.lives(n, session, 0, (rate, set_point, local));
    }

    /// A worker that follows this generation of its record lives.
    pub fn follows(&mut self, n: u32, session: &str, generation: u64) {
        self.lives(n, session, generation, (0, loaded(100), None));
    }

    fn lives(
        &mut self,
        n: u32,
        session: &str,
        generation: u64,
        (rate, set_point, local): (u64, SetPoint, Option<LocalState>),
    ) {
        let heartbeat = Heartbeat {
            session: SessionId::new(session).unwrap(),
            generation,
            sequence: 0,
            job: None,
            hash_rate: bus_schemas::HashRate(rate),
            hashes_total: 0,
            outbox_len: 0,
            set_point,
            local,
            load: None,
            sent_at_ms: TimestampMs(0),
        };
        self.pool_input(PoolInput::Heartbeat(worker(n), Box::new(heartbeat)));
    }

    /// The last version of a worker's record.
    fn record(&self, of: &WorkerId) -> Option<&Member> {
        self.kept.members.iter().rev().find(|(m, _)| m.worker == *of).map(|(m, _)| m)
    }

    pub fn member(&self, n: u32) -> Member {
        self.record(&worker(n)).expect("a member").clone()
    }

    pub fn job(&self) -> Job {
        self.kept.jobs.last().expect("a job").0.clone()
    }

    /// A share of worker `n` under `job` that its place allows.
    pub fn share(&self, n: u32, job: &Job, nonce: u32) -> Share {
        let member = self.member(n);
        Share {
            job: job.id.clone(),
            session: member.session.clone(),
            slot: member.slot,
            generation: member.slot_generation,
            bits: member.bits_for_job(job.sequence).expect("a difficulty"),
            finding: job.work.finding(0, job.work.version(), nonce),
            found_at_ms: self.now().wall,
        }
    }

    /// Stores a share in the stream.
    pub fn store(&mut self, n: u32, share: Option<Share>) {
        let sequence = self.kept.shares.len() as u64 + 1;
        let stored_at = self.stream_time();
        self.kept.shares.push(ArrivedShare { sequence, stored_at, worker: worker(n), share });
    }

    /// Gives the living coordinator what it has not read of the stream.
    pub fn feed(&mut self) {
        if self.epoch.is_none() {
            return;
        }
        let new: Vec<_> = self.kept.shares.iter().filter(|s| s.sequence > self.fed).cloned().collect();
        self.fed = self.kept.shares.len() as u64;
        self.pool_input(PoolInput::Shares(new));
    }

    pub fn found(&mut self, n: u32, token: u64, share: Share) {
        let stored_at = self.stream_time();
        self.pool_input(PoolInput::Found(Box::new(ArrivedFound {
            token,
            stored_at,
            worker: worker(n),
            share,
        })));
    }

    /// Waits for the last ledger record, then returns how many shares are credited.
    pub fn credited(&mut self) -> u64 {
        self.feed();
        self.pass(2 * coordinator_core::pool::LEDGER_INTERVAL_MS);
        self.kept.ledger.last().map_or(0, |r| r.total_shares)
    }

    /// How many refused shares the ledger holds for this reason.
    pub fn refused(&self, refusal: bus_schemas::share::ShareRefusal) -> u64 {
        let records = self.kept.ledger.iter().flat_map(|r| &r.refused);
        records.filter(|r| r.refusal == refusal).map(|r| r.shares).sum()
    }

    /// How many different shares of the stream hash low enough: the truth that the ledger must equal.
    pub fn truly_valid(&self) -> u64 {
        let mut seen = BTreeSet::new();
        for share in self.kept.shares.iter().filter_map(|s| s.share.as_ref()) {
            let Some(job) = self.kept.jobs.iter().map(|(job, _)| job).find(|j| j.id == share.job) else {
                continue;
            };
            let target = Target::from_share_bits(share.bits);
            if matches!(judge(job, share.slot, &share.finding, target), Verdict::Meets { .. }) {
                let Finding::Header(f) = share.finding else { panic!("a header") };
                seen.insert((share.job.clone(), share.slot, f.roll, f.version, f.time, f.nonce));
            }
        }
        seen.len() as u64
    }
}
