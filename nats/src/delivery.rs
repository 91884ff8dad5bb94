//! A message as it comes from a stream, and what it means.

use async_nats::{
    HeaderMap,
    header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MESSAGE_ID},
};
use bus_schemas::{Message, TimestampMs, subject::Subject};
use bytes::Bytes;

/// A message of a stream, still in bytes: decoding is left to whoever has the time, for instance a verifier's thread.
#[derive(Debug, Clone)]
pub struct Delivered {
    /// Its place in the stream.
    pub sequence: u64,
    /// When the stream stored it, on the server's clock.
    pub stored_at: TimestampMs,
    /// The subject that it was published on.
    pub subject: async_nats::Subject,
    /// Its bytes.
    pub payload: Bytes,
    /// Its headers.
    pub headers: Option<HeaderMap>,
}

/// A message that was read: what it says, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<M> {
    /// Its place in the stream.
    pub sequence: u64,
    /// When the stream stored it, on the server's clock.
    pub stored_at: TimestampMs,
    /// The subject that it was published on.
    pub subject: Subject,
    /// What it says.
    pub message: M,
}

/// A message that nobody can read: bytes that are not of the expected type, or a subject that is none of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot read the message on {subject}: {reason}")]
pub struct Undecodable {
    /// The subject that it came on.
    pub subject: String,
    /// Its place in the stream, if it comes from one.
    pub sequence: Option<u64>,
    /// What is wrong with it.
    pub reason: String,
    /// Its bytes.
    pub payload: Bytes,
}

impl Delivered {
    /// Whether its writer named the message of the subject that it follows, as the owner of a subject does. The server keeps
    /// that header with the message; what anybody else publishes by hand has none.
    pub fn is_guarded(&self) -> bool {
        self.header(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE.as_ref()).is_some()
    }

    /// The id under which it was published, if it has one.
    pub fn message_id(&self) -> Option<&str> {
        self.header(NATS_MESSAGE_ID.as_ref())
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.as_ref()?.get(name).map(async_nats::HeaderValue::as_str)
    }

    /// As something that nobody can or may read, with the reason.
    pub fn undecodable(&self, reason: impl Into<String>) -> Undecodable {
        Undecodable {
            subject: self.subject.to_string(),
            sequence: Some(self.sequence),
            reason: reason.into(),
            payload: self.payload.clone(),
        }
    }

    /// Reads the subject and the bytes.
    pub fn decode<M: Message>(&self) -> Result<Entry<M>, Undecodable> {
        let (subject, message) = decode(&self.subject, Some(self.sequence), &self.payload)?;
        Ok(Entry { sequence: self.sequence, stored_at: self.stored_at, subject, message })
    }
}

/// Nanoseconds since the Unix epoch, as the server says them, in the unit of the contract.
pub(crate) fn stored_at(nanos: i128) -> TimestampMs {
    TimestampMs(u64::try_from(nanos / 1_000_000).unwrap_or_default())
}

pub(crate) fn decode<M: Message>(
    subject: &str,
    sequence: Option<u64>,
    payload: &Bytes,
) -> Result<(Subject, M), Undecodable> {
    let undecodable =
        |reason| Undecodable { subject: subject.to_owned(), sequence, reason, payload: payload.clone() };
    let parsed =
        subject.parse().map_err(|e: bus_schemas::subject::InvalidSubject| undecodable(e.to_string()))?;
    let message = M::decode(payload).map_err(|e| undecodable(e.to_string()))?;
    Ok((parsed, message))
}
