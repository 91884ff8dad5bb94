//! What a job ranges over, and how a slot becomes headers. Both sides use this one piece of code: the worker to
//! build what it searches, the coordinator to rebuild what a share claims.
//!
//! [`WorkUnit`] is what both use; [`HeaderWork`] and [`CryptoNoteWork`] are its kinds.
//!
//! The extranonce of every header is `farm | epoch | slot | job | roll` ([`Extranonce`]). The owner's epoch is inside
//! the header, so two coordinators of different terms can never issue the same header; so is the job's number, so
//! a finding belongs to one job alone; the slot is inside the header or fixes the nonce range, so two workers
//! never search the same one.

mod crypto_note;
mod header;
mod unit;

pub use crypto_note::{CryptoNoteWork, MAX_HASHING_BLOB_LEN, NULL_SIGNATURE, keccak256};
pub use header::{HEADER_LEN, HeaderWork, sha256d};
pub use unit::{MAX_INPUT_LEN, SearchInput, WorkUnit};

use crate::blob::{Blob, Hash32};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Length of the extranonce in bytes.
pub const EXTRANONCE_LEN: usize = 18;
/// Longest half of a coinbase (Monero: miner transaction) in bytes.
pub const MAX_COINBASE_PART_LEN: usize = 64 * 1024;
/// Most merkle branch entries; a block of 2^24 transactions does not exist.
pub const MAX_MERKLE_BRANCH: usize = 24;
/// Most bits of a nonce that may name the slot.
pub const MAX_SLOT_BITS: u8 = 16;

/// How the workers of a pool divide a block template among them (the paper's two modes).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SearchMode {
    /// Every worker on a block of its own: its slot stands in the coinbase, it has all 2^32 nonces.
    #[default]
    OwnBlock,
    /// All workers on the same block: one coinbase, the slot is the upper bits of the nonce.
    SharedBlock,
}

/// The extranonce before it is written into a coinbase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extranonce {
    /// The farm's number; keeps two farms of a federation apart.
    pub farm: u32,
    /// Lower 32 bits of the owner's epoch.
    pub epoch: u32,
    /// The worker's slot; zero in [`SearchMode::SharedBlock`].
    pub slot: u16,
    /// Lower 32 bits of the job's sequence.
    pub job: u32,
    /// Counter that the slot's holder advances when its nonces are used up.
    pub roll: u32,
}

impl Extranonce {
    /// Big-endian fields one after another.
    pub fn to_bytes(self) -> [u8; EXTRANONCE_LEN] {
        let mut out = [0; EXTRANONCE_LEN];
        out[..4].copy_from_slice(&self.farm.to_be_bytes());
        out[4..8].copy_from_slice(&self.epoch.to_be_bytes());
        out[8..10].copy_from_slice(&self.slot.to_be_bytes());
        out[10..14].copy_from_slice(&self.job.to_be_bytes());
        out[14..].copy_from_slice(&self.roll.to_be_bytes());
        out
    }
}

/// The nonces that one slot may use under one roll: `start..end`, `end` at most 2^32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NonceRange {
    /// First nonce.
    pub start: u64,
    /// One past the last nonce.
    pub end: u64,
}

impl NonceRange {
    /// Whether the range holds `nonce`.
    pub fn contains(&self, nonce: u32) -> bool {
        (self.start..self.end).contains(&u64::from(nonce))
    }
}

/// The nonce range of `slot`, `None` when the slot does not exist under `slot_bits`.
pub fn nonce_range(mode: SearchMode, slot_bits: u8, slot: u16) -> Option<NonceRange> {
    if slot_bits > MAX_SLOT_BITS || u32::from(slot) >> slot_bits != 0 {
        return None;
    }
    match mode {
        SearchMode::OwnBlock => Some(NonceRange { start: 0, end: 1 << 32 }),
        SearchMode::SharedBlock => {
            let width = 1_u64 << (32 - slot_bits);
            Some(NonceRange { start: u64::from(slot) * width, end: (u64::from(slot) + 1) * width })
        }
    }
}

/// Why work is unusable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidWork {
    /// A part is longer than its limit.
    #[error("{what} has {len} entries or bytes, the limit is {limit}")]
    TooLong {
        /// Which part.
        what: &'static str,
        /// Its length.
        len: usize,
        /// Its limit.
        limit: usize,
    },
    /// Compact bits that are no target.
    #[error(transparent)]
    Bits(#[from] crate::units::InvalidCompact),
    /// A difficulty of zero.
    #[error("the difficulty is zero; every network asks for one at least")]
    Difficulty,
    /// No transactions, not even the miner's own.
    #[error("a block of {transactions} transactions under a branch of {branch} hashes does not exist")]
    Transactions {
        /// How many it says.
        transactions: u32,
        /// Length of the branch.
        branch: usize,
    },
    /// The times exclude each other.
    #[error("time {time} lies outside {min_time}..={max_time}")]
    Time {
        /// Start time.
        time: u32,
        /// Earliest.
        min_time: u32,
        /// Latest.
        max_time: u32,
    },
}

fn check_lengths(prefix: &Blob, suffix: &Blob, branch: &[Hash32]) -> Result<(), InvalidWork> {
    for (what, len, limit) in [
        ("coinbase_prefix", prefix.0.len(), MAX_COINBASE_PART_LEN),
        ("coinbase_suffix", suffix.0.len(), MAX_COINBASE_PART_LEN),
        ("merkle_branch", branch.len(), MAX_MERKLE_BRANCH),
    ] {
        if len > limit {
            return Err(InvalidWork::TooLong { what, len, limit });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nonce_ranges_of_different_slots_never_overlap_in_a_shared_block(bits in 0_u8..=16, a: u16, b: u16) {
            let (a, b) = (nonce_range(SearchMode::SharedBlock, bits, a), nonce_range(SearchMode::SharedBlock, bits, b));
            if let (Some(a), Some(b)) = (a, b) {
                prop_assert!(a == b || a.end <= b.start || b.end <= a.start);
                prop_assert!(a.end <= 1 << 32 && a.start < a.end);
            }
        }

        #[test]
        fn extranonces_differ_when_any_field_differs(a: (u32, u32, u16, u32, u32), b: (u32, u32, u16, u32, u32)) {
            let make = |(farm, epoch, slot, job, roll)| Extranonce { farm, epoch, slot, job, roll }.to_bytes();
            prop_assert_eq!(a == b, make(a) == make(b));
        }
    }

    #[test]
    fn all_slots_of_a_shared_block_together_cover_every_nonce() {
        let ranges: Vec<_> = (0..8).filter_map(|s| nonce_range(SearchMode::SharedBlock, 3, s)).collect();
        assert_eq!(ranges.first().map(|r| r.start), Some(0));
        assert_eq!(ranges.last().map(|r| r.end), Some(1 << 32));
        assert!(ranges.windows(2).all(|w| w[0].end == w[1].start));
        assert_eq!(nonce_range(SearchMode::SharedBlock, 3, 8), None);
    }
}
