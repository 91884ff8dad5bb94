//! A hash that costs next to nothing: of a job, a slot and a finding. Workers search with it and judges judge by it.

use crate::random::mix;
use bus_schemas::{
    Hash32, JobId, Target,
    job::Job,
    share::{Finding, HeaderFinding},
};
use coordinator_core::Verdict;

/// What belongs to one job, slot and row of a search.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Base(u64);

impl Base {
    pub(crate) fn new(job: &JobId, slot: u16, roll: u32, version: u32, time: u32) -> Self {
        let of_job = job.as_str().bytes().fold(0, |h: u64, b| mix(h ^ u64::from(b)));
        let place = u64::from(roll) << 32 | u64::from(version);
        Self(mix(of_job ^ mix(place ^ mix(u64::from(slot) << 32 | u64::from(time)))))
    }

    /// The highest 64 bits of the hash of a nonce: most hashes need no more than these to be told from a finding.
    pub(crate) fn top(self, nonce: u32) -> u64 {
        mix(self.0 ^ u64::from(nonce))
    }

    pub(crate) fn hash(self, nonce: u32) -> [u8; 32] {
        let top = self.top(nonce);
        let mut hash = [0; 32];
        let words = [mix(top ^ 1), mix(top ^ 2), mix(top ^ 3), top];
        hash.iter_mut().zip(words.into_iter().flat_map(u64::to_le_bytes)).for_each(|(h, b)| *h = b);
        hash
    }
}

/// The hash of a finding; `None` of another kind of work.
pub(crate) fn hash(job: &JobId, slot: u16, finding: &Finding) -> Option<[u8; 32]> {
    let Finding::Header(HeaderFinding { roll, version, time, nonce }) = *finding else { return None };
    Some(Base::new(job, slot, roll, version, time).hash(nonce))
}

/// What a judge says.
pub(crate) fn judge(job: &Job, slot: u16, finding: &Finding, target: Target) -> Verdict {
    match hash(&job.id, slot, finding) {
        Some(hash) if target.is_met_by(&hash) => {
            Verdict::Meets { block_hash: Hash32(hash), block: job.network_target.is_met_by(&hash) }
        }
        _ => Verdict::Low,
    }
}
