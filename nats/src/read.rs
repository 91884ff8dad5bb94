//! Reading what a stream has now: the last message of a subject, or all that a filter gives.

use crate::{
    Bus, ReplayError,
    delivery::{Delivered, Entry, Undecodable, stored_at},
    follow::{Follower, Plan, Start},
};
use async_nats::jetstream::{
    ErrorCode,
    context::GetStreamErrorKind,
    message::StreamMessage,
    stream::{DirectGetError, DirectGetErrorKind, LastRawMessageErrorKind, RawMessageErrorKind, Stream},
};
use bus_schemas::{Message, TimestampMs};
use std::{fmt::Display, time::Duration};

/// Longest time without a message before reading to the end is given up.
pub const READ_STALL_DEADLINE: Duration = Duration::from_secs(15);

/// Why something could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// There is no such stream.
    #[error("there is no stream {0}; create it with `dcmf-bus ensure`")]
    NoStream(String),
    /// There is no connection.
    #[error("no connection to read stream {0}; try again when there is one")]
    Disconnected(String),
    /// No answer came.
    #[error("stream {0} did not answer in time; try again")]
    Timeout(String),
    /// What was read makes no sense.
    #[error(transparent)]
    Undecodable(#[from] Undecodable),
    /// Anything else that the client says.
    #[error("cannot read stream {stream}: {reason}")]
    Failed {
        /// The stream.
        stream: String,
        /// What the client said.
        reason: String,
    },
}

impl From<ReplayError> for ReadError {
    fn from(error: ReplayError) -> Self {
        match error {
            ReplayError::NoStream(stream) => Self::NoStream(stream),
            ReplayError::Failed { stream, reason } => Self::Failed { stream, reason },
            ReplayError::Rewound { ref stream, .. } | ReplayError::Ended(ref stream) => {
                Self::Failed { stream: stream.clone(), reason: error.to_string() }
            }
        }
    }
}

/// What a stream holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamBounds {
    /// Sequence of its first message, or the next to come when it is empty.
    pub first: u64,
    /// Sequence of the last message that it ever took.
    pub last: u64,
    /// How many messages it holds.
    pub messages: u64,
    /// When it was created, nanoseconds since the Unix epoch on the server's clock. One that was made anew or restored has
    /// another stamp, although its name and even its sequences may be the same.
    pub created_ns: i128,
}

impl StreamBounds {
    /// What tells this stream from another one of its name.
    pub fn identity(&self) -> String {
        self.created_ns.to_string()
    }

    /// When it was created, in the unit of the contract.
    pub fn created_at(&self) -> TimestampMs {
        stored_at(self.created_ns)
    }
}

