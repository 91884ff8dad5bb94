//! The job source over one or more daemons.

use super::answer::TemplateAnswer;
use crate::{
    assembly::FoundBlock,
    node::{Dialect, Limits, NodeAddress, Nodes, Rpc, Submittable},
    source::{BoxFuture, JobSource, NodeHealth, Proposal, SourceError, Submission, SubmitOutcome, Template},
};
use bus_schemas::{config, work::EXTRANONCE_LEN};
use monero::Address;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{str::FromStr, time::Duration};

/// Monero daemons in order of preference.
pub struct MoneroSource {
    wallet: String,
    poll: Duration,
    nodes: Nodes,
}

/// The part of `get_info` that tells whether there is something new.
#[derive(Deserialize)]
struct Info {
    top_block_hash: String,
}

#[derive(Deserialize)]
struct HeaderAnswer {
    block_header: BlockHeader,
}

#[derive(Deserialize)]
struct BlockHeader {
    hash: String,
    orphan_status: bool,
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
        Ok(Self {
            wallet: config.wallet.clone(),
            poll: Duration::from_millis(config.poll_ms.into()),
            nodes: Nodes::new(nodes, Dialect::Monero, limits)?,
        })
    }

    async fn ask(&self, node: &Rpc) -> Result<Template, SourceError> {
        let params = json!({ "wallet_address": self.wallet, "reserve_size": EXTRANONCE_LEN });
        let answer: TemplateAnswer = node.call("get_block_template", params, node.limits().answer).await?;
        answer.into_template(&node.url).map_err(|reason| SourceError::MoneroTemplate {
            node: node.url.clone(),
            reason: Box::new(reason),
        })
    }

    /// Whether the daemon of the last template still has its previous block on top. Templates cost the daemon much
    /// more than this question.
    async fn is_current(&self, node: &Rpc, last: &Template) -> Result<bool, SourceError> {
        if last.origin != node.url {
            return Ok(false);
        }
        let info: Info = node.call("get_info", json!({}), node.limits().answer).await?;
        Ok(info.top_block_hash == hex::encode(last.assembly.work().prev_hash().0))
    }

    async fn attempt(&self, node: &Rpc, after: Option<&Template>) -> Result<Option<Template>, SourceError> {
        if let Some(last) = after
            && self.is_current(node, last).await?
        {
            return Ok(None);
        }
        let template = self.ask(node).await?;
        Ok(Some(template).filter(|template| after.is_none_or(|last| template.differs_from(last))))
    }

    async fn next(&self, after: Option<&Template>) -> Result<Template, SourceError> {
        loop {
            let (index, node) = self.nodes.pick().await?;
            match self.attempt(node, after).await {
                Ok(template) => {
                    self.nodes.succeeded(index);
                    match template {
                        Some(template) => return Ok(template),
                        None => tokio::time::sleep(self.poll).await,
                    }
                }
                Err(error) => {
                    self.nodes.failed(index, &error);
                    return Err(error);
                }
            }
        }
    }
}

/// What a daemon knows of a block, if anything.
async fn known(node: &Rpc, block: &Submittable) -> Result<Option<SubmitOutcome>, SourceError> {
    let params = json!({ "hash": block.hash });
    match node.call::<HeaderAnswer>("get_block_header_by_hash", params, node.limits().answer).await {
        Ok(answer) if answer.block_header.orphan_status => Ok(Some(SubmitOutcome::NotTip)),
        Ok(_) => Ok(Some(SubmitOutcome::AlreadyKnown)),
        Err(SourceError::Rpc { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Gives a block to one daemon. The daemon says OK to a block that it has already, and to one of a side chain: so it is asked
/// before and afterwards.
async fn submit(node: &Rpc, block: &Submittable) -> Result<SubmitOutcome, SourceError> {
    if let Some(known) = known(node, block).await? {
        return Ok(known);
    }
    let answer = node.call::<Value>("submit_block", json!([block.hex]), node.limits().submit).await;
    let reason = match answer {
        Ok(_) => None,
        Err(SourceError::Rpc { message, .. }) => Some(message),
        Err(error) => return Err(error),
    };
    if let Some(reason) = reason {
        // Another submission of the same block may have been faster.
        return Ok(known(node, block).await?.unwrap_or(SubmitOutcome::Refused { reason }));
    }
    let params = json!({ "height": block.height });
    match node.call::<HeaderAnswer>("get_block_header_by_height", params, node.limits().answer).await {
        Ok(active) if active.block_header.hash != block.hash => Ok(SubmitOutcome::NotTip),
        Err(SourceError::Rpc { .. }) => Ok(SubmitOutcome::NotTip),
        // The daemon took the block; that it says no more does not undo that.
        Ok(_) | Err(_) => Ok(SubmitOutcome::Accepted),
    }
}

impl JobSource for MoneroSource {
    fn template<'a>(&'a self, after: Option<&'a Template>) -> BoxFuture<'a, Result<Template, SourceError>> {
        Box::pin(self.next(after))
    }

    /// Daemons check no proposals; what a template promises is checked when it comes.
    fn propose<'a>(&'a self, _: &'a Template) -> BoxFuture<'a, Result<Proposal, SourceError>> {
        Box::pin(std::future::ready(Ok(Proposal::Unsupported)))
    }

    fn submit<'a>(&'a self, block: &'a FoundBlock) -> BoxFuture<'a, Submission> {
        Box::pin(self.nodes.give(block, |node, block| async move { submit(&node, &block).await }))
    }

    fn health(&self) -> Vec<NodeHealth> {
        self.nodes.health()
    }
}
