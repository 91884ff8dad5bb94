//! The account of credited work.

use crate::{
    codec::message,
    id::{PoolId, WorkerId},
    share::ShareRefusal,
    units::{TimestampMs, Work},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most credits of one record; what is over goes into the next.
pub const MAX_CREDITS: usize = 2_048;

/// A fact: these shares are accounted. JSON on `dcmf.v1.ledger.<pool>`, appended with the expected last sequence
/// of the subject, so that of two owners only one can write. After a crash the next owner reads the last record
/// and goes on after `shares_to`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LedgerRecord {
    /// The pool.
    pub pool: PoolId,
    /// Epoch of the owner that wrote it.
    pub epoch: u64,
    /// Number of this record in the pool's ledger, from 1.
    pub number: u64,
    /// Every share of the pool up to and including this sequence of the share stream is accounted.
    pub shares_to: u64,
    /// Which stream of shares `shares_to` counts in: when it was created, in nanoseconds since the Unix epoch on the
    /// server's clock, as text. A stream that was made anew or restored has another one. Absent in records of versions before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shares_stream: Option<String>,
    /// When the stream stored the share at `shares_to`, on the server's clock; tells what a restored stream holds of what
    /// is accounted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shares_at_ms: Option<TimestampMs>,
    /// Work earned since the record before, by worker.
    pub credits: Vec<Credit>,
    /// Shares refused since the record before, by worker and reason.
    pub refused: Vec<RefusedShares>,
    /// Shares credited since the ledger began.
    pub total_shares: u64,
    /// Work credited since the ledger began.
    pub total_work: Work,
    /// When it was written.
    pub at_ms: TimestampMs,
}

message!(LedgerRecord, Json);

/// Work that one worker earned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Credit {
    /// Who.
    pub worker: WorkerId,
    /// How many shares.
    pub shares: u64,
    /// What they are worth: the assigned difficulty, never the achieved one.
    pub work: Work,
}

/// Shares of one worker that earned nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RefusedShares {
    /// Who.
    pub worker: WorkerId,
    /// Why.
    pub refusal: ShareRefusal,
    /// How many.
    pub shares: u64,
}
