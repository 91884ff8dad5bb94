//! Merkle trees of transaction ids, as Bitcoin builds them: the last node of an odd row is paired with itself.

use bus_schemas::work::sha256d;

fn pair(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    sha256d(&[left.as_slice(), right].concat())
}

/// The hashes that lead from the first leaf to the root; `others` are all leaves but the first.
pub fn branch(others: &[[u8; 32]]) -> Vec<[u8; 32]> {
    let mut branch = Vec::new();
    // The row without its first node, which is not known yet.
    let mut row = others.to_vec();
    while let Some((sibling, rest)) = row.split_first() {
        branch.push(*sibling);
        row = rest.chunks(2).map(|two| pair(&two[0], two.last().unwrap_or(&two[0]))).collect();
    }
    branch
}

/// The root of a tree from its first leaf and the branch to it.
pub fn fold(first: [u8; 32], branch: &[[u8; 32]]) -> [u8; 32] {
    branch.iter().fold(first, |root, sibling| pair(&root, sibling))
}

/// The script of the witness commitment's output (BIP 141) over the witness ids of all transactions but the
/// coinbase, with the reserved value of zeros that [`crate::coinbase::with_witness`] writes.
pub fn witness_commitment(witness_ids: &[[u8; 32]]) -> Vec<u8> {
    let root = fold([0; 32], &branch(witness_ids));
    [crate::coinbase::COMMITMENT_PREFIX.as_slice(), &pair(&root, &[0; 32])].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The textbook way, over the whole row.
    fn root(mut row: Vec<[u8; 32]>) -> [u8; 32] {
        while row.len() > 1 {
            if row.len() % 2 == 1 {
                row.push(row[row.len() - 1]);
            }
            row = row.chunks(2).map(|two| pair(&two[0], &two[1])).collect();
        }
        row[0]
    }

    proptest! {
        #[test]
        fn a_branch_leads_to_the_root_of_the_whole_tree(leaves in proptest::collection::vec(any::<[u8; 32]>(), 1..70)) {
            prop_assert_eq!(fold(leaves[0], &branch(&leaves[1..])), root(leaves));
        }
    }
}
