//! Writing until it is certain what became of it.

use super::Context;
use bus_schemas::{Message, TimestampMs, codec::EncodeError, command::Stuck, member::Member};
use bytes::Bytes;
use coordinator_core::{PoolInput, Trouble};
use nats_adapter::{Bus, Delivered, Expect, HeaderMap, KvError, PublishError, streams};
use std::time::Duration;

/// Longest pause between two attempts. Attempts end with the ownership of the pool.
const MAX_PAUSE: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// How the largest messages are made to pass.
const RAISE_PAYLOAD: &str =
    "set max_payload: 8MiB in the NATS server's file and load it with: nats-server --signal reload";

/// Nothing was written, and it makes no sense to try again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    /// Somebody else wrote in between: this pool is not ours any more.
    #[error("another owner wrote to {0}")]
    Overtaken(String),
    /// It can never be written.
    #[error("{error}")]
    Impossible {
        /// The stream that is to take it.
        stream: String,
        /// Why it does not.
        error: PublishError,
    },
    /// There is no room for it until others are forgotten.
    #[error("there is no room for {0}")]
    NoRoom(String),
    /// It cannot be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// What the core carried unread is not what was given to it.
    #[error("a template cannot be read: {0}")]
    Origin(#[from] super::origin::OriginError),
}

impl Failed {
    /// What is in the way, where somebody must mend it.
    pub(crate) fn stuck(&self) -> Option<Stuck> {
        let (stream, repair) = match self {
            Self::Overtaken(_) | Self::NoRoom(_) | Self::Origin(_) => return None,
            Self::Impossible { stream, .. } => (Some(stream.clone()), RAISE_PAYLOAD.to_owned()),
            Self::Encode(_) => (None, "a defect of the coordinator; look for a newer version".to_owned()),
        };
        Some(Stuck { reason: self.to_string(), stream, sequence: None, repair })
    }
}

