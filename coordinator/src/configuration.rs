//! The buckets of configurations, wished for and in force, as inputs.

use crate::tasks::Vital;
use coordinator_core::Input;
use nats_adapter::{Bus, KvError, WatchEvent, streams};
use std::sync::Arc;
use tokio::sync::{Notify, mpsc};

/// Watches both buckets; a watch goes on over restarts of the server and over a bucket that is made anew.
pub(crate) async fn watch(bus: &Bus, inputs: mpsc::Sender<Input>, tasks: &mut Vital) -> Result<(), KvError> {
    let wished = bus.kv(streams::CONFIG);
    // Every kept edit in its order, so that the last good one is in force although a later one is refused.
    let history = wished.history_of_all(">").await?;
    let mut watch = wished.watch_all().await?;
    let in_force = bus.kv(streams::IN_FORCE);
    let complete = Arc::new(Notify::new());
    let (sender, told) = (inputs.clone(), complete.clone());
    tasks.spawn("configuration", async move {
        for input in history.into_iter().filter_map(|event| edited(event, &told)) {
            if sender.send(input).await.is_err() {
                return;
            }
        }
        loop {
            let Some(input) = edited(watch.next().await, &told) else { continue };
            if sender.send(input).await.is_err() {
                return;
            }
        }
    });
    let mut watch = in_force.watch_all().await?;
    tasks.spawn("configuration in force", async move {
        complete.notified().await;
        loop {
            if inputs.send(published(watch.next().await)).await.is_err() {
                return;
            }
        }
    });
    Ok(())
}

fn edited(event: WatchEvent, complete: &Notify) -> Option<Input> {
    Some(match event {
        WatchEvent::Put { key, revision, value } => {
            Input::Config { key, revision, value: Some(value.to_vec()) }
        }
        WatchEvent::Delete { key, revision } => Input::Config { key, revision, value: None },
        WatchEvent::Initialised => {
            complete.notify_one();
            Input::ConfigComplete
        }
        WatchEvent::Restarted => Input::ConfigRestarted,
    })
}

fn published(event: WatchEvent) -> Input {
    match event {
        WatchEvent::Put { key, value, .. } => Input::InForce { key, value: Some(value.to_vec()) },
        WatchEvent::Delete { key, .. } => Input::InForce { key, value: None },
        WatchEvent::Initialised => Input::InForceComplete,
        WatchEvent::Restarted => Input::InForceRestarted,
    }
}
