//! An independent audit of a pool: from nothing but what was on the bus it works out again which shares are valid, and
//! compares that with the ledger, record by record.
//!
//! The rules are those of the contract, written down a second time. What the coordinator remembers, in which order it
//! works and how often it was killed does not enter.

use crate::witness::Record;
use algorithm_api::{Algorithm, Target as HashTarget};
use bus_schemas::job::{Job, WorkUnit};
use bus_schemas::ledger::LedgerRecord;
use bus_schemas::member::{Member, Standing};
use bus_schemas::share::{Finding, Share, ShareRefusal};
use bus_schemas::subject::Subject;
use bus_schemas::{
    Hash32, JobId, Message, PoolId, SessionId, ShareBits, Target, TimestampMs, Work, WorkerId,
};
use coordinator_core::pool::STALE_GRACE_MS;
use nats_adapter::Delivered;
use std::collections::{BTreeMap, BTreeSet};

/// Most faults that are listed; one mistake often shows in every record after it.
const MAX_FAULTS: usize = 20;

/// What the audit found.
#[derive(Debug, Default)]
pub struct Audit {
    /// Shares in the stream.
    pub shares: u64,
    /// Shares that are valid by the audit's own reckoning.
    pub valid: u64,
    /// Work of the valid ones.
    pub work: Work,
    /// Shares that are not, by reason.
    pub refused: BTreeMap<ShareRefusal, u64>,
    /// Jobs that were published.
    pub jobs: u64,
    /// Epochs that wrote to the ledger.
    pub epochs: BTreeSet<u64>,
    /// For each worker, the longest time between two heartbeats over which its hashes did not rise although it was to
    /// mine, milliseconds.
    pub longest_idle_ms: BTreeMap<WorkerId, u64>,
    /// Whatever is wrong; nothing when all is well.
    pub faults: Vec<String>,
}

/// One life of a worker in one slot, by the generation at which it got it.
#[derive(Debug)]
struct Tenancy {
    session: SessionId,
    slot: u16,
    /// Difficulty by the first job for which it holds, later decisions over earlier ones.
    difficulty: BTreeMap<u64, ShareBits>,
}

static RANDOM_X: algorithm_randomx::RandomX = algorithm_randomx::RandomX::new();

/// A published job and what took its place.
struct Published<'a> {
    job: &'a Job,
    /// Previous block and time of storing of every job that followed.
    later: Vec<(Hash32, TimestampMs)>,
}

