//! What one share is worth, by the jobs and members' records that were ever stored.

use crate::worker::hash_of_share;
use bus_schemas::{
    Hash32, JobId, Target, TimestampMs, WorkerId,
    job::Job,
    member::Member,
    share::{Finding, HeaderFinding, Share},
};
use coordinator_core::pool::STALE_GRACE_MS;
use std::collections::{BTreeMap, BTreeSet};

/// A job that was superseded for so long may be forgotten, milliseconds; a little less than owners remember it.
const SURELY_REMEMBERED_MS: u64 = 50_000;
/// So many of the latest jobs are surely known to every owner.
const SURELY_KNOWN_JOBS: usize = 200;
/// So many of the latest versions of a member's record are kept.
const KEPT_RECORDS: usize = 8;

/// What a share earns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is to be credited.
    Must,
    /// A destroyed store, or a limit of what is remembered, leaves it open.
    May,
    /// It is not to be credited.
    MustNot(&'static str),
}

/// A message that claims something.
pub(crate) struct Claim<'a> {
    pub(crate) uid: u64,
    /// The stream in which it is accounted for.
    pub(crate) stream: &'a str,
    pub(crate) worker: &'a WorkerId,
    pub(crate) stored_at: TimestampMs,
    pub(crate) share: Option<&'a Share>,
}

#[derive(Debug)]
struct Known {
    job: Job,
    number: usize,
    order: u64,
    /// It may be missing in what owners read.
    shaky: bool,
}

#[derive(Debug, Default)]
struct Records {
    all: Vec<(u64, Member)>,
    /// Up to here they may be missing in what owners read.
    shaky: usize,
}

type Key = (JobId, u16, (u32, u32, u32, u32));

/// What is known of one pool.
#[derive(Debug, Default)]
pub(crate) struct OfPool {
    /// Counts what was stored.
    order: u64,
    /// The highest epoch that was begun, and whose it is.
    epoch: u64,
    holder: u64,
    jobs: BTreeMap<JobId, Known>,
    /// The previous block of each stored job, in their order.
    tips: Vec<(TimestampMs, Hash32)>,
    members: BTreeMap<WorkerId, Records>,
    /// What was credited or may have been, by which message of which stream, and whether it surely was.
    credited: BTreeMap<Key, (u64, String, bool)>,
    /// Until then by the server's clock two may have owned the pool: the leases were destroyed. Milliseconds.
    doubtful_until_ms: u64,
}

impl OfPool {
    /// An owner's job was stored; `true` if it came late, as with [`Self::member`].
    pub(crate) fn job(&mut self, job: Job, stored_at: TimestampMs) -> bool {
        self.tips.push((stored_at, job.work.prev_hash()));
        let late = job.epoch < self.epoch || stored_at.0 < self.doubtful_until_ms;
        self.epoch = self.epoch.max(job.epoch);
        let number = self.jobs.len();
        self.order += 1;
        let order = self.order;
        self.jobs.insert(job.id.clone(), Known { job, number, order, shaky: late });
        late
    }

    /// Workers heard an owner's job that was not stored: it alone knows it, until it finds out.
    pub(crate) fn unstored_job(&mut self, job: Job) {
        let (number, order) = (self.jobs.len(), self.order);
        self.jobs.entry(job.id.clone()).or_insert(Known { job, number, order, shaky: true });
    }

    /// The lease was taken or renewed.
    pub(crate) fn taken(&mut self, holder: u64, epoch: u64) {
        if std::mem::replace(&mut self.holder, holder) != holder {
            self.epoch = self.epoch.max(epoch);
        }
    }

    /// An owner's record of a member was stored; `true` if it came late: from an owner that another one has followed, which
    /// may have read all records before.
    pub(crate) fn member(&mut self, member: Member) -> bool {
        self.order += 1;
        let late = member.epoch < self.epoch;
        self.epoch = self.epoch.max(member.epoch);
        let records = self.members.entry(member.worker.clone()).or_default();
        records.all.push((self.order, member));
        if late {
            records.shaky = records.all.len();
        }
        late
    }

    pub(crate) fn jobs_replaced(&mut self) {
        self.jobs.values_mut().for_each(|known| known.shaky = true);
    }

    pub(crate) fn members_replaced(&mut self) {
        self.members.values_mut().for_each(|records| records.shaky = records.all.len());
    }

    /// The leases were destroyed: who owned the pool may not know it until then.
    pub(crate) fn leases_replaced(&mut self, until_ms: u64) {
        self.jobs_replaced();
        self.members_replaced();
        self.doubtful_until_ms = until_ms;
    }

    pub(crate) fn job_ids(&self) -> impl Iterator<Item = JobId> {
        self.jobs.keys().cloned()
    }

    /// Only what these messages earned is credited.
    pub(crate) fn forget_credits(&mut self, is_accounted: impl Fn(u64) -> bool) {
        self.credited.retain(|_, (uid, ..)| is_accounted(*uid));
    }

