//! The job source over one or more daemons.

use super::answer::TemplateAnswer;
use crate::{
    assembly::FoundBlock,
    node::{
        Answer, Asks, BURIED_BLOCKS, Dialect, Follow, Judged, Limits, NodeAddress, Nodes, Place, Question,
        Rpc, Submittable, judge,
        verdict::{Meaning, Said, meaning},
        words,
    },
    source::{BoxFuture, JobSource, NodeHealth, Proposal, SourceError, Submission, Template},
};
use bus_schemas::{config, work::EXTRANONCE_LEN};
use monero::Address;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{str::FromStr, sync::Arc, time::Duration};

/// What a daemon says in `status` when it did what it was asked.
const STATUS_OK: &str = "OK";

/// Monero daemons in order of preference.
pub struct MoneroSource {
    follow: Follow<Daemon>,
}

/// How daemons are asked.
struct Daemon {
    wallet: String,
}

/// The part of `get_info` that tells whether there is something new.
#[derive(Deserialize)]
struct Info {
    top_block_hash: String,
    /// Of the next block.
    height: u64,
}

#[derive(Deserialize)]
struct HeaderAnswer {
    block_header: BlockHeader,
}

#[derive(Deserialize)]
struct BlockHeader {
    /// Empty where the daemon has no answer and says so in `status` alone.
    hash: String,
    orphan_status: bool,
}

async fn info(node: &Rpc) -> Result<Info, SourceError> {
    node.call("get_info", json!({}), node.limits().answer).await
}

impl Asks for Daemon {
    /// Templates cost a daemon much more than the question what is on top.
    fn template(
        &self,
        node: Arc<Rpc>,
        question: Question,
    ) -> BoxFuture<'static, Result<Answer, SourceError>> {
        let params = json!({ "wallet_address": self.wallet, "reserve_size": EXTRANONCE_LEN });
        Box::pin(async move {
            if let Question::Unless(top) = question {
                let info = info(&node).await?;
                if info.top_block_hash == hex::encode(top.0) {
                    return Ok(Answer { height: info.height.saturating_sub(1), template: None });
                }
            }
            let answer: TemplateAnswer =
                node.call("get_block_template", params, node.limits().answer).await?;
            let template = answer.into_template(&node.url).map_err(|reason| SourceError::MoneroTemplate {
                node: node.url.clone(),
                reason: Box::new(reason),
            })?;
            let height = template.assembly.height().saturating_sub(1);
            Ok(Answer { height, template: Some(template) })
        })
    }

    fn height(&self, node: Arc<Rpc>) -> BoxFuture<'static, Result<u64, SourceError>> {
        Box::pin(async move { Ok(info(&node).await?.height.saturating_sub(1)) })
    }
}

impl MoneroSource {
    /// `nodes` are those of `config`.
    pub fn new(
        config: &config::MoneroSource,
        nodes: Vec<NodeAddress>,
        limits: Limits,
    ) -> Result<Self, SourceError> {
        if let Err(error) = Address::from_str(&config.wallet) {
            let reason = format!("the wallet {:?} is no Monero address: {error}", config.wallet);
            return Err(SourceError::Setup { reason });
        }
        let nodes = Nodes::new(nodes, Dialect::Monero, limits)?;
        let poll = Duration::from_millis(config.poll_ms.into());
        Ok(Self { follow: Follow::new(Daemon { wallet: config.wallet.clone() }, nodes, poll) })
    }
}

/// What a daemon's chain has in the block's place, `None` when the daemon does not know the block at all.
async fn known(node: &Rpc, block: &Submittable) -> Result<Option<Place>, SourceError> {
    let params = json!({ "hash": block.hash });
    match node.call::<HeaderAnswer>("get_block_header_by_hash", params, node.limits().answer).await {
        Ok(answer) if answer.block_header.hash != block.hash => Ok(None),
        Ok(answer) if answer.block_header.orphan_status => Ok(Some(place(node, block).await?)),
        Ok(_) => Ok(Some(Place::Ours)),
        Err(SourceError::Rpc { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn hash_at(node: &Rpc, height: u64) -> Result<Option<String>, SourceError> {
    let params = json!({ "height": height });
    match node.call::<HeaderAnswer>("get_block_header_by_height", params, node.limits().answer).await {
        Ok(answer) => Ok(Some(answer.block_header.hash).filter(|hash| !hash.is_empty())),
        Err(SourceError::Rpc { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What a daemon's active chain has in the block's place.
async fn place(node: &Rpc, block: &Submittable) -> Result<Place, SourceError> {
    match hash_at(node, block.height).await? {
        Some(active) if active == block.hash => return Ok(Place::Ours),
        Some(_) => {}
        None => return Ok(Place::Open),
    }
    let above = hash_at(node, block.height.saturating_add(BURIED_BLOCKS)).await?;
    Ok(if above.is_some() { Place::Lost } else { Place::Open })
}

/// Gives a block to one daemon. The daemon says OK to a block that it has already, to one of a side chain and to one whose
/// previous block it lacks: so it is asked before and afterwards.
async fn submit(node: &Rpc, block: &Submittable) -> Result<Judged, SourceError> {
    let held = |place: &Place| judge(node, Some(Meaning::Held), Some("it has the block".to_owned()), place);
    if let Some(place) = known(node, block).await? {
        return held(&place);
    }
    let answer = node.call::<Value>("submit_block", json!([block.hex]), node.limits().submit).await;
    let (meaning, said) = match answer {
        Ok(answer) => match answer.get("status").and_then(Value::as_str) {
            None | Some(STATUS_OK) => (meaning(Dialect::Monero, Said::Nothing), None),
            Some(said) => (meaning(Dialect::Monero, Said::Text(said)), Some(words(said))),
        },
        Err(SourceError::Rpc { code, message, .. }) => {
            (meaning(Dialect::Monero, Said::Code(code)), Some(message))
        }
        Err(error) => return Err(error),
    };
    // Another submission of the same block may have been faster.
    if said.is_some()
        && let Some(place) = known(node, block).await?
    {
        return held(&place);
    }
    if meaning == Some(Meaning::No) {
        return judge(node, meaning, said, &Place::Untold);
    }
    let place = place(node, block).await?;
    judge(node, meaning, said, &place)
}

impl JobSource for MoneroSource {
    fn template<'a>(&'a self, after: Option<&'a Template>) -> BoxFuture<'a, Result<Template, SourceError>> {
        Box::pin(self.follow.next(after))
    }

    /// Daemons check no proposals; what a template promises is checked when it comes.
    fn propose<'a>(&'a self, _: &'a Template) -> BoxFuture<'a, Result<Proposal, SourceError>> {
        Box::pin(std::future::ready(Ok(Proposal::Unsupported)))
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