struct Auditor<'a> {
    jobs: BTreeMap<&'a JobId, Published<'a>>,
    tenancies: BTreeMap<(&'a WorkerId, u64), Tenancy>,
    members: BTreeSet<&'a WorkerId>,
    algorithms: [&'static dyn Algorithm; 4],
    /// Findings that were judged, by what they consist of.
    seen: BTreeSet<(JobId, u16, [u32; 4])>,
    /// Headers that were hashed: no two shares may have the same.
    headers: BTreeSet<Vec<u8>>,
    /// Who searched a slot under a job.
    searchers: BTreeMap<(JobId, u16), (WorkerId, SessionId)>,
    audit: Audit,
}

/// What one ledger record should say.
#[derive(Debug, Default, PartialEq, Eq)]
struct Expected {
    credits: BTreeMap<WorkerId, (u64, Work)>,
    refused: BTreeMap<(WorkerId, ShareRefusal), u64>,
}

/// Audits what a witness saw of one pool.
pub fn audit(record: &Record) -> Audit {
    let mut auditor = Auditor::new(record);
    auditor.slots(&record.members);
    auditor.ledger(record);
    auditor.mining(record);
    auditor.audit
}

impl<'a> Auditor<'a> {
    fn new(record: &'a Record) -> Self {
        let mut tenancies: BTreeMap<(&WorkerId, u64), Tenancy> = BTreeMap::new();
        for member in &record.members {
            let tenancy = tenancies.entry((&member.worker, member.slot_generation)).or_insert_with(|| {
                Tenancy { session: member.session.clone(), slot: member.slot, difficulty: BTreeMap::new() }
            });
            tenancy.difficulty.extend(member.difficulty.iter().map(|step| (step.from_job, step.bits)));
        }
        let audit = Audit { jobs: record.jobs.len() as u64, ..Audit::default() };
        Self {
            jobs: published(&record.jobs),
            tenancies,
            members: record.members.iter().map(|member| &member.worker).collect(),
            algorithms: [
                &algorithm_sha256d::Sha256d,
                &algorithm_scrypt::Scrypt1024,
                &algorithm_blake3::Blake3,
                &RANDOM_X,
            ],
            seen: BTreeSet::new(),
            headers: BTreeSet::new(),
            searchers: BTreeMap::new(),
            audit,
        }
    }

    fn fault(&mut self, fault: String) {
        if self.audit.faults.len() < MAX_FAULTS {
            self.audit.faults.push(fault);
        }
    }

    /// No slot is held by two present members, at any moment.
    fn slots(&mut self, members: &[Member]) {
        let mut holders: BTreeMap<u16, &WorkerId> = BTreeMap::new();
        for member in members {
            holders.retain(|_, holder| *holder != &member.worker);
            if member.standing != Standing::Present {
                continue;
            }
            if let Some(other) = holders.insert(member.slot, &member.worker) {
                self.fault(format!(
                    "slot {} is given to {} while {other} holds it",
                    member.slot, member.worker
                ));
            }
        }
    }

    /// Each ledger record says of exactly the shares that it covers what the audit says of them.
    fn ledger(&mut self, record: &'a Record) {
        let mut shares = record.shares.iter().peekable();
        let mut before: Option<&LedgerRecord> = None;
        for entry in &record.ledger {
            let mut expected = Expected::default();
            while let Some(delivered) = shares.next_if(|d| d.sequence <= entry.shares_to) {
                self.account(delivered, &mut expected);
            }
            self.compare(entry, &expected);
            self.follows(before, entry);
            self.audit.epochs.insert(entry.epoch);
            before = Some(entry);
        }
        let left = shares.count();
        if left > 0 {
            self.fault(format!("{left} shares are in the stream and not in the ledger"));
        }
    }

    fn account(&mut self, delivered: &Delivered, expected: &mut Expected) {
        self.audit.shares += 1;
        let Some((pool, worker)) = sender(delivered) else {
            return self.fault(format!("share {} lies on {}", delivered.sequence, delivered.subject));
        };
        match self.judge(&pool, &worker, delivered) {
            Ok(bits) => {
                self.audit.valid += 1;
                self.audit.work = self.audit.work.saturating_add(bits.work());
                let credit = expected.credits.entry(worker).or_default();
                credit.0 += 1;
                credit.1 = credit.1.saturating_add(bits.work());
            }
            Err(refusal) => {
                *self.audit.refused.entry(refusal).or_default() += 1;
                let worker = if refusal == ShareRefusal::NotAMember { WorkerId::strangers() } else { worker };
                *expected.refused.entry((worker, refusal)).or_default() += 1;
            }
        }
    }

    fn compare(&mut self, entry: &LedgerRecord, expected: &Expected) {
        let mut said = Expected::default();
        for credit in &entry.credits {
            said.credits.insert(credit.worker.clone(), (credit.shares, credit.work));
        }
        for refused in &entry.refused {
            said.refused.insert((refused.worker.clone(), refused.refusal), refused.shares);
        }
        if said != *expected {
            self.fault(format!("ledger record {} says {said:?}, the shares say {expected:?}", entry.number));
        }
    }

    fn follows(&mut self, before: Option<&LedgerRecord>, entry: &LedgerRecord) {
        let (number, to, epoch) = before.map_or((0, 0, 0), |b| (b.number, b.shares_to, b.epoch));
        if entry.number != number + 1 || entry.shares_to <= to || entry.epoch < epoch {
            self.fault(format!(
                "ledger record {} of epoch {epoch} to share {to} is followed by {} of {} to {}",
                number, entry.number, entry.epoch, entry.shares_to
            ));
        }
        let (shares, work) = before.map_or((0, Work::ZERO), |b| (b.total_shares, b.total_work));
        let total = entry
            .credits
            .iter()
            .fold((shares, work), |(n, w), credit| (n + credit.shares, w.saturating_add(credit.work)));
        if total != (entry.total_shares, entry.total_work) {
            self.fault(format!("the totals of ledger record {} are not the sums so far", entry.number));
        }
    }

    /// The contract's rules for one share, in the order in which a reason is stated.
    fn judge(
        &mut self,
        pool: &PoolId,
        worker: &WorkerId,
        delivered: &Delivered,
    ) -> Result<ShareBits, ShareRefusal> {
        if !self.members.contains(worker) {
            return Err(ShareRefusal::NotAMember);
        }
        let share = Share::decode(&delivered.payload).map_err(|_| ShareRefusal::Malformed)?;
        let published = self.jobs.get(&share.job).ok_or(ShareRefusal::UnknownJob)?;
        let job = published.job;
        if job.pool != *pool {
            return Err(ShareRefusal::UnknownJob);
        }
        let late = published.superseded_at(delivered.stored_at);
        let late = late.is_some_and(|at| delivered.stored_at > at.plus_ms(STALE_GRACE_MS));
        let tenancy = self.tenancies.get(&(worker, share.generation)).ok_or(ShareRefusal::WrongSlot)?;
        if tenancy.slot != share.slot || tenancy.session != share.session {
            return Err(ShareRefusal::WrongSlot);
        }
        let nonce = share.finding.nonce();
        let range = job.nonce_range(share.slot).ok_or(ShareRefusal::WrongSlot)?;
        if !range.contains(nonce) {
            return Err(ShareRefusal::NonceOutOfRange);
        }
        let (version, time) = rolled(&job.work, &share.finding)?;
        let assigned = tenancy.difficulty.range(..=job.sequence).next_back().map(|(_, bits)| *bits);
        if assigned != Some(share.bits) {
            return Err(ShareRefusal::WrongDifficulty);
        }
        let parts = [nonce, share.finding.roll(), version, time];
        if !self.seen.insert((share.job.clone(), share.slot, parts)) {
            return Err(ShareRefusal::Duplicate);
        }
        let root = job.work.root(job.extranonce(share.slot, share.finding.roll()));
        let input = job.work.input_over(&root, &share.finding).ok_or(ShareRefusal::OtherWork)?;
        let algorithm = self.algorithms.iter().find(|a| {
            a.descriptor().id == job.algorithm.id.as_str() && a.descriptor().version == job.algorithm.version
        });
        let algorithm = algorithm.ok_or(ShareRefusal::UnknownAlgorithm)?;
        let hash = algorithm
            .verify(input.as_ref(), &nonce.to_le_bytes())
            .map_err(|_| ShareRefusal::UnknownAlgorithm)?;
        // What is late earns something only if it is a block.
        if late && !HashTarget::from_le_bytes(job.network_target.0.to_le_bytes()).is_met_by(&hash) {
            return Err(ShareRefusal::Stale);
        }
        if !late && !hash_target(share.bits).is_met_by(&hash) {
            return Err(ShareRefusal::LowDifficulty);
        }
        self.search(worker, &share, input.as_ref().to_vec());
        Ok(share.bits)
    }

    /// Nobody else searched this slot under this job, and nobody ever found this header.
    fn search(&mut self, worker: &WorkerId, share: &Share, header: Vec<u8>) {
        if !self.headers.insert(header) {
            self.fault(format!(
                "two shares have one header; the second is of {worker} under job {}",
                share.job
            ));
        }
        let searcher = (worker.clone(), share.session.clone());
        let place = (share.job.clone(), share.slot);
        let first = self.searchers.entry(place).or_insert_with(|| searcher.clone());
        if *first != searcher {
            let text = format!(
                "slot {} of job {} was searched by {first:?} and {searcher:?}",
                share.slot, share.job
            );
            self.fault(text);
        }
    }

    fn mining(&mut self, record: &Record) {
        /// Session, hashes, and when they last rose.
        struct Progress<'a>(&'a SessionId, u64, TimestampMs);
        let mut progress: BTreeMap<&WorkerId, Progress<'_>> = BTreeMap::new();
        for (worker, heartbeat) in &record.heartbeats {
            let now = Progress(&heartbeat.session, heartbeat.hashes_total, heartbeat.sent_at_ms);
            let known = progress.get_mut(worker).filter(|p| p.0 == &heartbeat.session);
            match known {
                Some(last) if heartbeat.set_point.enabled() => {
                    let idle = heartbeat.sent_at_ms.since(last.2);
                    let longest = self.audit.longest_idle_ms.entry(worker.clone()).or_default();
                    *longest = idle.max(*longest);
                    if heartbeat.hashes_total > last.1 {
                        *last = now;
                    }
                }
                _ => drop(progress.insert(worker, now)),
            }
        }
    }
}

