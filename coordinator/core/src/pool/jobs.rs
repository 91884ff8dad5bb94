//! The pool's jobs: which is searched now, which are still judged, and what was already found under each.

use crate::{
    input::Template,
    time::{MonoMs, Now},
};
use bus_schemas::{
    Hash32, JobId, PoolId, TimestampMs,
    config::PoolConfig,
    job::Job,
    share::{CryptoNoteFinding, Finding, HeaderFinding},
};
use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

/// A share is judged by its job for this long after the stream stored a job on another previous block, milliseconds: the
/// work was done in good faith while the order travelled. Both times are the streams' own: no clock of a coordinator or
/// a worker has a say.
pub const STALE_GRACE_MS: u64 = 2_000;
/// A superseded job is remembered for this long, milliseconds, so that late shares are told apart from invented ones.
pub const REMEMBER_MS: u64 = 60_000;
/// After a job that could not be stored no other one is made for this long, milliseconds.
pub const UNSTORABLE_PAUSE_MS: u64 = 5_000;
/// Most jobs that are remembered.
pub const MAX_JOBS: usize = 256;
/// Most times in which another previous block was the tip that are remembered of a job: a chain goes back and forth
/// seldom.
const MAX_ABSENCES: usize = 8;
/// Findings under one job after which the next is published early; the number of the job is in each header.
pub const FINDINGS_FOR_REFRESH: usize = 250_000;
/// Most findings that are remembered over all jobs; for more the oldest jobs are forgotten.
pub const MAX_FINDINGS: usize = 4_000_000;

/// Identity of a finding under its job: whatever the spelling of the message, equal fields are an equal finding.
/// All findings of a job are of one kind.
type Key = (u16, (u32, u32, u32, u32));

fn key(slot: u16, finding: &Finding) -> Key {
    match *finding {
        Finding::Header(HeaderFinding { roll, version, time, nonce }) => (slot, (nonce, roll, version, time)),
        Finding::CryptoNote(CryptoNoteFinding { roll, nonce }) => (slot, (nonce, roll, 0, 0)),
    }
}

#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) job: Arc<Job>,
    /// When jobs on another previous block were the newest: from when, and until when if that is over.
    absences: VecDeque<(TimestampMs, Option<TimestampMs>)>,
    seen: BTreeSet<Key>,
}

impl Known {
    fn new(job: Arc<Job>) -> Self {
        Self { job, absences: VecDeque::new(), seen: BTreeSet::new() }
    }

    /// Whether a share that the stream stored then comes too late.
    pub(crate) fn is_stale(&self, stored_at: TimestampMs) -> bool {
        let late = |(from, until): &(TimestampMs, Option<TimestampMs>)| {
            stored_at > from.plus_ms(STALE_GRACE_MS) && until.is_none_or(|until| stored_at < until)
        };
        self.absences.iter().any(late)
    }

    fn superseded_at(&self) -> Option<TimestampMs> {
        self.absences.back().filter(|(_, until)| until.is_none()).map(|(from, _)| *from)
    }

    /// The stream stored a job on `tip`.
    fn follow(&mut self, tip: Hash32, stored_at: TimestampMs) {
        let is_tip = self.job.work.prev_hash() == tip;
        match self.absences.back_mut() {
            Some((_, until @ None)) if is_tip => *until = Some(stored_at),
            Some((_, None)) => {}
            _ if is_tip => {}
            _ => {
                self.absences.push_back((stored_at, None));
                if self.absences.len() > MAX_ABSENCES {
                    self.absences.pop_front();
                }
            }
        }
    }
}

/// A job that was made and is to be published.
pub(crate) type Publication = (Arc<Job>, bus_schemas::Blob);

/// The jobs of one pool.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    known: VecDeque<Known>,
    sequence: u64,
    current: Option<Arc<Job>>,
    latest: Option<Box<Template>>,
    in_flight: Option<JobId>,
    published_at: Option<MonoMs>,
    findings: usize,
    /// The configuration changed how templates are divided.
    renew: bool,
    /// The last job could not be stored: no other one before this time.
    held_until: Option<MonoMs>,
}

