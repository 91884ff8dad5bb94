//! Membership: how a worker joins a pool and what it is told.

use crate::{
    codec::message,
    id::{PoolId, SessionId, WorkerId},
    units::{HashRate, ShareBits, TimestampMs},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most difficulty steps that a role keeps.
pub const MAX_DIFFICULTY_STEPS: usize = 8;

/// What a worker does in a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Mines.
    Active,
    /// A backup host: enrolled, alive, not mining.
    Backup,
}

/// Whether a member is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Heard of within the pool's loss time.
    Present,
    /// Silent for longer.
    Lost,
    /// Said that it goes.
    Left,
}

/// From job `from_job` on, shares are worth `bits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DifficultyStep {
    /// Sequence of the first job for which it holds.
    pub from_job: u64,
    /// The difficulty.
    pub bits: ShareBits,
}

/// An order: the place of one worker in one pool. JSON in the bucket `dcmf_members` under `<pool>.<worker>`,
/// republished to `dcmf.v1.role.<pool>.<worker>`. A receiver refuses a lower `(epoch, generation)` than it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Member {
    /// The pool.
    pub pool: PoolId,
    /// The worker.
    pub worker: WorkerId,
    /// The life of the worker that this order is for.
    pub session: SessionId,
    /// What it does.
    pub role: Role,
    /// Whether it is there.
    pub standing: Standing,
    /// The slot that fixes its subspace.
    pub slot: u16,
    /// Rises with every change of this record.
    pub generation: u64,
    /// Generation at which this slot was handed to this session; shares name it.
    pub slot_generation: u64,
    /// Epoch of the owner that decided.
    pub epoch: u64,
    /// Newest last, at most [`MAX_DIFFICULTY_STEPS`].
    pub difficulty: Vec<DifficultyStep>,
    /// Why it is so, for people.
    pub reason: String,
    /// When it was decided.
    pub decided_at_ms: TimestampMs,
}

message!(Member, Json);

impl Member {
    /// The difficulty that holds for the job with this sequence.
    pub fn bits_for_job(&self, sequence: u64) -> Option<ShareBits> {
        self.difficulty.iter().rev().find(|s| s.from_job <= sequence).map(|s| s.bits)
    }
}

/// What a host offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Capability {
    /// Processors that the agent may use at most.
    pub threads: u16,
    /// Memory of the host in MiB.
    pub memory_mib: u64,
    /// Processor as the host names it.
    pub processor: String,
    /// Algorithm ids that the agent can run.
    pub algorithms: Vec<crate::id::AlgorithmId>,
    /// Agent version.
    pub agent_version: String,
}

/// A worker asks to join. JSON request on `dcmf.v1.join.<pool>.<worker>`, answered by [`JoinReply`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JoinRequest {
    /// The life of the worker.
    pub session: SessionId,
    /// What its host offers.
    pub capability: Capability,
    /// Measured rate of an earlier life, to start with a fitting difficulty.
    #[serde(default)]
    pub expected_rate: Option<HashRate>,
}

message!(JoinRequest, Json);

/// The answer to [`JoinRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum JoinReply {
    /// Here is your place.
    Accepted(Box<Member>),
    /// No, because.
    Refused {
        /// Closed code.
        code: crate::command::ErrorCode,
        /// What happened and what to do.
        message: String,
    },
}

message!(JoinReply, Json);

/// A worker says that it goes. JSON on `dcmf.v1.leave.<pool>.<worker>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Leave {
    /// The life of the worker.
    pub session: SessionId,
    /// Why, for people.
    pub reason: String,
}

message!(Leave, Json);
