//! Streams and buckets that are missing are made again.
//!
//! One that is missing at two looks in a row is made, not at once: who restores a stream deletes it first, and is not to find
//! another one in its place a moment later. Owners store what they know of their members again when the bucket is another one.

use crate::health::Health;
use bus_schemas::event::EventData;
use coordinator_core::Input;
use nats_adapter::{Action, Bus, LinkState, ensure, streams};
use std::time::Duration;
use tokio::sync::mpsc;

/// Time between two looks.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// Looks until nobody listens any more.
pub(crate) async fn watch(bus: Bus, replicas: usize, health: Health, inputs: mpsc::Sender<Input>) {
    let mut looks = tokio::time::interval(LOOK_INTERVAL);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut missed: Vec<String> = Vec::new();
    let mut members = None;
    loop {
        looks.tick().await;
        if bus.link().borrow().state != LinkState::Connected {
            continue;
        }
        if is_replaced(&bus, &mut members).await && inputs.send(Input::MembersReplaced).await.is_err() {
            return;
        }
        let missing = match ensure(&bus, replicas, Action::Look).await {
            Ok(outcome) => outcome.missing,
            Err(error) => {
                tracing::warn!(%error, "the streams cannot be looked at");
                health.bad("streams", format!("the streams cannot be looked at: {error}"));
                continue;
            }
        };
        let again = missing.iter().any(|name| missed.contains(name));
        if !again {
            if missing.is_empty() {
                health.good("streams");
            }
            missed = missing;
            continue;
        }
        match ensure(&bus, replicas, Action::Create).await {
            Ok(outcome) => {
                for stream in outcome.missing {
                    tracing::warn!(stream, "a stream was missing and was made again");
                    if !tell(&bus, &inputs, stream).await {
                        return;
                    }
                }
                missed.clear();
                health.good("streams");
            }
            Err(error) => {
                tracing::error!(%error, ?missing, "streams are missing and cannot be made");
                health.bad("streams", format!("streams are missing and cannot be made: {error}"));
            }
        }
    }
}

/// Whether the bucket of members is another one than at the look before.
async fn is_replaced(bus: &Bus, known: &mut Option<String>) -> bool {
    let Ok(bounds) = bus.stream_bounds(streams::KV_MEMBERS).await else { return false };
    let now = bounds.identity();
    known.replace(now.clone()).is_some_and(|before| before != now)
}

/// Two coordinators may make it at the same time: the stamp of the stream makes their events one.
async fn tell(bus: &Bus, inputs: &mpsc::Sender<Input>, stream: String) -> bool {
    let stamp = bus.stream_bounds(&stream).await.ok().map(|bounds| bounds.identity());
    let id = stamp.map(|stamp| format!("made-{stream}-{stamp}"));
    inputs.send(Input::News { id, event: EventData::StreamMade { stream } }).await.is_ok()
}
