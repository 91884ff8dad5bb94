//! A block of a CryptoNote chain as Monero has it: the proof of work is over the hashing blob, in which the miner
//! transaction stands by way of the tree root.

use super::{Extranonce, InvalidWork, check_lengths};
use crate::{
    blob::{Blob, Hash32},
    units::Target,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha3::{Digest, Keccak256};

/// Longest hashing blob in bytes: two versions, the timestamp, the previous block, the nonce, the tree root and the number of
/// transactions, each number of variable length as long as it can be.
pub const MAX_HASHING_BLOB_LEN: usize = 2 + 2 + 10 + 32 + 4 + 32 + 5;

/// A Monero block that is still open: everything but the extranonce, which stands in the miner transaction's reserved
/// bytes, and the nonce. The timestamp is the template's and is not rolled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CryptoNoteWork {
    /// The seed of the algorithm's context, as it stands in memory.
    pub seed: Hash32,
    /// The seed that comes next, once the network knows it: time to prepare its context.
    pub next_seed: Option<Hash32>,
    /// Major version of the block.
    pub major_version: u8,
    /// Minor version of the block.
    pub minor_version: u8,
    /// Seconds since the Unix epoch.
    pub timestamp: u64,
    /// Previous block's id as it stands in the header.
    pub prev_hash: Hash32,
    /// The miner transaction's prefix (all of it but the ring signature part), up to the extranonce.
    pub coinbase_prefix: Blob,
    /// The miner transaction's prefix after the extranonce.
    pub coinbase_suffix: Blob,
    /// Hashes that lead from the miner transaction's id to the tree root.
    pub merkle_branch: Vec<Hash32>,
    /// Transactions of the block, the miner's own among them.
    pub transactions: u32,
    /// The network's difficulty: a hash times this must stay below 2^256.
    pub difficulty: u64,
}

/// Keccak-256 with its original padding, as CryptoNote chains use it (`cn_fast_hash`).
pub fn keccak256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Keccak256::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// What follows the prefix of a miner transaction: a ring signature of type null.
pub const NULL_SIGNATURE: &[u8] = &[0];

impl CryptoNoteWork {
    /// Checks the limits; a receiver does so before it uses work from the bus.
    pub fn check(&self) -> Result<Target, InvalidWork> {
        check_lengths(&self.coinbase_prefix, &self.coinbase_suffix, &self.merkle_branch)?;
        let (transactions, branch) = (self.transactions, self.merkle_branch.len());
        if transactions.checked_ilog2().map(|depth| depth as usize) != Some(branch) {
            return Err(InvalidWork::Transactions { transactions, branch });
        }
        Target::from_difficulty(self.difficulty).ok_or(InvalidWork::Difficulty)
    }

    /// The miner transaction's prefix.
    pub fn coinbase(&self, extranonce: Extranonce) -> Vec<u8> {
        [&self.coinbase_prefix.0[..], &extranonce.to_bytes(), &self.coinbase_suffix.0].concat()
    }

    /// The tree root under `extranonce`. Costs three hashes for the transaction's id and one for each branch entry, and
    /// does not allocate.
    pub fn tree_root(&self, extranonce: Extranonce) -> [u8; 32] {
        let prefix = keccak256(&[&self.coinbase_prefix.0, &extranonce.to_bytes(), &self.coinbase_suffix.0]);
        // Version 2 transactions: hashes of the prefix, of the signature's base and of its prunable part, of which a
        // miner transaction has none.
        let id = keccak256(&[&prefix, &keccak256(&[NULL_SIGNATURE]), &[0; 32]]);
        self.merkle_branch.iter().fold(id, |root, sibling| keccak256(&[&root, &sibling.0]))
    }

    /// The block's header: versions, timestamp, previous block and nonce.
    pub fn header(&self, nonce: u32) -> Vec<u8> {
        let mut blob = [0; MAX_HASHING_BLOB_LEN];
        let len = self.write_hashing_blob(&[0; 32], nonce, &mut blob);
        let (_, count_len) = varint(self.transactions.into());
        blob.get(..len - 32 - count_len).unwrap_or_default().to_vec()
    }

