//! What a farm mines: the embedded chain, or a real node's that it starts as well.

use super::{ACTIVE_MEMBERS, FarmError, wallet};
use crate::HarnessError;
use crate::chain_node::{ChainNode, ChainPair};
use crate::folder::RunFolder;
use crate::monerod::{self, Monerod};
use crate::rpc::Rpc;
use crate::{btcd, litecoind};
use bus_schemas::config::{
    Chain as ChainRules, EmbeddedSource, GetBlockTemplateSource, MoneroSource, NodeEndpoint, Payout,
    PoolConfig, SourceConfig,
};
use bus_schemas::policy::LoadPolicy;
use bus_schemas::{AlgorithmId, Blob, ShareBits};
use clap::ValueEnum;
use serde::Deserialize;
use serde_json::json;
use std::fmt;
use std::time::Duration;
use tokio::task::JoinHandle;

/// Entry of the coordinator's host file with the nodes' name and password.
const CREDENTIALS: &str = "node";
/// What the farm is paid to on chains where it owns nothing: a witness program (BIP 141) of twenty bytes.
const OWN_SCRIPT: &[u8] = b"\x00\x14a farm's first coins";
/// How often the Litecoin node is looked at for the height where it wants a peg-in.
const MWEB_POLL: Duration = Duration::from_millis(200);
/// Shares a minute of each worker: enough to see something within seconds.
const SHARES_PER_MINUTE: u16 = 60;
/// Hashes of real work are dear on regtest, where half of them are blocks: shares come as fast as blocks.
const REGTEST_SHARE_RATE_LIMIT: u32 = 10_000;

/// Hashes of a Monero block: a second or two of this farm, once its workers have their data sets.
const MONERO_DIFFICULTY: u64 = 500;
/// Hashes of a share of Monero's work, as a power of two.
const MONERO_SHARE_BITS: u8 = 6;
/// A judge hashes a Monero share in light mode, some tens of milliseconds.
const MONERO_SHARES_PER_MINUTE: u16 = 20;

/// What is mined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ChainKind {
    /// The chain inside the coordinator: real headers, nothing external.
    Embedded,
    /// btcd on a custom signet: SHA-256d with real difficulty.
    Bitcoin,
    /// litecoind on regtest: scrypt, with MWEB from height 432 on.
    Litecoin,
    /// monerod on regtest: RandomX.
    Monero,
}

impl fmt::Display for ChainKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Embedded => "the embedded chain",
            Self::Bitcoin => "Bitcoin on a signet of its own (btcd)",
            Self::Litecoin => "Litecoin on regtest (litecoind)",
            Self::Monero => "Monero on regtest (monerod)",
        })
    }
}

/// The nodes of a chain.
#[derive(Debug)]
pub enum Nodes {
    /// The embedded chain has none.
    Embedded,
    /// Two of a Bitcoin-family chain that know each other.
    Pair(Box<ChainPair>),
    /// A Monero daemon.
    Monero(Box<Monerod>),
}

/// A chain that runs.
#[derive(Debug)]
pub struct Chain {
    /// Which.
    pub kind: ChainKind,
    /// The output script that is paid.
    pub payout_script: Vec<u8>,
    /// The nodes that are mined for.
    pub nodes: Nodes,
    /// The node's height before anybody mined; 0 for the embedded chain.
    pub first_height: u64,
    peg_in: Option<JoinHandle<()>>,
}

impl Drop for Chain {
    fn drop(&mut self) {
        if let Some(task) = &self.peg_in {
            task.abort();
        }
    }
}

impl Chain {
    /// Starts the chain's nodes, if it has any.
    pub async fn start(
        folder: &RunFolder,
        kind: ChainKind,
        payout_script: Option<Vec<u8>>,
    ) -> Result<Self, FarmError> {
        let own = |nodes: &str| folder.inner(nodes).and_then(RunFolder::kept);
        let nodes = match kind {
            ChainKind::Embedded => Nodes::Embedded,
            ChainKind::Bitcoin => {
                Nodes::Pair(Box::new(btcd::start(own("btcd")?, btcd::ANY_MINING_ADDRESS).await?))
            }
            ChainKind::Litecoin => Nodes::Pair(Box::new(litecoind::start(own("litecoind")?).await?)),
            ChainKind::Monero => {
                Nodes::Monero(Box::new(monerod::start(own("monerod")?, MONERO_DIFFICULTY).await?))
            }
        };
        let mut peg_in = None;
        let mut script = payout_script;
        if let (ChainKind::Litecoin, Nodes::Pair(pair)) = (kind, &nodes) {
            let rpc = pair.first.rpc.clone();
            if script.is_none() {
                // Paid to the node's wallet, our own coins are there for the peg-in that the chain wants later.
                script = Some(wallet_script(&rpc).await?);
                peg_in = Some(tokio::spawn(peg_in_when_wanted(rpc)));
            }
        }
        let payout_script = script.unwrap_or_else(|| OWN_SCRIPT.to_vec());
        let mut chain = Self { kind, payout_script, nodes, first_height: 0, peg_in };
        chain.first_height = chain.height().await?.unwrap_or(0);
        Ok(chain)
    }

    /// The Bitcoin-family node that the pool mines for.
    pub fn rpc(&self) -> Option<&Rpc> {
        match &self.nodes {
            Nodes::Pair(pair) => Some(&pair.first.rpc),
            Nodes::Embedded | Nodes::Monero(_) => None,
        }
    }

