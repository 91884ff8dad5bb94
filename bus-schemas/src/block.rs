//! Blocks: their bytes are kept before they are submitted, so that a found block survives its finder.

use crate::{
    blob::{Blob, Hash32},
    codec::message,
    config::SourceConfig,
    id::{JobId, PoolId, WorkerId},
    units::TimestampMs,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Largest block message: a block of four million weight units and its envelope.
pub const MAX_BLOCK_MESSAGE_LEN: usize = crate::blob::MAX_BLOB_LEN + 64 * 1024;

/// How far a block has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BlockState {
    /// Its bytes are kept; it may or may not have reached a node.
    Found,
    /// A node took it, or had it already.
    Accepted,
    /// Valid, but another block was first.
    NotTip,
    /// A node refused it.
    Refused {
        /// What the node said.
        reason: String,
    },
}

/// A block that was found. MessagePack on `dcmf.v1.block.<pool>.<hash>`; the last message of a subject tells its
/// state, and only the first carries the bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlockRecord {
    /// The pool.
    pub pool: PoolId,
    /// The block's hash in header order.
    pub hash: Hash32,
    /// Its height.
    pub height: u64,
    /// The job that led to it.
    pub job: JobId,
    /// Who found it.
    pub worker: WorkerId,
    /// Epoch of the owner that wrote this.
    pub epoch: u64,
    /// How far it has come.
    pub state: BlockState,
    /// The whole block, empty except in state [`BlockState::Found`].
    #[serde(default)]
    pub bytes: Blob,
    /// When this was written.
    pub at_ms: TimestampMs,
    /// The job source whose template led to it: where it belongs, also after the pool was given another. `None` in
    /// records of older versions.
    #[serde(default)]
    pub source: Option<SourceConfig>,
}

message!(BlockRecord, MessagePack, MAX_BLOCK_MESSAGE_LEN);

/// What a job source needs to make whole blocks of a job's findings, kept before the job is published, so that
/// any coordinator can. MessagePack on `dcmf.v1.template.<pool>.<job>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TemplateRecord {
    /// The job.
    pub job: JobId,
    /// The source's own form.
    pub assembly: Blob,
    /// The source: where the blocks belong. `None` in records of older versions.
    #[serde(default)]
    pub source: Option<SourceConfig>,
}

message!(TemplateRecord, MessagePack, MAX_BLOCK_MESSAGE_LEN);

/// A block of the embedded chain. MessagePack on `dcmf.v1.chain.<pool>`, appended with the expected last
/// sequence of the subject: the stream is the chain's node, and of two blocks for one height only one gets in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChainRecord {
    /// Height of the block.
    pub height: u64,
    /// The block's hash in header order.
    pub hash: Hash32,
    /// The chain's own form of the block.
    pub record: Blob,
}

message!(ChainRecord, MessagePack);
