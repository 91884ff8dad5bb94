//! The stream of throttle orders as inputs, with the times at which it stored them, so that a coordinator that starts
//! knows what lives.

use bus_schemas::{
    subject::{Subject, filter},
    throttle::Throttle,
};
use coordinator_core::Input;
use nats_adapter::{Bus, Delivered, Replay, ReplayError, Undecodable, streams};
use std::time::Duration;
use tokio::{sync::mpsc, task::JoinSet};

/// Orders that are taken at once.
const BATCH: usize = 256;
/// Pause before a stream that was made anew is read again.
const RESTART_DELAY: Duration = Duration::from_secs(1);
/// Most unreadable messages of one batch that are put aside; the others are only told.
const DEAD_LETTERS_PER_BATCH: usize = 16;

async fn open(bus: &Bus) -> Result<Replay, ReplayError> {
    bus.replay(streams::THROTTLE, filter::throttles(), 1).await
}

/// Reads the stream; it goes on over restarts of the server.
pub(crate) async fn watch(
    bus: &Bus,
    inputs: mpsc::Sender<Input>,
    tasks: &mut JoinSet<&'static str>,
) -> Result<(), ReplayError> {
    let (bus, mut replay) = (bus.clone(), open(bus).await?);
    tasks.spawn(async move {
        let mut complete = false;
        loop {
            // A stream without any order is complete before its first batch comes.
            if !complete && replay.is_caught_up() {
                complete = true;
                if inputs.send(Input::ThrottlesComplete).await.is_err() {
                    return "throttles";
                }
            }
            match replay.next_batch(BATCH).await {
                Ok(batch) => {
                    let mut letters = DEAD_LETTERS_PER_BATCH;
                    for delivered in &batch {
                        let input = input(&bus, delivered, &mut letters).await;
                        if inputs.send(input).await.is_err() {
                            return "throttles";
                        }
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "throttle orders are read from the beginning again");
                    tokio::time::sleep(RESTART_DELAY).await;
                    if let Ok(again) = open(&bus).await {
                        replay = again;
                    }
                }
            }
        }
    });
    Ok(())
}

async fn input(bus: &Bus, delivered: &Delivered, letters: &mut usize) -> Input {
    let (sequence, given_at) = (delivered.sequence, delivered.stored_at);
    let read = delivered.decode::<Throttle>().and_then(|entry| match (entry.subject, entry.message) {
        (Subject::Throttle(target), order) => match order.check() {
            Ok(()) => Ok(Input::Throttle { sequence, target, order, given_at }),
            Err(error) => Err(unreadable(delivered, error.to_string())),
        },
        (subject, _) => Err(unreadable(delivered, format!("{subject} is no subject of throttle orders"))),
    });
    match read {
        Ok(input) => input,
        Err(undecodable) => {
            if let Some(left) = letters.checked_sub(1) {
                *letters = left;
                bus.dead_letter(streams::THROTTLE, &undecodable).await;
            }
            let Undecodable { subject, reason, .. } = undecodable;
            Input::ThrottleUnreadable { sequence, subject, reason }
        }
    }
}

fn unreadable(delivered: &Delivered, reason: String) -> Undecodable {
    let (subject, payload) = (delivered.subject.to_string(), delivered.payload.clone());
    Undecodable { subject, sequence: Some(delivered.sequence), reason, payload }
}