/// The version and the time that a finding chose, where its kind of work lets it choose.
fn rolled(work: &WorkUnit, finding: &Finding) -> Result<(u32, u32), ShareRefusal> {
    match (work, finding) {
        (WorkUnit::Header(work), Finding::Header(f)) => {
            if (f.version ^ work.version) & !work.version_mask != 0 {
                return Err(ShareRefusal::VersionOutOfRange);
            }
            if f.time < work.min_time || f.time > work.max_time {
                return Err(ShareRefusal::TimeOutOfRange);
            }
            Ok((f.version, f.time))
        }
        (WorkUnit::CryptoNote(_), Finding::CryptoNote(_)) => Ok((0, 0)),
        _ => Err(ShareRefusal::OtherWork),
    }
}

fn published(jobs: &[(Job, TimestampMs)]) -> BTreeMap<&JobId, Published<'_>> {
    let later = |at| jobs.iter().skip(at + 1).map(|(job, stored_at)| (job.work.prev_hash(), *stored_at));
    jobs.iter()
        .enumerate()
        .map(|(at, (job, _))| (&job.id, Published { job, later: later(at).collect() }))
        .collect()
}

impl Published<'_> {
    /// Since when another previous block was the tip at that time, if it was.
    fn superseded_at(&self, at: TimestampMs) -> Option<TimestampMs> {
        let tip = self.job.work.prev_hash();
        let known = self.later.iter().take_while(|(_, stored_at)| *stored_at <= at);
        known.fold(
            None,
            |since, (other, stored_at)| if *other == tip { None } else { since.or(Some(*stored_at)) },
        )
    }
}

