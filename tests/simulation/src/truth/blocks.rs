//! Which blocks are to be kept: each candidate that reached its lane in time and is a block, a few of one job.

use bus_schemas::{Hash32, JobId};
use coordinator_core::pool::MAX_SIBLINGS;
use std::collections::{BTreeMap, BTreeSet};

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    found: BTreeMap<JobId, BTreeSet<[u8; 32]>>,
    kept: BTreeMap<JobId, BTreeSet<Hash32>>,
}

impl Blocks {
    /// A candidate was stored that is a block.
    pub(crate) fn found(&mut self, job: JobId, hash: [u8; 32]) {
        self.found.entry(job).or_default().insert(hash);
    }

    /// A block's bytes were stored.
    pub(crate) fn kept(&mut self, job: JobId, hash: Hash32) {
        self.kept.entry(job).or_default().insert(hash);
    }

    /// A store was destroyed that holds candidates, or tells what they are.
    pub(crate) fn forgive(&mut self) {
        self.found.clear();
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        for (job, found) in &self.found {
            let kept = self.kept.get(job).map_or(0, BTreeSet::len);
            if kept < found.len().min(MAX_SIBLINGS) {
                return Err(format!("{} blocks were found under job {job}, {kept} were kept", found.len()));
            }
        }
        Ok(())
    }
}