    /// Judges a share and takes it as credited if it must or may be.
    pub(crate) fn judge(&mut self, claim: &Claim<'_>) -> Verdict {
        let Some(share) = claim.share else { return Verdict::MustNot("no share") };
        let (verdict, key) = match self.look(claim, share) {
            Ok(found) => found,
            Err(why) => return Verdict::MustNot(why),
        };
        match self.credited.get(&key) {
            Some((_, stream, true)) if stream == claim.stream => return Verdict::MustNot("found before"),
            // Whoever accounts for a stream that was made anew cannot know what the former one held.
            Some(_) => return Verdict::May,
            None => {}
        }
        let entry = (claim.uid, claim.stream.to_owned(), verdict == Verdict::Must);
        self.credited.insert(key, entry);
        verdict
    }

    /// The job and the hash of a candidate that every owner takes for a block.
    pub(crate) fn block(&self, claim: &Claim<'_>) -> Option<(JobId, [u8; 32])> {
        let share = claim.share?;
        let (verdict, _) = self.look(claim, share).ok()?;
        let (known, hash) = (self.jobs.get(&share.job)?, hash_of_share(share)?);
        let is_block = known.job.network_target.is_met_by(&hash) && verdict == Verdict::Must;
        is_block.then(|| (share.job.clone(), hash))
    }

    fn look(&self, claim: &Claim<'_>, share: &Share) -> Result<(Verdict, Key), &'static str> {
        let known = self.jobs.get(&share.job).ok_or("an unknown job")?;
        let job = &known.job;
        let (bits_certain, held_certain) = self.claims(claim.worker, share, known)?;
        let range = job.nonce_range(share.slot).ok_or("no such slot")?;
        if !range.contains(share.finding.nonce()) {
            return Err("a nonce out of range");
        }
        job.work.allows(&share.finding).map_err(|_| "a finding that the work does not allow")?;
        let hash = hash_of_share(share).ok_or("another kind of work")?;
        let (superseded, late) = self.staleness(job.work.prev_hash(), claim.stored_at);
        // The job that superseded it may be destroyed.
        let late = late && !(known.shaky && Target::from_share_bits(share.bits).is_met_by(&hash));
        let target = if late { job.network_target } else { Target::from_share_bits(share.bits) };
        if !target.is_met_by(&hash) {
            return Err(if late { "stale" } else { "too low a difficulty" });
        }
        let Finding::Header(HeaderFinding { roll, version, time, nonce }) = share.finding else {
            return Err("another kind of work");
        };
        let remembered = superseded.is_none_or(|ms| ms < SURELY_REMEMBERED_MS);
        let recent = known.number + SURELY_KNOWN_JOBS > self.jobs.len();
        let certain = bits_certain && held_certain && remembered && recent && !known.shaky;
        let key = (share.job.clone(), share.slot, (nonce, roll, version, time));
        Ok((if certain { Verdict::Must } else { Verdict::May }, key))
    }

    /// Whether difficulty and place of a share are certain.
    fn claims(&self, worker: &WorkerId, share: &Share, known: &Known) -> Result<(bool, bool), &'static str> {
        let records = self.members.get(worker).ok_or("not a member")?;
        let tenancy = |m: &Member| m.slot_generation == share.generation && m.session == share.session;
        let all = records.all.iter().enumerate();
        let versions: Vec<_> = all.filter(|(_, (_, m))| tenancy(m)).map(|(n, (o, m))| (n, *o, m)).collect();
        let (newest, _, last) = versions.last().ok_or("a place that it never held")?;
        // What was stored before the job holds, unless a later version says otherwise, or the bucket was set back to an
        // earlier one: then numbers of generations may have been given twice.
        let set_back = versions.iter().any(|(n, ..)| *n < records.shaky);
        let holds = last.slot == share.slot;
        let held = holds || (set_back && versions.iter().any(|(_, _, m)| m.slot == share.slot));
        if !held {
            return Err("another slot than it held");
        }
        let latest = versions.iter().rposition(|(_, order, _)| *order < known.order);
        let before = latest.filter(|_| !set_back).unwrap_or(0);
        let valid = versions.iter().skip(before);
        let said: BTreeSet<_> = valid.map(|(_, _, m)| m.bits_for_job(known.job.sequence)).collect();
        if !said.contains(&Some(share.bits)) {
            return Err("another difficulty than was assigned");
        }
        let kept = holds && newest + KEPT_RECORDS > records.all.len() && *newest >= records.shaky;
        Ok((said.len() == 1, kept))
    }

    /// For how long jobs on this previous block were superseded at that time, and whether that is too long.
    fn staleness(&self, tip: Hash32, at: TimestampMs) -> (Option<u64>, bool) {
        let mut absent_since: Option<TimestampMs> = None;
        let mut seen = false;
        let mut late = false;
        for (stored_at, prev) in self.tips.iter().take_while(|(stored_at, _)| *stored_at <= at) {
            seen |= *prev == tip;
            match absent_since {
                _ if !seen => {}
                None if *prev != tip => absent_since = Some(*stored_at),
                Some(_) if *prev == tip => absent_since = None,
                _ => {}
            }
        }
        let superseded = absent_since.map(|since| at.since(since));
        late |= superseded.is_some_and(|ms| ms > STALE_GRACE_MS);
        (superseded, late)
    }
}
