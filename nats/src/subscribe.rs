//! Subscriptions on core NATS.

use crate::{
    Bus,
    delivery::{Undecodable, decode},
};
use async_nats::{
    HeaderMap, Subscriber,
    header::{NATS_MARKER_REASON, NATS_SEQUENCE},
};
use bus_schemas::{Message, subject::Subject};
use bytes::Bytes;
use futures_util::StreamExt;
use std::{fmt::Display, marker::PhantomData, sync::atomic::Ordering::Relaxed};

/// Header by which a bucket marks a deletion.
pub(crate) const KV_OPERATION: &str = "KV-Operation";

/// A message of a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming<M> {
    /// Where it was published.
    pub subject: Subject,
    /// What it says.
    pub message: M,
}

/// A message of a subscription, in bytes.
#[derive(Debug, Clone)]
pub struct RawIncoming {
    /// Where it was published.
    pub subject: async_nats::Subject,
    /// Its bytes.
    pub payload: Bytes,
    /// Its headers.
    pub headers: Option<HeaderMap>,
}

/// A change of a bucket, as the bucket republishes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Republished<M> {
    /// Where it was republished.
    pub subject: Subject,
    /// The bucket's revision.
    pub revision: u64,
    /// The new value, `None` when it was deleted.
    pub value: Option<M>,
}

/// A subscription for messages of one type. After a reconnect it goes on; what was published in between is lost.
#[derive(Debug)]
pub struct Subscription<M> {
    raw: RawSubscription,
    message: PhantomData<fn() -> M>,
}

/// A subscription for bytes.
#[derive(Debug)]
pub struct RawSubscription {
    bus: Bus,
    subscriber: Subscriber,
}

/// A subscription for the changes of a bucket.
#[derive(Debug)]
pub struct RepublishedSubscription<M> {
    raw: RawSubscription,
    message: PhantomData<fn() -> M>,
}

impl Bus {
    /// Subscribes to `filter` for messages of one type. A subscription that permissions forbid stays silent and
    /// shows as [`crate::BusEvent::Refused`].
    pub async fn subscribe<M: Message>(
        &self,
        filter: impl Display,
    ) -> Result<Subscription<M>, async_nats::SubscribeError> {
        Ok(Subscription { raw: self.subscribe_bytes(filter).await?, message: PhantomData })
    }

    /// Subscribes to `filter` for bytes.
    pub async fn subscribe_bytes(
        &self,
        filter: impl Display,
    ) -> Result<RawSubscription, async_nats::SubscribeError> {
        let subscriber = self.client().subscribe(filter.to_string()).await?;
        Ok(RawSubscription { bus: self.clone(), subscriber })
    }

    /// Subscribes to what a bucket republishes under `filter`.
    pub async fn subscribe_republished<M: Message>(
        &self,
        filter: impl Display,
    ) -> Result<RepublishedSubscription<M>, async_nats::SubscribeError> {
        Ok(RepublishedSubscription { raw: self.subscribe_bytes(filter).await?, message: PhantomData })
    }
}

impl RawSubscription {
    /// The next message; `None` when the connection was closed for good.
    pub async fn next(&mut self) -> Option<RawIncoming> {
        let async_nats::Message { subject, payload, headers, .. } = self.subscriber.next().await?;
        Some(RawIncoming { subject, payload, headers })
    }
}

impl<M: Message> Subscription<M> {
    /// The next message, or one that cannot be read; `None` when the connection was closed for good.
    pub async fn next(&mut self) -> Option<Result<Incoming<M>, Undecodable>> {
        let raw = self.raw.next().await?;
        let decoded = decode(&raw.subject, None, &raw.payload);
        Some(counted(&self.raw.bus, decoded).map(|(subject, message)| Incoming { subject, message }))
    }
}

impl<M: Message> RepublishedSubscription<M> {
    /// The next change, or one that cannot be read; `None` when the connection was closed for good.
    pub async fn next(&mut self) -> Option<Result<Republished<M>, Undecodable>> {
        let raw = self.raw.next().await?;
        Some(counted(&self.raw.bus, republished(&raw)))
    }
}

fn republished<M: Message>(raw: &RawIncoming) -> Result<Republished<M>, Undecodable> {
    let undecodable = |reason| Undecodable {
        subject: raw.subject.to_string(),
        sequence: None,
        reason,
        payload: raw.payload.clone(),
    };
    let sequence = raw.headers.as_ref().and_then(|headers| headers.get(NATS_SEQUENCE));
    let revision = sequence.and_then(|value| value.as_str().parse().ok()).ok_or_else(|| {
        undecodable("it carries no revision and was not republished by a bucket".to_owned())
    })?;
    if is_deletion(raw.headers.as_ref()) {
        let subject: Subject = raw
            .subject
            .parse()
            .map_err(|e: bus_schemas::subject::InvalidSubject| undecodable(e.to_string()))?;
        return Ok(Republished { subject, revision, value: None });
    }
    let (subject, value) = decode(&raw.subject, Some(revision), &raw.payload)?;
    Ok(Republished { subject, revision, value: Some(value) })
}

/// Whether a message of a bucket says that its key is gone: deleted, purged or ended by its time to live.
pub(crate) fn is_deletion(headers: Option<&HeaderMap>) -> bool {
    headers.is_some_and(|headers| {
        headers.get(NATS_MARKER_REASON).is_some()
            || headers
                .get(KV_OPERATION)
                .is_some_and(|operation| matches!(operation.as_str(), "DEL" | "PURGE"))
    })
}

pub(crate) fn counted<T>(bus: &Bus, result: Result<T, Undecodable>) -> Result<T, Undecodable> {
    if result.is_err() {
        bus.count().undecodable.fetch_add(1, Relaxed);
    }
    result
}
