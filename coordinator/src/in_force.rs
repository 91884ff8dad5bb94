//! Publishes what is in force and keeps the throttle orders, until the bucket holds it or something newer takes its place.

use bus_schemas::{
    Message,
    config::ConfigKey,
    throttle::{KeptOrders, ThrottleTarget, kept_key},
};
use coordinator_core::{
    Input, KeptDocument,
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

/// Where something goes: the kill switch comes first, since the farm is the first of the keys, then orders.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Farm,
    Orders(ThrottleTarget),
    Config(ConfigKey),
}

#[derive(Debug)]
enum Item {
    Config(Ours),
    Orders(ThrottleTarget, KeptDocument),
}

impl Item {
    fn place(&self) -> Place {
        match self {
            Self::Config(ours) if ours.key == ConfigKey::Farm => Place::Farm,
            Self::Config(ours) => Place::Config(ours.key.clone()),
            Self::Orders(target, _) => Place::Orders(target.clone()),
        }
    }
}

/// What is to be published: the newest of each place, of which the core bounds the number.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted(Arc<(Mutex<BTreeMap<Place, Item>>, Notify)>);

impl Wanted {
    pub(crate) fn put(&self, ours: Ours) {
        self.add(Item::Config(ours));
    }

    pub(crate) fn keep(&self, target: ThrottleTarget, kept: KeptDocument) {
        self.add(Item::Orders(target, kept));
    }

    fn add(&self, item: Item) {
        self.lock().insert(item.place(), item);
        self.0.1.notify_one();
    }

    /// What has a newer one already is not wanted again.
    fn put_back(&self, item: Item) {
        self.lock().entry(item.place()).or_insert(item);
    }

    fn take(&self) -> Option<Item> {
        self.lock().pop_first().map(|(_, item)| item)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Place, Item>> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Publishes what is wanted, for ever.
pub(crate) async fn publish(bus: Bus, wanted: Wanted, inputs: mpsc::Sender<Input>) {
    let mut backoff = Backoff::new(MAX_PAUSE);
    loop {
        let mut failed = Vec::new();
        while let Some(item) = wanted.take() {
            let done = match &item {
                Item::Config(ours) => config(&bus, ours).await,
                Item::Orders(target, kept) => orders(&bus, target, kept).await.map(|()| None),
            };
            match done {
                Ok(None) => {}
                Ok(Some(adopted)) => {
                    if inputs.send(adopted).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(place = ?item.place(), %error, "what is in force is not published yet");
                    failed.push(item);
                }
            }
        }
        if failed.is_empty() {
            backoff.reset();
            wanted.0.1.notified().await;
        } else {
            failed.into_iter().for_each(|item| wanted.put_back(item));
            tokio::time::sleep(backoff.next()).await;
        }
    }
}

/// Another writer in between is an error: what it wrote is looked at by the next attempt.
async fn config(bus: &Bus, ours: &Ours) -> Result<Option<Input>, KvError> {
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

/// What another coordinator kept in between stays: the core is told of it and answers.
async fn orders(bus: &Bus, target: &ThrottleTarget, kept: &KeptDocument) -> Result<(), KvError> {
    let KeptDocument { revision, orders } = kept;
    let (kv, key) = (bus.kv(streams::IN_FORCE), kept_key(target));
    let before = kv.get(&key).await?;
    let readable = before.as_ref().and_then(|entry| KeptOrders::decode(&entry.value).ok());
    let other = before.as_ref().is_some_and(|entry| entry.revision != *revision);
    if readable.is_some_and(|known| other || known == *orders) {
        return Ok(());
    }
    let bytes = || orders.encode().map(Into::into).map_err(|e| KvError::Publish(e.into()));
    match before {
        Some(entry) if orders.orders.is_empty() => drop(kv.delete_at(&key, entry.revision).await?),
        None if orders.orders.is_empty() => {}
        Some(entry) => drop(kv.update(&key, bytes()?, entry.revision).await?),
        None => drop(kv.create(&key, bytes()?).await?),
    }
    Ok(())
}
