//! What a node itself says about a block: whether it is in the chain and whom its coinbase pays.

use crate::rpc::{Rpc, RpcError};
use serde::Deserialize;
use serde_json::json;

/// Smallest units in a coin.
const UNITS_PER_COIN: f64 = 1e8;

/// A block does not pay what it should.
#[derive(Debug, thiserror::Error)]
pub enum PayoutFault {
    /// The node did not answer.
    #[error(transparent)]
    Rpc(#[from] RpcError),
    /// Another block stands at this height.
    #[error("height {height}: the chain has {in_chain}, the farm's block is {ours}")]
    NotInChain {
        /// The height.
        height: u64,
        /// What the node has there.
        in_chain: String,
        /// What the farm took for accepted.
        ours: String,
    },
    /// The node lists no coinbase.
    #[error("height {height}: the node shows no coinbase transaction")]
    NoCoinbase {
        /// The height.
        height: u64,
    },
    /// An output of the coinbase pays somebody else.
    #[error("height {height}: the coinbase pays {amount} to {script}")]
    WrongScript {
        /// The height.
        height: u64,
        /// The amount in the smallest unit.
        amount: u64,
        /// The script in hex.
        script: String,
    },
    /// The outputs are not what the block earned.
    #[error("height {height}: the coinbase pays {paid}, subsidy and fees are {earned}")]
    WrongAmount {
        /// The height.
        height: u64,
        /// The sum of the outputs in the smallest unit.
        paid: u64,
        /// Subsidy and fees in the smallest unit.
        earned: u64,
    },
}

#[derive(Deserialize)]
struct Block {
    /// Bitcoin Core and its descendants.
    #[serde(default)]
    tx: Vec<serde_json::Value>,
    /// btcd.
    #[serde(default)]
    rawtx: Vec<Transaction>,
}

#[derive(Deserialize)]
struct Transaction {
    vout: Vec<Output>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Output {
    value: f64,
    script_pub_key: Script,
}

#[derive(Deserialize)]
struct Script {
    hex: String,
}

/// What a block earns its miner.
#[derive(Debug, Clone, Copy)]
pub struct Reward {
    /// Subsidy of the first block in the smallest unit.
    pub first_subsidy: u64,
    /// Blocks until it halves.
    pub halving: u64,
}

impl Reward {
    /// Bitcoin's networks but regtest.
    pub const BITCOIN: Self = Self { first_subsidy: 5_000_000_000, halving: 210_000 };
    /// Litecoin's regtest.
    pub const LITECOIN_REGTEST: Self = Self { first_subsidy: 5_000_000_000, halving: 150 };

    /// The subsidy of the block at `height`.
    pub fn subsidy(&self, height: u64) -> u64 {
        let halvings = u32::try_from(height / self.halving).unwrap_or(u32::MAX);
        self.first_subsidy.checked_shr(halvings).unwrap_or(0)
    }
}

/// A coinbase that the node knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paid {
    /// The sum of its outputs in the smallest unit.
    pub amount: u64,
    /// Transactions of the block, the coinbase included.
    pub transactions: usize,
}

/// Asks the node whether the block `hash` stands at `height`, whether every unit of its coinbase goes to `script`, and
/// whether that is all that the block earned.
pub async fn check(
    rpc: &Rpc,
    reward: Reward,
    height: u64,
    hash: &str,
    script: &[u8],
) -> Result<Paid, PayoutFault> {
    let in_chain: String = rpc.call("getblockhash", json!([height])).await?;
    if in_chain != hash {
        return Err(PayoutFault::NotInChain { height, in_chain, ours: hash.to_owned() });
    }
    let block: Block = rpc.call("getblock", json!([hash, 2])).await?;
    let transactions = block.tx.len().max(block.rawtx.len());
    let first = block.tx.into_iter().next().and_then(|tx| serde_json::from_value::<Transaction>(tx).ok());
    let coinbase = block.rawtx.into_iter().next().or(first).ok_or(PayoutFault::NoCoinbase { height })?;
    let wanted = hex::encode(script);
    let mut paid = 0;
    for output in coinbase.vout {
        let amount = (output.value * UNITS_PER_COIN).round() as u64;
        if amount > 0 && output.script_pub_key.hex != wanted {
            return Err(PayoutFault::WrongScript { height, amount, script: output.script_pub_key.hex });
        }
        paid += amount;
    }
    let earned = reward.subsidy(height) + if transactions > 1 { fees(rpc, height).await? } else { 0 };
    if paid != earned {
        return Err(PayoutFault::WrongAmount { height, paid, earned });
    }
    Ok(Paid { amount: paid, transactions })
}

async fn fees(rpc: &Rpc, height: u64) -> Result<u64, PayoutFault> {
    #[derive(Deserialize)]
    struct Stats {
        totalfee: u64,
    }
    let stats: Stats = rpc.call("getblockstats", json!([height, ["totalfee"]])).await?;
    Ok(stats.totalfee)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_subsidy_halves_and_ends() {
        let reward = Reward::LITECOIN_REGTEST;
        assert_eq!(reward.subsidy(149), 5_000_000_000);
        assert_eq!(reward.subsidy(150), 2_500_000_000);
        assert_eq!(reward.subsidy(u64::MAX), 0);
        assert_eq!(Reward::BITCOIN.subsidy(1), 5_000_000_000);
    }
}
