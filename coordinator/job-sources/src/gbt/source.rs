//! The job source over one or more nodes.

use super::{
    answer::{BlockTemplate, Recipe},
    failover::{Failover, Pick},
    params,
    rpc::{Credentials, Limits, Rpc},
};
use crate::{
    assembly::{FoundBlock, NO_EXTRANONCE, Solution},
    payout,
    source::{
        BoxFuture, JobSource, NodeHealth, NodeReport, Proposal, SourceError, Submission, SubmitOutcome,
        Template,
    },
};
use bus_schemas::config::{GetBlockTemplateSource, MAX_SOURCE_NODES};
use serde_json::{Value, json};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::mpsc, time::Instant};

/// JSON-RPC code of a parameter that a node does not know: Bitcoin Core's answer to an unknown template mode.
const INVALID_PARAMETER: i64 = -8;

/// A node and how it knows us; the credentials come from the coordinator's own host file.
#[derive(Debug, Clone)]
pub struct NodeAddress {
    /// For instance `http://127.0.0.1:8332`.
    pub url: String,
    /// Name and password.
    pub credentials: Option<Credentials>,
}

/// Bitcoin-family nodes in order of preference.
pub struct GbtSource {
    recipe: Recipe,
    poll: Duration,
    nodes: Vec<Arc<Rpc>>,
    failover: Mutex<Failover>,
    started: Instant,
}

