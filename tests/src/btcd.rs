//! btcd on a custom signet: real difficulty offline (bits `1e0377ae`, 4.84 million hashes a block), blocks unsigned
//! because the challenge is `OP_TRUE`.

use crate::HarnessError;
use crate::chain_node::{ChainNode, ChainPair};
use crate::folder::RunFolder;
use crate::parts::Part;
use crate::ports::free_ports;
use crate::process::Launch;
use crate::rpc::Rpc;

/// The signet's challenge script in hex: `OP_TRUE`.
pub const SIGNET_CHALLENGE: &str = "51";
/// The user of the nodes' JSON-RPC, which listens on loopback only.
pub const RPC_USER: &str = "dcmf";
/// That user's password.
pub const RPC_PASSWORD: &str = "loopback-only";
/// A signet address (BIP 173's test vector); btcd makes no template without one, though a pool pays its own script.
pub const ANY_MINING_ADDRESS: &str = "tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx";

/// Starts two btcd that know each other; templates pay to `mining_address`.
pub async fn start(folder: RunFolder, mining_address: &str) -> Result<ChainPair, HarnessError> {
    let [first_rpc, first_p2p, second_rpc, second_p2p] = free_ports()?;
    let peer = format!("--connect=127.0.0.1:{first_p2p}");
    let first = node(&folder, "btcd-1", first_rpc, first_p2p, mining_address, None).await?;
    let second = node(&folder, "btcd-2", second_rpc, second_p2p, mining_address, Some(peer)).await?;
    let mut pair = ChainPair { first, second, folder };
    pair.first.template(&["segwit"]).await?;
    pair.second.template(&["segwit"]).await?;
    Ok(pair)
}

async fn node(
    folder: &RunFolder,
    name: &str,
    rpc: u16,
    p2p: u16,
    mining_address: &str,
    peer: Option<String>,
) -> Result<ChainNode, HarnessError> {
    let data = folder.inner(name)?;
    // Without a file of its own btcd reads, or writes, the one in the user's home.
    let config = data.join("btcd.conf");
    std::fs::write(&config, "").map_err(HarnessError::io(format!("writing {}", config.display())))?;
    let launch = Launch::new(name, Part::Btcd.locate()?, folder.path())
        .args([format!("--datadir={}", data.display()), format!("--logdir={}", data.display())])
        .args([format!("--configfile={}", config.display())])
        .args(["--signet", "--notls", "--nodnsseed"])
        .args([format!("--signetchallenge={SIGNET_CHALLENGE}"), format!("--miningaddr={mining_address}")])
        .args([format!("--rpclisten=127.0.0.1:{rpc}"), format!("--listen=127.0.0.1:{p2p}")])
        .args([format!("--rpcuser={RPC_USER}"), format!("--rpcpass={RPC_PASSWORD}")])
        .args(peer);
    ChainNode::start(launch, Rpc::local(rpc, RPC_USER, RPC_PASSWORD)).await
}