impl From<Failed> for Trouble {
    fn from(failed: Failed) -> Self {
        match failed.stuck() {
            Some(stuck) => Self::stuck(stuck),
            None => Self::of(failed.to_string()),
        }
    }
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

pub(super) fn pause() -> Pause {
    Pause::new(FIRST_PAUSE, MAX_PAUSE)
}

/// Appends to `subject` after the message with sequence `after`; returns the new sequence. An acknowledgement that was
/// lost is made up for by looking at what is there; what no owner wrote there is put aside and followed.
pub(crate) async fn append(
    context: &Context,
    stream: &str,
    subject: &str,
    id: &str,
    payload: Bytes,
    mut after: u64,
) -> Result<u64, Failed> {
    let bus = &context.bus;
    let mut pause = pause();
    loop {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", id);
        let expect = Expect::LastSubjectSequence(after);
        let result = bus.publish_bytes_stored(subject, payload.clone(), headers, expect).await;
        context.stores.note(stream, &result);
        let error = match result {
            Ok(stored) => return Ok(stored.sequence),
            Err(PublishError::WrongLastSequence { .. }) => match bus.last_bytes(stream, subject).await {
                Ok(Some(last)) if last.payload == payload && last.is_guarded() => return Ok(last.sequence),
                Ok(Some(last)) if !last.is_guarded() && last.sequence > after => {
                    after = last.sequence;
                    put_aside(context, stream, &last, "no owner of the pool wrote it").await;
                    continue;
                }
                Ok(_) => return Err(Failed::Overtaken(subject.to_owned())),
                Err(error) => error.to_string(),
            },
            Err(error @ (PublishError::TooLarge { .. } | PublishError::Encode(_))) => {
                return Err(Failed::Impossible { stream: stream.to_owned(), error });
            }
            Err(error) => error.to_string(),
        };
        pause.wait(&format!("{subject} is not stored yet"), &error).await;
    }
}

/// When the stream stored the message of `subject` that has this sequence.
pub(crate) async fn stored_at(
    bus: &Bus,
    stream: &str,
    subject: &str,
    sequence: u64,
) -> Result<TimestampMs, Failed> {
    let mut pause = pause();
    loop {
        match bus.at_or_after(stream, sequence).await {
            Ok(Some(found)) if found.sequence == sequence => return Ok(found.stored_at),
            Ok(_) => return Err(Failed::Overtaken(subject.to_owned())),
            Err(error) => pause.wait(&format!("{subject} cannot be read back yet"), &error).await,
        }
    }
}

/// Stores on `subject` whatever is there; a repeated id is stored once.
pub(crate) async fn store(
    context: &Context,
    stream: &str,
    subject: &str,
    id: &str,
    payload: Bytes,
) -> Result<u64, Failed> {
    let mut pause = pause();
    loop {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", id);
        let result = context.bus.publish_bytes_stored(subject, payload.clone(), headers, Expect::None).await;
        context.stores.note(stream, &result);
        match result {
            Ok(stored) => return Ok(stored.sequence),
            Err(error @ (PublishError::TooLarge { .. } | PublishError::Encode(_))) => {
                return Err(Failed::Impossible { stream: stream.to_owned(), error });
            }
            Err(error) => pause.wait(&format!("{subject} is not stored yet"), &error).await,
        }
    }
}

/// Replaces revision `after` of a member's record; returns the new revision. What no owner wrote there is put aside and
/// replaced. A full bucket is [`Failed::NoRoom`].
pub(crate) async fn update(
    context: &Context,
    key: &str,
    value: Bytes,
    mut after: u64,
) -> Result<u64, Failed> {
    let kv = context.bus.kv(streams::MEMBERS);
    let mut pause = pause();
    loop {
        let result = kv.update(key, value.clone(), after).await;
        context.stores.note_kv(streams::KV_MEMBERS, &result);
        let error = match result {
            Ok(revision) => return Ok(revision),
            Err(KvError::RevisionMismatch { .. }) => match kv.last_kept(key).await {
                Ok(Some(last)) if last.payload == value && last.is_guarded() => return Ok(last.sequence),
                Ok(Some(last)) if !last.is_guarded() && last.sequence != after => {
                    after = last.sequence;
                    put_aside(context, streams::KV_MEMBERS, &last, "no owner of the pool wrote it").await;
                    continue;
                }
                // Of an earlier term: one that wrote late, or a bucket that was restored.
                Ok(Some(last)) if is_earlier(&last, context.epoch) && last.sequence != after => {
                    after = last.sequence;
                    continue;
                }
                // The bucket was made anew.
                Ok(None) if after != 0 => {
                    after = 0;
                    continue;
                }
                Ok(_) => return Err(Failed::Overtaken(key.to_owned())),
                Err(error) => error,
            },
            Err(KvError::Publish(error @ PublishError::TooLarge { .. })) => {
                return Err(Failed::Impossible { stream: streams::KV_MEMBERS.to_owned(), error });
            }
            Err(KvError::Publish(error)) if is_full(&error) => return Err(Failed::NoRoom(key.to_owned())),
            Err(error) => error,
        };
        pause.wait(&format!("{key} is not stored yet"), &error).await;
    }
}

/// Whether the stream takes nothing more because it holds all that it may.
fn is_full(error: &PublishError) -> bool {
    matches!(error, PublishError::Refused { reason, .. } if reason.contains("maximum bytes"))
}

/// Whether a member's record was written under this epoch or an earlier one.
fn is_earlier(record: &Delivered, epoch: u64) -> bool {
    Member::decode(&record.payload).is_ok_and(|member| member.epoch <= epoch)
}

/// Keeps a message that is passed over as a dead letter, counts and tells it.
pub(crate) async fn put_aside(context: &Context, stream: &str, message: &Delivered, reason: &str) {
    context.bus.dead_letter(stream, &message.undecodable(reason)).await;
    let subject = message.subject.to_string();
    let reason = format!("sequence {} of {stream}: {reason}", message.sequence);
    context.tell(PoolInput::Undecodable { subject, reason }).await;
}
