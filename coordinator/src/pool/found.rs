//! The lane of blocks: a durable consumer of its own, so that no flood of shares stands before a block.

use super::Context;
use bus_schemas::{
    share::Share,
    subject::{Subject, filter},
};
use coordinator_core::{ArrivedFound, PoolInput, Trouble};
use nats_adapter::{Acker, ConsumeOptions, Exhausted, streams};
use std::{collections::BTreeMap, time::Duration};
use tokio::sync::mpsc;

/// Pause before a candidate is taken again that was put off or delivered very often: its pool was given up each time, or
/// its block could not be kept. It is never thrown away for that; its stream forgets it after a week.
const SLOW_REDELIVERY: Duration = Duration::from_secs(60);

/// What became of a candidate, by its sequence.
#[derive(Debug, Clone, Copy)]
pub(super) enum Done {
    /// Its block is kept, or it is refused.
    Kept(u64),
    /// Nobody here can judge it now.
    PutOff(u64),
}

/// Consumes until the pool is given up. A candidate is acknowledged when its block is kept or it is refused.
pub(crate) async fn run(context: Context, mut acks: mpsc::Receiver<Done>) -> Trouble {
    let durable = format!("found-{}", context.pool);
    let mut options = ConsumeOptions::new(streams::FOUND, &durable, filter::found(&context.pool));
    options.exhausted = Exhausted::Slowed(SLOW_REDELIVERY);
    let mut consume = match context.bus.consume::<Share>(options).await {
        Ok(consume) => consume,
        Err(error) => {
            tracing::error!(pool = %context.pool, %error, "block candidates cannot be read");
            return Trouble::of(format!("block candidates cannot be read: {error}"));
        }
    };
    // No larger than the consumer's limit of messages in hand.
    let mut in_hand: BTreeMap<u64, Acker> = BTreeMap::new();
    loop {
        tokio::select! {
            done = acks.recv() => match done {
                None => return Trouble::of("the pool was dropped"),
                Some(Done::Kept(token)) => {
                    if let Some(acker) = in_hand.remove(&token) {
                        acker.ack().await;
                    }
                }
                Some(Done::PutOff(token)) => {
                    if let Some(acker) = in_hand.remove(&token) {
                        tracing::warn!(pool = %context.pool, candidate = token, "a block candidate is put off: its algorithm is not loaded here");
                        acker.retry(SLOW_REDELIVERY).await;
                    }
                }
            },
            consumed = consume.next() => {
                let Some(consumed) = consumed else { return Trouble::of("the reader of candidates ended") };
                let (token, stored_at) = (consumed.entry.sequence, consumed.entry.stored_at);
                let Subject::Found(_, worker) = consumed.entry.subject else {
                    consumed.acker.reject("its subject names no worker").await;
                    continue;
                };
                in_hand.insert(token, consumed.acker);
                let found = ArrivedFound { token, stored_at, worker, share: consumed.entry.message };
                if !context.tell(PoolInput::Found(Box::new(found))).await {
                    return Trouble::of("nobody listens any more");
                }
            }
        }
    }
}
