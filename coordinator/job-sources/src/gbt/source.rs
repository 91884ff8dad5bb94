//! The job source over one or more nodes.

use super::{
    answer::{BlockTemplate, Recipe},
    params,
};
use crate::{
    assembly::{FoundBlock, NO_EXTRANONCE, Solution},
    node::{Dialect, Limits, NodeAddress, Nodes, Rpc, Submittable},
    payout,
    source::{BoxFuture, JobSource, NodeHealth, Proposal, SourceError, Submission, SubmitOutcome, Template},
};
use bus_schemas::config::GetBlockTemplateSource;
use serde_json::{Value, json};
use std::time::Duration;

/// JSON-RPC code of a parameter that a node does not know: Bitcoin Core's answer to an unknown template mode.
const INVALID_PARAMETER: i64 = -8;

/// Bitcoin-family nodes in order of preference.
pub struct GbtSource {
    recipe: Recipe,
    poll: Duration,
    nodes: Nodes,
}

impl GbtSource {
    /// `nodes` are those of `config` with their credentials.
    pub fn new(
        config: &GetBlockTemplateSource,
        nodes: Vec<NodeAddress>,
        limits: Limits,
    ) -> Result<Self, SourceError> {
        let setup = |reason: String| SourceError::Setup { reason };
        let payout = payout::output_script(&config.payout, config.chain).map_err(|e| setup(e.to_string()))?;
        Ok(Self {
            recipe: Recipe { chain: config.chain, payout, tag: config.tag.clone() },
            poll: Duration::from_millis(config.poll_ms.into()),
            nodes: Nodes::new(nodes, Dialect::Bitcoin, limits)?,
        })
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
            let (index, node) = self.nodes.pick().await?;
            let longpoll =
                newest.take().filter(|(origin, _)| *origin == node.url).and_then(|(_, token)| token);
            match self.ask(node, longpoll.as_deref()).await {
                Ok(template) => {
                    self.nodes.succeeded(index);
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
                    self.nodes.failed(index, &error);
                    return Err(error);
                }
            }
        }
    }

    async fn check(&self, template: &Template) -> Result<Proposal, SourceError> {
        if !template.proposals {
            return Ok(Proposal::Unsupported);
        }
        let (Some(node), Some(assembly)) = (self.nodes.named(&template.origin), template.header()) else {
            return Ok(Proposal::Unsupported);
        };
        let (version, time) = (assembly.work.version, assembly.work.time);
        let block = assembly.block(&Solution { extranonce: NO_EXTRANONCE, version, time, nonce: 0 })?;
        let params = params::proposal(self.recipe.chain, &block.bytes);
        match node.call::<Option<String>>("getblocktemplate", params, node.limits().answer).await {
            Ok(answer) => Ok(proposal(answer)),
            Err(SourceError::Rpc { code: INVALID_PARAMETER, .. }) => Ok(Proposal::Unsupported),
            Err(error) => Err(error),
        }
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

/// Gives a block to one node.
async fn submit(node: &Rpc, block: &Submittable) -> Result<SubmitOutcome, SourceError> {
    let answer = node.call::<Value>("submitblock", json!([block.hex]), node.limits().submit).await?;
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
    match node.call::<String>("getblockhash", json!([block.height]), node.limits().answer).await {
        Ok(active) if active != block.hash => Ok(SubmitOutcome::NotTip),
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
        Box::pin(self.nodes.give(block, |node, block| async move { submit(&node, &block).await }))
    }

    fn health(&self) -> Vec<NodeHealth> {
        self.nodes.health()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::NodeReport;

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