impl Jobs {
    /// The jobs that are kept. Numbers go on after `at_least`, even if none is kept: difficulties hold by number.
    pub(crate) fn recover(jobs: Vec<(Job, TimestampMs)>, at_least: u64) -> Self {
        let mut this = Self { sequence: at_least, ..Self::default() };
        for (job, stored_at) in jobs.into_iter().filter(|(job, _)| job.check().is_ok()) {
            let tip = job.work.prev_hash();
            this.learn(Arc::new(job));
            this.follow(tip, stored_at);
        }
        this
    }

    fn follow(&mut self, tip: Hash32, stored_at: TimestampMs) {
        self.known.iter_mut().for_each(|known| known.follow(tip, stored_at));
    }

    fn learn(&mut self, job: Arc<Job>) {
        self.sequence = self.sequence.max(job.sequence);
        self.current = Some(job.clone());
        self.known.push_back(Known::new(job));
        while self.known.len() > MAX_JOBS {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(known) = self.known.pop_front() {
            self.findings -= known.seen.len();
        }
    }

    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    pub(crate) fn current(&self) -> Option<&Arc<Job>> {
        self.current.as_ref()
    }

    pub(crate) fn find(&self, id: &JobId) -> Option<&Known> {
        self.known.iter().rev().find(|k| k.job.id == *id)
    }

    /// The last sequence of the share stream before the first share of any job that is still judged.
    pub(crate) fn shares_after(&self) -> Option<u64> {
        self.known.iter().map(|k| k.job.shares_after).min()
    }

    /// Remembers a finding. When very many are remembered, the oldest job is forgotten with its own.
    pub(crate) fn remember(&mut self, id: &JobId, slot: u16, finding: &Finding) -> Remembered {
        while self.findings >= MAX_FINDINGS && self.known.len() > 1 {
            self.forget_oldest();
        }
        if self.findings >= MAX_FINDINGS {
            return Remembered::Full;
        }
        let known = self.known.iter_mut().rev().find(|k| k.job.id == *id);
        if !known.is_some_and(|k| k.seen.insert(key(slot, finding))) {
            return Remembered::Before;
        }
        self.findings += 1;
        Remembered::New
    }

    pub(crate) fn offer(&mut self, template: Box<Template>) {
        self.latest = Some(template);
    }

    /// The source is another one from now on: no job of the one before is in force. What was found under them counts until
    /// the stream holds a job of the new one. `true` if there was one.
    pub(crate) fn withdraw(&mut self) -> bool {
        self.latest = None;
        self.current.take().is_some()
    }

    pub(crate) fn renew(&mut self) {
        self.renew = true;
    }

    /// Makes the next job if there is a reason: a new previous block, the first of this term, the refresh time,
    /// another division of the template, or very many findings under the current one.
    pub(crate) fn next(
        &mut self,
        pool: &PoolId,
        epoch: u64,
        farm: u32,
        config: &PoolConfig,
        (shares_after, shares_stream): (u64, Option<&str>),
        now: Now,
    ) -> Option<Publication> {
        if self.in_flight.is_some() || self.held_until.is_some_and(|at| now.mono < at) {
            return None;
        }
        let template = self.latest.as_deref()?;
        let clean = self.current.as_ref().is_none_or(|j| j.work.prev_hash() != template.work.prev_hash());
        let due = self.published_at.is_none_or(|at| now.mono.since(at) >= u64::from(config.job_refresh_ms));
        let crowded = self.known.back().is_some_and(|k| k.seen.len() >= FINDINGS_FOR_REFRESH);
        if !clean && !due && !crowded && !self.renew {
            return None;
        }
        let mut job = Job {
            id: JobId::new("0").ok()?,
            pool: pool.clone(),
            sequence: self.sequence + 1,
            epoch,
            farm,
            algorithm: template.algorithm.clone(),
            mode: config.mode,
            slot_bits: config.slot_bits,
            work: template.work.clone(),
            network_target: template.network_target,
            height: template.height,
            clean,
            shares_after,
            shares_stream: shares_stream.map(str::to_owned),
            published_at_ms: now.wall,
        };
        job.id = job.derive_id()?;
        let (job, assembly) = (Arc::new(job), template.assembly.clone());
        self.renew = false;
        self.in_flight = Some(job.id.clone());
        self.published_at = Some(now.mono);
        // Known before it is sent: its first share may be here before the word that it was stored.
        self.learn(job.clone());
        Some((job, assembly))
    }

    /// The job was stored and sent: from then on those on another previous block are superseded. Returns it for the
    /// event.
    pub(crate) fn published(&mut self, id: &JobId, stored_at: TimestampMs) -> Option<Arc<Job>> {
        if self.in_flight.as_ref() != Some(id) {
            return None;
        }
        self.in_flight = None;
        let job = self.find(id).map(|k| k.job.clone())?;
        self.follow(job.work.prev_hash(), stored_at);
        Some(job)
    }

    /// The job was not stored and never will be: it is as if it had never been made, and the next one waits a while.
    pub(crate) fn unstorable(&mut self, id: &JobId, now: Now) -> bool {
        if self.in_flight.as_ref() != Some(id) {
            return false;
        }
        self.in_flight = None;
        self.held_until = Some(now.mono.plus(UNSTORABLE_PAUSE_MS));
        if let Some(unsent) = self.known.pop_back_if(|k| k.job.id == *id) {
            self.findings -= unsent.seen.len();
        }
        self.current = self.known.back().map(|k| k.job.clone());
        true
    }

    /// Forgets jobs that were superseded long before `read_to`, the time up to which the stream of shares was read:
    /// after a long time without an owner, shares of jobs that are long gone still wait to be judged.
    pub(crate) fn forget_old(&mut self, read_to: TimestampMs) {
        let old = |k: &Known| k.superseded_at().is_some_and(|at| read_to.since(at) > REMEMBER_MS);
        while self.known.front().is_some_and(old) {
            self.forget_oldest();
        }
    }

    /// When [`Jobs::next`] may have a reason that no input brings. While a job is on its way only the word that it was stored
    /// brings the next.
    pub(crate) fn deadline(&self, config: &PoolConfig) -> Option<MonoMs> {
        self.latest.as_ref().filter(|_| self.in_flight.is_none())?;
        let due = self.published_at?.plus(config.job_refresh_ms.into());
        Some(self.held_until.map_or(due, |held| due.max(held)))
    }
}

/// What became of a finding that was to be remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remembered {
    New,
    Before,
    Full,
}

#[cfg(test)]
mod tests {
    use super::*;
    use bus_schemas::{Blob, examples};

    #[test]
    fn while_a_job_is_on_its_way_nothing_is_due_however_long_that_takes() {
        let Job { pool, algorithm, work, network_target, height, .. } = examples::job().unwrap();
        let (mut jobs, config) = (Jobs::default(), PoolConfig::default());
        let refresh_ms = u64::from(config.job_refresh_ms);
        let at = |ms| Now { mono: MonoMs(ms), wall: TimestampMs(ms) };
        jobs.offer(Box::new(Template { algorithm, work, network_target, height, assembly: Blob::default() }));
        let (job, _) = jobs.next(&pool, 1, 1, &config, (0, None), at(0)).unwrap();
        assert_eq!(jobs.deadline(&config), None);
        assert!(jobs.next(&pool, 1, 1, &config, (0, None), at(2 * refresh_ms)).is_none());
        jobs.published(&job.id, TimestampMs(5));
        assert_eq!(jobs.deadline(&config), Some(MonoMs(refresh_ms)));
        assert!(jobs.next(&pool, 1, 1, &config, (0, None), at(2 * refresh_ms)).is_some());
    }
}
