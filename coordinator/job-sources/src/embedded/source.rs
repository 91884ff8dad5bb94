//! The embedded chain as a job source: the state machine, a log that keeps its blocks, and a clock.

use super::{
    chain::{Chain, Record, Rejection, ReplayError},
    rules::Params,
};
use crate::{
    assembly::{FoundBlock, NO_EXTRANONCE, Solution},
    source::{
        BoxFuture, JobSource, NodeHealth, NodeReport, Proposal, SourceError, Submission, SubmitOutcome,
        Template,
    },
};
use bus_schemas::{TimestampMs, node_status::NodeStanding};
use std::{
    sync::{Mutex as BlockingMutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::sync::{Mutex, watch};

/// The name of this source in templates and reports.
pub(crate) const ORIGIN: &str = "embedded";
/// Batches of records that one catching up reads at most; a log of more is broken or growing without end.
const MAX_BATCHES: usize = 1_000_000;

/// Where the chain's blocks are kept in order. It is the only judge of which of two blocks was first.
pub trait ChainLog: Send + Sync {
    /// Appends `record` if the log's last block is the one below it.
    fn append<'a>(&'a self, record: &'a Record) -> BoxFuture<'a, Result<Appended, LogError>>;

    /// Some of the records above `height`, from the lowest on; none when there are none.
    fn read_above(&self, height: u64) -> BoxFuture<'_, Result<Vec<Record>, LogError>>;
}

/// What became of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// The record is kept.
    Kept,
    /// The log has another block at this height, or does not have the one below.
    Conflict,
}

/// Why the log cannot be used now.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// It does not answer, or not in time.
    #[error("the chain's log is unavailable: {0}")]
    Unavailable(String),
    /// What it holds is not this chain.
    #[error("the chain's log: {0}")]
    Foreign(#[from] ReplayError),
}

/// The embedded chain and its log.
pub struct EmbeddedSource<L> {
    log: L,
    chain: Mutex<Chain>,
    /// Height of the chain, for those who wait for a new template.
    height: watch::Sender<u64>,
    trouble: BlockingMutex<(u32, Option<String>)>,
}

fn now() -> TimestampMs {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    TimestampMs(elapsed.as_millis().try_into().unwrap_or(u64::MAX))
}

impl<L: ChainLog> EmbeddedSource<L> {
    /// Reads the whole log and stands at its tip.
    pub async fn open(params: Params, log: L) -> Result<Self, SourceError> {
        let chain = Chain::genesis(params).map_err(|e| LogError::Foreign(e.into()))?;
        let source = Self {
            log,
            height: watch::Sender::new(0),
            chain: Mutex::new(chain),
            trouble: BlockingMutex::default(),
        };
        source.catch_up(&mut *source.chain.lock().await).await?;
        Ok(source)
    }

    /// Follows what the log has above the tip.
    async fn catch_up(&self, chain: &mut Chain) -> Result<(), LogError> {
        for _ in 0..MAX_BATCHES {
            let records = self.noted(self.log.read_above(chain.height()).await)?;
            if records.is_empty() {
                return Ok(());
            }
            for record in &records {
                chain.follow(record)?;
            }
            self.height.send_replace(chain.height());
        }
        Err(LogError::Unavailable("it does not end".to_owned()))
    }

    /// Remembers for [`JobSource::health`] whether the log works.
    fn noted<T>(&self, result: Result<T, LogError>) -> Result<T, LogError> {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        *trouble = match &result {
            Ok(_) => (0, None),
            Err(error) => (trouble.0.saturating_add(1), Some(error.to_string())),
        };
        result
    }

    async fn next(&self, after: Option<&Template>) -> Result<Template, SourceError> {
        let mut height = self.height.subscribe();
        loop {
            height.mark_unchanged();
            let template = {
                let mut chain = self.chain.lock().await;
                if after.is_none() {
                    self.catch_up(&mut chain).await?;
                }
                chain.template(now()).map_err(crate::AssemblyError::from)?
            };
            if after.is_none_or(|last| template.differs_from(last)) {
                return Ok(template);
            }
            if height.changed().await.is_err() {
                return Err(SourceError::Setup { reason: "the embedded chain has ended".to_owned() });
            }
        }
    }

    async fn check(&self, template: &Template) -> Result<Proposal, SourceError> {
        let Some(assembly) = template.header() else { return Ok(Proposal::Unsupported) };
        let (version, time) = (assembly.work.version, assembly.work.time);
        let block = assembly.block(&Solution { extranonce: NO_EXTRANONCE, version, time, nonce: 0 })?;
        let chain = self.chain.lock().await;
        Ok(match chain.validate_proposal(&block.bytes, now()) {
            Ok(_) => Proposal::Valid,
            Err(Rejection::NotTip) => Proposal::Stale,
            Err(reason) => Proposal::Refused { reason: reason.to_string() },
        })
    }

    async fn accept(&self, block: &FoundBlock) -> Result<SubmitOutcome, SourceError> {
        let mut chain = self.chain.lock().await;
        if chain.validate(&block.bytes, now()).is_err() {
            // The log may be further than this view of it; only the whole chain judges.
            self.catch_up(&mut chain).await?;
        }
        let record = match chain.validate(&block.bytes, now()) {
            Ok(record) => record,
            Err(reason) => return Ok(outcome(reason)),
        };
        match self.noted(self.log.append(&record).await)? {
            Appended::Kept => {
                chain.apply(&record);
                self.height.send_replace(chain.height());
                Ok(SubmitOutcome::Accepted)
            }
            Appended::Conflict => {
                // Somebody else's block was first, or this very one whose first answer was lost.
                self.catch_up(&mut chain).await?;
                Ok(chain.validate(&block.bytes, now()).map_or_else(outcome, |_| SubmitOutcome::NotTip))
            }
        }
    }
}

fn outcome(reason: Rejection) -> SubmitOutcome {
    match reason {
        Rejection::AlreadyKnown => SubmitOutcome::AlreadyKnown,
        Rejection::NotTip => SubmitOutcome::NotTip,
        reason => SubmitOutcome::Refused { reason: reason.to_string() },
    }
}

impl<L: ChainLog> JobSource for EmbeddedSource<L> {
    fn template<'a>(&'a self, after: Option<&'a Template>) -> BoxFuture<'a, Result<Template, SourceError>> {
        Box::pin(self.next(after))
    }

    fn propose<'a>(&'a self, template: &'a Template) -> BoxFuture<'a, Result<Proposal, SourceError>> {
        Box::pin(self.check(template))
    }

    fn submit<'a>(&'a self, block: &'a FoundBlock) -> BoxFuture<'a, Submission> {
        Box::pin(async move {
            let outcome = self.accept(block).await;
            // Nothing in this chain is ever undone.
            Submission { reports: vec![NodeReport { node: ORIGIN.to_owned(), outcome, buried: true }] }
        })
    }

    fn health(&self) -> Vec<NodeHealth> {
        let (failures, last_error) = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let height = *self.height.borrow();
        let standing = if failures == 0 { NodeStanding::InUse } else { NodeStanding::Failing };
        vec![NodeHealth {
            node: ORIGIN.to_owned(),
            current: true,
            failures,
            last_error,
            standing,
            height: Some(height),
            answered_ago: None,
            behind: None,
        }]
    }
}
