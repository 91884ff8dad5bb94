//! Publishes what is in force and keeps the throttle orders, until the bucket holds it or something newer takes its place.

use crate::{
    bus::{Bus, BusError},
    queue::Queue,
    server::{
        declared::{CONFIG, IN_FORCE, key_subject},
        stream::Headers,
    },
};
use bus_schemas::{
    Message,
    config::ConfigKey,
    throttle::{KeptOrders, ThrottleTarget, kept_key},
};
use coordinator_core::{
    Input, KeptDocument,
    in_force::{Ours, Reconciled, reconcile},
};
use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

/// Longest pause between two attempts, milliseconds.
const MAX_PAUSE_MS: u64 = 2_000;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Farm,
    Orders(ThrottleTarget),
    Config(ConfigKey),
}

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

/// What is to be published: the newest of each place.
#[derive(Clone, Default)]
pub(super) struct Wanted {
    items: Rc<RefCell<BTreeMap<Place, Item>>>,
    news: Queue<()>,
}

impl Wanted {
    pub(super) fn put(&self, ours: Ours) {
        self.add(Item::Config(ours));
    }

    pub(super) fn keep(&self, target: ThrottleTarget, kept: KeptDocument) {
        self.add(Item::Orders(target, kept));
    }

    fn add(&self, item: Item) {
        self.items.borrow_mut().insert(item.place(), item);
        if self.news.len() == 0 {
            self.news.push(());
        }
    }

    fn put_back(&self, item: Item) {
        self.items.borrow_mut().entry(item.place()).or_insert(item);
    }

    fn take(&self) -> Option<Item> {
        self.items.borrow_mut().pop_first().map(|(_, item)| item)
    }
}

/// Publishes what is wanted, for ever.
pub(super) async fn publish(bus: Bus, wanted: Wanted, inputs: Queue<Input>) {
    let mut pause = 50;
    loop {
        let mut failed = Vec::new();
        while let Some(item) = wanted.take() {
            let done = match &item {
                Item::Config(ours) => config(&bus, ours).await,
                Item::Orders(target, kept) => orders(&bus, target, kept).await.map(|()| None),
            };
            match done {
                Ok(adopted) => adopted.into_iter().for_each(|input| inputs.push(input)),
                Err(_) => failed.push(item),
            }
        }
        if failed.is_empty() {
            pause = 50;
            wanted.news.next().await;
        } else {
            failed.into_iter().for_each(|item| wanted.put_back(item));
            bus.sleep_ms(pause).await;
            pause = (pause * 2).min(MAX_PAUSE_MS);
        }
    }
}

fn at(revision: u64) -> Headers {
    Headers { expected: Some(revision), ..Headers::default() }
}

async fn config(bus: &Bus, ours: &Ours) -> Result<Option<Input>, BusError> {
    let Ours { key, in_force, .. } = ours;
    let wished = bus.last(CONFIG, key_subject(CONFIG, key)).await?.map_or(0, |last| last.sequence);
    let subject = key_subject(IN_FORCE, key);
    let published = bus.last(IN_FORCE, &subject).await?.filter(|last| !last.headers.deletes);
    let reconciled = reconcile(ours, wished, published.as_ref().map(|entry| &*entry.payload));
    match (reconciled, in_force, published) {
        (Reconciled::Write, Some(bytes), Some(entry)) => {
            bus.publish(subject, bytes.0.clone(), at(entry.sequence)).await?;
        }
        (Reconciled::Write, Some(bytes), None) => create(bus, &subject, bytes.0.clone()).await?,
        (Reconciled::Remove, _, Some(entry)) => {
            let headers = Headers { deletes: true, ..at(entry.sequence) };
            bus.publish(subject, Vec::new(), headers).await?;
        }
        (Reconciled::Adopt, _, Some(entry)) => {
            return Ok(Some(Input::InForceAdopted { key: key.clone(), value: entry.payload.to_vec() }));
        }
        _ => {}
    }
    Ok(None)
}

/// Puts a value only if there is none.
async fn create(bus: &Bus, subject: &str, value: Vec<u8>) -> Result<(), BusError> {
    let last = bus.last(IN_FORCE, subject).await?;
    if last.as_ref().is_some_and(|last| !last.headers.deletes) {
        return Err(BusError::Refused(crate::server::stream::Refused::WrongLast));
    }
    bus.publish(subject, value, at(last.map_or(0, |last| last.sequence))).await.map(drop)
}

/// What another coordinator kept in between stays: the core is told of it and answers.
async fn orders(bus: &Bus, target: &ThrottleTarget, kept: &KeptDocument) -> Result<(), BusError> {
    let KeptDocument { revision, orders } = kept;
    let subject = key_subject(IN_FORCE, kept_key(target));
    let before = bus.last(IN_FORCE, &subject).await?.filter(|last| !last.headers.deletes);
    let readable = before.as_ref().and_then(|entry| KeptOrders::decode(&entry.payload).ok());
    let other = before.as_ref().is_some_and(|entry| entry.sequence != *revision);
    if readable.is_some_and(|known| other || known == *orders) {
        return Ok(());
    }
    let bytes = || orders.encode().unwrap_or_default();
    match before {
        Some(entry) if orders.orders.is_empty() => {
            let headers = Headers { deletes: true, ..at(entry.sequence) };
            bus.publish(subject, Vec::new(), headers).await.map(drop)
        }
        None if orders.orders.is_empty() => Ok(()),
        Some(entry) => bus.publish(subject, bytes(), at(entry.sequence)).await.map(drop),
        None => create(bus, &subject, bytes()).await,
    }
}
