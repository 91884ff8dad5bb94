//! Real nodes in order of preference: which is asked, and how a block goes to all of them.

mod failover;
mod follow;
mod login;
mod long_poll;
mod rpc;
mod task;
pub(crate) mod verdict;
mod watch;

pub(crate) use failover::Asked;
pub use failover::{LAG_GRACE_MS, MAX_BACKOFF_MS, MAX_REFUSAL_PAUSE_MS, REFUSAL_PAUSE_MS, RETURN_AFTER_MS};
pub(crate) use follow::{Answer, Asks, Follow, Question};
pub use login::Credentials;
pub use long_poll::Abandoned;
pub use rpc::Limits;
pub(crate) use rpc::{Dialect, Rpc, words};
pub use watch::{LOOK_INTERVAL, TEMPLATE_LOOK_INTERVAL};

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
use tokio::{
    sync::{mpsc, watch as observed},
    time::Instant,
};

/// A block in the place of ours, with this many on top of it, stays there: ours is not submitted again.
pub const BURIED_BLOCKS: u64 = 6;

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
    /// Counts what was learnt of the nodes.
    learnt: observed::Sender<u64>,
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
        Ok(Self {
            failover: Mutex::new(Failover::new(nodes.len())),
            nodes,
            learnt: observed::Sender::new(0),
            started: Instant::now(),
        })
    }

    fn failover(&self) -> MutexGuard<'_, Failover> {
        self.failover.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is known of the nodes; whoever waits for another node looks again.
    fn learn<T>(&self, change: impl FnOnce(&mut Failover, u64) -> T) -> T {
        let changed = change(&mut self.failover(), self.now_ms());
        self.learnt.send_modify(|count| *count = count.wrapping_add(1));
        changed
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis().try_into().unwrap_or(u64::MAX)
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn rpc(&self, index: usize) -> Option<&Arc<Rpc>> {
        self.nodes.get(index)
    }

    /// The node of this name.
    pub(crate) fn named(&self, url: &str) -> Option<(usize, &Arc<Rpc>)> {
        self.nodes.iter().enumerate().find(|(_, node)| node.url == url)
    }

    /// The node to ask, after waiting for the first to recover if all are pausing.
    pub(crate) async fn pick(&self) -> Result<(usize, &Arc<Rpc>), SourceError> {
        let mut learnt = self.learnt.subscribe();
        loop {
            learnt.mark_unchanged();
            let pick = self.failover().pick(self.now_ms());
            match pick {
                Pick::WaitUntil(at_ms) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(self.started + Duration::from_millis(at_ms)) => {}
                        _ = learnt.changed() => {}
                    }
                }
                Pick::Ask(index) => match self.nodes.get(index) {
                    Some(node) => return Ok((index, node)),
                    None => return Err(SourceError::Setup { reason: "there is no node".to_owned() }),
                },
            }
        }
    }

    /// Ends when another node than this one is to be asked.
    pub(crate) async fn other_than(&self, index: usize) {
        let mut learnt = self.learnt.subscribe();
        loop {
            learnt.mark_unchanged();
            match self.failover().pick(self.now_ms()) {
                Pick::Ask(other) if other != index => return,
                _ => {}
            }
            if learnt.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// The node gave a template that is used; its best block has this height.
    pub(crate) fn succeeded(&self, index: usize, height: u64) {
        self.learn(|failover, now| failover.succeeded(index, height, now));
    }

    /// The node gave a template that is not used.
    pub(crate) fn gave(&self, index: usize, height: u64) {
        self.learn(|failover, now| failover.gave(index, height, now));
    }

    /// The node said how far it is.
    pub(crate) fn measured(&self, index: usize, height: u64) {
        self.learn(|failover, now| failover.measured(index, height, now));
    }

    /// The node did not answer, or wrongly.
    pub(crate) fn failed(&self, index: usize, asked: Asked, error: &SourceError) {
        self.learn(|failover, now| failover.failed(index, asked, now, error.to_string()));
    }

    /// The node refused its own template.
    pub(crate) fn refused(&self, index: usize, reason: String) {
        self.learn(|failover, now| failover.refused(index, now, reason));
    }

    /// The node takes its own template.
    pub(crate) fn agreed(&self, index: usize) {
        self.learn(|failover, _| failover.agreed(index));
    }

    pub(crate) fn look_at(&self, index: usize) -> Option<Asked> {
        self.failover().look_at(index, self.now_ms())
    }

    pub(crate) fn is_current(&self, index: usize) -> bool {
        self.failover().is_current(index)
    }

    /// Whether templates come from another node than this one, which is good for it.
    pub(crate) fn is_used_beside(&self, index: usize) -> bool {
        self.failover().is_used_beside(index, self.now_ms())
    }

    /// Each node has a task of its own that ends by the limits of its calls; one that is slower than the first
    /// success goes on and is heard no more.
    pub(crate) async fn give<F>(
        &self,
        block: &FoundBlock,
        submit: impl Fn(Arc<Rpc>, Arc<Submittable>) -> F,
    ) -> Submission
    where
        F: Future<Output = Result<Judged, SourceError>> + Send + 'static,
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
                let report = match submission.await {
                    Ok(Judged { outcome, buried }) => NodeReport { node: url, outcome: Ok(outcome), buried },
                    Err(error) => NodeReport { node: url, outcome: Err(error), buried: false },
                };
                tracing::debug!(?report, "a node answered for a block");
                // Nobody listens any more once another node has accepted.
                let _ = answers.send(report).await;
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
        let (failover, now_ms) = (self.failover(), self.now_ms());
        let named = self.nodes.iter().zip(failover.states()).enumerate();
        named
            .map(|(index, (node, (current, state)))| NodeHealth {
                node: node.url.clone(),
                current,
                failures: state.failures,
                last_error: state.last_error.clone(),
                standing: failover.standing(index, now_ms),
                height: state.height,
                answered_ago: state.answered_at_ms.map(|at| Duration::from_millis(now_ms.saturating_sub(at))),
                behind: state
                    .behind
                    .and_then(|further| Some((self.nodes.get(further.node)?.url.clone(), further.height))),
            })
            .collect()
    }
}

