//! Blocks: put together, kept, and submitted until a node answers.

use super::{
    Context,
    persist::{self, Failed, Pause},
    source::Current,
    writer::Templates,
};
use crate::run::wall;
use bus_schemas::{
    Blob, Hash32, Message, TimestampMs, WorkerId,
    block::{BlockRecord, BlockState, TemplateRecord},
    event::block_id,
    job::Job,
    share::Finding,
    subject::Subject,
};
use coordinator_core::{BlockAnswer, BlockDuty, PoolInput};
use job_sources::{Assembly, FoundBlock, SubmitOutcome};
use nats_adapter::{ReadError, streams};
use std::time::Duration;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

/// Most blocks that are being submitted at the same time; more wait until a node has answered for one.
const MAX_SUBMISSIONS: usize = 64;
/// Longest pause between two submissions of a block that no node answered for.
const MAX_PAUSE: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Why there are no bytes to submit.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("the template of job {0} is not kept any more")]
    NoTemplate(bus_schemas::JobId),
    #[error(transparent)]
    Assembly(#[from] job_sources::AssemblyError),
    #[error("the block's hash is not the one that was judged")]
    OtherHash,
    #[error("the bytes of the block are not kept any more")]
    NoBytes,
}

/// Does what the core asks for, submissions side by side, until the pool is given up.
pub(crate) async fn run(
    context: Context,
    mut duties: mpsc::Receiver<BlockDuty>,
    source: watch::Receiver<Current>,
    templates: Templates,
) {
    let mut submissions = JoinSet::new();
    while let Some(duty) = duties.recv().await {
        while submissions.try_join_next().is_some() {}
        if submissions.len() >= MAX_SUBMISSIONS {
            submissions.join_next().await;
        }
        let block = match duty {
            BlockDuty::Make { hash, job, slot, finding, worker } => {
                let made = make(&context, &templates, hash, &job, slot, finding).await;
                match made {
                    Ok(block) => match keep(&context, &block, &job, worker).await {
                        Ok(()) => {
                            context.tell(PoolInput::BlockStored(hash)).await;
                            block
                        }
                        Err(error) => return tracing::error!(%error, "a block could not be kept"),
                    },
                    Err(error) => {
                        tracing::error!(pool = %context.pool, %error, "a block was lost");
                        context.tell(PoolInput::BlockUnusable(hash, error.to_string())).await;
                        continue;
                    }
                }
            }
            BlockDuty::Resubmit(hash) => match kept(&context, hash).await {
                Ok(block) => block,
                Err(error) => {
                    context.tell(PoolInput::BlockUnusable(hash, error.to_string())).await;
                    continue;
                }
            },
            BlockDuty::StoreState { hash, height, worker, state } => {
                if let Err(error) = store_state(&context, hash, height, worker, state).await {
                    return tracing::error!(%error, "the state of a block could not be kept");
                }
                continue;
            }
        };
        let (context, source) = (context.clone(), source.clone());
        submissions.spawn(async move { submit(&context, source, block).await });
    }
}

async fn make(
    context: &Context,
    templates: &Templates,
    hash: Hash32,
    job: &Job,
    slot: u16,
    finding: Finding,
) -> Result<FoundBlock, Unusable> {
    let assembly = match templates.find(&job.id) {
        Some(assembly) => assembly,
        None => read_template(context, job).await.ok_or_else(|| Unusable::NoTemplate(job.id.clone()))?,
    };
    let extranonce = job.extranonce(slot, finding.roll());
    let block = Assembly::from_bytes(&assembly.0)?.block(extranonce, &finding)?;
    if block.hash != hash {
        return Err(Unusable::OtherHash);
    }
    Ok(block)
}

async fn read_template(context: &Context, job: &Job) -> Option<Blob> {
    let subject = Subject::Template(context.pool.clone(), job.id.clone());
    let mut pause = Pause::new(FIRST_PAUSE, MAX_PAUSE);
    loop {
        match context.bus.last::<TemplateRecord>(streams::TEMPLATE, &subject).await {
            Ok(found) => return found.map(|entry| entry.message.assembly),
            Err(ReadError::Undecodable(error)) => {
                tracing::error!(%error, "a kept template cannot be read");
                return None;
            }
            Err(error) => pause.wait("a template could not be read", &error).await,
        }
    }
}

async fn keep(context: &Context, block: &FoundBlock, job: &Job, worker: WorkerId) -> Result<(), Failed> {
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
    };
    put(context, &record, "found").await
}

async fn put(context: &Context, record: &BlockRecord, step: &str) -> Result<(), Failed> {
    let hash = block_id(record.hash);
    let subject = Subject::Block(context.pool.clone(), hash.clone()).to_string();
    let id = format!("{hash}-{step}-{}", context.epoch);
    persist::store(&context.bus, &subject, &id, record.encode()?.into()).await.map(drop)
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

async fn kept(context: &Context, hash: Hash32) -> Result<FoundBlock, Unusable> {
    let record = record_with_bytes(context, hash).await.ok_or(Unusable::NoBytes)?;
    Ok(FoundBlock { hash, height: record.height, bytes: record.bytes.0 })
}

/// Submits until a node answers. The same block again is always safe.
async fn submit(context: &Context, mut source: watch::Receiver<Current>, block: FoundBlock) {
    let mut pause = Pause::new(FIRST_PAUSE, MAX_PAUSE);
    loop {
        let Ok(current) = source.wait_for(Option::is_some).await.map(|s| s.clone()) else { return };
        let Some(current) = current else { continue };
        let submission = current.submit(&block).await;
        let answer = match submission.outcome() {
            Some(Ok(SubmitOutcome::Accepted | SubmitOutcome::AlreadyKnown)) => BlockAnswer::Accepted,
            Some(Ok(SubmitOutcome::NotTip)) => BlockAnswer::NotTip,
            Some(Ok(SubmitOutcome::Refused { reason })) => BlockAnswer::Refused(reason.clone()),
            Some(Err(error)) => {
                pause.wait("no node answered for a block", error).await;
                continue;
            }
            None => continue,
        };
        context.tell(PoolInput::BlockAnswered(block.hash, answer)).await;
        return;
    }
}
