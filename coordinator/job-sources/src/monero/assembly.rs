//! From a finding to the bytes of a Monero block.

use crate::assembly::FoundBlock;
use bus_schemas::{
    Hash32,
    work::{CryptoNoteWork, Extranonce, NULL_SIGNATURE},
};
use monero::{VarInt, consensus};
use serde::{Deserialize, Serialize};

/// What makes a block of Monero. Its transactions stand in it by their ids: the daemon has the rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CryptoNoteAssembly {
    /// What is searched.
    pub work: CryptoNoteWork,
    /// Height of the block.
    pub height: u64,
    /// What the block pays, in piconero.
    pub reward: u64,
    /// Ids of all transactions but the miner's, in order.
    pub transactions: Vec<Hash32>,
}

impl CryptoNoteAssembly {
    /// The whole block of a finding.
    pub fn block(&self, extranonce: Extranonce, nonce: u32) -> FoundBlock {
        let root = self.work.tree_root(extranonce);
        let mut bytes = self.work.header(nonce);
        bytes.extend(self.work.coinbase(extranonce));
        bytes.extend(NULL_SIGNATURE);
        bytes.extend(consensus::serialize(&VarInt(self.transactions.len() as u64)));
        for id in &self.transactions {
            bytes.extend(id.0);
        }
        FoundBlock { hash: self.work.block_hash(&root, nonce), height: self.height, bytes }
    }

    /// Whether mining on `other` instead would change more than the time. The daemon makes a new key for each miner
    /// transaction, so that says nothing.
    pub fn differs_from(&self, other: &Self) -> bool {
        let (a, b) = (&self.work, &other.work);
        a.prev_hash != b.prev_hash
            || a.difficulty != b.difficulty
            || a.seed != b.seed
            || a.next_seed != b.next_seed
            || (a.major_version, a.minor_version) != (b.major_version, b.minor_version)
            || self.transactions != other.transactions
            || self.reward != other.reward
    }
}

/// The hashes that lead from the first leaf, the miner transaction, to the root of CryptoNote's tree (`tree_hash`): of a
/// number of leaves that is no power of two the last ones are paired first, until a power of two is left.
pub(super) fn branch(others: &[[u8; 32]], hash: impl Fn(&[u8; 32], &[u8; 32]) -> [u8; 32]) -> Vec<[u8; 32]> {
    let leaves = others.len() + 1;
    let Some(depth) = leaves.checked_ilog2().filter(|depth| *depth > 0) else { return Vec::new() };
    // The first leaf stands for itself and is never hashed with what is known of it here.
    let mut level: Vec<[u8; 32]> = std::iter::once([0; 32]).chain(others.iter().copied()).collect();
    let kept = if leaves.is_power_of_two() { leaves } else { (2 << depth) - leaves };
    let paired: Vec<_> = level.split_off(kept).chunks_exact(2).map(|pair| hash(&pair[0], &pair[1])).collect();
    level.extend(paired);
    let mut branch = Vec::with_capacity(depth as usize);
    while let Some(sibling) = level.get(1) {
        branch.push(*sibling);
        level = level.chunks_exact(2).map(|pair| hash(&pair[0], &pair[1])).collect();
    }
    branch
}

#[cfg(test)]
mod tests {
    use super::*;
    use bus_schemas::work::keccak256;
    use monero::cryptonote::hash::Hash;

    #[test]
    fn the_branch_leads_to_the_root_of_the_monero_library_for_every_number_of_transactions() {
        for others in 0..70_u8 {
            let leaf = |n: u8| keccak256(&[&[n]]);
            let ids: Vec<_> = (1..=others).map(leaf).collect();
            let branch = branch(&ids, |a, b| keccak256(&[a, b]));
            assert_eq!(branch.len(), (ids.len() + 1).ilog2() as usize);
            let root = branch.iter().fold(leaf(0), |root, sibling| keccak256(&[&root, sibling]));
            let ids: Vec<_> = ids.iter().map(|id| Hash(*id)).collect();
            assert_eq!(root, monero::cryptonote::hash::tree_hash(Hash(leaf(0)), &ids).0, "{others}");
        }
    }
}
