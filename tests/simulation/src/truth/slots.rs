//! Who searches what: no two lives of workers the same slot under one job, and nobody a place twice.

use bus_schemas::JobId;
use std::collections::{BTreeMap, BTreeSet};

/// A life of a worker.
pub(crate) type Life = (usize, u64);

/// What became of the publications of a life.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) wanted: u64,
    pub(crate) stored: u64,
    pub(crate) dropped: u64,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    /// What each life wanted to publish and what came of it.
    pub(crate) tallies: BTreeMap<Life, Tally>,
    holders: BTreeMap<(JobId, u16), Life>,
    found: BTreeSet<(JobId, u16, u64, u32)>,
    /// Jobs from before the stream of jobs was set back to one of them, or from when owners did not know who held what.
    forgiven: BTreeSet<JobId>,
    searched: BTreeSet<JobId>,
    /// Until then jobs are forgiven: the bucket of members was destroyed, and workers have not read that yet.
    forgiven_until_us: u64,
}

impl Slots {
    /// A life begins to search a slot.
    pub(crate) fn begins(&mut self, job: &JobId, slot: u16, life: Life, now_us: u64) -> Result<(), String> {
        self.searched.insert(job.clone());
        if now_us < self.forgiven_until_us {
            self.forgiven.insert(job.clone());
        }
        let holder = *self.holders.entry((job.clone(), slot)).or_insert(life);
        if holder == life || self.forgiven.contains(job) {
            return Ok(());
        }
        Err(format!(
            "slot {slot} under job {job} is searched by process {} (life {}) and by {} (life {})",
            holder.0, holder.1, life.0, life.1
        ))
    }

    /// Something was found.
    pub(crate) fn finds(&mut self, job: &JobId, slot: u16, row: u64, nonce: u32) -> Result<(), String> {
        let new = self.found.insert((job.clone(), slot, row, nonce));
        if new || self.forgiven.contains(job) {
            return Ok(());
        }
        Err(format!("nonce {nonce} of row {row} of slot {slot} under job {job} was searched twice"))
    }

    /// A store was destroyed that tells who holds what, or what is searched; workers know better after `until_us`.
    pub(crate) fn forgive(&mut self, until_us: u64) {
        self.forgiven.append(&mut self.searched);
        self.forgiven_until_us = self.forgiven_until_us.max(until_us);
    }
}
