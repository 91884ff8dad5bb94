//! Writing until it is certain what became of it.

use bus_schemas::{TimestampMs, codec::EncodeError};
use bytes::Bytes;
use nats_adapter::{Bus, Expect, HeaderMap, Kv, KvError, PublishError};
use std::time::Duration;

/// Longest pause between two attempts. Attempts end with the ownership of the pool.
const MAX_PAUSE: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// Nothing was written, and it makes no sense to try again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    /// Somebody else wrote in between: this pool is not ours any more.
    #[error("another owner wrote to {0}")]
    Overtaken(String),
    /// It can never be written.
    #[error("{0}")]
    Impossible(PublishError),
    /// It cannot be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// What the core carried unread is not what was given to it.
    #[error("a template cannot be read: {0}")]
    Origin(#[from] super::origin::OriginError),
}

/// Pauses between attempts, each twice as long as the one before, up to a limit.
pub(crate) struct Pause {
    next: Duration,
    longest: Duration,
}

impl Pause {
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self { next: first, longest }
    }

    /// Says what did not work and waits.
    pub(crate) async fn wait(&mut self, what: &str, error: &(dyn std::fmt::Display + Sync)) {
        tracing::warn!(%error, "{what}; tried again");
        tokio::time::sleep(self.next).await;
        self.next = (self.next * 2).min(self.longest);
    }
}

fn pause() -> Pause {
    Pause::new(FIRST_PAUSE, MAX_PAUSE)
}

/// Appends to `subject` after the message with sequence `after`; returns the new sequence. An acknowledgement that was
/// lost is made up for by looking at what is there.
pub(crate) async fn append(
    bus: &Bus,
    stream: &str,
    subject: &str,
    id: &str,
    payload: Bytes,
    after: u64,
) -> Result<u64, Failed> {
    let mut pause = pause();
    loop {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", id);
        let expect = Expect::LastSubjectSequence(after);
        let error = match bus.publish_bytes_stored(subject, payload.clone(), headers, expect).await {
            Ok(stored) => return Ok(stored.sequence),
            Err(PublishError::WrongLastSequence { .. }) => match bus.last_bytes(stream, subject).await {
                Ok(Some(last)) if last.payload == payload => return Ok(last.sequence),
                Ok(_) => return Err(Failed::Overtaken(subject.to_owned())),
                Err(error) => error.to_string(),
            },
            Err(error @ (PublishError::TooLarge { .. } | PublishError::Encode(_))) => {
                return Err(Failed::Impossible(error));
            }
            Err(error) => error.to_string(),
        };
        pause.wait(&format!("{subject} is not stored yet"), &error).await;
    }
}

/// When the stream stored the last message of `subject`, which has this sequence.
pub(crate) async fn stored_at(
    bus: &Bus,
    stream: &str,
    subject: &str,
    sequence: u64,
) -> Result<TimestampMs, Failed> {
    let mut pause = pause();
    loop {
        match bus.last_bytes(stream, subject).await {
            Ok(Some(last)) if last.sequence == sequence => return Ok(last.stored_at),
            Ok(_) => return Err(Failed::Overtaken(subject.to_owned())),
            Err(error) => pause.wait(&format!("{subject} cannot be read back yet"), &error).await,
        }
    }
}

/// Stores on `subject` whatever is there; a repeated id is stored once.
pub(crate) async fn store(bus: &Bus, subject: &str, id: &str, payload: Bytes) -> Result<u64, Failed> {
    let mut pause = pause();
    loop {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", id);
        match bus.publish_bytes_stored(subject, payload.clone(), headers, Expect::None).await {
            Ok(stored) => return Ok(stored.sequence),
            Err(error @ (PublishError::TooLarge { .. } | PublishError::Encode(_))) => {
                return Err(Failed::Impossible(error));
            }
            Err(error) => pause.wait(&format!("{subject} is not stored yet"), &error).await,
        }
    }
}

/// Replaces revision `after` of `key`; returns the new revision.
pub(crate) async fn update(kv: &Kv, key: &str, value: Bytes, after: u64) -> Result<u64, Failed> {
    let mut pause = pause();
    loop {
        let error = match kv.update(key, value.clone(), after).await {
            Ok(revision) => return Ok(revision),
            Err(KvError::RevisionMismatch { .. }) => match kv.get(key).await {
                Ok(Some(entry)) if entry.value == value => return Ok(entry.revision),
                Ok(_) => return Err(Failed::Overtaken(key.to_owned())),
                Err(error) => error,
            },
            Err(error) => error,
        };
        pause.wait(&format!("{key} is not stored yet"), &error).await;
    }
}
