//! Publishing: at most once on core NATS, and with an acknowledgement into a stream.

use crate::{Bus, PUBLISH_DEADLINE};
use async_nats::{
    Client, HeaderMap, HeaderValue,
    header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MESSAGE_ID},
    jetstream::{
        self, ErrorCode,
        context::{PublishAckFuture, PublishErrorKind},
        message::PublishMessage,
    },
};
use bus_schemas::{Message, codec::EncodeError};
use bytes::Bytes;
use std::{error::Error, fmt::Display, time::Duration};

/// JetStream's code for a message that is larger than the stream's `max_msg_size`.
const MESSAGE_TOO_LARGE: ErrorCode = ErrorCode(10_054);

/// Longest wait for the acknowledgement of a stream.
pub const ACK_DEADLINE: Duration = Duration::from_secs(5);
/// Most messages of one connection that wait for an acknowledgement at the same time.
pub const MAX_ACKS_IN_FLIGHT: usize = 8_192;

/// What must hold for a message to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Expect {
    /// Nothing.
    #[default]
    None,
    /// The last message of the subject has this sequence; zero: there is none.
    LastSubjectSequence(u64),
}

/// A message is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Its place in the stream; of a duplicate, that of the first.
    pub sequence: u64,
    /// A message with the same id was stored before, and this one was dropped.
    pub duplicate: bool,
}

/// Why a message was not published, or may not have been.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The message cannot be written.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// There is no connection; nothing was sent.
    #[error("no connection to publish on {subject}; send it again when there is one")]
    Disconnected {
        /// Where to.
        subject: String,
    },
    /// No acknowledgement came: the message may be stored or not.
    #[error(
        "no acknowledgement from the stream of {subject} in time; send it again with the same id or expectation"
    )]
    Timeout {
        /// Where to.
        subject: String,
    },
    /// No stream takes the subject.
    #[error("no stream takes {subject}, or it has no leader; see `dcmf-bus drift`")]
    NoStream {
        /// Where to.
        subject: String,
    },
    /// The last message of the subject is not the expected one.
    #[error("{subject} has moved on: {reason}")]
    WrongLastSequence {
        /// Where to.
        subject: String,
        /// What the server said.
        reason: String,
    },
    /// [`MAX_ACKS_IN_FLIGHT`] messages wait for their acknowledgements, or the connection's queue is full.
    #[error("too many messages are under way to publish on {subject}; wait for some of them")]
    Busy {
        /// Where to.
        subject: String,
    },
    /// Larger than the server or the stream takes.
    #[error("the message on {subject} is larger than the server's max_payload or the stream's max_msg_size")]
    TooLarge {
        /// Where to.
        subject: String,
    },
    /// The stream refuses it, for instance because it is full.
    #[error("the stream of {subject} refuses the message: {reason}")]
    Refused {
        /// Where to.
        subject: String,
        /// JetStream's error code.
        code: u64,
        /// What the server said.
        reason: String,
    },
    /// Anything else that the client says.
    #[error("cannot publish on {subject}: {reason}")]
    Failed {
        /// Where to.
        subject: String,
        /// What the client said.
        reason: String,
    },
}

pub(crate) fn context(client: Client) -> jetstream::Context {
    jetstream::ContextBuilder::new()
        .max_ack_inflight(MAX_ACKS_IN_FLIGHT)
        .backpressure_on_inflight(true)
        .ack_timeout(ACK_DEADLINE)
        .timeout(ACK_DEADLINE)
        .build(client)
}

impl Bus {
    /// Publishes on core NATS: whoever subscribes now gets it, and nobody says so.
    pub async fn publish<M: Message>(&self, subject: impl Display, message: &M) -> Result<(), PublishError> {
        self.publish_bytes(subject, message.encode()?.into()).await
    }

