//! What the core tells the world, put on the bus.

use crate::{metrics::Metrics, stores::Stores};
use bus_schemas::{PoolId, command::PoolStatus, event::Event};
use futures_util::{StreamExt, stream};
use nats_adapter::{Bus, Expect, streams};
use std::{sync::Arc, time::Duration};
use tokio::sync::mpsc;

/// Most events that wait to be published; more are lost and counted.
pub(crate) const EVENT_BACKLOG: usize = 8_192;
/// Most states that wait to be published.
pub(crate) const STATUS_BACKLOG: usize = 256;
/// Most events that wait for their acknowledgements.
const EVENTS_AT_ONCE: usize = 256;
/// Pause between two attempts to store an event.
const EVENT_PAUSE: Duration = Duration::from_secs(2);
/// Longest time that one event is tried to be published.
const EVENT_DEADLINE: Duration = Duration::from_secs(60);

/// Publishes events, the first attempt of each in their order. One that the store does not take is tried for a while beside
/// the others: whoever subscribes has heard it, and no other one waits for it.
pub(crate) async fn publish_events(
    bus: Bus,
    queue: mpsc::Receiver<Box<Event>>,
    metrics: Arc<Metrics>,
    stores: Stores,
) {
    let events =
        stream::unfold(queue, |mut queue| async move { queue.recv().await.map(|event| (event, queue)) });
    let publish = |event| publish_event(&bus, event, &metrics, &stores);
    events.map(publish).buffer_unordered(EVENTS_AT_ONCE).for_each(|()| std::future::ready(())).await;
}

async fn publish_event(bus: &Bus, event: Box<Event>, metrics: &Metrics, stores: &Stores) {
    let subject = event.bus_subject();
    let attempts = async {
        loop {
            let stored = bus.publish_stored(&subject, &*event, Some(&event.id), Expect::None).await;
            stores.note(streams::EVENT, &stored);
            let Err(error) = stored else { return };
            tracing::warn!(%error, kind = event.kind(), "an event is not stored yet");
            tokio::time::sleep(EVENT_PAUSE).await;
        }
    };
    if tokio::time::timeout(EVENT_DEADLINE, attempts).await.is_err() {
        tracing::error!(kind = event.kind(), what = ?event.what, "an event could not be stored");
        metrics.event_lost();
    }
}

pub(crate) async fn publish_statuses(
    bus: Bus,
    mut queue: mpsc::Receiver<(PoolId, Box<PoolStatus>)>,
    stores: Stores,
) {
    while let Some((pool, status)) = queue.recv().await {
        let Ok(json) = serde_json::to_vec(&status) else { continue };
        let written = bus.kv(streams::STATUS).put(&pool, json.into()).await;
        stores.note_kv(streams::KV_STATUS, &written);
        if let Err(error) = written {
            tracing::debug!(%pool, %error, "the state of a pool was not written; the next follows");
        }
    }
}