    /// The hashing blob: the header, the tree root and the number of transactions.
    pub fn hashing_blob(&self, root: &[u8; 32], nonce: u32) -> Vec<u8> {
        let mut blob = [0; MAX_HASHING_BLOB_LEN];
        let len = self.write_hashing_blob(root, nonce, &mut blob);
        blob.get(..len).unwrap_or_default().to_vec()
    }

    /// Writes the hashing blob and returns its length in bytes.
    pub(crate) fn write_hashing_blob(
        &self,
        root: &[u8; 32],
        nonce: u32,
        out: &mut [u8; MAX_HASHING_BLOB_LEN],
    ) -> usize {
        let mut end = 0;
        let mut put = |bytes: &[u8]| {
            if let Some(place) = out.get_mut(end..end + bytes.len()) {
                place.copy_from_slice(bytes);
                end += bytes.len();
            }
        };
        for number in [u64::from(self.major_version), u64::from(self.minor_version), self.timestamp] {
            let (bytes, len) = varint(number);
            put(bytes.get(..len).unwrap_or_default());
        }
        put(&self.prev_hash.0);
        put(&nonce.to_le_bytes());
        put(root);
        let (bytes, len) = varint(self.transactions.into());
        put(bytes.get(..len).unwrap_or_default());
        end
    }

    /// The block's id: Keccak of the hashing blob behind its length. In the byte order in which
    /// [`Hash32::to_display_hex`] writes it as the chain does, that is the reverse of memory.
    pub fn block_hash(&self, root: &[u8; 32], nonce: u32) -> Hash32 {
        let mut blob = [0; MAX_HASHING_BLOB_LEN];
        let len = self.write_hashing_blob(root, nonce, &mut blob);
        let (prefix, prefix_len) = varint(len as u64);
        let parts = [prefix.get(..prefix_len).unwrap_or_default(), blob.get(..len).unwrap_or_default()];
        let mut id = keccak256(&parts);
        id.reverse();
        Hash32(id)
    }
}

/// A number of seven bits a byte, the lowest first, and its length.
fn varint(mut number: u64) -> ([u8; 10], usize) {
    let (mut bytes, mut len) = ([0; 10], 0);
    for byte in &mut bytes {
        len += 1;
        *byte = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            break;
        }
        *byte |= 0x80;
    }
    (bytes, len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::examples;

    #[test]
    fn numbers_are_written_seven_bits_a_byte() {
        for (number, wanted) in [(0, vec![0]), (127, vec![0x7f]), (128, vec![0x80, 1]), (300, vec![0xac, 2])]
        {
            let (bytes, len) = varint(number);
            assert_eq!(bytes[..len], wanted);
        }
        let (bytes, len) = varint(u64::MAX);
        assert_eq!((len, bytes[9]), (10, 1));
    }

    #[test]
    fn keccak_of_nothing_is_the_known_answer() {
        let known = "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470";
        assert_eq!(hex::encode(keccak256(&[])), known);
    }

    #[test]
    fn a_branch_that_does_not_fit_the_number_of_transactions_is_refused() {
        let work = examples::crypto_note_work();
        assert!(work.check().is_ok());
        for transactions in [0, 1, 4] {
            let work = CryptoNoteWork { transactions, ..work.clone() };
            assert!(matches!(work.check(), Err(InvalidWork::Transactions { .. })), "{transactions}");
        }
        assert_eq!(CryptoNoteWork { difficulty: 0, ..work }.check(), Err(InvalidWork::Difficulty));
    }

    #[test]
    fn the_longest_numbers_fit_into_the_hashing_blob() {
        let work = CryptoNoteWork {
            major_version: u8::MAX,
            minor_version: u8::MAX,
            timestamp: u64::MAX,
            transactions: u32::MAX,
            ..examples::crypto_note_work()
        };
        let mut blob = [0; MAX_HASHING_BLOB_LEN];
        assert_eq!(work.write_hashing_blob(&[7; 32], 1, &mut blob), MAX_HASHING_BLOB_LEN);
        assert_eq!(blob[MAX_HASHING_BLOB_LEN - 5..], [0xff, 0xff, 0xff, 0xff, 0x0f]);
    }
}
