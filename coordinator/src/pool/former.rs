//! Where a block goes: to the source whose template led to it, also when the pool has been given another since.

use super::{
    Context,
    source::{self, Current},
};
use bus_schemas::config::SourceConfig;
use job_sources::{FoundBlock, JobSource, Submission};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::watch;

/// Most former sources that are kept open for their blocks; the oldest is opened again when it is needed.
const MAX_FORMER: usize = 8;

/// Why a block cannot be submitted now.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Nowhere {
    #[error("the job source is not open")]
    NotOpen,
    #[error("its source cannot be opened: {0}")]
    Trouble(#[from] source::Trouble),
    /// It never can.
    #[error("the pool has left the embedded chain to which it belongs")]
    Left,
}

/// Sources that were opened for the blocks of an earlier configuration, the latest last.
type Former = VecDeque<(SourceConfig, Arc<dyn JobSource>)>;

/// The sources to which blocks of this pool belong.
#[derive(Clone)]
pub(crate) struct Destinations {
    context: Context,
    current: watch::Receiver<Current>,
    former: Arc<Mutex<Former>>,
}

impl Destinations {
    pub(crate) fn new(context: Context, current: watch::Receiver<Current>) -> Self {
        Self { context, current, former: Arc::default() }
    }

    /// Submits a block of this source once; of an unknown source to the one in use.
    pub(crate) async fn submit(
        &self,
        block: &FoundBlock,
        of: Option<&SourceConfig>,
    ) -> Result<Submission, Nowhere> {
        let current = self.current.borrow().clone();
        let Some(of) = of else {
            let current = current.ok_or(Nowhere::NotOpen)?;
            return Ok(current.source.submit(block).await);
        };
        if let Some(current) = current.as_ref().filter(|current| *current.config == *of) {
            return Ok(current.source.submit(block).await);
        }
        if matches!(of, SourceConfig::Embedded(_)) {
            return Err(if current.is_some() { Nowhere::Left } else { Nowhere::NotOpen });
        }
        let former = self.open(of)?;
        // Other nodes of the same chain may know better, or be the only ones that are left.
        match current.filter(|current| is_same_chain(&current.config, of)) {
            Some(current) => {
                let (mut first, second) = tokio::join!(former.submit(block), current.source.submit(block));
                first.reports.extend(second.reports);
                Ok(first)
            }
            None => Ok(former.submit(block).await),
        }
    }

    fn open(&self, config: &SourceConfig) -> Result<Arc<dyn JobSource>, Nowhere> {
        let mut former = self.former.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, source)) = former.iter().find(|(known, _)| known == config) {
            return Ok(source.clone());
        }
        let source = source::open_nodes(&self.context, config)?;
        if former.len() >= MAX_FORMER {
            former.pop_front();
        }
        former.push_back((config.clone(), source.clone()));
        Ok(source)
    }
}

/// Whether a block of one source can be judged by nodes of the other.
fn is_same_chain(a: &SourceConfig, b: &SourceConfig) -> bool {
    match (a, b) {
        (SourceConfig::GetBlockTemplate(a), SourceConfig::GetBlockTemplate(b)) => a.chain == b.chain,
        (SourceConfig::Monero(_), SourceConfig::Monero(_)) => true,
        _ => false,
    }
}
