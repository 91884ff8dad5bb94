//! Findings, and why they are refused.

use crate::{
    codec::message,
    id::{JobId, SessionId},
    units::{ShareBits, TimestampMs},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Largest share in bytes.
pub const MAX_SHARE_LEN: usize = 4 * 1024;

/// What was found, by kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Finding {
    /// A header of a [`crate::work::HeaderWork`].
    Header(HeaderFinding),
    /// A Monero block of a [`crate::work::CryptoNoteWork`].
    CryptoNote(CryptoNoteFinding),
}

impl Finding {
    /// The extranonce's counter.
    pub fn roll(&self) -> u32 {
        match self {
            Self::Header(f) => f.roll,
            Self::CryptoNote(f) => f.roll,
        }
    }

    /// The nonce.
    pub fn nonce(&self) -> u32 {
        match self {
            Self::Header(f) => f.nonce,
            Self::CryptoNote(f) => f.nonce,
        }
    }
}

/// What a worker chose to complete a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct HeaderFinding {
    /// The extranonce's counter.
    pub roll: u32,
    /// Block version.
    pub version: u32,
    /// Header time in seconds.
    pub time: u32,
    /// The nonce.
    pub nonce: u32,
}

/// What a worker chose to complete a hashing blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct CryptoNoteFinding {
    /// The extranonce's counter.
    pub roll: u32,
    /// The nonce.
    pub nonce: u32,
}

/// A fact: this worker found this. MessagePack on `dcmf.v1.share.<pool>.<worker>`, and on
/// `dcmf.v1.found.<pool>.<worker>` as well when it meets the network target. With the job it carries all that
/// rebuilds its header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Share {
    /// The job that was searched.
    pub job: JobId,
    /// The worker's life that found it.
    pub session: SessionId,
    /// The slot that was searched.
    pub slot: u16,
    /// Generation of the role under which the slot was held.
    pub generation: u64,
    /// The difficulty that held for this worker and job.
    pub bits: ShareBits,
    /// What was found.
    pub finding: Finding,
    /// When it was found.
    pub found_at_ms: TimestampMs,
}

message!(Share, MessagePack, MAX_SHARE_LEN);

impl Share {
    /// The message id under which it is published. JetStream drops a second one within its window; the
    /// coordinator drops the rest.
    pub fn message_id(&self) -> String {
        let (job, slot) = (&self.job, self.slot);
        match self.finding {
            Finding::Header(f) => {
                format!("{job}-{slot:x}-{:x}-{:x}-{:x}-{:x}", f.roll, f.version, f.time, f.nonce)
            }
            Finding::CryptoNote(f) => format!("{job}-{slot:x}-{:x}-{:x}", f.roll, f.nonce),
        }
    }
}

/// Why a share earns nothing. Closed: each reason is counted on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ShareRefusal {
    /// The bytes are no share.
    Malformed,
    /// The subject names a worker that is no member of the pool.
    NotAMember,
    /// The worker sends more than its token bucket allows.
    RateLimited,
    /// No such job was ever published, or it is too long ago.
    UnknownJob,
    /// The job's previous block is no longer the tip.
    Stale,
    /// The worker did not hold this slot under this generation and session.
    WrongSlot,
    /// The nonce lies outside the slot's range.
    NonceOutOfRange,
    /// The version changes bits that may not change.
    VersionOutOfRange,
    /// The time lies outside the job's window.
    TimeOutOfRange,
    /// The claimed difficulty is not the one that was assigned.
    WrongDifficulty,
    /// The same finding was judged before.
    Duplicate,
    /// The hash does not meet the share target.
    LowDifficulty,
    /// The job's algorithm is not available where shares are judged.
    UnknownAlgorithm,
    /// The finding is of another kind of work than the job.
    OtherWork,
    /// Judging it failed: its algorithm panicked or did not end. It is put aside.
    NotJudged,
    /// A reason that this version does not know: a newer one refused.
    #[serde(other)]
    Unknown,
}

impl ShareRefusal {
    /// Every reason.
    pub const ALL: [Self; 16] = [
        Self::Malformed,
        Self::NotAMember,
        Self::RateLimited,
        Self::UnknownJob,
        Self::Stale,
        Self::WrongSlot,
        Self::NonceOutOfRange,
        Self::VersionOutOfRange,
        Self::TimeOutOfRange,
        Self::WrongDifficulty,
        Self::Duplicate,
        Self::LowDifficulty,
        Self::UnknownAlgorithm,
        Self::OtherWork,
        Self::NotJudged,
        Self::Unknown,
    ];

    /// The label in metrics, events and the ledger.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::NotAMember => "not-a-member",
            Self::RateLimited => "rate-limited",
            Self::UnknownJob => "unknown-job",
            Self::Stale => "stale",
            Self::WrongSlot => "wrong-slot",
            Self::NonceOutOfRange => "nonce-out-of-range",
            Self::VersionOutOfRange => "version-out-of-range",
            Self::TimeOutOfRange => "time-out-of-range",
            Self::WrongDifficulty => "wrong-difficulty",
            Self::Duplicate => "duplicate",
            Self::LowDifficulty => "low-difficulty",
            Self::UnknownAlgorithm => "unknown-algorithm",
            Self::OtherWork => "other-work",
            Self::NotJudged => "not-judged",
            Self::Unknown => "unknown",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_label_of_a_refusal_is_its_json_form() {
        for refusal in ShareRefusal::ALL {
            assert_eq!(serde_json::to_value(refusal).unwrap(), refusal.as_str());
        }
    }
}
