//! The Monero wallet of a farm on regtest: its keys are no secret, so that it can tell which outputs are its own.

use super::FarmError;
use crate::monerod::Monerod;
use monero::{Block, KeyPair, PrivateKey, ViewPair};
use serde::Deserialize;
use serde_json::json;

/// The view key: any number below the group's order.
const VIEW: [u8; 32] = [1; 32];
/// The spend key.
const SPEND: [u8; 32] = [2; 32];

/// The wallet's address; regtest takes those of the main network.
pub const ADDRESS: &str =
    "42Wz2Zm75sf8u5PXzAzCPDViDAyJnBL5u5mc5QVGBZXFEE7zfKYB8rr8mVZTzcioVnCk9WQCPAMk4RH7e7ygPTkzACmYGzF";

fn keys() -> Result<KeyPair, monero::util::key::Error> {
    Ok(KeyPair { view: PrivateKey::from_slice(&VIEW)?, spend: PrivateKey::from_slice(&SPEND)? })
}

/// A block pays somebody else, or not what it should.
#[derive(Debug, thiserror::Error)]
pub enum NotOurs {
    /// The daemon's block cannot be read.
    #[error("height {height}: the daemon's block cannot be read: {reason}")]
    Unreadable {
        /// The height.
        height: u64,
        /// What is wrong.
        reason: String,
    },
    /// Not every output can be spent with our keys.
    #[error("height {height}: {ours} of {all} outputs are the wallet's")]
    Outputs {
        /// The height.
        height: u64,
        /// Outputs that are ours.
        ours: usize,
        /// All outputs.
        all: usize,
    },
    /// The outputs are not the reward.
    #[error("height {height}: the outputs are {paid} piconero, the reward is {reward}")]
    Amount {
        /// The height.
        height: u64,
        /// Sum of the outputs in piconero.
        paid: u64,
        /// The daemon's word in piconero.
        reward: u64,
    },
}

/// Reads the block at `height` and finds with the view key whether every output of its miner transaction is the wallet's and
/// whether they are the reward to the piconero, which is returned.
pub async fn check(daemon: &Monerod, height: u64) -> Result<u64, FarmError> {
    #[derive(Deserialize)]
    struct Answer {
        blob: String,
    }
    let answer: Answer = daemon.rpc().call("get_block", json!({ "height": height })).await?;
    let reward = daemon.header_at(height).await?.reward;
    let unreadable = |reason: String| NotOurs::Unreadable { height, reason };
    let bytes = hex::decode(answer.blob).map_err(|e| unreadable(e.to_string()))?;
    let block: Block = monero::consensus::deserialize(&bytes).map_err(|e| unreadable(e.to_string()))?;
    let pair = ViewPair::from(&keys().map_err(|e| unreadable(e.to_string()))?);
    let owned = block.miner_tx.check_outputs(&pair, 0..1, 0..1).map_err(|e| unreadable(e.to_string()))?;
    let all = &block.miner_tx.prefix.outputs;
    if owned.len() != all.len() {
        return Err(NotOurs::Outputs { height, ours: owned.len(), all: all.len() }.into());
    }
    let paid = all.iter().map(|output| output.amount.0).sum();
    if paid != reward {
        return Err(NotOurs::Amount { height, paid, reward }.into());
    }
    Ok(paid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use monero::{Address, Network};

    #[test]
    fn the_address_is_that_of_the_keys() {
        let address = Address::from_keypair(Network::Mainnet, &keys().unwrap());
        assert_eq!(address.to_string(), ADDRESS);
    }
}
