//! Bitcoin Knots on the same custom signet as [`crate::btcd`]: a second opinion, stricter in places.

use crate::HarnessError;
use crate::btcd::{RPC_PASSWORD, RPC_USER, SIGNET_CHALLENGE};
use crate::chain_node::{ChainNode, ChainPair};
use crate::folder::RunFolder;
use crate::parts::Part;
use crate::ports::free_ports;
use crate::process::Launch;
use crate::rpc::Rpc;

/// The rules that it wants of a template's request on a signet.
pub const RULES: [&str; 2] = ["segwit", "signet"];
/// An old tip, as on any signet that was left alone, must not count as a chain still being downloaded.
const ANY_TIP_AGE_SECONDS: u64 = 4_000_000_000;

/// Starts two nodes that know each other.
pub async fn start(folder: RunFolder) -> Result<ChainPair, HarnessError> {
    let [first_rpc, first_p2p, second_rpc, second_p2p] = free_ports()?;
    let first = node(&folder, "bitcoin-knots-1", first_rpc, first_p2p, "0".to_owned()).await?;
    let peer = format!("127.0.0.1:{first_p2p}");
    let second = node(&folder, "bitcoin-knots-2", second_rpc, second_p2p, peer).await?;
    let mut pair = ChainPair { first, second, folder };
    pair.first.template(&RULES).await?;
    pair.second.template(&RULES).await?;
    Ok(pair)
}

async fn node(
    folder: &RunFolder,
    name: &str,
    rpc: u16,
    p2p: u16,
    connect: String,
) -> Result<ChainNode, HarnessError> {
    let data = folder.inner(name)?;
    let launch = Launch::new(name, Part::BitcoinKnots.locate()?, folder.path())
        .args(["-signet", "-server", "-listen=1", "-dnsseed=0", "-fixedseeds=0", "-discover=0", "-natpmp=0"])
        .args(["-rpcbind=127.0.0.1", "-rpcallowip=127.0.0.1", "-printtoconsole=1"])
        .args([format!("-signetchallenge={SIGNET_CHALLENGE}"), format!("-maxtipage={ANY_TIP_AGE_SECONDS}")])
        .args([format!("-datadir={}", data.display()), format!("-connect={connect}")])
        .args([format!("-bind=127.0.0.1:{p2p}"), format!("-rpcport={rpc}")])
        .args([format!("-rpcuser={RPC_USER}"), format!("-rpcpassword={RPC_PASSWORD}")]);
    ChainNode::start(launch, Rpc::local(rpc, RPC_USER, RPC_PASSWORD)).await
}
