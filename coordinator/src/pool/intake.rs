//! Reads the stream of shares for the core, as fast as the core has room.

use super::Context;
use bus_schemas::{
    share::Share,
    subject::{Subject, filter},
};
use coordinator_core::{ArrivedShare, PoolInput, Trouble};
use nats_adapter::{Delivered, streams};
use tokio::sync::watch;

/// Most shares that are given to the core at once.
pub(crate) const INTAKE_BATCH: usize = 2_048;

/// Most unreadable messages of one batch that are put aside; the others are only counted and told.
pub(crate) const DEAD_LETTERS_PER_BATCH: usize = 16;

/// Reads until the pool is given up or the stream was made anew.
pub(crate) async fn run(context: Context, shares_after: u64, mut room: watch::Receiver<bool>) -> Trouble {
    let replay = context.bus.replay(streams::SHARE, filter::shares(&context.pool), shares_after + 1).await;
    let mut replay = match replay {
        Ok(replay) => replay,
        Err(error) => {
            tracing::error!(pool = %context.pool, %error, "shares cannot be read");
            return Trouble::of(format!("shares cannot be read: {error}"));
        }
    };
    loop {
        if room.wait_for(|room| *room).await.is_err() {
            return Trouble::of("the pool was dropped");
        }
        let batch = match replay.next_batch(INTAKE_BATCH).await {
            Ok(batch) => batch,
            Err(error) => {
                tracing::error!(pool = %context.pool, %error, "shares cannot be read on");
                return Trouble::of(format!("shares cannot be read on: {error}"));
            }
        };
        let mut shares = Vec::with_capacity(batch.len());
        let mut letters = DEAD_LETTERS_PER_BATCH;
        for delivered in &batch {
            shares.extend(arrived(&context, delivered, &mut letters).await);
        }
        if !context.tell(PoolInput::Shares(shares)).await {
            return Trouble::of("nobody listens any more");
        }
    }
}

/// A message of the stream as the core takes it. Bytes that are no share still count as their sender's refused share;
/// they are put aside once more for a person to look at.
async fn arrived(context: &Context, delivered: &Delivered, letters: &mut usize) -> Option<ArrivedShare> {
    let (sequence, stored_at) = (delivered.sequence, delivered.stored_at);
    match delivered.decode::<Share>() {
        Ok(entry) => match entry.subject {
            Subject::Share(_, worker) => {
                Some(ArrivedShare { sequence, stored_at, worker, share: Some(entry.message) })
            }
            _ => None,
        },
        Err(undecodable) => {
            if let Some(left) = letters.checked_sub(1) {
                *letters = left;
                context.bus.dead_letter(streams::SHARE, &undecodable).await;
            }
            let (subject, reason) = (undecodable.subject.clone(), undecodable.reason.clone());
            context.tell(PoolInput::Undecodable { subject, reason }).await;
            match undecodable.subject.parse() {
                Ok(Subject::Share(_, worker)) => {
                    Some(ArrivedShare { sequence, stored_at, worker, share: None })
                }
                _ => None,
            }
        }
    }
}