impl GbtSource {
    /// `nodes` are those of `config` with their credentials.
    pub fn new(
        config: &GetBlockTemplateSource,
        nodes: Vec<NodeAddress>,
        limits: Limits,
    ) -> Result<Self, SourceError> {
        let setup = |reason: String| SourceError::Setup { reason };
        if nodes.is_empty() || nodes.len() > MAX_SOURCE_NODES {
            return Err(setup(format!("{} nodes are configured, give 1 to {MAX_SOURCE_NODES}", nodes.len())));
        }
        let payout = payout::output_script(&config.payout, config.chain).map_err(|e| setup(e.to_string()))?;
        let nodes = nodes
            .into_iter()
            .map(|node| Rpc::new(node.url, node.credentials, limits).map(Arc::new))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            recipe: Recipe { chain: config.chain, payout, tag: config.tag.clone() },
            poll: Duration::from_millis(config.poll_ms.into()),
            failover: Mutex::new(Failover::new(nodes.len())),
            nodes,
            started: Instant::now(),
        })
    }

    fn failover(&self) -> MutexGuard<'_, Failover> {
        self.failover.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis().try_into().unwrap_or(u64::MAX)
    }

    /// The node to ask, after waiting for the first to recover if all are pausing.
    async fn node(&self) -> Result<(usize, &Rpc), SourceError> {
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

    async fn ask(&self, node: &Rpc, longpoll: Option<&str>) -> Result<Template, SourceError> {
        let limit = if longpoll.is_some() { node.limits().longpoll } else { node.limits().answer };
        let params = params::template(self.recipe.chain, longpoll);
        let answer: BlockTemplate = node.call("getblocktemplate", params, limit).await?;
        answer
            .into_template(&self.recipe, &node.url)
            .map_err(|reason| SourceError::Template { node: node.url.clone(), reason })
    }

    async fn next(&self, after: Option<&Template>) -> Result<Template, SourceError> {
        // The node that sent the newest template, and its token for the next.
        let mut newest = after.map(|last| (last.origin.clone(), last.longpoll.clone()));
        loop {
            let (index, node) = self.node().await?;
            let longpoll =
                newest.take().filter(|(origin, _)| *origin == node.url).and_then(|(_, token)| token);
            match self.ask(node, longpoll.as_deref()).await {
                Ok(template) => {
                    self.failover().succeeded(index);
                    if after.is_none_or(|last| template.differs_from(last)) {
                        return Ok(template);
                    }
                    // Also a node that ends long polls without anything new is asked no faster than by polling.
                    if longpoll.is_some() || template.longpoll.is_none() {
                        tokio::time::sleep(self.poll).await;
                    }
                    newest = Some((template.origin, template.longpoll));
                }
                // Nothing new, or a dead node: the plain question that follows tells which.
                Err(SourceError::Timeout { .. }) if longpoll.is_some() => {}
                Err(error) => {
                    self.failover().failed(index, self.now_ms(), error.to_string());
                    return Err(error);
                }
            }
        }
    }

    async fn check(&self, template: &Template) -> Result<Proposal, SourceError> {
        if !template.proposals {
            return Ok(Proposal::Unsupported);
        }
        let Some(node) = self.nodes.iter().find(|node| node.url == template.origin) else {
            return Ok(Proposal::Unsupported);
        };
        let work = template.work();
        let solution =
            Solution { extranonce: NO_EXTRANONCE, version: work.version, time: work.time, nonce: 0 };
        let block = template.assembly.block(&solution)?;
        let params = params::proposal(self.recipe.chain, &block.bytes);
        match node.call::<Option<String>>("getblocktemplate", params, node.limits().answer).await {
            Ok(answer) => Ok(proposal(answer)),
            Err(SourceError::Rpc { code: INVALID_PARAMETER, .. }) => Ok(Proposal::Unsupported),
            Err(error) => Err(error),
        }
    }

    /// Each node has a task of its own that ends by the limits of its calls; one that is slower than the first
    /// success goes on and is heard no more.
    async fn give(&self, block: &FoundBlock) -> Submission {
        let (answers, mut heard) = mpsc::channel(self.nodes.len().max(1));
        let data: Arc<str> = hex::encode(&block.bytes).into();
        let hash: Arc<str> = block.hash.to_display_hex().into();
        let height = block.height;
        for node in &self.nodes {
            let (node, answers) = (Arc::clone(node), answers.clone());
            let (data, hash) = (Arc::clone(&data), Arc::clone(&hash));
            tokio::spawn(async move {
                let outcome = submit(&node, &data, &hash, height).await;
                match &outcome {
                    Ok(outcome) => tracing::info!(node = node.url, ?outcome, "block submitted"),
                    Err(error) => tracing::warn!(%error, "block not submitted"),
                }
                // Nobody listens any more once another node has accepted.
                let _ = answers.send(NodeReport { node: node.url.clone(), outcome }).await;
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
}

/// What a proposal's answer means (BIP 22, BIP 23): nothing is good, a word is the reason.
fn proposal(answer: Option<String>) -> Proposal {
    match answer {
        None => Proposal::Valid,
        // btcd says "bad-prevblk", Bitcoin Core "inconclusive-not-best-prevblk".
        Some(reason) if reason == "bad-prevblk" || reason.starts_with("inconclusive") => Proposal::Stale,
        Some(reason) => Proposal::Refused { reason },
    }
}

/// What the answer to `submitblock` says by itself; `None` is silence. btcd has a sentence of its own for a block that
/// it knows.
fn submitted(answer: Option<String>) -> Option<SubmitOutcome> {
    match answer?.as_str() {
        "duplicate" => Some(SubmitOutcome::AlreadyKnown),
        "inconclusive" | "duplicate-inconclusive" => Some(SubmitOutcome::NotTip),
        reason if reason.starts_with("rejected: already have block (orphan)") => Some(SubmitOutcome::NotTip),
        reason if reason.starts_with("rejected: already have block") => Some(SubmitOutcome::AlreadyKnown),
        reason => Some(SubmitOutcome::Refused { reason: reason.to_owned() }),
    }
}

/// Gives a block to one node; `data` is the block in hex, `hash` its name as nodes write it.
async fn submit(node: &Rpc, data: &str, hash: &str, height: u64) -> Result<SubmitOutcome, SourceError> {
    let answer = node.call::<Value>("submitblock", json!([data]), node.limits().submit).await?;
    let answer = match answer {
        Value::Null => None,
        Value::String(reason) => Some(reason),
        other => {
            let what = format!("neither nothing nor a reason: {other}");
            return Err(SourceError::BadAnswer { node: node.url.clone(), method: "submitblock", what });
        }
    };
    // btcd is as silent over a side chain's block as over the tip's, and knows both when it hears of them again.
    let success = match submitted(answer) {
        None => SubmitOutcome::Accepted,
        Some(SubmitOutcome::AlreadyKnown) => SubmitOutcome::AlreadyKnown,
        Some(outcome) => return Ok(outcome),
    };
    match node.call::<String>("getblockhash", json!([height]), node.limits().answer).await {
        Ok(active) if active != hash => Ok(SubmitOutcome::NotTip),
        Err(SourceError::Rpc { .. }) => Ok(SubmitOutcome::NotTip),
        // The node took the block; that it says no more does not undo that.
        Ok(_) | Err(_) => Ok(success),
    }
}

impl JobSource for GbtSource {
    fn template<'a>(&'a self, after: Option<&'a Template>) -> BoxFuture<'a, Result<Template, SourceError>> {
        Box::pin(self.next(after))
    }

    fn propose<'a>(&'a self, template: &'a Template) -> BoxFuture<'a, Result<Proposal, SourceError>> {
        Box::pin(self.check(template))
    }

    fn submit<'a>(&'a self, block: &'a FoundBlock) -> BoxFuture<'a, Submission> {
        Box::pin(self.give(block))
    }

    fn health(&self) -> Vec<NodeHealth> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_knows_the_block_already_counts_as_success_in_every_dialect() {
        for answer in ["duplicate", "rejected: already have block 0000ab"] {
            assert_eq!(submitted(Some(answer.into())), Some(SubmitOutcome::AlreadyKnown), "{answer}");
        }
    }

    #[test]
    fn inconclusive_means_valid_but_not_the_tip_and_other_words_are_reasons() {
        assert_eq!(submitted(Some("inconclusive".into())), Some(SubmitOutcome::NotTip));
        let reason = "bad-cb-amount".to_owned();
        assert_eq!(submitted(Some(reason.clone())), Some(SubmitOutcome::Refused { reason }));
        assert_eq!(submitted(None), None);
    }

    #[test]
    fn a_proposal_on_an_old_tip_is_stale_and_not_refused() {
        assert_eq!(proposal(None), Proposal::Valid);
        assert_eq!(proposal(Some("bad-prevblk".into())), Proposal::Stale);
        assert_eq!(proposal(Some("inconclusive-not-best-prevblk".into())), Proposal::Stale);
        assert!(matches!(proposal(Some("bad-txns".into())), Proposal::Refused { .. }));
    }

    #[test]
    fn the_best_of_several_answers_is_the_submissions_outcome() {
        let report = |outcome| NodeReport { node: "n".into(), outcome };
        let down = || Err(SourceError::Unauthorized { node: "n".into() });
        let refused = || Ok(SubmitOutcome::Refused { reason: "no".into() });
        let of = |outcomes: Vec<_>| Submission { reports: outcomes.into_iter().map(report).collect() };
        assert!(of(vec![]).outcome().is_none());
        assert!(matches!(of(vec![down()]).outcome(), Some(Err(_))));
        assert!(matches!(of(vec![down(), refused()]).outcome(), Some(Ok(SubmitOutcome::Refused { .. }))));
        let all = of(vec![refused(), Ok(SubmitOutcome::NotTip), Ok(SubmitOutcome::AlreadyKnown), down()]);
        assert!(matches!(all.outcome(), Some(Ok(SubmitOutcome::AlreadyKnown))));
    }
}
