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
    let mut watch = bus.kv(streams::CONFIG).watch_all().await?;
    tasks.spawn(async move {
        loop {
            let input = match watch.next().await {
                WatchEvent::Put { key, revision, value } => {
                    Input::Config { key, revision, value: Some(value.to_vec()) }
                }
                WatchEvent::Delete { key, revision } => Input::Config { key, revision, value: None },
                WatchEvent::Initialised => Input::ConfigComplete,
                // What is in force stays in force: silence of the bus takes nothing away.
                WatchEvent::Restarted => continue,
            };
            if inputs.send(input).await.is_err() {
                return "configuration";
            }
        }
    });
    Ok(())
}
