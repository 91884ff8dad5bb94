//! Who searches what: no two lives of workers the same slot under one job, and nobody a place twice.

use bus_schemas::JobId;
use std::collections::{BTreeMap, BTreeSet};

/// A life of a worker.
type Life = (usize, u64);

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    holders: BTreeMap<(JobId, u16), Life>,
    found: BTreeSet<(JobId, u16, u64, u32)>,
    /// Jobs from before the bucket of members was destroyed: who held what is not known to owners.
    forgiven: BTreeSet<JobId>,
    searched: BTreeSet<JobId>,
}

impl Slots {
    /// A life begins to search a slot.
    pub(crate) fn begins(&mut self, job: &JobId, slot: u16, life: Life) -> Result<(), String> {
        self.searched.insert(job.clone());
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

    /// The bucket of members was destroyed.
    pub(crate) fn forgive(&mut self, jobs: impl Iterator<Item = JobId>) {
        self.forgiven.append(&mut self.searched);
        self.forgiven.extend(jobs);
    }
}
