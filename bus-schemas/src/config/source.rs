//! Where a pool's jobs come from and its blocks go.

use super::{InvalidConfig, MAX_TEXT_LEN, check_range, check_text, value};
use crate::{blob::Blob, units::Target};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most nodes behind one job source.
pub const MAX_SOURCE_NODES: usize = 8;
/// Longest payout script in bytes.
pub const MAX_SCRIPT_LEN: usize = 520;

/// Where jobs come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SourceConfig {
    /// The embedded chain: real headers, nothing external.
    Embedded(EmbeddedSource),
    /// Bitcoin-family nodes that answer `getblocktemplate` (BIP 22, BIP 23).
    GetBlockTemplate(GetBlockTemplateSource),
    /// Monero daemons.
    Monero(MoneroSource),
}

impl SourceConfig {
    pub(super) fn check(&self) -> Result<(), InvalidConfig> {
        match self {
            Self::Embedded(source) => check_embedded(source),
            Self::GetBlockTemplate(source) => check_get_block_template(source),
            Self::Monero(source) => check_monero(source),
        }
    }
}

impl Default for SourceConfig {
    fn default() -> Self {
        Self::Embedded(EmbeddedSource::default())
    }
}

/// Parameters of the embedded chain. They make its genesis: a pool that changes them starts another chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct EmbeddedSource {
    /// Wanted seconds between blocks.
    pub spacing_seconds: u32,
    /// Target of the first blocks in compact form, and the easiest that retargeting ever reaches.
    pub initial_bits: u32,
    /// Blocks between retargets.
    pub retarget_interval: u32,
    /// Reward of a block in the smallest unit.
    pub reward: u64,
    /// Script that receives the reward.
    pub payout_script: Blob,
    /// Time of the genesis block in seconds since the Unix epoch.
    pub genesis_time: u32,
}

impl Default for EmbeddedSource {
    fn default() -> Self {
        Self {
            spacing_seconds: 5,
            initial_bits: 0x1e03_ffff,
            retarget_interval: 12,
            reward: 5_000_000_000,
            payout_script: Blob(vec![0x51]),
            genesis_time: 1_767_225_600,
        }
    }
}

/// Bitcoin-family chains that differ in how templates are asked for or blocks are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Chain {
    /// Bitcoin main network, test networks, regtest.
    Bitcoin,
    /// A Bitcoin signet; the template is asked for with the `signet` rule.
    BitcoinSignet,
    /// Litecoin, with its MWEB extension blocks.
    Litecoin,
}

/// Bitcoin-family nodes as a job source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GetBlockTemplateSource {
    /// Which rules hold.
    pub chain: Chain,
    /// Nodes in order of preference; blocks go to all of them.
    pub nodes: Vec<NodeEndpoint>,
    /// Who is paid.
    pub payout: Payout,
    /// Text in the coinbase that names the pool, at most 32 bytes.
    #[serde(default)]
    pub tag: String,
    /// Time between templates where long polling is not offered, milliseconds.
    #[serde(default = "default_poll_ms")]
    pub poll_ms: u32,
}

fn default_poll_ms() -> u32 {
    2_000
}

/// Monero daemons as a job source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MoneroSource {
    /// Daemons in order of preference; blocks go to all of them.
    pub nodes: Vec<NodeEndpoint>,
    /// Address of the wallet that is paid, of the network that the daemons are on (regtest: the main network). The
    /// daemon makes the outputs, and only the wallet's owner can tell that they are his: use daemons of your own.
    pub wallet: String,
    /// Time between two questions whether there is something new, milliseconds.
    #[serde(default = "default_poll_ms")]
    pub poll_ms: u32,
}

/// Longest coinbase tag in bytes.
pub const MAX_TAG_LEN: usize = 32;

/// Where a node listens. The name and password lie in the coordinator's own host file under `credentials`;
/// no secret is ever on the bus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeEndpoint {
    /// For instance `http://127.0.0.1:8332`.
    pub url: String,
    /// Entry of the coordinator's host file.
    #[serde(default)]
    pub credentials: Option<String>,
}

/// Who is paid by a block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Payout {
    /// An output script.
    Script(Blob),
    /// An address of the chain.
    Address(String),
}

fn check_script(field: &'static str, script: &Blob) -> Result<(), InvalidConfig> {
    check_range(field, script.0.len() as u64, 1..=MAX_SCRIPT_LEN as u64)
}

fn check_embedded(source: &EmbeddedSource) -> Result<(), InvalidConfig> {
    check_range("source.embedded.spacing_seconds", source.spacing_seconds.into(), 1..=86_400)?;
    check_range("source.embedded.retarget_interval", source.retarget_interval.into(), 2..=50_000)?;
    check_range("source.embedded.reward", source.reward, 1..=2_100_000_000_000_000)?;
    check_script("source.embedded.payout_script", &source.payout_script)?;
    Target::from_compact(source.initial_bits)
        .map(|_| ())
        .map_err(|e| value("source.embedded.initial_bits", e.to_string()))
}

fn check_url(field: &'static str, url: &str) -> Result<(), InvalidConfig> {
    check_text(field, url, MAX_TEXT_LEN)?;
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err(value(field, "must begin with http:// or https://"));
    }
    if url.contains('@') {
        return Err(value(
            field,
            "holds a password; put it into the coordinator's host file and name it in credentials",
        ));
    }
    Ok(())
}

fn check_get_block_template(source: &GetBlockTemplateSource) -> Result<(), InvalidConfig> {
    check_range("source.get-block-template.nodes", source.nodes.len() as u64, 1..=MAX_SOURCE_NODES as u64)?;
    source.nodes.iter().try_for_each(|node| check_url("source.get-block-template.nodes.url", &node.url))?;
    check_text("source.get-block-template.tag", &source.tag, MAX_TAG_LEN)?;
    check_range("source.get-block-template.poll_ms", source.poll_ms.into(), 100..=600_000)?;
    match &source.payout {
        Payout::Script(script) => check_script("source.get-block-template.payout", script),
        Payout::Address(address) => check_text("source.get-block-template.payout", address, MAX_TEXT_LEN),
    }
}

fn check_monero(source: &MoneroSource) -> Result<(), InvalidConfig> {
    check_range("source.monero.nodes", source.nodes.len() as u64, 1..=MAX_SOURCE_NODES as u64)?;
    source.nodes.iter().try_for_each(|node| check_url("source.monero.nodes.url", &node.url))?;
    check_text("source.monero.wallet", &source.wallet, MAX_TEXT_LEN)?;
    check_range("source.monero.poll_ms", source.poll_ms.into(), 100..=600_000)
}
