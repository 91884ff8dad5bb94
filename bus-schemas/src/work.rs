//! What a job ranges over, and how a slot becomes headers. Both sides use this one piece of code: the worker to
//! build what it searches, the coordinator to rebuild what a share claims.
//!
//! The extranonce of every header is `farm | epoch | slot | job | roll` ([`Extranonce`]). The owner's epoch is inside
//! the header, so two coordinators of different terms can never issue the same header; so is the job's number, so
//! a finding belongs to one job alone; the slot is inside the header or fixes the nonce range, so two workers
//! never search the same one.

use crate::{
    blob::{Blob, Hash32},
    units::Target,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Length of a Bitcoin-family block header in bytes.
pub const HEADER_LEN: usize = 80;
/// Length of the extranonce in bytes.
pub const EXTRANONCE_LEN: usize = 18;
/// Longest coinbase half in bytes.
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

/// An 80-byte header that is still open: everything but the extranonce, the nonce and what may be rolled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeaderWork {
    /// Block version.
    pub version: u32,
    /// Bits of `version` that a worker may change (BIP 310); zero forbids it.
    pub version_mask: u32,
    /// Previous block's hash in header order.
    pub prev_hash: Hash32,
    /// Coinbase transaction without witness, up to the extranonce.
    pub coinbase_prefix: Blob,
    /// Coinbase transaction without witness, after the extranonce.
    pub coinbase_suffix: Blob,
    /// Hashes that lead from the coinbase's id to the merkle root.
    pub merkle_branch: Vec<Hash32>,
    /// Network target in compact form.
    pub bits: u32,
    /// Time to start from, seconds since the Unix epoch.
    pub time: u32,
    /// Earliest time that the network accepts.
    pub min_time: u32,
    /// Latest time that a share may carry.
    pub max_time: u32,
}

/// Why header work is unusable.
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

/// SHA-256 twice.
pub fn sha256d(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(Sha256::digest(bytes)).into()
}

impl HeaderWork {
    /// Checks the limits; a receiver does so before it uses work from the bus.
    pub fn check(&self) -> Result<Target, InvalidWork> {
        for (what, len, limit) in [
            ("coinbase_prefix", self.coinbase_prefix.0.len(), MAX_COINBASE_PART_LEN),
            ("coinbase_suffix", self.coinbase_suffix.0.len(), MAX_COINBASE_PART_LEN),
            ("merkle_branch", self.merkle_branch.len(), MAX_MERKLE_BRANCH),
        ] {
            if len > limit {
                return Err(InvalidWork::TooLong { what, len, limit });
            }
        }
        if !(self.min_time..=self.max_time).contains(&self.time) {
            let (time, min_time, max_time) = (self.time, self.min_time, self.max_time);
            return Err(InvalidWork::Time { time, min_time, max_time });
        }
        Ok(Target::from_compact(self.bits)?)
    }

    /// The coinbase transaction without witness.
    pub fn coinbase(&self, extranonce: Extranonce) -> Vec<u8> {
        let (prefix, suffix) = (&self.coinbase_prefix.0, &self.coinbase_suffix.0);
        let mut coinbase = Vec::with_capacity(prefix.len() + EXTRANONCE_LEN + suffix.len());
        coinbase.extend_from_slice(prefix);
        coinbase.extend_from_slice(&extranonce.to_bytes());
        coinbase.extend_from_slice(suffix);
        coinbase
    }

    /// The merkle root under `extranonce`. Costs two hashes of the coinbase and of each branch entry, and does
    /// not allocate.
    pub fn merkle_root(&self, extranonce: Extranonce) -> [u8; 32] {
        let first = Sha256::new()
            .chain_update(&self.coinbase_prefix.0)
            .chain_update(extranonce.to_bytes())
            .chain_update(&self.coinbase_suffix.0)
            .finalize();
        let mut root: [u8; 32] = Sha256::digest(first).into();
        for sibling in &self.merkle_branch {
            let pair = Sha256::new().chain_update(root).chain_update(sibling.0).finalize();
            root = Sha256::digest(pair).into();
        }
        root
    }

    /// The header of a finding.
    pub fn header(&self, extranonce: Extranonce, version: u32, time: u32, nonce: u32) -> [u8; HEADER_LEN] {
        self.header_over(&self.merkle_root(extranonce), version, time, nonce)
    }

    /// The header of a finding whose merkle root is known already: all findings of one extranonce share it.
    pub fn header_over(&self, root: &[u8; 32], version: u32, time: u32, nonce: u32) -> [u8; HEADER_LEN] {
        let mut header = [0; HEADER_LEN];
        header[..4].copy_from_slice(&version.to_le_bytes());
        header[4..36].copy_from_slice(&self.prev_hash.0);
        header[36..68].copy_from_slice(root);
        header[68..72].copy_from_slice(&time.to_le_bytes());
        header[72..76].copy_from_slice(&self.bits.to_le_bytes());
        header[76..].copy_from_slice(&nonce.to_le_bytes());
        header
    }

    /// Whether `version` differs from the job's only where it may.
    pub fn allows_version(&self, version: u32) -> bool {
        (version ^ self.version) & !self.version_mask == 0
    }

    /// Whether `time` lies in the window.
    pub fn allows_time(&self, time: u32) -> bool {
        (self.min_time..=self.max_time).contains(&time)
    }
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

    #[test]
    fn the_genesis_header_is_rebuilt_from_its_parts() {
        let root = hex::decode("3ba3edfd7a7b12b27ac72c3e67768f617fc81bc3888a51323a9fb8aa4b1e5e4a").unwrap();
        let work = HeaderWork {
            version: 1,
            version_mask: 0,
            prev_hash: Hash32::default(),
            coinbase_prefix: Blob(vec![1, 2]),
            coinbase_suffix: Blob(vec![3]),
            merkle_branch: vec![Hash32([7; 32])],
            bits: 0x1d00_ffff,
            time: 1_231_006_505,
            min_time: 0,
            max_time: u32::MAX,
        };
        let extranonce = Extranonce { farm: 1, epoch: 2, slot: 3, job: 4, roll: 5 };
        let mut header = work.header(extranonce, 1, 1_231_006_505, 2_083_236_893);
        let mut pair = sha256d(&work.coinbase(extranonce)).to_vec();
        pair.extend([7; 32]);
        assert_eq!(header[36..68], sha256d(&pair));
        header[36..68].copy_from_slice(&root);
        let hash = Hash32(sha256d(&header)).to_display_hex();
        assert_eq!(hash, "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f");
    }
}
