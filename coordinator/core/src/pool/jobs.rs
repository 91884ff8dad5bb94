//! The pool's jobs: which is searched now, which are still judged, and what was already found under each.

use crate::{
    input::Template,
    time::{MonoMs, Now},
};
use bus_schemas::{
    JobId, PoolId, TimestampMs,
    config::PoolConfig,
    job::Job,
    share::{CryptoNoteFinding, Finding, HeaderFinding},
};
use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

/// A share is judged by its job for this long after a job on another previous block was made (its
/// `published_at_ms`), milliseconds: the work was done in good faith while the order travelled.
pub const STALE_GRACE_MS: u64 = 2_000;
/// A superseded job is remembered for this long, milliseconds, so that late shares are told apart from invented ones.
pub const REMEMBER_MS: u64 = 60_000;
/// Most jobs that are remembered.
pub const MAX_JOBS: usize = 64;
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
    superseded_at: Option<TimestampMs>,
    /// The source that it came from is not the pool's any more.
    withdrawn_at: Option<TimestampMs>,
    seen: BTreeSet<Key>,
}

impl Known {
    /// Whether a share that the stream stored then comes too late.
    pub(crate) fn is_stale(&self, stored_at: TimestampMs) -> bool {
        let ends = [self.superseded_at, self.withdrawn_at];
        ends.into_iter().flatten().any(|at| stored_at > at.plus_ms(STALE_GRACE_MS))
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
}

impl Jobs {
    /// The jobs that are kept. Numbers go on after `at_least`, even if none is kept: difficulties hold by number.
    pub(crate) fn recover(jobs: Vec<Job>, at_least: u64) -> Self {
        let mut this = Self { sequence: at_least, ..Self::default() };
        for job in jobs.into_iter().filter(|j| j.check().is_ok()) {
            this.learn(Arc::new(job));
        }
        this
    }

    fn learn(&mut self, job: Arc<Job>) {
        for known in self.known.iter_mut().filter(|k| k.superseded_at.is_none()) {
            if known.job.work.prev_hash() != job.work.prev_hash() {
                known.superseded_at = Some(job.published_at_ms);
            }
        }
        // Another source of the same chain goes on where the one before was: the work is good.
        for known in self.known.iter_mut().filter(|k| k.job.work.prev_hash() == job.work.prev_hash()) {
            known.withdrawn_at = None;
        }
        self.sequence = self.sequence.max(job.sequence);
        self.current = Some(job.clone());
        self.known.push_back(Known { job, superseded_at: None, withdrawn_at: None, seen: BTreeSet::new() });
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

    /// The source is another one from this time on: no job of the one before is in force. `true` if there was one.
    pub(crate) fn withdraw(&mut self, at: TimestampMs) -> bool {
        self.latest = None;
        for known in &mut self.known {
            known.withdrawn_at.get_or_insert(at);
        }
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
        shares_after: u64,
        now: Now,
    ) -> Option<Publication> {
        if self.in_flight.is_some() {
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

    /// The job was stored and sent; returns it for the event.
    pub(crate) fn published(&mut self, id: &JobId) -> Option<Arc<Job>> {
        if self.in_flight.as_ref() != Some(id) {
            return None;
        }
        self.in_flight = None;
        self.find(id).map(|k| k.job.clone())
    }

    /// Forgets jobs that were superseded long before `read_to`, the time up to which the stream of shares was read:
    /// after a long time without an owner, shares of jobs that are long gone still wait to be judged.
    pub(crate) fn forget_old(&mut self, read_to: TimestampMs) {
        let old =
            |k: &Known| k.superseded_at.or(k.withdrawn_at).is_some_and(|at| read_to.since(at) > REMEMBER_MS);
        while self.known.front().is_some_and(old) {
            self.forget_oldest();
        }
    }

    /// When [`Jobs::next`] may have a reason that no input brings.
    pub(crate) fn deadline(&self, config: &PoolConfig) -> Option<MonoMs> {
        self.latest.as_ref()?;
        Some(self.published_at?.plus(config.job_refresh_ms.into()))
    }
}

/// What became of a finding that was to be remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remembered {
    New,
    Before,
    Full,
}
