//! Blocks: put together, kept, and submitted once for each word of the core, which says when again.

use super::{
    Context,
    former::{Destinations, Nowhere},
    origin::{Origin, OriginError},
    persist::{self, Failed, Pause},
    source::Current,
    writer::Templates,
};
use crate::run::wall;
use bus_schemas::{
    Blob, Hash32, Message, TimestampMs, WorkerId,
    block::{BlockRecord, BlockState, TemplateRecord},
    config::SourceConfig,
    event::block_id,
    job::Job,
    share::Finding,
    subject::Subject,
};
use coordinator_core::{BlockAnswer, BlockDuty, PoolInput, Trouble};
use job_sources::{Assembly, Decision, FoundBlock, SubmitOutcome};
use nats_adapter::{ReadError, streams};
use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    task::{Id, JoinError, JoinSet},
};

/// Most blocks that are being submitted at the same time; more wait until one of these attempts has ended.
const MAX_SUBMISSIONS: usize = 64;
/// Most blocks in memory whose bytes the bus does not keep.
const MAX_UNKEPT: usize = 16;
/// Longest pause between two attempts to read from the bus.
const MAX_PAUSE: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Why there are no bytes to submit.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("the template of job {0} is not kept any more")]
    NoTemplate(bus_schemas::JobId),
    #[error(transparent)]
    Assembly(#[from] job_sources::AssemblyError),
    #[error("its template cannot be read: {0}")]
    Origin(#[from] OriginError),
    #[error("the block's hash is not the one that was judged")]
    OtherHash,
    #[error("the bytes of the block are not kept any more")]
    NoBytes,
}

/// A block and the source that it belongs to.
#[derive(Debug, Clone)]
struct Whole {
    block: FoundBlock,
    source: Option<SourceConfig>,
}

/// Does what the core asks for, submissions side by side, until the pool is given up.
pub(crate) async fn run(
    context: Context,
    mut duties: mpsc::Receiver<BlockDuty>,
    source: watch::Receiver<Current>,
    templates: Templates,
) -> Trouble {
    let mut lane = Lane {
        destinations: Destinations::new(context.clone(), source),
        context,
        templates,
        submissions: JoinSet::new(),
        hashes: HashMap::new(),
        unkept: VecDeque::new(),
    };
    loop {
        tokio::select! {
            duty = duties.recv(), if lane.submissions.len() < MAX_SUBMISSIONS => {
                let Some(duty) = duty else { return Trouble::of("nobody gives blocks any more") };
                if let Err(error) = lane.perform(duty).await {
                    tracing::error!(pool = %lane.context.pool, %error, "a block could not be kept");
                    return error.into();
                }
            }
            Some(ended) = lane.submissions.join_next_with_id() => lane.ended(ended).await,
        }
    }
}

struct Lane {
    context: Context,
    templates: Templates,
    destinations: Destinations,
    submissions: JoinSet<()>,
    /// Which block each submission is of.
    hashes: HashMap<Id, Hash32>,
    /// Blocks that are too large for the bus.
    unkept: VecDeque<Arc<Whole>>,
}

impl Lane {
    async fn perform(&mut self, duty: BlockDuty) -> Result<(), Failed> {
        match duty {
            BlockDuty::Make { hash, job, slot, finding, worker } => {
                match make(&self.context, &self.templates, hash, &job, slot, finding).await {
                    Ok(whole) => {
                        let whole = Arc::new(whole);
                        self.keep(&whole, &job, worker).await?;
                        self.submit(hash, Some(whole));
                    }
                    Err(error) => {
                        tracing::error!(pool = %self.context.pool, %error, "a block was lost");
                        self.context.tell(PoolInput::BlockUnusable(hash, error.to_string())).await;
                    }
                }
            }
            BlockDuty::Resubmit(hash) => {
                let unkept = self.unkept.iter().find(|whole| whole.block.hash == hash).cloned();
                self.submit(hash, unkept);
            }
            BlockDuty::StoreState { hash, height, worker, state } => {
                tracing::info!(pool = %self.context.pool, hash = block_id(hash), height, ?state, "block");
                self.unkept.retain(|whole| whole.block.hash != hash);
                store_state(&self.context, hash, height, worker, state).await?;
            }
        }
        Ok(())
    }

    /// Keeps the bytes before they are submitted. Those that the bus cannot carry stay in memory.
    async fn keep(&mut self, whole: &Arc<Whole>, job: &Job, worker: WorkerId) -> Result<(), Failed> {
        let hash = whole.block.hash;
        match keep(&self.context, whole, job, worker).await {
            Ok(()) => self.context.tell(PoolInput::BlockStored(hash)).await,
            Err(error @ (Failed::Impossible { .. } | Failed::Encode(_))) => {
                self.unkept.push_back(whole.clone());
                if self.unkept.len() > MAX_UNKEPT {
                    self.unkept.pop_front();
                }
                let bytes = whole.block.bytes.len();
                let reason = format!(
                    "{error}; the block has {bytes} bytes and the server carries {}: raise max_payload in its configuration",
                    self.context.bus.max_payload()
                );
                self.context.tell(PoolInput::BlockUnkept(hash, reason)).await
            }
            Err(error) => return Err(error),
        };
        Ok(())
    }

    /// Submits a block once; its bytes are read where they are not at hand.
    fn submit(&mut self, hash: Hash32, whole: Option<Arc<Whole>>) {
        let (context, destinations) = (self.context.clone(), self.destinations.clone());
        let task = self.submissions.spawn(async move {
            let whole = match whole {
                Some(whole) => whole,
                None => match kept(&context, hash).await {
                    Ok(whole) => Arc::new(whole),
                    Err(error) => {
                        context.tell(PoolInput::BlockUnusable(hash, error.to_string())).await;
                        return;
                    }
                },
            };
            let answer = attempt(&destinations, &whole).await;
            context.tell(PoolInput::BlockAnswered(hash, answer)).await;
        });
        self.hashes.insert(task.id(), hash);
    }

    /// A submission that panicked has decided nothing either.
    async fn ended(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, ())| *id);
        let hash = self.hashes.remove(&id);
        if let (Err(error), Some(hash)) = (ended, hash) {
            tracing::error!(pool = %self.context.pool, hash = block_id(hash), %error, "a submission broke off");
            let answer = open("its submission broke off in the coordinator".to_owned());
            self.context.tell(PoolInput::BlockAnswered(hash, answer)).await;
        }
    }
}