    /// Like [`Bus::publish`], for bytes.
    pub async fn publish_bytes(&self, subject: impl Display, payload: Bytes) -> Result<(), PublishError> {
        let subject = subject.to_string();
        if !self.is_connected() {
            return Err(PublishError::Disconnected { subject });
        }
        let sent = self.client().publish(subject.clone(), payload);
        match tokio::time::timeout(PUBLISH_DEADLINE, sent).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(e)) if e.kind() == async_nats::client::PublishErrorKind::MaxPayloadExceeded => {
                Err(PublishError::TooLarge { subject })
            }
            Ok(Err(e)) => Err(PublishError::Failed { subject, reason: e.to_string() }),
            Err(_) => Err(PublishError::Busy { subject }),
        }
    }

    /// Publishes into a stream and waits for its acknowledgement. A second message with the same `msg_id` within the
    /// stream's duplicate window is not stored.
    pub async fn publish_stored<M: Message>(
        &self,
        subject: impl Display,
        message: &M,
        msg_id: Option<&str>,
        expect: Expect,
    ) -> Result<Stored, PublishError> {
        self.publish_pipelined(subject, message, msg_id, expect).await?.stored().await
    }

    /// Publishes into a stream and gives the acknowledgement to wait for, so that many can be under way: at most
    /// [`MAX_ACKS_IN_FLIGHT`], then it waits for room up to [`PUBLISH_DEADLINE`]. The order of calls is the order in
    /// the stream.
    pub async fn publish_pipelined<M: Message>(
        &self,
        subject: impl Display,
        message: &M,
        msg_id: Option<&str>,
        expect: Expect,
    ) -> Result<PendingAck, PublishError> {
        let mut headers = HeaderMap::new();
        if let Some(id) = msg_id {
            let id: HeaderValue = id.parse().map_err(|_| {
                let reason = format!("{id:?} holds a line break and is no message id");
                PublishError::Failed { subject: subject.to_string(), reason }
            })?;
            headers.insert(NATS_MESSAGE_ID, id);
        }
        self.publish_bytes_pipelined(subject, message.encode()?.into(), headers, expect).await
    }

    /// Like [`Bus::publish_stored`], for bytes and headers of one's own.
    pub async fn publish_bytes_stored(
        &self,
        subject: impl Display,
        payload: Bytes,
        headers: HeaderMap,
        expect: Expect,
    ) -> Result<Stored, PublishError> {
        self.publish_bytes_pipelined(subject, payload, headers, expect).await?.stored().await
    }

    /// Like [`Bus::publish_pipelined`], for bytes and headers of one's own.
    pub async fn publish_bytes_pipelined(
        &self,
        subject: impl Display,
        payload: Bytes,
        mut headers: HeaderMap,
        expect: Expect,
    ) -> Result<PendingAck, PublishError> {
        let subject = subject.to_string();
        if !self.is_connected() {
            return Err(PublishError::Disconnected { subject });
        }
        if let Expect::LastSubjectSequence(sequence) = expect {
            headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, HeaderValue::from(sequence));
        }
        let mut publish = PublishMessage::build().payload(payload);
        if !headers.is_empty() {
            publish = publish.headers(headers);
        }
        let sent = self.jetstream().send_publish(subject.clone(), publish);
        match tokio::time::timeout(PUBLISH_DEADLINE, sent).await {
            Ok(Ok(ack)) => Ok(PendingAck { subject, ack }),
            Ok(Err(error)) => Err(publish_error(subject, &error)),
            Err(_) => Err(PublishError::Busy { subject }),
        }
    }
}

/// A message that is under way into its stream.
#[derive(Debug)]
#[must_use = "the message counts as stored only when the acknowledgement is there"]
pub struct PendingAck {
    subject: String,
    ack: PublishAckFuture,
}

impl PendingAck {
    /// Waits for the acknowledgement, at most [`ACK_DEADLINE`] from now.
    pub async fn stored(self) -> Result<Stored, PublishError> {
        match self.ack.await {
            Ok(ack) => Ok(Stored { sequence: ack.sequence, duplicate: ack.duplicate }),
            Err(error) => Err(publish_error(self.subject, &error)),
        }
    }
}

fn publish_error(subject: String, error: &jetstream::context::PublishError) -> PublishError {
    let refusal = error.source().and_then(|source| source.downcast_ref::<jetstream::Error>());
    let reason = refusal.map_or_else(|| error.to_string(), ToString::to_string);
    match error.kind() {
        PublishErrorKind::WrongLastSequence => PublishError::WrongLastSequence { subject, reason },
        PublishErrorKind::StreamNotFound => PublishError::NoStream { subject },
        PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => PublishError::Timeout { subject },
        PublishErrorKind::MaxAckPending => PublishError::Busy { subject },
        PublishErrorKind::MaxPayloadExceeded => PublishError::TooLarge { subject },
        PublishErrorKind::WrongLastMessageId | PublishErrorKind::Other => {
            match refusal.map(|e| e.error_code()) {
                // What a cluster says while another message for the subject is under way.
                Some(ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT) => {
                    PublishError::WrongLastSequence { subject, reason }
                }
                Some(MESSAGE_TOO_LARGE) => PublishError::TooLarge { subject },
                Some(code) => PublishError::Refused { subject, code: code.0, reason },
                None => PublishError::Failed { subject, reason },
            }
        }
    }
}