fn sender(delivered: &Delivered) -> Option<(PoolId, WorkerId)> {
    match delivered.subject.parse() {
        Ok(Subject::Share(pool, worker)) => Some((pool, worker)),
        _ => None,
    }
}

fn hash_target(bits: ShareBits) -> HashTarget {
    HashTarget::from_le_bytes(Target::from_share_bits(bits).0.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bus_schemas::examples;
    use bus_schemas::ledger::{Credit, RefusedShares};

    const EASY: u8 = 3;

    /// What a witness of one worker with so many valid shares saw, and the ledger that is right.
    fn honest(count: u32) -> Record {
        let job = examples::job().unwrap();
        let mut member = examples::member().unwrap();
        member.difficulty =
            vec![bus_schemas::member::DifficultyStep { from_job: 0, bits: ShareBits::new(EASY) }];
        let mut shares = Vec::new();
        for nonce in 0.. {
            let mut share = examples::share().unwrap();
            share.bits = ShareBits::new(EASY);
            let Finding::Header(finding) = &mut share.finding else { panic!("a header") };
            finding.nonce = nonce;
            let WorkUnit::Header(work) = &job.work else { panic!("a header") };
            let extranonce = job.extranonce(share.slot, finding.roll);
            let header = work.header(extranonce, finding.version, finding.time, nonce);
            let hash = algorithm_sha256d::Sha256d.verify(&header, &nonce.to_le_bytes()).unwrap();
            if hash_target(share.bits).is_met_by(&hash) {
                shares.push(share);
            }
            if shares.len() == count as usize {
                break;
            }
        }
        let mut record =
            Record { jobs: vec![(job, TimestampMs(0))], members: vec![member], ..Record::default() };
        shares.iter().for_each(|share| send(&mut record, share));
        let work = ShareBits::new(EASY).work().saturating_mul(count.into());
        let worker = WorkerId::new("w1").unwrap();
        record.ledger = vec![LedgerRecord {
            pool: PoolId::new("main").unwrap(),
            epoch: 7,
            number: 1,
            shares_to: count.into(),
            shares_stream: None,
            shares_at_ms: None,
            credits: vec![Credit { worker, shares: count.into(), work }],
            refused: Vec::new(),
            total_shares: count.into(),
            total_work: work,
            at_ms: TimestampMs(1),
        }];
        record
    }

    /// Puts a share at the end of the stream.
    fn send(record: &mut Record, share: &Share) {
        let subject = Subject::Share(PoolId::new("main").unwrap(), WorkerId::new("w1").unwrap());
        record.shares.push(Delivered {
            sequence: record.shares.len() as u64 + 1,
            stored_at: share.found_at_ms,
            subject: subject.to_string().into(),
            payload: share.encode().unwrap().into(),
            headers: None,
        });
    }

    #[test]
    fn an_honest_ledger_passes() {
        let audit = audit(&honest(20));
        assert_eq!((audit.faults.len(), audit.shares, audit.valid), (0, 20, 20), "{audit:?}");
    }

    #[test]
    fn a_share_that_is_counted_twice_or_not_at_all_is_a_fault() {
        for shares in [19, 21] {
            let mut record = honest(20);
            record.ledger[0].credits[0].shares = shares;
            assert!(!audit(&record).faults.is_empty(), "{shares} of 20 shares");
        }
        let mut record = honest(20);
        record.ledger[0].shares_to = 19;
        assert!(audit(&record).faults.iter().any(|fault| fault.contains("not in the ledger")));
    }

    #[test]
    fn a_duplicate_is_refused_and_a_ledger_that_credits_it_is_at_fault() {
        let mut record = honest(5);
        let again = Share::decode(&record.shares[0].payload).unwrap();
        send(&mut record, &again);
        record.ledger[0].shares_to = 6;
        let right = record.ledger[0].clone();
        record.ledger[0].credits[0].shares = 6;
        record.ledger[0].total_shares = 6;
        assert!(!audit(&record).faults.is_empty());
        let refused = RefusedShares {
            worker: WorkerId::new("w1").unwrap(),
            refusal: ShareRefusal::Duplicate,
            shares: 1,
        };
        record.ledger[0] = LedgerRecord { refused: vec![refused], ..right };
        assert_eq!(audit(&record).faults, Vec::<String>::new());
    }

    #[test]
    fn a_slot_that_two_members_hold_and_a_gap_in_the_ledger_are_faults() {
        let mut record = honest(1);
        let mut other = record.members[0].clone();
        other.worker = WorkerId::new("w2").unwrap();
        record.members.push(other);
        assert!(audit(&record).faults[0].contains("w1 holds it"));
        let mut record = honest(1);
        record.ledger[0].number = 2;
        assert!(!audit(&record).faults.is_empty());
    }

    #[test]
    fn a_worker_whose_hashes_stand_still_is_found_idle() {
        let mut record = honest(1);
        for (at, hashes) in [(1_000, 10), (2_000, 20), (5_500, 20), (6_000, 30), (7_000, 40)] {
            let heartbeat = bus_schemas::heartbeat::Heartbeat {
                session: record.members[0].session.clone(),
                generation: 1,
                sequence: at,
                job: None,
                hash_rate: bus_schemas::HashRate(0),
                hashes_total: hashes,
                outbox_len: 0,
                set_point: bus_schemas::set_point::SetPoint {
                    threads: 1,
                    cap_percent: 100,
                    priority: bus_schemas::policy::Priority::Idle,
                    reason: bus_schemas::set_point::Reason::HostThreads,
                },
                local: None,
                load: None,
                sent_at_ms: TimestampMs(at),
            };
            record.heartbeats.push((WorkerId::new("w1").unwrap(), heartbeat));
        }
        assert_eq!(audit(&record).longest_idle_ms[&WorkerId::new("w1").unwrap()], 4_000);
    }
}