/// What a node has made of a block.
pub(crate) struct Judged {
    pub(crate) outcome: SubmitOutcome,
    /// With [`SubmitOutcome::NotTip`]: what is in its place stays there.
    pub(crate) buried: bool,
}

impl Judged {
    pub(crate) fn now(outcome: SubmitOutcome) -> Self {
        Self { outcome, buried: false }
    }
}

/// What a node's active chain has in a block's place.
pub(crate) enum Place {
    /// The block itself.
    Ours,
    /// Another, with [`BURIED_BLOCKS`] on top.
    Lost,
    /// Another for now, or none yet.
    Open,
    /// The node does not say such a thing at all.
    Untold,
}

/// What a node's answer to a submission means, together with what its chain has in the block's place.
pub(crate) fn judge(
    node: &Rpc,
    meaning: Option<verdict::Meaning>,
    words: Option<String>,
    place: &Place,
) -> Result<Judged, SourceError> {
    use verdict::Meaning;
    let silent = words.is_none();
    let said = words.unwrap_or_else(|| "nothing".to_owned());
    let node = || node.url.clone();
    let taken = || if silent { SubmitOutcome::Accepted } else { SubmitOutcome::AlreadyKnown };
    match (meaning, place) {
        (Some(Meaning::No), _) => Ok(Judged::now(SubmitOutcome::Refused { reason: said })),
        (_, Place::Ours) => Ok(Judged::now(taken())),
        (_, Place::Lost) => Ok(Judged { outcome: SubmitOutcome::NotTip, buried: true }),
        (Some(Meaning::Held), Place::Open) => Ok(Judged::now(SubmitOutcome::NotTip)),
        (Some(Meaning::Held), Place::Untold) => Ok(Judged::now(taken())),
        (Some(Meaning::Behind), Place::Open | Place::Untold) => {
            Err(SourceError::Behind { node: node(), said })
        }
        (Some(Meaning::NotNow), Place::Open | Place::Untold) => {
            Err(SourceError::NotNow { node: node(), said })
        }
        (None, Place::Open | Place::Untold) => Err(SourceError::UnknownAnswer { node: node(), said }),
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
