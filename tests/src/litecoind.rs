//! litecoind on regtest: scrypt, and MWEB from height 432 on.

use crate::HarnessError;
use crate::chain_node::{ChainNode, ChainPair};
use crate::folder::RunFolder;
use crate::parts::Part;
use crate::ports::free_ports;
use crate::process::Launch;
use crate::rpc::{Rpc, RpcError};
use serde_json::{Value, json};

/// The user of the nodes' JSON-RPC, which listens on loopback only.
pub const RPC_USER: &str = "dcmf";
/// That user's password.
pub const RPC_PASSWORD: &str = "loopback-only";
/// The rules that litecoind wants of a template's request, neither more nor fewer.
pub const RULES: [&str; 2] = ["mweb", "segwit"];
/// The height of the first block of regtest that holds an extension block.
pub const FIRST_MWEB_HEIGHT: u64 = 432;
/// An old tip, as on any regtest that was left alone, must not count as a chain still being downloaded.
const ANY_TIP_AGE_SECONDS: u64 = 4_000_000_000;

/// Starts two litecoind that know each other, the first with a wallet.
pub async fn start(folder: RunFolder) -> Result<ChainPair, HarnessError> {
    let [first_rpc, first_p2p, second_rpc, second_p2p] = free_ports()?;
    let first = node(&folder, "litecoind-1", first_rpc, first_p2p, 0).await?;
    let second = node(&folder, "litecoind-2", second_rpc, second_p2p, first_p2p).await?;
    let mut pair = ChainPair { first, second, folder };
    load_wallet(&pair.first.rpc).await?;
    pair.first.template(&RULES).await?;
    pair.second.template(&RULES).await?;
    Ok(pair)
}

/// A new address of the wallet; `kind` is `bech32` or `mweb`.
pub async fn new_address(rpc: &Rpc, kind: &str) -> Result<String, RpcError> {
    rpc.call("getnewaddress", json!(["", kind])).await
}

/// Lets the node mine `blocks` blocks of its own to a new address of its wallet.
pub async fn generate(rpc: &Rpc, blocks: u64) -> Result<Vec<String>, RpcError> {
    let address = new_address(rpc, "bech32").await?;
    rpc.call("generatetoaddress", json!([blocks, address])).await
}

/// Brings the chain to the last block before MWEB and puts a peg-in into the mempool; without one no template is made.
/// The next block is the first with an extension block.
pub async fn prepare_mweb(rpc: &Rpc) -> Result<(), RpcError> {
    let height = rpc.height().await?;
    generate(rpc, (FIRST_MWEB_HEIGHT - 1).saturating_sub(height)).await?;
    peg_in(rpc).await
}

/// Sends one coin of the wallet into the extension block.
pub async fn peg_in(rpc: &Rpc) -> Result<(), RpcError> {
    let address = new_address(rpc, "mweb").await?;
    rpc.call::<String>("sendtoaddress", json!([address, 1])).await.map(drop)
}

/// The node loads the wallet by itself from its second start on.
async fn load_wallet(rpc: &Rpc) -> Result<(), RpcError> {
    const NAME: &str = "dcmf";
    let loaded: Vec<String> = rpc.call("listwallets", json!([])).await?;
    if loaded.iter().any(|name| name == NAME) {
        return Ok(());
    }
    // Name, no private keys, blank, passphrase, avoid reuse, descriptors, load on start.
    let wallet = json!([NAME, false, false, "", false, false, true]);
    rpc.call::<Value>("createwallet", wallet).await.map(drop)
}

/// `peer` is the port of the node to connect to; 0 connects to nobody.
async fn node(
    folder: &RunFolder,
    name: &str,
    rpc: u16,
    p2p: u16,
    peer: u16,
) -> Result<ChainNode, HarnessError> {
    let data = folder.inner(name)?;
    let peer = if peer == 0 { "-connect=0".to_owned() } else { format!("-connect=127.0.0.1:{peer}") };
    let launch = Launch::new(name, Part::Litecoind.locate()?, folder.path())
        .args([
            "-regtest",
            "-server",
            "-listen=1",
            "-dnsseed=0",
            "-discover=0",
            "-upnp=0",
            "-printtoconsole=1",
        ])
        .args(["-rpcbind=127.0.0.1", "-rpcallowip=127.0.0.1", "-fallbackfee=0.001"])
        .args([format!("-datadir={}", data.display()), format!("-maxtipage={ANY_TIP_AGE_SECONDS}"), peer])
        .args([format!("-bind=127.0.0.1:{p2p}"), format!("-rpcport={rpc}")])
        .args([format!("-rpcuser={RPC_USER}"), format!("-rpcpassword={RPC_PASSWORD}")]);
    ChainNode::start(launch, Rpc::local(rpc, RPC_USER, RPC_PASSWORD)).await
}
