//! A node of a chain, and two of them on a network of their own: `getblocktemplate` wants a peer, failover a second node.

use crate::HarnessError;
use crate::folder::RunFolder;
use crate::process::{Launch, Process, ProcessError};
use crate::rpc::Rpc;
use serde_json::{Value, json};
use std::process::ExitStatus;
use std::time::Duration;

/// How long a node may take to answer and to find its peer.
pub const READY_DEADLINE: Duration = Duration::from_secs(60);
/// How long a node may take to write its state and go.
pub const STOP_DEADLINE: Duration = Duration::from_secs(30);

/// One running node; stopped or killed, it can be started again with its data and ports.
#[derive(Debug)]
pub struct ChainNode {
    /// The node's JSON-RPC.
    pub rpc: Rpc,
    launch: Launch,
    process: Process,
}

impl ChainNode {
    /// Starts a node and waits until its JSON-RPC answers.
    pub async fn start(launch: Launch, rpc: Rpc) -> Result<Self, HarnessError> {
        let process = launch.start()?;
        let mut node = Self { rpc, launch, process };
        node.answers().await?;
        Ok(node)
    }

    /// Stops it in order.
    pub async fn stop(&mut self) -> Result<ExitStatus, ProcessError> {
        self.process.stop(STOP_DEADLINE).await
    }

    /// Kills it where it stands.
    pub fn kill9(&mut self) -> Result<ExitStatus, ProcessError> {
        self.process.kill9()
    }

    /// Starts it again after a stop or a kill, with the same data on the same ports.
    pub async fn start_again(&mut self) -> Result<(), HarnessError> {
        self.process.kill9()?;
        self.process = self.launch.start()?;
        self.answers().await
    }

    /// The process, for signals and for its log.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    async fn answers(&mut self) -> Result<(), HarnessError> {
        let rpc = self.rpc.clone();
        // Each kind of node knows this method, and each answers something else.
        let count = async || match rpc.call::<Value>("getblockcount", json!([])).await {
            Ok(_) => Some(()),
            // A digest is what the product is to make: its node answers so much without one.
            Err(refusal) => refusal.is_unauthorized().then_some(()),
        };
        self.process.ready(READY_DEADLINE, "answer JSON-RPC", count).await
    }

    /// Waits until the node hands out a template, which takes a peer; `rules` are those that the chain asks for.
    pub async fn template(&mut self, rules: &[&str]) -> Result<Value, HarnessError> {
        let rpc = self.rpc.clone();
        let request = json!([{"rules": rules}]);
        let what = "answer getblocktemplate";
        self.process
            .ready(READY_DEADLINE, what, async || rpc.call("getblocktemplate", request.clone()).await.ok())
            .await
    }
}

/// Two nodes that know each other and nobody else.
#[derive(Debug)]
pub struct ChainPair {
    /// The one that miners are pointed at.
    pub first: ChainNode,
    /// Its peer, with a JSON-RPC of its own.
    pub second: ChainNode,
    /// What both write; dropped after the processes.
    pub folder: RunFolder,
}
