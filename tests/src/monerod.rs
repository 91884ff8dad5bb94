//! monerod on regtest: RandomX with the difficulty that a test chooses, so shares and blocks can be told apart.

use crate::HarnessError;
use crate::chain_node::ChainNode;
use crate::folder::RunFolder;
use crate::parts::Part;
use crate::ports::free_ports;
use crate::process::Launch;
use crate::rpc::{Rpc, RpcError};
use serde::Deserialize;
use serde::de::{DeserializeOwned, Error as _};
use serde_json::{Value, json};

/// A main-net address, which is what regtest wants: the donation address in the Monero project's own README.
pub const ANY_MINING_ADDRESS: &str =
    "44AFFq5kSiGBoZ4NMDwYtN18obc8AemS33DBLWs3H7otXft3XjrpDtQGv7SqSsaBYBb98uNbr2VBBEt7f2wfn3RVGQBEP3A";

/// One node that knows nobody; it hands out templates all the same.
#[derive(Debug)]
pub struct Monerod {
    /// The process and its JSON-RPC (`<url>/json_rpc`, no name and no password).
    pub node: ChainNode,
    /// The node's own paths lie below it: `http://127.0.0.1:<port>`.
    pub url: String,
    /// What it writes; dropped after the process.
    pub folder: RunFolder,
}

/// What a miner is to search, as `get_block_template` says it. Hex as the node gives it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Template {
    /// The block, with the nonce and the reserved bytes at zero.
    pub blocktemplate_blob: String,
    /// What is hashed.
    pub blockhashing_blob: String,
    /// Hashes that a block takes, about.
    pub difficulty: u64,
    /// Of the block.
    pub height: u64,
    /// Of the block before.
    pub prev_hash: String,
    /// Where the reserved bytes begin in the block; it moves.
    pub reserved_offset: usize,
    /// Key of RandomX.
    pub seed_hash: String,
    /// Height of the block that the key is the hash of.
    pub seed_height: u64,
    /// The key after this one; empty until it is known.
    pub next_seed_hash: String,
    /// What the block pays, in piconero.
    pub expected_reward: u64,
}

/// A block of the chain.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct BlockHeader {
    /// Its id.
    pub hash: String,
    /// Its height.
    pub height: u64,
    /// Its nonce.
    pub nonce: u32,
    /// What it pays to its miner, in piconero.
    pub reward: u64,
    /// Id of the block before.
    pub prev_hash: String,
    /// Whether it is on no chain that counts.
    pub orphan_status: bool,
}

/// Starts a node whose blocks each take `difficulty` hashes, about.
pub async fn start(folder: RunFolder, difficulty: u64) -> Result<Monerod, HarnessError> {
    started(folder, difficulty, &[]).await
}

/// Starts one that answers only who knows `login`, a name and a password with a colon between. So the JSON-RPC of what
/// this returns is refused.
pub async fn start_with_login(
    folder: RunFolder,
    difficulty: u64,
    login: &str,
) -> Result<Monerod, HarnessError> {
    started(folder, difficulty, &["--rpc-login", login]).await
}

async fn started(folder: RunFolder, difficulty: u64, more: &[&str]) -> Result<Monerod, HarnessError> {
    let [port] = free_ports()?;
    let data = folder.inner("monerod")?;
    // Without a file of its own monerod reads the one in the user's home.
    let config = data.join("monerod.conf");
    std::fs::write(&config, "").map_err(HarnessError::io(format!("writing {}", config.display())))?;
    // Unless told to keep it, monerod begins each start on regtest with an empty chain.
    let launch = Launch::new("monerod", Part::Monerod.locate()?, folder.path())
        .args([
            "--regtest",
            "--keep-fakechain",
            "--offline",
            "--non-interactive",
            "--no-igd",
            "--no-zmq",
            "--hide-my-port",
        ])
        .args(["--p2p-bind-ip", "127.0.0.1", "--p2p-bind-port", "0", "--rpc-bind-ip", "127.0.0.1"])
        .args(["--rpc-ssl", "disabled", "--disable-dns-checkpoints", "--check-updates", "disabled"])
        .args(more)
        .args(["--rpc-bind-port".to_owned(), port.to_string()])
        .args(["--fixed-difficulty".to_owned(), difficulty.to_string()])
        .args(["--data-dir".into(), data.as_os_str().to_owned()])
        .args(["--config-file".into(), config.into_os_string()])
        .args(["--log-file".into(), data.join("own.log").into_os_string()]);
    let url = format!("http://127.0.0.1:{port}");
    let node = ChainNode::start(launch, Rpc::open(format!("{url}/json_rpc"))).await?;
    Ok(Monerod { node, url, folder })
}

impl Monerod {
    /// Its JSON-RPC, for methods that are not below.
    pub fn rpc(&self) -> &Rpc {
        &self.node.rpc
    }

    /// Blocks of the chain, the genesis block among them: the height of the next one.
    pub async fn block_count(&self) -> Result<u64, RpcError> {
        field(self.rpc(), "get_block_count", json!([]), "count").await
    }

    /// A template that pays to `address` and leaves `reserve_len` bytes of the miner's own in the coinbase.
    pub async fn template(&self, address: &str, reserve_len: usize) -> Result<Template, RpcError> {
        let wanted = json!({"wallet_address": address, "reserve_size": reserve_len});
        self.rpc().call("get_block_template", wanted).await
    }

    /// The block at `height` of the chain that counts.
    pub async fn header_at(&self, height: u64) -> Result<BlockHeader, RpcError> {
        field(self.rpc(), "get_block_header_by_height", json!({"height": height}), "block_header").await
    }

    /// The last block of the chain that counts.
    pub async fn last_header(&self) -> Result<BlockHeader, RpcError> {
        field(self.rpc(), "get_last_block_header", json!({}), "block_header").await
    }

    /// Hands in a whole block in hex and returns the node's status. It says `OK` to one that it has already.
    pub async fn submit(&self, block: &str) -> Result<String, RpcError> {
        field(self.rpc(), "submit_block", json!([block]), "status").await
    }

    /// Lets the node mine `blocks` blocks to `address`; the height of the last. Costs about the difficulty in hashes of
    /// light mode each, and the node's first hash of a key prepares 256 MiB.
    pub async fn generate(&self, blocks: u64, address: &str) -> Result<u64, RpcError> {
        let wanted = json!({"amount_of_blocks": blocks, "wallet_address": address, "starting_nonce": 0});
        field(self.rpc(), "generateblocks", wanted, "height").await
    }
}

async fn field<T: DeserializeOwned>(
    rpc: &Rpc,
    method: &str,
    params: Value,
    name: &str,
) -> Result<T, RpcError> {
    let shape = |source| RpcError::Shape { method: method.to_owned(), source };
    let mut answer: Value = rpc.call(method, params).await?;
    let field = answer.get_mut(name).map(Value::take);
    let field = field.ok_or_else(|| shape(serde_json::Error::custom(format!("no field {name}"))))?;
    serde_json::from_value(field).map_err(shape)
}
