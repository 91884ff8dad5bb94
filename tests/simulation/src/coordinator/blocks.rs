//! Blocks: kept, then submitted once for each word of the core.

use super::{
    persist::{self, Failed},
    pool::Context,
};
use crate::{
    chain::Answer,
    queue::Queue,
    server::declared::{BLOCK, TEMPLATE},
};
use bus_schemas::{
    Blob, Hash32, Message, TimestampMs, WorkerId,
    block::{BlockRecord, BlockState, TemplateRecord},
    event::block_id,
    job::Job,
    subject::Subject,
};
use coordinator_core::{BlockAnswer, BlockDuty, PoolInput, Trouble};

/// Does what the core asks for until the pool is given up.
pub(super) async fn run(context: Context, duties: Queue<BlockDuty>) -> Trouble {
    loop {
        if let Err(error) = perform(&context, duties.next().await).await {
            return error.into();
        }
    }
}

async fn perform(context: &Context, duty: BlockDuty) -> Result<(), Failed> {
    match duty {
        BlockDuty::Make { hash, job, worker, .. } => match template(context, &job).await {
            Some(prev_hash) => {
                keep(context, hash, &job, worker, prev_hash).await?;
                context.tell(PoolInput::BlockStored(hash));
                submit(context, hash);
            }
            None => {
                context.bus.world.counts.borrow_mut().blocks_without_template += 1;
                context.tell(PoolInput::BlockUnusable(hash, "its template is not kept".to_owned()));
            }
        },
        BlockDuty::Resubmit(hash) => submit(context, hash),
        BlockDuty::StoreState { hash, height, worker, state } => {
            let Some(found) = with_bytes(context, hash).await else { return Ok(()) };
            let record =
                BlockRecord { height, worker, state, epoch: context.epoch, bytes: Blob::default(), ..found };
            put(context, &record, "answered").await?;
        }
    }
    Ok(())
}

async fn template(context: &Context, job: &Job) -> Option<Blob> {
    let subject = Subject::Template(context.pool.clone(), job.id.clone());
    let mut pause = persist::Pause::new();
    loop {
        match context.bus.last(TEMPLATE, &subject).await {
            Ok(found) => {
                return found.and_then(|s| TemplateRecord::decode(&s.payload).ok()).map(|t| t.assembly);
            }
            Err(_) => pause.wait(&context.bus).await,
        }
    }
}

async fn keep(
    context: &Context,
    hash: Hash32,
    job: &Job,
    worker: WorkerId,
    bytes: Blob,
) -> Result<(), Failed> {
    let record = BlockRecord {
        pool: context.pool.clone(),
        hash,
        height: job.height,
        job: job.id.clone(),
        worker,
        epoch: context.epoch,
        state: BlockState::Found,
        bytes,
        at_ms: TimestampMs(0),
        source: None,
    };
    put(context, &record, "found").await
}

async fn put(context: &Context, record: &BlockRecord, step: &str) -> Result<(), Failed> {
    let hash = block_id(record.hash);
    let subject = Subject::Block(context.pool.clone(), hash.clone()).to_string();
    let id = format!("{hash}-{step}-{}", context.epoch);
    let payload = record.encode().unwrap_or_default();
    persist::store(&context.bus, BLOCK, &subject, &id, payload).await.map(drop)
}

async fn with_bytes(context: &Context, hash: Hash32) -> Option<BlockRecord> {
    let subject = Subject::Block(context.pool.clone(), block_id(hash)).to_string();
    let mut pause = persist::Pause::new();
    loop {
        match context.bus.read_from(BLOCK, subject.clone(), 1).await {
            Ok(all) => {
                let mut records = all.iter().filter_map(|s| BlockRecord::decode(&s.payload).ok());
                return records.find(|r| !r.bytes.0.is_empty());
            }
            Err(_) => pause.wait(&context.bus).await,
        }
    }
}

/// Submits a block once, beside everything else.
fn submit(context: &Context, hash: Hash32) {
    let context = context.clone();
    let world = context.bus.world.clone();
    world.clone().executor.spawn(context.bus.owner, async move {
        let Some(record) = with_bytes(&context, hash).await else {
            context.tell(PoolInput::BlockUnusable(hash, "its bytes are not kept".to_owned()));
            return;
        };
        let pause = world.with_process(context.bus.owner.process, |p| p.random.between(1, 80));
        context.bus.sleep_ms(pause).await;
        let answer = match world.submit(&context.pool, hash, &record.bytes) {
            Answer::Accepted => BlockAnswer::Accepted,
            Answer::NotTip => BlockAnswer::NotTip,
            Answer::Silence => {
                BlockAnswer::Open { said: "no answer".to_owned(), unknown: false, standing: None }
            }
        };
        context.tell(PoolInput::BlockAnswered(hash, answer));
    });
}
