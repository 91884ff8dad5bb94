//! A pool that is owned: everything between taking its lease and losing it.

mod blocks;
mod bucket;
mod intake;
mod jobs;
mod members;
mod nodes;
mod refusals;
mod slots;
mod stop;
mod vardiff;

pub use blocks::{
    FIRST_RESUBMIT_MS, FOUND_RATE_LIMIT, MAX_BLOCKS, MAX_RESUBMIT_MS, MAX_RESUBMITS, MAX_RESUBMITS_UNDER_WAY,
    MAX_SIBLINGS, PATIENCE_MS, WAITING_NOTICE_MS,
};
pub use intake::{
    LEDGER_BUSY_INTERVAL_MS, LEDGER_BUSY_SHARES, LEDGER_INTERVAL_MS, MAX_PENDING, SHARES_PER_RECORD,
};
pub use jobs::{
    FINDINGS_FOR_REFRESH, MAX_FINDINGS, MAX_JOBS, REMEMBER_MS, STALE_GRACE_MS, UNSTORABLE_PAUSE_MS,
};
pub use members::{
    DIFFICULTY_NOTICE_JOBS, FORGET_AFTER_MS, LOOKS_AT_ONCE, MAX_FORGOTTEN_AT_ONCE, MAX_MEMBERS,
    MAX_STRANGERS_TOLD, MAX_SURPLUS_PERCENT, MAX_TENANCIES, WHOLE_PERCENT,
};
pub use refusals::{
    MAX_REFUSAL_EVENTS, MAX_REFUSAL_KEYS, MAX_UNDECODABLE_SUBJECTS, REFUSAL_EVENT_INTERVAL_MS,
};

use crate::{
    effect::{BlockDuty, FoundTask, PoolEffect},
    foresight::MemberFacts,
    input::{ArrivedFound, BlockAnswer, JudgedFound, PoolInput, Recovered, Verdict},
    time::{MonoMs, Now},
    world::World,
};
use blocks::{Blocks, Discovery};
use bus_schemas::{
    CoordinatorId, Hash32, PoolId, TimestampMs, WorkerId,
    command::{Membership, PoolStatus, Stuck},
    config::PoolConfig,
    event::EventData,
    job::Job,
    share::{Finding, Share, ShareRefusal},
};
use intake::{Intake, Intaken, check_claim};
use jobs::Jobs;
use members::{Capacity, Changes, Members, Terms};
use nodes::Nodes;
use refusals::Refusals;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};
use stop::Stop;

/// Most block candidates that are being judged at once.
pub const MAX_FOUND_IN_JUDGEMENT: usize = 256;

/// What a pool asks for.
#[derive(Debug)]
pub(crate) enum Ask {
    Effect(PoolEffect),
    Event(EventData),
}

/// A pool that is owned.
#[derive(Debug)]
pub(crate) struct Pool {
    id: PoolId,
    epoch: u64,
    farm: u32,
    config: PoolConfig,
    members: Members,
    jobs: Jobs,
    intake: Intake,
    blocks: Blocks,
    refusals: Refusals,
    found: BTreeMap<u64, (Arc<Job>, u16, Finding, WorkerId)>,
    source_failed: bool,
    /// What keeps the pool from going on while it is owned, and since when.
    stuck: Option<(Stuck, MonoMs)>,
    /// Nobody is to search.
    at_rest: bool,
    /// Who was told to stop and has not said so.
    stop: Option<Stop>,
    reviewed_at: MonoMs,
    nodes: Nodes,
    asks: VecDeque<Ask>,
}

impl Pool {
    /// A pool as its new owner finds it.
    pub(crate) fn new(
        id: PoolId,
        epoch: u64,
        farm: u32,
        config: PoolConfig,
        found: Recovered,
        world: World<'_>,
        now: Now,
    ) -> Self {
        let steps = found.members.iter().flat_map(|(m, _)| &m.difficulty);
        let jobs = Jobs::recover(found.jobs, steps.map(|s| s.from_job).max().unwrap_or(0));
        let blocks = Blocks::recover(found.blocks, now.mono);
        let mut this = Self {
            members: Members::recover(found.members, found.members_at, jobs.sequence(), now),
            intake: Intake::recover(found.ledger, found.shares, now.mono),
            id,
            epoch,
            farm,
            config,
            jobs,
            blocks,
            refusals: Refusals::default(),
            found: BTreeMap::new(),
            source_failed: false,
            stuck: None,
            at_rest: false,
            stop: None,
            reviewed_at: now.mono,
            nodes: Nodes::default(),
            asks: VecDeque::new(),
        };
        found.news.into_iter().for_each(|event| this.tell(event));
        this.at_rest = this.terms(world).at_rest();
        let changes = this.with_members(world, |m, terms| m.reconcile(terms, now));
        this.change(changes, None);
        this
    }

