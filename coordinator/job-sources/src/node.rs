//! Real nodes in order of preference: which is asked, and how a block goes to all of them.

mod failover;
mod login;
mod rpc;

pub use failover::MAX_BACKOFF_MS;
pub use login::Credentials;
pub use rpc::Limits;
pub(crate) use rpc::{Dialect, Rpc};

use crate::{
    assembly::FoundBlock,
    source::{NodeHealth, NodeReport, SourceError, Submission, SubmitOutcome},
};
use bus_schemas::config::MAX_SOURCE_NODES;
use failover::{Failover, Pick};
use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::mpsc, time::Instant};

/// A node and how it knows us; the credentials come from the coordinator's own host file.
#[derive(Debug, Clone)]
pub struct NodeAddress {
    /// For instance `http://127.0.0.1:8332`.
    pub url: String,
    /// Name and password.
    pub credentials: Option<Credentials>,
}

/// The nodes of one source.
pub(crate) struct Nodes {
    nodes: Vec<Arc<Rpc>>,
    failover: Mutex<Failover>,
    started: Instant,
}

impl Nodes {
    pub(crate) fn new(
        nodes: Vec<NodeAddress>,
        dialect: Dialect,
        limits: Limits,
    ) -> Result<Self, SourceError> {
        if nodes.is_empty() || nodes.len() > MAX_SOURCE_NODES {
            let reason = format!("{} nodes are configured, give 1 to {MAX_SOURCE_NODES}", nodes.len());
            return Err(SourceError::Setup { reason });
        }
        let nodes = nodes
            .into_iter()
            .map(|node| Rpc::new(node.url, dialect, node.credentials, limits).map(Arc::new))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self { failover: Mutex::new(Failover::new(nodes.len())), nodes, started: Instant::now() })
    }

    fn failover(&self) -> MutexGuard<'_, Failover> {
        self.failover.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis().try_into().unwrap_or(u64::MAX)
    }

    /// The node of this URL.
    pub(crate) fn named(&self, url: &str) -> Option<&Rpc> {
        self.nodes.iter().find(|node| node.url == url).map(AsRef::as_ref)
    }

    /// The node to ask, after waiting for the first to recover if all are pausing.
    pub(crate) async fn pick(&self) -> Result<(usize, &Rpc), SourceError> {
        loop {
            let pick = self.failover().pick(self.now_ms());
            match pick {
                Pick::WaitUntil(at_ms) => {
                    tokio::time::sleep_until(self.started + Duration::from_millis(at_ms)).await;
                }
                Pick::Ask(index) => match self.nodes.get(index) {
                    Some(node) => return Ok((index, node)),
                    None => return Err(SourceError::Setup { reason: "there is no node".to_owned() }),
                },
            }
        }
    }

    /// The node answered.
    pub(crate) fn succeeded(&self, index: usize) {
        self.failover().succeeded(index);
    }

    /// The node did not answer, or wrongly.
    pub(crate) fn failed(&self, index: usize, error: &SourceError) {
        self.failover().failed(index, self.now_ms(), error.to_string());
    }

    /// Each node has a task of its own that ends by the limits of its calls; one that is slower than the first
    /// success goes on and is heard no more.
    pub(crate) async fn give<F>(
        &self,
        block: &FoundBlock,
        submit: impl Fn(Arc<Rpc>, Arc<Submittable>) -> F,
    ) -> Submission
    where
        F: Future<Output = Result<SubmitOutcome, SourceError>> + Send + 'static,
    {
        let (answers, mut heard) = mpsc::channel(self.nodes.len().max(1));
        let block = Arc::new(Submittable {
            hex: hex::encode(&block.bytes),
            hash: block.hash.to_display_hex(),
            height: block.height,
        });
        for node in &self.nodes {
            let (answers, url) = (answers.clone(), node.url.clone());
            let submission = submit(Arc::clone(node), Arc::clone(&block));
            tokio::spawn(async move {
                let outcome = submission.await;
                match &outcome {
                    Ok(outcome) => tracing::info!(node = url, ?outcome, "block submitted"),
                    Err(error) => tracing::warn!(%error, "block not submitted"),
                }
                // Nobody listens any more once another node has accepted.
                let _ = answers.send(NodeReport { node: url, outcome }).await;
            });
        }
        drop(answers);
        let mut reports = Vec::new();
        while let Some(report) = heard.recv().await {
            let success = report.outcome.as_ref().is_ok_and(SubmitOutcome::is_success);
            reports.push(report);
            if success {
                break;
            }
        }
        Submission { reports }
    }

    /// What is known of each node.
    pub(crate) fn health(&self) -> Vec<NodeHealth> {
        let failover = self.failover();
        let named = self.nodes.iter().zip(failover.states());
        named
            .map(|(node, (current, state))| NodeHealth {
                node: node.url.clone(),
                current,
                failures: state.failures,
                last_error: state.last_error.clone(),
            })
            .collect()
    }
}

/// A block as nodes want it.
pub(crate) struct Submittable {
    /// The whole block in hex.
    pub(crate) hex: String,
    /// Its name as the chain writes it.
    pub(crate) hash: String,
    /// Its height.
    pub(crate) height: u64,
}