impl Bus {
    /// What `stream` holds.
    pub async fn stream_bounds(&self, stream: &str) -> Result<StreamBounds, ReadError> {
        if !self.is_connected() {
            return Err(ReadError::Disconnected(stream.to_owned()));
        }
        match self.jetstream().get_stream(stream).await {
            Ok(found) => {
                let state = &found.cached_info().state;
                let (first, last) = (state.first_sequence, state.last_sequence);
                let created_ns = found.cached_info().created.unix_timestamp_nanos();
                Ok(StreamBounds { first, last, messages: state.messages, created_ns })
            }
            Err(error) => Err(match error.kind() {
                GetStreamErrorKind::JetStream(e) if e.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                    ReadError::NoStream(stream.to_owned())
                }
                _ => ReadError::Failed { stream: stream.to_owned(), reason: error.to_string() },
            }),
        }
    }

    /// The last message of `subject`, as the stream's leader knows it: what was acknowledged before is seen.
    pub async fn last<M: Message>(
        &self,
        stream: &str,
        subject: impl Display,
    ) -> Result<Option<Entry<M>>, ReadError> {
        let last = self.last_bytes(stream, subject).await?;
        Ok(last.map(|delivered| delivered.decode()).transpose()?)
    }

    /// Like [`Bus::last`], for bytes.
    pub async fn last_bytes(
        &self,
        stream: &str,
        subject: impl Display,
    ) -> Result<Option<Delivered>, ReadError> {
        let handle = self.handle(stream).await?;
        let subject = subject.to_string();
        let failed = |reason: String| ReadError::Failed { stream: stream.to_owned(), reason };
        match handle.get_last_raw_message_by_subject(&subject).await {
            Ok(message) => Ok(Some(delivered(message))),
            Err(error) => match error.kind() {
                LastRawMessageErrorKind::NoMessageFound => Ok(None),
                LastRawMessageErrorKind::JetStream(e) if e.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                    Err(ReadError::NoStream(stream.to_owned()))
                }
                _ => Err(failed(error.to_string())),
            },
        }
    }

    /// The last message of `subject`, as any replica of the stream knows it: cheap, for very many readers, but in a
    /// cluster it may miss what was acknowledged a moment ago.
    pub async fn last_direct<M: Message>(
        &self,
        stream: &str,
        subject: impl Display,
    ) -> Result<Option<Entry<M>>, ReadError> {
        let last = self.last_bytes_direct(stream, subject).await?;
        Ok(last.map(|delivered| delivered.decode()).transpose()?)
    }

    /// Like [`Bus::last_direct`], for bytes.
    pub async fn last_bytes_direct(
        &self,
        stream: &str,
        subject: impl Display,
    ) -> Result<Option<Delivered>, ReadError> {
        let handle = self.handle(stream).await?;
        direct(stream, handle.direct_get_last_for_subject(subject.to_string()).await)
    }

    /// The first message of `subject` after `sequence`, as any replica of the stream knows it.
    pub async fn next_bytes_direct(
        &self,
        stream: &str,
        subject: impl Display,
        sequence: u64,
    ) -> Result<Option<Delivered>, ReadError> {
        let handle = self.handle(stream).await?;
        let found = handle.direct_get_next_for_subject(subject.to_string(), Some(sequence + 1)).await;
        direct(stream, found)
    }

    /// Everything that `stream` has for `filter` now, in order. What comes while it reads may be there as well.
    pub async fn read_all(
        &self,
        stream: &str,
        filter: impl Into<String>,
    ) -> Result<Vec<Delivered>, ReadError> {
        self.read_to_end(stream, filter.into(), Start::Sequence(1)).await
    }

    /// Like [`Bus::read_all`], from a sequence on.
    pub async fn read_from(
        &self,
        stream: &str,
        filter: impl Into<String>,
        sequence: u64,
    ) -> Result<Vec<Delivered>, ReadError> {
        self.read_to_end(stream, filter.into(), Start::Sequence(sequence.max(1))).await
    }

    /// The message at `sequence`, or the next one that is there, of whatever subject.
    pub async fn at_or_after(&self, stream: &str, sequence: u64) -> Result<Option<Delivered>, ReadError> {
        let handle = self.handle(stream).await?;
        match handle.get_first_raw_message_by_subject(">", sequence.max(1)).await {
            Ok(message) => Ok(Some(delivered(message))),
            Err(error) => match error.kind() {
                RawMessageErrorKind::NoMessageFound => Ok(None),
                RawMessageErrorKind::JetStream(e) if e.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                    Err(ReadError::NoStream(stream.to_owned()))
                }
                _ => Err(ReadError::Failed { stream: stream.to_owned(), reason: error.to_string() }),
            },
        }
    }

    /// The last sequence of `stream` for which `belongs` holds, given that it holds for the messages up to some place and for
    /// none behind it; 0 when it holds for none. Costs one question for each doubling of the stream's length.
    pub async fn end_of_prefix(
        &self,
        stream: &str,
        bounds: &StreamBounds,
        belongs: impl Fn(&Delivered) -> bool,
    ) -> Result<u64, ReadError> {
        let (mut known, mut open) = (bounds.first.saturating_sub(1), bounds.last);
        while known < open {
            let middle = known + (open - known).div_ceil(2);
            match self.at_or_after(stream, middle).await? {
                Some(found) if belongs(&found) => known = found.sequence.min(open),
                Some(_) | None => open = middle - 1,
            }
        }
        let holds = match self.at_or_after(stream, known).await? {
            Some(found) => found.sequence <= known && belongs(&found),
            None => false,
        };
        Ok(if holds { known } else { 0 })
    }

    /// The last message of each subject that `filter` gives, in stream order.
    pub async fn read_last_of_each(
        &self,
        stream: &str,
        filter: impl Into<String>,
    ) -> Result<Vec<Delivered>, ReadError> {
        self.read_to_end(stream, filter.into(), Start::LastPerSubject).await
    }

    async fn read_to_end(
        &self,
        stream: &str,
        filter: String,
        start: Start,
    ) -> Result<Vec<Delivered>, ReadError> {
        if !self.is_connected() {
            return Err(ReadError::Disconnected(stream.to_owned()));
        }
        let plan = Plan { stream: stream.to_owned(), filter, start };
        let follower = Follower::start(self.clone(), plan).await.map_err(ReplayError::from)?;
        let mut replay = crate::replay::Replay::new(stream, follower);
        let mut all = Vec::new();
        loop {
            match tokio::time::timeout(READ_STALL_DEADLINE, replay.receive()).await {
                Ok(received) => received?,
                Err(_) => return Err(ReadError::Timeout(stream.to_owned())),
            }
            all.extend(replay.drain());
            if replay.is_caught_up() {
                return Ok(all);
            }
        }
    }

    async fn handle(&self, stream: &str) -> Result<Stream<()>, ReadError> {
        if !self.is_connected() {
            return Err(ReadError::Disconnected(stream.to_owned()));
        }
        let handle = self.jetstream().get_stream_no_info(stream).await;
        handle.map_err(|e| ReadError::Failed { stream: stream.to_owned(), reason: e.to_string() })
    }
}

fn direct(
    stream: &str,
    found: Result<StreamMessage, DirectGetError>,
) -> Result<Option<Delivered>, ReadError> {
    match found {
        Ok(message) => Ok(Some(delivered(message))),
        Err(error) => match error.kind() {
            DirectGetErrorKind::NotFound => Ok(None),
            DirectGetErrorKind::TimedOut => Err(ReadError::Timeout(stream.to_owned())),
            DirectGetErrorKind::ErrorResponse(async_nats::StatusCode::NO_RESPONDERS, _) => {
                Err(ReadError::NoStream(stream.to_owned()))
            }
            _ => Err(ReadError::Failed { stream: stream.to_owned(), reason: error.to_string() }),
        },
    }
}

fn delivered(message: StreamMessage) -> Delivered {
    let StreamMessage { subject, sequence, headers, payload, time, .. } = message;
    let stored_at = stored_at(time.unix_timestamp_nanos());
    Delivered { sequence, stored_at, subject, payload, headers: (!headers.is_empty()).then_some(headers) }
}
