//! The job source over one or more nodes.

use super::{
    answer::{BlockTemplate, Recipe},
    params,
};
use crate::{
    assembly::{FoundBlock, NO_EXTRANONCE, Solution},
    node::{
        Abandoned, Answer, Asked, Asks, BURIED_BLOCKS, Dialect, Follow, Judged, Limits, NodeAddress, Nodes,
        Place, Question, Rpc, Submittable, judge,
        verdict::{Meaning, Said, meaning},
        words,
    },
    payout,
    source::{BoxFuture, JobSource, NodeHealth, Proposal, SourceError, Submission, Template},
};
use bus_schemas::config::{Chain, GetBlockTemplateSource};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

/// JSON-RPC code of a parameter that a node does not know: Bitcoin Core's answer to an unknown template mode.
const INVALID_PARAMETER: i64 = -8;
/// JSON-RPC code of a method that a node does not know.
const METHOD_NOT_FOUND: i64 = -32_601;
/// Most templates one after another that their own node calls stale; the next such answer is a refusal.
const MAX_STALE: u32 = 10;
/// How long a long poll may wait. Plain questions beside it tell whether the node lives.
const LONG_POLL_LIFE: Duration = Duration::from_secs(24 * 3_600);

/// Bitcoin-family nodes in order of preference.
pub struct GbtSource {
    chain: Chain,
    follow: Follow<Gbt>,
    /// Templates one after another that were stale when they were proposed.
    stale: AtomicU32,
}

/// How Bitcoin-family nodes are asked.
struct Gbt(Arc<Recipe>);

impl Asks for Gbt {
    fn template(
        &self,
        node: Arc<Rpc>,
        question: Question,
    ) -> BoxFuture<'static, Result<Answer, SourceError>> {
        let recipe = Arc::clone(&self.0);
        Box::pin(async move {
            let (limit, token) = match &question {
                Question::After(token) => (LONG_POLL_LIFE, Some(token.as_str())),
                Question::Now | Question::Unless(_) => (node.limits().answer, None),
            };
            let params = params::template(recipe.chain, token);
            let answer: BlockTemplate = node.call("getblocktemplate", params, limit).await?;
            let template = answer
                .into_template(&recipe, &node.url)
                .map_err(|reason| SourceError::Template { node: node.url.clone(), reason })?;
            let height = template.assembly.height().saturating_sub(1);
            Ok(Answer { height, template: Some(template) })
        })
    }

    fn height(&self, node: Arc<Rpc>) -> BoxFuture<'static, Result<u64, SourceError>> {
        Box::pin(async move { node.call("getblockcount", json!([]), node.limits().answer).await })
    }
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
        let recipe = Recipe { chain: config.chain, payout, tag: config.tag.clone() };
        let nodes = Nodes::new(nodes, Dialect::Bitcoin, limits)?;
        let poll = Duration::from_millis(config.poll_ms.into());
        Ok(Self {
            chain: config.chain,
            follow: Follow::new(Gbt(Arc::new(recipe)), nodes, poll),
            stale: AtomicU32::new(0),
        })
    }

    /// Knows the long polls that earlier sources of this process may have left at the nodes, and remembers its own there.
    #[must_use]
    pub fn remembering(mut self, abandoned: Abandoned) -> Self {
        self.follow.remember_abandoned(abandoned);
        self
    }

    async fn check(&self, template: &Template) -> Result<Proposal, SourceError> {
        if !template.proposals {
            return Ok(Proposal::Unsupported);
        }
        let nodes = self.follow.nodes();
        let (Some((index, node)), Some(assembly)) = (nodes.named(&template.origin), template.header()) else {
            return Ok(Proposal::Unsupported);
        };
        let (version, time) = (assembly.work.version, assembly.work.time);
        let block = assembly.block(&Solution { extranonce: NO_EXTRANONCE, version, time, nonce: 0 })?;
        let params = params::proposal(self.chain, &block.bytes);
        match node.call::<Option<String>>("getblocktemplate", params, node.limits().answer).await {
            Ok(answer) => {
                let stale_before = self.stale.load(Relaxed);
                let answer = proposal(answer, stale_before);
                self.stale.store(if answer == Proposal::Stale { stale_before + 1 } else { 0 }, Relaxed);
                match &answer {
                    Proposal::Valid => nodes.agreed(index),
                    Proposal::Refused { reason } => {
                        nodes.refused(index, format!("it refuses its own template: {reason}"));
                    }
                    Proposal::Stale | Proposal::Unsupported => {}
                }
                Ok(answer)
            }
            Err(SourceError::Rpc { code: INVALID_PARAMETER, .. }) => Ok(Proposal::Unsupported),
            Err(error) => {
                nodes.failed(index, Asked::Template, &error);
                Err(error)
            }
        }
    }
}

