//! Judging one finding: its header is rebuilt and hashed. The threads are in [`crate::judges`].

use algorithm_api::Algorithm;
use algorithm_blake3::Blake3;
use algorithm_randomx::RandomX;
use algorithm_scrypt::Scrypt1024;
use algorithm_sha256d::Sha256d;
use bus_schemas::{
    AlgorithmId, Target,
    job::{AlgorithmRef, Job},
    share::Finding,
};
use coordinator_core::{Verdict, pool::MAX_PENDING};
use job_sources::embedded::Proof;
use std::sync::Arc;

use crate::components::Components;

/// Most batches that wait for a judge: as many as one pool lets shares in, were each a batch of its own. Several pools
/// share them.
pub const MAX_JUDGE_BATCHES: usize = MAX_PENDING;

static RANDOM_X: RandomX = RandomX::new();
static ALGORITHMS: [&(dyn Algorithm + 'static); 4] = [&Sha256d, &Scrypt1024, &Blake3, &RANDOM_X];

/// Those that are compiled in.
pub(crate) fn natives() -> &'static [&'static dyn Algorithm] {
    &ALGORITHMS
}

/// The algorithm with this name, if shares of it can be judged here.
pub fn algorithm(id: &AlgorithmId) -> Option<&'static dyn Algorithm> {
    ALGORITHMS.into_iter().find(|a| a.descriptor().id == id.as_str())
}

/// Merkle roots that one judge remembers.
const ROOTS: usize = 1_024;

struct Root {
    job: Arc<Job>,
    slot: u16,
    roll: u32,
    root: [u8; 32],
}

/// Judges findings one after another. All findings of one slot and roll share a merkle root, which costs more than
/// the hash of a SHA-256d header, so the latest roots are remembered.
pub struct Judge {
    roots: Vec<Option<Root>>,
    components: Option<Arc<Components>>,
}

impl Default for Judge {
    fn default() -> Self {
        Self { roots: std::iter::repeat_with(|| None).take(ROOTS).collect(), components: None }
    }
}

impl Judge {
    /// Judges by these components too.
    pub(crate) fn with(components: Arc<Components>) -> Self {
        Self { components: Some(components), ..Self::default() }
    }

    /// What shares of a job are judged by.
    fn proof(&self, wanted: &AlgorithmRef) -> Option<Proof> {
        if wanted.digest.0.is_empty() {
            let version = |a: &&dyn Algorithm| a.descriptor().version == wanted.version;
            return algorithm(&wanted.id).filter(version).map(Proof::Native);
        }
        self.components.as_ref()?.loaded(wanted).map(Proof::Loaded)
    }

    /// Rebuilds the header that a finding claims and judges it against `target`.
    pub fn judge(&mut self, job: &Arc<Job>, slot: u16, finding: &Finding, target: Target) -> Verdict {
        let root = self.root(job, slot, finding.roll());
        let Some(input) = job.work.input_over(&root, finding) else { return Verdict::Low };
        let Some(algorithm) = self.proof(&job.algorithm) else { return Verdict::UnknownAlgorithm };
        match algorithm.verify(input.as_ref(), &finding.nonce().to_le_bytes()) {
            Ok(hash) if target.is_met_by(&hash) => Verdict::Meets {
                block_hash: job.work.block_hash_over(&root, finding).unwrap_or_default(),
                block: job.network_target.is_met_by(&hash),
            },
            Ok(_) => Verdict::Low,
            Err(_) => Verdict::UnknownAlgorithm,
        }
    }

    fn root(&mut self, job: &Arc<Job>, slot: u16, roll: u32) -> [u8; 32] {
        let work = &job.work;
        let place = (usize::from(slot) ^ (roll as usize).wrapping_mul(61)) % ROOTS;
        let Some(kept) = self.roots.get_mut(place) else {
            return work.root(job.extranonce(slot, roll));
        };
        match kept {
            Some(r) if r.slot == slot && r.roll == roll && Arc::ptr_eq(&r.job, job) => r.root,
            _ => {
                let root = work.root(job.extranonce(slot, roll));
                *kept = Some(Root { job: job.clone(), slot, roll, root });
                root
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bus_schemas::{Hash32, examples, job::WorkUnit, work::sha256d};

    #[test]
    fn a_share_is_judged_by_the_header_that_it_rebuilds_also_from_a_remembered_root() {
        let (job, share) = (Arc::new(examples::job().unwrap()), examples::share().unwrap());
        let mut judge = Judge::default();
        let (WorkUnit::Header(work), Finding::Header(first)) = (&job.work, share.finding) else {
            panic!("a header")
        };
        // Slots and rolls that meet in one place of the memory, each twice.
        for (slot, roll) in [(3, 5), (3, 5), (3, 6), (3 + ROOTS as u16, 5), (3, 5), (3, 6)] {
            let f = bus_schemas::share::HeaderFinding { roll, ..first };
            let verdict = judge.judge(&job, slot, &Finding::Header(f), Target::MAX);
            let header = work.header(job.extranonce(slot, f.roll), f.version, f.time, f.nonce);
            assert_eq!(verdict, Verdict::Meets { block_hash: Hash32(sha256d(&header)), block: false });
        }
        let hard = Target::from_share_bits(bus_schemas::ShareBits::new(100));
        assert_eq!(judge.judge(&job, share.slot, &share.finding, hard), Verdict::Low);
    }

    #[test]
    fn another_job_never_gets_a_remembered_root() {
        let first = examples::job().unwrap();
        let second = Arc::new(Job { sequence: first.sequence + 1, ..first.clone() });
        let (first, share, mut judge) = (Arc::new(first), examples::share().unwrap(), Judge::default());
        let a = judge.judge(&first, share.slot, &share.finding, Target::MAX);
        let b = judge.judge(&second, share.slot, &share.finding, Target::MAX);
        assert_ne!(a, b);
    }

    #[test]
    fn an_algorithm_or_version_that_is_not_here_is_said_so() {
        let (mut job, share) = (examples::job().unwrap(), examples::share().unwrap());
        job.algorithm.version = 99;
        let verdict = Judge::default().judge(&Arc::new(job), share.slot, &share.finding, Target::MAX);
        assert_eq!(verdict, Verdict::UnknownAlgorithm);
        assert!(algorithm(&AlgorithmId::new("nothing").unwrap()).is_none());
    }
}
