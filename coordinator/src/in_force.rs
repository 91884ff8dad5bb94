//! Publishes what is in force, until the bucket holds it or a newer edit takes its place.

use bus_schemas::config::ConfigKey;
use coordinator_core::{
    Input,
    in_force::{Ours, Reconciled, reconcile},
};
use nats_adapter::{Backoff, Bus, KvError, streams};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::{Notify, mpsc};

/// Longest pause between two attempts.
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// What is to be published: the newest of each key, of which the registry bounds the number.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted(Arc<(Mutex<BTreeMap<ConfigKey, Ours>>, Notify)>);

impl Wanted {
    pub(crate) fn put(&self, ours: Ours) {
        self.lock().insert(ours.key.clone(), ours);
        self.0.1.notify_one();
    }

    /// What has a newer one already is not wanted again.
    fn put_back(&self, ours: Ours) {
        self.lock().entry(ours.key.clone()).or_insert(ours);
    }

    /// The kill switch comes first, since the farm is the first of the keys.
    fn take(&self) -> Option<Ours> {
        self.lock().pop_first().map(|(_, ours)| ours)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ConfigKey, Ours>> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Publishes what is wanted, for ever.
pub(crate) async fn publish(bus: Bus, wanted: Wanted, inputs: mpsc::Sender<Input>) {
    let mut backoff = Backoff::new(MAX_PAUSE);
    loop {
        let mut failed = Vec::new();
        while let Some(ours) = wanted.take() {
            match one(&bus, &ours).await {
                Ok(None) => {}
                Ok(Some(adopted)) => {
                    if inputs.send(adopted).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(key = %ours.key, %error, "what is in force is not published yet");
                    failed.push(ours);
                }
            }
        }
        if failed.is_empty() {
            backoff.reset();
            wanted.0.1.notified().await;
        } else {
            failed.into_iter().for_each(|ours| wanted.put_back(ours));
            tokio::time::sleep(backoff.next()).await;
        }
    }
}

/// Another writer in between is an error: what it wrote is looked at by the next attempt.
async fn one(bus: &Bus, ours: &Ours) -> Result<Option<Input>, KvError> {
    let Ours { key, in_force, .. } = ours;
    let wished = bus.kv(streams::CONFIG).revision(key).await?;
    let kv = bus.kv(streams::IN_FORCE);
    let published = kv.get(key).await?;
    let reconciled = reconcile(ours, wished, published.as_ref().map(|entry| &*entry.value));
    match (reconciled, in_force, published) {
        (Reconciled::Write, Some(bytes), Some(entry)) => {
            kv.update(key, bytes.0.clone().into(), entry.revision).await?;
        }
        (Reconciled::Write, Some(bytes), None) => {
            kv.create(key, bytes.0.clone().into()).await?;
        }
        (Reconciled::Remove, _, Some(entry)) => {
            kv.delete_at(key, entry.revision).await?;
        }
        (Reconciled::Adopt, _, Some(entry)) => {
            return Ok(Some(Input::InForceAdopted { key: key.clone(), value: entry.value.to_vec() }));
        }
        (
            Reconciled::Agreed
            | Reconciled::Behind
            | Reconciled::Write
            | Reconciled::Remove
            | Reconciled::Adopt,
            ..,
        ) => {}
    }
    Ok(None)
}