    /// Where the reading of the share stream begins.
    pub(crate) fn shares_after(&self) -> u64 {
        let accounted = self.intake.accounted_to();
        self.jobs.shares_after().map_or(accounted, |after| after.min(accounted))
    }

    pub(crate) fn next_ask(&mut self) -> Option<Ask> {
        self.asks.pop_front()
    }

    /// Whether another batch of shares may be given.
    pub(crate) fn has_room(&self) -> bool {
        self.intake.has_room()
    }

    fn terms<'a>(&'a self, world: World<'a>) -> Terms<'a> {
        let network = self.jobs.current().map(|j| vardiff::floor_log2(j.network_target.work()));
        Terms {
            pool: &self.id,
            epoch: self.epoch,
            config: &self.config,
            job_sequence: self.jobs.sequence(),
            network_bits: network.unwrap_or(u8::MAX),
            world,
        }
    }

    /// Runs a decision of the members with the terms of now.
    fn with_members<T>(&mut self, world: World<'_>, decide: impl FnOnce(&mut Members, Terms<'_>) -> T) -> T {
        let mut members = std::mem::take(&mut self.members);
        let result = decide(&mut members, self.terms(world));
        self.members = members;
        result
    }

    /// Another configuration is in force; `true` when the job source is another one or is asked at another pace.
    pub(crate) fn configure(&mut self, config: PoolConfig, world: World<'_>, now: Now) -> bool {
        let of = |config: &PoolConfig| (config.source.clone(), config.algorithm.clone(), config.component);
        let other_source = of(&config) != of(&self.config);
        let other_pace = config.job_refresh_ms != self.config.job_refresh_ms;
        if other_source {
            if self.jobs.withdraw() {
                self.ask(PoolEffect::WithdrawJob);
            }
            self.nodes.forget();
        }
        if config.mode != self.config.mode || config.slot_bits != self.config.slot_bits {
            self.jobs.renew();
        }
        let shrinks = config.slot_bits < self.config.slot_bits;
        let other_wish =
            (config.active_members, &config.backup) != (self.config.active_members, &self.config.backup);
        self.config = config;
        if shrinks {
            let changes = self.with_members(world, |m, terms| m.reconcile(terms, now));
            self.change(changes, None);
        }
        self.reconsider(other_wish, world, now);
        self.next_job(now);
        other_source || other_pace
    }

    /// Some configuration is another one now; after a `prompt` decision nobody waits to step back.
    pub(crate) fn reconsider(&mut self, prompt: bool, world: World<'_>, now: Now) {
        let changes = self.with_members(world, |m, terms| m.reconsider(prompt, terms, now));
        self.change(changes, None);
        let at_rest = self.terms(world).at_rest();
        if std::mem::replace(&mut self.at_rest, at_rest) != at_rest {
            let (active, ..) = self.members.count();
            self.members.await_stop();
            self.stop = at_rest.then(|| Stop::begin(active, now.mono));
        }
        self.look_at_stop(now);
    }

    /// A node has another configuration of its own; after a `prompt` decision nobody waits to step back.
    pub(crate) fn reconsider_node(&mut self, node: &WorkerId, prompt: bool, world: World<'_>, now: Now) {
        let changes = self.with_members(world, |m, terms| m.reconsider_node(node, prompt, terms, now));
        self.change(changes, None);
        self.look_at_stop(now);
    }

    fn look_at_stop(&mut self, now: Now) {
        let stopped = self.stop.as_ref().and_then(|stop| stop.look(self.members.awaited(), now.mono));
        if let Some(event) = stopped {
            self.stop = None;
            self.tell(event);
        }
    }

    /// Takes an input.
    pub(crate) fn handle(&mut self, input: PoolInput, world: World<'_>, now: Now) {
        match input {
            PoolInput::Template(template) => {
                if std::mem::take(&mut self.source_failed) {
                    self.tell(EventData::SourceRecovered {});
                }
                self.jobs.offer(template);
                self.next_job(now);
            }
            PoolInput::SourceFailed(reason) => {
                if !std::mem::replace(&mut self.source_failed, true) {
                    self.tell(EventData::SourceFailed { reason });
                }
            }
            PoolInput::JobPublished(id, stored_at) => self.job_published(&id, stored_at, now),
            PoolInput::JobUnstorable(id, stuck) => self.job_unstorable(&id, stuck, now),
            PoolInput::Join { token, worker, request } => {
                match self.with_members(world, |m, terms| m.join(&worker, &request, terms, now)) {
                    Ok(changes) => self.change(changes, Some(token)),
                    Err(error) => self.ask(PoolEffect::RefuseJoin(token, error)),
                }
            }
            PoolInput::Leave(worker, leave) => {
                let changes = self.with_members(world, |m, terms| {
                    m.leave(&worker, &leave.session, &leave.reason, terms, now)
                });
                self.change(changes, None);
            }
            PoolInput::Heartbeat(worker, heartbeat) => {
                let (known, overruled) =
                    self.with_members(world, |m, terms| m.heartbeat(&worker, &heartbeat, terms, now));
                if let Some(member) = overruled {
                    self.ask(PoolEffect::StoreMember(Box::new(member), None));
                }
                if known && !heartbeat.set_point.enabled() {
                    self.look_at_stop(now);
                }
            }
            PoolInput::Shares(shares) => {
                let mut out = Intaken::default();
                let limit = self.config.share_rate_limit;
                self.intake.arrive(shares, &mut self.jobs, &mut self.members, limit, &mut out);
                self.taken_in(out, now);
            }
            PoolInput::Judged(judged) => {
                let mut out = Intaken::default();
                self.intake.judged(&judged, &mut self.members, &mut out);
                self.taken_in(out, now);
            }
            PoolInput::Found(found) => self.found(*found),
            PoolInput::FoundJudged(judged) => self.found_judged(judged),
            PoolInput::BlockStored(hash) => {
                for token in self.blocks.stored(hash) {
                    self.ask(PoolEffect::AckFound(token));
                }
            }
            PoolInput::BlockUnusable(hash, reason) => {
                for token in self.blocks.stored(hash) {
                    self.ask(PoolEffect::AckFound(token));
                }
                self.block_answered(hash, BlockAnswer::Refused(reason), now);
            }
            PoolInput::BlockUnkept(hash, reason) => {
                self.blocks.unkept(hash, reason).into_iter().for_each(|event| self.tell(event));
            }
            PoolInput::BlockAnswered(hash, answer) => self.block_answered(hash, answer, now),
            PoolInput::Nodes(facts) => {
                self.nodes.observe(facts).into_iter().for_each(|event| self.tell(event));
            }
            PoolInput::LedgerAppended(number) => {
                self.intake.appended(number);
                self.account(now);
            }
            PoolInput::MembersFull => {
                let changes = self.with_members(world, |m, terms| m.make_room(terms));
                self.change(changes, None);
            }
            PoolInput::Undecodable { subject, reason } => self.refusals.undecodable(subject, reason),
        }
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self, world: World<'_>, now: Now) {
        if now.mono >= self.review_due() {
            if !self.members.is_reviewing() {
                self.reviewed_at = now.mono;
            }
            let changes = self.with_members(world, |m, terms| m.review(terms, now));
            self.change(changes, None);
            self.look_at_stop(now);
            self.jobs.forget_old(self.intake.read_to());
        }
        for event in self.refusals.tell(now.mono) {
            self.tell(event);
        }
        for hash in self.blocks.due(now.mono) {
            self.ask(PoolEffect::Block(Box::new(BlockDuty::Resubmit(hash))));
        }
        self.account(now);
        self.next_job(now);
    }

    /// When the next step of the look at all members is due.
    fn review_due(&self) -> MonoMs {
        if self.members.is_reviewing() {
            return self.reviewed_at;
        }
        self.reviewed_at.plus(u64::from(self.config.heartbeat_interval_ms) / 2)
    }

    pub(crate) fn deadline(&self) -> MonoMs {
        let others = [
            self.refusals.deadline(),
            self.intake.deadline(),
            self.jobs.deadline(&self.config),
            self.blocks.deadline(),
        ];
        others.into_iter().flatten().fold(self.review_due(), MonoMs::min)
    }

    fn ask(&mut self, effect: PoolEffect) {
        self.asks.push_back(Ask::Effect(effect));
    }

    fn tell(&mut self, event: EventData) {
        self.asks.push_back(Ask::Event(event));
    }

    /// Stores changed records; the last of a join carries the answer.
    fn change(&mut self, changes: Changes, token: Option<u64>) {
        let mut token = token;
        for worker in changes.forget {
            self.ask(PoolEffect::ForgetMember(worker));
        }
        for member in changes.store {
            self.ask(PoolEffect::StoreMember(Box::new(member), token.take()));
        }
        changes.events.into_iter().for_each(|e| self.tell(e));
    }

    fn next_job(&mut self, now: Now) {
        let shares = (self.intake.arrived_to(), self.intake.stream());
        if let Some((job, assembly)) =
            self.jobs.next(&self.id, self.epoch, self.farm, &self.config, shares, now)
        {
            self.ask(PoolEffect::PublishJob(job, assembly));
        }
    }

    /// The record of every member is to be stored as it is.
    pub(crate) fn store_members_again(&mut self) {
        let records: Vec<_> = self.members.records().cloned().collect();
        records.into_iter().for_each(|member| self.ask(PoolEffect::StoreMember(Box::new(member), None)));
    }

    /// What keeps the pool from going on although it is owned.
    pub(crate) fn stuck(&self) -> Option<&Stuck> {
        self.stuck.as_ref().map(|(stuck, _)| stuck)
    }

    /// The job before goes on, as far as the chain lets it.
    fn job_unstorable(&mut self, id: &bus_schemas::JobId, stuck: Stuck, now: Now) {
        if !self.jobs.unstorable(id, now) || self.stuck.is_some() {
            return;
        }
        let Stuck { reason, stream, sequence, repair } = stuck.clone();
        self.tell(EventData::PoolStuck { reason, stream, sequence, repair, attempts: 1 });
        self.stuck = Some((stuck, now.mono));
    }

    fn job_published(&mut self, id: &bus_schemas::JobId, stored_at: TimestampMs, now: Now) {
        if let Some(job) = self.jobs.published(id, stored_at) {
            if let Some((_, since)) = self.stuck.take() {
                self.tell(EventData::PoolUnstuck { stuck_ms: now.mono.since(since) });
            }
            self.tell(EventData::JobPublished {
                job: job.id.clone(),
                sequence: job.sequence,
                height: job.height,
                network_target: job.network_target,
                clean: job.clean,
            });
        }
        self.next_job(now);
    }

    fn taken_in(&mut self, mut out: Intaken, now: Now) {
        if !out.judge.is_empty() {
            let tasks = std::mem::take(&mut out.judge);
            self.ask(PoolEffect::Judge(tasks));
        }
        for (hash, job, slot, finding, worker) in std::mem::take(&mut out.blocks) {
            self.discover(hash, &job, slot, finding, &worker, None);
        }
        self.count_refused(out);
        self.account(now);
    }

    fn count_refused(&mut self, out: Intaken) {
        for (worker, refusal) in out.refused {
            self.refusals.share(worker, refusal);
        }
    }

    fn account(&mut self, now: Now) {
        let mut out = Intaken::default();
        let record = self.intake.next_record(&self.id, self.epoch, &mut self.members, now, &mut out);
        self.count_refused(out);
        if let Some(record) = record {
            self.ask(PoolEffect::AppendLedger(Box::new(record)));
        }
    }

    /// A candidate on the block lane: cheap checks, then one hash.
    fn found(&mut self, found: ArrivedFound) {
        let ArrivedFound { token, stored_at, worker, share } = found;
        let checked = self.check_found(&worker, &share, stored_at);
        match checked {
            Ok(_) if self.found.len() >= MAX_FOUND_IN_JUDGEMENT => {
                self.refuse_found(token, worker, ShareRefusal::RateLimited)
            }
            Ok(job) => {
                self.found.insert(token, (job.clone(), share.slot, share.finding, worker));
                self.ask(PoolEffect::JudgeFound(FoundTask {
                    token,
                    job,
                    slot: share.slot,
                    finding: share.finding,
                }));
            }
            Err(refusal) => self.refuse_found(token, worker, refusal),
        }
    }

    fn check_found(
        &mut self,
        worker: &WorkerId,
        share: &Share,
        at: TimestampMs,
    ) -> Result<Arc<Job>, ShareRefusal> {
        let entry = self.members.get_mut(worker).ok_or(ShareRefusal::NotAMember)?;
        if !entry.found.take(FOUND_RATE_LIMIT, at) {
            return Err(ShareRefusal::RateLimited);
        }
        let known = self.jobs.find(&share.job).ok_or(ShareRefusal::UnknownJob)?;
        check_claim(share, &known.job, entry)?;
        Ok(known.job.clone())
    }

    fn refuse_found(&mut self, token: u64, worker: WorkerId, refusal: ShareRefusal) {
        self.refusals.share(worker, refusal);
        self.ask(PoolEffect::AckFound(token));
    }

    fn found_judged(&mut self, judged: JudgedFound) {
        let Some((job, slot, finding, worker)) = self.found.remove(&judged.token) else { return };
        match judged.verdict {
            Verdict::Meets { block_hash, block: true } => {
                self.discover(block_hash, &job, slot, finding, &worker, Some(judged.token));
            }
            // Another coordinator, or this one when it has loaded the algorithm, can tell whether it is a block.
            Verdict::UnknownAlgorithm => self.ask(PoolEffect::PutOffFound(judged.token)),
            Verdict::Failed => self.refuse_found(judged.token, worker, ShareRefusal::NotJudged),
            _ => self.refuse_found(judged.token, worker, ShareRefusal::LowDifficulty),
        }
    }

    fn discover(
        &mut self,
        hash: Hash32,
        job: &Arc<Job>,
        slot: u16,
        finding: Finding,
        worker: &WorkerId,
        token: Option<u64>,
    ) {
        match self.blocks.discovered(hash, job, slot, finding, worker, token) {
            Discovery::New(duty, event) => {
                self.ask(PoolEffect::Block(duty));
                self.tell(event);
            }
            Discovery::UnderWay => {}
            Discovery::Kept => token.into_iter().for_each(|t| self.ask(PoolEffect::AckFound(t))),
        }
    }

    fn block_answered(&mut self, hash: Hash32, answer: BlockAnswer, now: Now) {
        let answered = self.blocks.answered(hash, answer, now.mono);
        answered.acknowledged.into_iter().for_each(|token| self.ask(PoolEffect::AckFound(token)));
        answered.duty.into_iter().for_each(|duty| self.ask(PoolEffect::Block(Box::new(duty))));
        answered.event.into_iter().for_each(|event| self.tell(event));
    }

    /// How the pool runs.
    pub(crate) fn status(&self, owner: &CoordinatorId, at_ms: TimestampMs) -> PoolStatus {
        let (active, backup, lost, hash_rate) = self.members.count();
        let (shares, work) = self.intake.totals();
        let job = self.jobs.current();
        PoolStatus {
            owner: owner.clone(),
            epoch: self.epoch,
            active,
            backup,
            lost,
            hash_rate,
            job: job.map(|j| j.id.clone()),
            height: job.map_or(0, |j| j.height),
            shares,
            work,
            shares_refused: self.intake.refused_total,
            blocks_accepted: self.blocks.accepted,
            blocks_open: self.blocks.open(),
            nodes: self.nodes.status().to_vec(),
            at_ms,
        }
    }

    /// Members for people: those behind `after` in the order of their ids.
    pub(crate) fn memberships(
        &self,
        after: Option<&WorkerId>,
        now: MonoMs,
    ) -> impl Iterator<Item = (&WorkerId, Membership)> {
        self.members.memberships(after, now, self.config.heartbeat_interval_ms)
    }

    /// The members behind `after` in the order of their ids.
    pub(crate) fn member_ids(&self, after: Option<&WorkerId>) -> impl Iterator<Item = &WorkerId> {
        self.members.ids(after)
    }

    /// One member for people.
    pub(crate) fn membership(&self, worker: &WorkerId, now: MonoMs) -> Option<Membership> {
        self.members.membership(worker, now, self.config.heartbeat_interval_ms)
    }

    /// What is known of one member, for foresight.
    pub(crate) fn facts_of(&self, worker: &WorkerId) -> Option<MemberFacts> {
        self.members.facts_of(worker)
    }

    /// What is known of every member, for foresight.
    pub(crate) fn facts(&self) -> impl Iterator<Item = MemberFacts> {
        self.members.facts()
    }

    /// What the active members have and what is wanted, where that is judged.
    pub(crate) fn capacity(&self, world: World<'_>) -> Option<Capacity> {
        self.members.capacity(self.terms(world))
    }

    /// The current job.
    pub(crate) fn job(&self) -> Option<&Arc<Job>> {
        self.jobs.current()
    }

    /// Every named invariant.
    pub(crate) fn check(&self, world: World<'_>) -> Result<(), String> {
        self.members.check(self.terms(world))?;
        self.intake.check()
    }
}
