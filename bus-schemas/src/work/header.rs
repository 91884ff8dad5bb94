//! A Bitcoin-family header.

use super::{EXTRANONCE_LEN, Extranonce, InvalidWork, check_lengths};
use crate::{
    blob::{Blob, Hash32},
    units::Target,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Length of a Bitcoin-family block header in bytes.
pub const HEADER_LEN: usize = 80;

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

/// SHA-256 twice.
pub fn sha256d(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(Sha256::digest(bytes)).into()
}

impl HeaderWork {
    /// Checks the limits; a receiver does so before it uses work from the bus.
    pub fn check(&self) -> Result<Target, InvalidWork> {
        check_lengths(&self.coinbase_prefix, &self.coinbase_suffix, &self.merkle_branch)?;
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