fn open(said: String) -> BlockAnswer {
    BlockAnswer::Open { said, unknown: false, standing: None }
}

/// Submits a block once. The same block again is always safe.
async fn attempt(destinations: &Destinations, whole: &Whole) -> BlockAnswer {
    match destinations.submit(&whole.block, whole.source.as_ref()).await {
        Ok(submission) => match submission.decision() {
            Some(Decision::Final(outcome)) => answer(outcome),
            Some(Decision::Open { said, unknown, standing }) => BlockAnswer::Open {
                said,
                unknown,
                standing: standing.map(|outcome| Box::new(answer(outcome))),
            },
            None => open("its source has no nodes".to_owned()),
        },
        Err(Nowhere::Left) => BlockAnswer::Refused(Nowhere::Left.to_string()),
        Err(error) => open(error.to_string()),
    }
}

fn answer(outcome: SubmitOutcome) -> BlockAnswer {
    match outcome {
        SubmitOutcome::Accepted | SubmitOutcome::AlreadyKnown => BlockAnswer::Accepted,
        SubmitOutcome::NotTip => BlockAnswer::NotTip,
        SubmitOutcome::Refused { reason } => BlockAnswer::Refused(reason),
    }
}

async fn make(
    context: &Context,
    templates: &Templates,
    hash: Hash32,
    job: &Job,
    slot: u16,
    finding: Finding,
) -> Result<Whole, Unusable> {
    let (assembly, source) = match templates.find(&job.id) {
        Some(origin) => {
            let Origin { source, assembly } = Origin::from_bytes(&origin.0)?;
            (assembly, Some(source))
        }
        None => read_template(context, job).await.ok_or_else(|| Unusable::NoTemplate(job.id.clone()))?,
    };
    let extranonce = job.extranonce(slot, finding.roll());
    let block = Assembly::from_bytes(&assembly.0)?.block(extranonce, &finding)?;
    if block.hash != hash {
        return Err(Unusable::OtherHash);
    }
    Ok(Whole { block, source })
}

async fn read_template(context: &Context, job: &Job) -> Option<(Blob, Option<SourceConfig>)> {
    let subject = Subject::Template(context.pool.clone(), job.id.clone());
    let mut pause = Pause::new(FIRST_PAUSE, MAX_PAUSE);
    loop {
        match context.bus.last::<TemplateRecord>(streams::TEMPLATE, &subject).await {
            Ok(found) => return found.map(|entry| (entry.message.assembly, entry.message.source)),
            Err(ReadError::Undecodable(error)) => {
                tracing::error!(%error, "a kept template cannot be read");
                return None;
            }
            Err(error) => pause.wait("a template could not be read", &error).await,
        }
    }
}

async fn keep(context: &Context, whole: &Whole, job: &Job, worker: WorkerId) -> Result<(), Failed> {
    let Whole { block, source } = whole;
    let record = BlockRecord {
        pool: context.pool.clone(),
        hash: block.hash,
        height: block.height,
        job: job.id.clone(),
        worker,
        epoch: context.epoch,
        state: BlockState::Found,
        bytes: Blob(block.bytes.clone()),
        at_ms: TimestampMs(wall()),
        source: source.clone(),
    };
    put(context, &record, "found").await
}

async fn put(context: &Context, record: &BlockRecord, step: &str) -> Result<(), Failed> {
    let hash = block_id(record.hash);
    let subject = Subject::Block(context.pool.clone(), hash.clone()).to_string();
    let id = format!("{hash}-{step}-{}", context.epoch);
    persist::store(context, streams::BLOCK, &subject, &id, record.encode()?.into()).await.map(drop)
}

async fn store_state(
    context: &Context,
    hash: Hash32,
    height: u64,
    worker: WorkerId,
    state: BlockState,
) -> Result<(), Failed> {
    let Some(found) = record_with_bytes(context, hash).await else { return Ok(()) };
    let (epoch, at_ms) = (context.epoch, TimestampMs(wall()));
    let record = BlockRecord { height, worker, state, epoch, at_ms, bytes: Blob::default(), ..found };
    put(context, &record, "answered").await
}

/// The kept record of a block that has its bytes.
async fn record_with_bytes(context: &Context, hash: Hash32) -> Option<BlockRecord> {
    let subject = Subject::Block(context.pool.clone(), block_id(hash)).to_string();
    let mut pause = Pause::new(FIRST_PAUSE, MAX_PAUSE);
    loop {
        match context.bus.read_all(streams::BLOCK, subject.clone()).await {
            Ok(all) => {
                let mut records = all.iter().filter_map(|d| BlockRecord::decode(&d.payload).ok());
                return records.find(|r| !r.bytes.0.is_empty());
            }
            Err(error) => pause.wait("a block could not be read", &error).await,
        }
    }
}

async fn kept(context: &Context, hash: Hash32) -> Result<Whole, Unusable> {
    let record = record_with_bytes(context, hash).await.ok_or(Unusable::NoBytes)?;
    let block = FoundBlock { hash, height: record.height, bytes: record.bytes.0 };
    Ok(Whole { block, source: record.source })
}
