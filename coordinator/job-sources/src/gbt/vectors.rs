//! Template-to-block sets that live nodes accepted.

use serde::Deserialize;

#[derive(Deserialize)]
pub(crate) struct BlockSet {
    pub(crate) template: serde_json::Value,
    pub(crate) extranonce: String,
    pub(crate) coinbase_legacy: String,
    pub(crate) coinbase_full: String,
    pub(crate) merkle_branch: Vec<String>,
    pub(crate) merkle_root_le: String,
    pub(crate) header: String,
    pub(crate) block_hash: String,
    pub(crate) block_hex: String,
}

fn set(name: &str) -> BlockSet {
    let mut sets: serde_json::Value = serde_json::from_str(include_str!("../../tests/vectors.json")).unwrap();
    serde_json::from_value(sets[name].take()).unwrap()
}

/// Accepted by Bitcoin Knots on regtest.
pub(crate) fn bitcoin() -> BlockSet {
    set("bitcoin_regtest_gbt_block")
}

/// Accepted by litecoind on regtest with MWEB active.
pub(crate) fn litecoin() -> BlockSet {
    set("litecoin_regtest_gbt_block_mweb")
}