/// What a proposal's answer means (BIP 22, BIP 23) when so many before it were stale: nothing is good, a word is the
/// reason. A node moves on between two calls, but not each time.
fn proposal(answer: Option<String>, stale_before: u32) -> Proposal {
    let Some(reason) = answer else { return Proposal::Valid };
    // btcd says "bad-prevblk", Bitcoin Core "inconclusive-not-best-prevblk".
    let stale =
        matches!(reason.as_str(), "bad-prevblk" | "prev-blk-not-found") || reason.starts_with("inconclusive");
    if stale && stale_before < MAX_STALE {
        return Proposal::Stale;
    }
    Proposal::Refused { reason: words(&reason) }
}

/// Gives a block to one node. btcd is as silent over a side chain's block, and over an orphan, as over the tip's, and knows
/// all of them when it hears of them again: so the chain is asked what is in the block's place.
async fn submit(node: &Rpc, block: &Submittable) -> Result<Judged, SourceError> {
    let answer = node.call::<Value>("submitblock", json!([block.hex]), node.limits().submit).await;
    let (meaning, said) = match answer {
        Ok(Value::Null) => (meaning(Dialect::Bitcoin, Said::Nothing), None),
        Ok(Value::String(said)) => (meaning(Dialect::Bitcoin, Said::Text(&said)), Some(words(&said))),
        Ok(other) => (None, Some(words(&other.to_string()))),
        Err(SourceError::Rpc { code, message, .. }) => {
            (meaning(Dialect::Bitcoin, Said::Code(code)), Some(format!("{message} (code {code})")))
        }
        Err(error) => return Err(error),
    };
    // Nothing that the chain shows makes such a block good.
    if meaning == Some(Meaning::No) {
        return judge(node, meaning, said, &Place::Untold);
    }
    let place = place(node, block).await?;
    judge(node, meaning, said, &place)
}

/// What the node's active chain has in the block's place.
async fn place(node: &Rpc, block: &Submittable) -> Result<Place, SourceError> {
    let hash_at = |height: u64| node.call::<String>("getblockhash", json!([height]), node.limits().answer);
    match hash_at(block.height).await {
        Ok(active) if active == block.hash => return Ok(Place::Ours),
        Ok(_) => {}
        Err(SourceError::Rpc { code: METHOD_NOT_FOUND, .. }) => return Ok(Place::Untold),
        Err(SourceError::Rpc { .. }) => return Ok(Place::Open),
        Err(error) => return Err(error),
    }
    match hash_at(block.height.saturating_add(BURIED_BLOCKS)).await {
        Ok(_) => Ok(Place::Lost),
        Err(SourceError::Rpc { .. }) => Ok(Place::Open),
        Err(error) => Err(error),
    }
}

impl JobSource for GbtSource {
    fn template<'a>(&'a self, after: Option<&'a Template>) -> BoxFuture<'a, Result<Template, SourceError>> {
        Box::pin(self.follow.next(after))
    }

    fn propose<'a>(&'a self, template: &'a Template) -> BoxFuture<'a, Result<Proposal, SourceError>> {
        Box::pin(self.check(template))
    }

    fn submit<'a>(&'a self, block: &'a FoundBlock) -> BoxFuture<'a, Submission> {
        Box::pin(self.follow.nodes().give(block, |node, block| async move { submit(&node, &block).await }))
    }

    fn health(&self) -> Vec<NodeHealth> {
        self.follow.nodes().health()
    }

    fn rest(&self) {
        self.follow.rest();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proposal_on_an_old_tip_is_stale_and_not_refused() {
        assert_eq!(proposal(None, 0), Proposal::Valid);
        assert_eq!(proposal(Some("bad-prevblk".into()), 0), Proposal::Stale);
        assert_eq!(proposal(Some("inconclusive-not-best-prevblk".into()), MAX_STALE - 1), Proposal::Stale);
        assert!(matches!(proposal(Some("bad-txns".into()), 0), Proposal::Refused { .. }));
    }

    #[test]
    fn a_node_that_calls_each_of_its_templates_stale_refuses_them() {
        assert!(matches!(proposal(Some("bad-prevblk".into()), MAX_STALE), Proposal::Refused { .. }));
        assert_eq!(proposal(None, MAX_STALE), Proposal::Valid);
    }
}