    /// Stops the nodes in order.
    pub async fn stop(&mut self) -> Result<(), FarmError> {
        if let Some(task) = self.peg_in.take() {
            task.abort();
        }
        match &mut self.nodes {
            Nodes::Embedded => {}
            Nodes::Pair(pair) => {
                let (first, second) = tokio::join!(pair.first.stop(), pair.second.stop());
                first.and(second)?;
            }
            Nodes::Monero(daemon) => drop(daemon.node.stop().await?),
        }
        Ok(())
    }

    /// The pool's configuration for this chain.
    pub fn pool_config(&self) -> PoolConfig {
        let base = PoolConfig {
            // All workers of this farm share one machine, and each would make room for the others.
            load: LoadPolicy::never(),
            active_members: ACTIVE_MEMBERS,
            shares_per_minute: SHARES_PER_MINUTE,
            ..PoolConfig::default()
        };
        let script = Blob(self.payout_script.clone());
        match (self.kind, &self.nodes) {
            (ChainKind::Litecoin, Nodes::Pair(pair)) => PoolConfig {
                description: "Litecoin on regtest".to_owned(),
                algorithm: AlgorithmId::new("scrypt-1024-1-1").unwrap_or_else(|_| AlgorithmId::sha256d()),
                source: source(ChainRules::Litecoin, pair, script),
                initial_share_bits: ShareBits::new(8),
                min_share_bits: ShareBits::new(1),
                share_rate_limit: REGTEST_SHARE_RATE_LIMIT,
                ..base
            },
            (ChainKind::Bitcoin, Nodes::Pair(pair)) => PoolConfig {
                description: "Bitcoin on a signet of its own".to_owned(),
                source: source(ChainRules::BitcoinSignet, pair, script),
                ..base
            },
            (_, Nodes::Monero(daemon)) => PoolConfig {
                description: "Monero on regtest".to_owned(),
                algorithm: AlgorithmId::new("randomx-v1").unwrap_or_else(|_| AlgorithmId::sha256d()),
                source: SourceConfig::Monero(MoneroSource {
                    nodes: vec![NodeEndpoint { url: daemon.url.clone(), credentials: None }],
                    wallet: wallet::ADDRESS.to_owned(),
                    poll_ms: 200,
                }),
                initial_share_bits: ShareBits::new(MONERO_SHARE_BITS),
                min_share_bits: ShareBits::new(1),
                shares_per_minute: MONERO_SHARES_PER_MINUTE,
                ..base
            },
            _ => PoolConfig {
                description: "the embedded chain".to_owned(),
                source: SourceConfig::Embedded(EmbeddedSource {
                    payout_script: script,
                    ..EmbeddedSource::default()
                }),
                ..base
            },
        }
    }

    /// The part of the coordinator's host file that lets it talk to the nodes.
    pub(super) fn credentials(&self) -> String {
        match self.rpc() {
            Some(rpc) => format!(
                "[credentials.{CREDENTIALS}]\nuser = \"{}\"\npassword = \"{}\"\n",
                rpc.user, rpc.password
            ),
            None => String::new(),
        }
    }
}

fn source(chain: ChainRules, pair: &ChainPair, script: Blob) -> SourceConfig {
    let endpoint = |node: &ChainNode| NodeEndpoint {
        url: node.rpc.url.clone(),
        credentials: Some(CREDENTIALS.to_owned()),
    };
    SourceConfig::GetBlockTemplate(GetBlockTemplateSource {
        chain,
        nodes: vec![endpoint(&pair.first), endpoint(&pair.second)],
        payout: Payout::Script(script),
        tag: "dcmf".to_owned(),
        poll_ms: 500,
    })
}

/// The output script of a new address of the node's wallet.
async fn wallet_script(rpc: &Rpc) -> Result<Vec<u8>, FarmError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct AddressInfo {
        script_pub_key: String,
    }
    let address = litecoind::new_address(rpc, "bech32").await?;
    let info: AddressInfo = rpc.call("getaddressinfo", json!([address])).await?;
    hex::decode(&info.script_pub_key).map_err(|e| FarmError::Shape {
        what: format!("the script of address {address}"),
        reason: e.to_string(),
    })
}

/// At the last height before MWEB the node makes no template until somebody has sent coins into the extension block.
/// Somebody is the farm: its first hundred coinbases are ripe by then.
async fn peg_in_when_wanted(rpc: Rpc) {
    loop {
        match rpc.height().await {
            Ok(height) if height + 1 == litecoind::FIRST_MWEB_HEIGHT => match litecoind::peg_in(&rpc).await {
                Ok(()) => return,
                Err(error) => tracing::warn!(%error, "no peg-in yet"),
            },
            Ok(height) if height + 1 > litecoind::FIRST_MWEB_HEIGHT => return,
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "the node's height is not known"),
        }
        tokio::time::sleep(MWEB_POLL).await;
    }
}

impl Chain {
    /// The height of the node's tip; nothing for the embedded chain.
    pub async fn height(&self) -> Result<Option<u64>, HarnessError> {
        match &self.nodes {
            Nodes::Embedded => Ok(None),
            Nodes::Pair(pair) => Ok(Some(pair.first.rpc.height().await?)),
            // Its count holds the genesis block, whose height is zero.
            Nodes::Monero(daemon) => Ok(Some(daemon.block_count().await?.saturating_sub(1))),
        }
    }

    /// What the node has at a height; an error where it has no node.
    pub async fn block_hash(&self, height: u64) -> Result<String, FarmError> {
        match &self.nodes {
            Nodes::Embedded => Err(FarmError::Shape {
                what: "the embedded chain".to_owned(),
                reason: "it has no node to ask".to_owned(),
            }),
            Nodes::Pair(pair) => Ok(pair.first.rpc.call("getblockhash", json!([height])).await?),
            Nodes::Monero(daemon) => Ok(daemon.header_at(height).await?.hash),
        }
    }
}
