//! The bucket of configurations as inputs.

use coordinator_core::Input;
use nats_adapter::{Bus, KvError, WatchEvent, streams};
use tokio::{sync::mpsc, task::JoinSet};

/// Watches the bucket; the watch itself goes on over restarts of the server.
pub(crate) async fn watch(
    bus: &Bus,
    inputs: mpsc::Sender<Input>,
    tasks: &mut JoinSet<&'static str>,
) -> Result<(), KvError> {
    let kv = bus.kv(streams::CONFIG);
    // Every kept edit in its order, so that the last good one is in force although a later one is refused.
    let history = kv.history_of_all(">").await?;
    let mut watch = kv.watch_all().await?;
    tasks.spawn(async move {
        for input in history.into_iter().filter_map(input) {
            if inputs.send(input).await.is_err() {
                return "configuration";
            }
        }
        loop {
            let Some(input) = input(watch.next().await) else { continue };
            if inputs.send(input).await.is_err() {
                return "configuration";
            }
        }
    });
    Ok(())
}

fn input(event: WatchEvent) -> Option<Input> {
    match event {
        WatchEvent::Put { key, revision, value } => {
            Some(Input::Config { key, revision, value: Some(value.to_vec()) })
        }
        WatchEvent::Delete { key, revision } => Some(Input::Config { key, revision, value: None }),
        WatchEvent::Initialised => Some(Input::ConfigComplete),
        // What is in force stays in force: silence of the bus takes nothing away.
        WatchEvent::Restarted => None,
    }
}
