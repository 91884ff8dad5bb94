//! What is to be searched now.

use crate::{
    blob::Blob,
    codec::message,
    id::{AlgorithmId, JobId, PoolId},
    units::{Target, TimestampMs},
    work::{Extranonce, InvalidWork, NonceRange, SearchMode, nonce_range},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use crate::work::WorkUnit;

/// Bytes of the job's hash that make its id.
const JOB_ID_BYTES: usize = 16;

/// Which algorithm a job wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AlgorithmRef {
    /// The algorithm's own name.
    pub id: AlgorithmId,
    /// Its version; another version may give other hashes.
    pub version: u32,
    /// SHA-256 of its sources or artifact, if the coordinator insists on one: a worker that has another refuses the job. Empty
    /// leaves it to the certificates of each host.
    #[serde(default)]
    pub digest: Blob,
}

/// An order to a pool: search this. MessagePack on `dcmf.v1.job.<pool>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Job {
    /// See [`Job::derive_id`].
    pub id: JobId,
    /// The pool.
    pub pool: PoolId,
    /// Counts the pool's jobs over all epochs; a worker ignores a lower one than it has.
    pub sequence: u64,
    /// The owner's epoch.
    pub epoch: u64,
    /// The farm's number.
    pub farm: u32,
    /// What to search with.
    pub algorithm: AlgorithmRef,
    /// How workers divide the template.
    pub mode: SearchMode,
    /// Bits of a slot number.
    pub slot_bits: u8,
    /// What to search.
    pub work: WorkUnit,
    /// A finding that meets this is a block.
    pub network_target: Target,
    /// Height of the block that is sought.
    pub height: u64,
    /// The previous block changed: findings of older jobs are worthless from now on.
    pub clean: bool,
    /// Every share of this job has a higher sequence than this in the stream of shares: where a new owner begins
    /// to read when it rebuilds what was judged.
    pub shares_after: u64,
    /// Which stream of shares `shares_after` counts in, see [`crate::ledger::LedgerRecord::shares_stream`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shares_stream: Option<String>,
    /// When the owner published it.
    pub published_at_ms: TimestampMs,
}

message!(Job, MessagePack);

/// What makes a job's identity, in the order in which it is hashed.
#[derive(Serialize)]
struct Identity<'a>(&'a PoolId, u64, u64, u32, &'a AlgorithmRef, SearchMode, u8, &'a WorkUnit);

impl Job {
    /// The id that these fields give: a hash of the template, the epoch, the sequence and how it is divided. Equal work has an
    /// equal id, so that any coordinator can judge any share, and nobody can make two jobs of one header.
    pub fn derive_id(&self) -> Option<JobId> {
        let identity = Identity(
            &self.pool,
            self.epoch,
            self.sequence,
            self.farm,
            &self.algorithm,
            self.mode,
            self.slot_bits,
            &self.work,
        );
        let bytes = rmp_serde::to_vec(&identity).ok()?;
        JobId::new(hex::encode(Sha256::digest(bytes).get(..JOB_ID_BYTES)?)).ok()
    }

    /// The extranonce that `slot` uses at `roll`.
    pub fn extranonce(&self, slot: u16, roll: u32) -> Extranonce {
        let slot = match self.mode {
            SearchMode::OwnBlock => slot,
            SearchMode::SharedBlock => 0,
        };
        Extranonce { farm: self.farm, epoch: self.epoch as u32, slot, job: self.sequence as u32, roll }
    }

    /// The nonces of `slot`, `None` when there is no such slot.
    pub fn nonce_range(&self, slot: u16) -> Option<NonceRange> {
        nonce_range(self.mode, self.slot_bits, slot)
    }

    /// Checks everything that a receiver relies on.
    pub fn check(&self) -> Result<(), InvalidJob> {
        let target = self.work.check()?;
        if target != self.network_target {
            return Err(InvalidJob::NetworkTarget);
        }
        if self.derive_id().as_ref() != Some(&self.id) {
            return Err(InvalidJob::Id(self.id.clone()));
        }
        Ok(())
    }
}

/// Why a job from the bus is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidJob {
    /// Its work is out of its limits.
    #[error(transparent)]
    Work(#[from] InvalidWork),
    /// The network target is not that of the work.
    #[error("the network target is not the one of the work")]
    NetworkTarget,
    /// The id is not the hash of the contents.
    #[error("job id {0} is not the hash of its contents")]
    Id(JobId),
}
