//! Requests on core NATS and their answers.

use crate::{
    Bus,
    delivery::{Undecodable, decode},
    subscribe::counted,
};
use async_nats::{
    Subscriber,
    header::{HeaderMap, HeaderName},
};
use bus_schemas::{
    Message,
    codec::{DecodeError, EncodeError},
    command::CommandError,
    subject::Subject,
};
use bytes::Bytes;
use futures_util::StreamExt;
use std::{fmt::Display, marker::PhantomData, time::Duration};

/// Longest wait for an answer.
pub const REQUEST_DEADLINE: Duration = Duration::from_secs(5);
/// Header with an error's name and text.
pub(crate) const SERVICE_ERROR: HeaderName = HeaderName::from_static("Nats-Service-Error");
/// Header with an error's number.
pub(crate) const SERVICE_ERROR_CODE: HeaderName = HeaderName::from_static("Nats-Service-Error-Code");

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The request cannot be written.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// There is no connection.
    #[error("no connection to ask {subject}; try again when there is one")]
    Disconnected {
        /// Whom.
        subject: String,
    },
    /// Nobody serves the subject.
    #[error("nobody answers on {subject}; is a coordinator running?")]
    NoResponders {
        /// Whom.
        subject: String,
    },
    /// No answer came; it may have been carried out or not.
    #[error("no answer on {subject} within {REQUEST_DEADLINE:?}; try again")]
    Timeout {
        /// Whom.
        subject: String,
    },
    /// The command was refused.
    #[error(transparent)]
    Refused(CommandError),
    /// A micro service answered with an error that is none of ours.
    #[error("{subject} answered {code}: {text}")]
    Service {
        /// Whom.
        subject: String,
        /// Its number.
        code: String,
        /// Its text.
        text: String,
    },
    /// The answer cannot be read.
    #[error("the answer on {subject}: {source}")]
    Decode {
        /// Whom.
        subject: String,
        /// What is wrong.
        source: DecodeError,
    },
    /// Anything else that the client says.
    #[error("cannot ask {subject}: {reason}")]
    Failed {
        /// Whom.
        subject: String,
        /// What the client said.
        reason: String,
    },
}

impl Bus {
    /// Asks and waits for one answer, at most [`REQUEST_DEADLINE`].
    pub async fn request<Q: Message, A: Message>(
        &self,
        subject: impl Display,
        request: &Q,
    ) -> Result<A, RequestError> {
        let subject = subject.to_string();
        let answer = self.request_bytes(&subject, request.encode()?.into()).await?;
        A::decode(&answer).map_err(|source| RequestError::Decode { subject, source })
    }

    /// Like [`Bus::request`], for bytes.
    pub async fn request_bytes(&self, subject: &str, request: Bytes) -> Result<Bytes, RequestError> {
        let subject = subject.to_owned();
        if !self.is_connected() {
            return Err(RequestError::Disconnected { subject });
        }
        let answer = self.client().request(subject.clone(), request);
        let answer = match tokio::time::timeout(REQUEST_DEADLINE, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(request_error(subject, &error)),
            Err(_) => return Err(RequestError::Timeout { subject }),
        };
        match answer.headers.as_ref().and_then(|headers| service_error(&subject, headers, &answer.payload)) {
            Some(error) => Err(error),
            None => Ok(answer.payload),
        }
    }

    /// Serves `filter`, which may hold wildcards. Of all that name the same `queue` one gets each request.
    pub async fn responder<Q: Message>(
        &self,
        filter: impl Display,
        queue: Option<&str>,
    ) -> Result<Requests<Q>, async_nats::SubscribeError> {
        let filter = filter.to_string();
        let subscriber = match queue {
            Some(queue) => self.client().queue_subscribe(filter, queue.to_owned()).await?,
            None => self.client().subscribe(filter).await?,
        };
        Ok(Requests { bus: self.clone(), subscriber, message: PhantomData })
    }
}

fn request_error(subject: String, error: &async_nats::RequestError) -> RequestError {
    use async_nats::RequestErrorKind as Kind;
    match error.kind() {
        Kind::TimedOut => RequestError::Timeout { subject },
        Kind::NoResponders => RequestError::NoResponders { subject },
        _ => RequestError::Failed { subject, reason: error.to_string() },
    }
}

fn service_error(subject: &str, headers: &HeaderMap, body: &[u8]) -> Option<RequestError> {
    let text = headers.get(SERVICE_ERROR)?;
    if let Ok(error) = CommandError::decode(body) {
        return Some(RequestError::Refused(error));
    }
    let code = headers.get(SERVICE_ERROR_CODE).map(|code| code.as_str().to_owned()).unwrap_or_default();
    Some(RequestError::Service { subject: subject.to_owned(), code, text: text.as_str().to_owned() })
}

/// Requests of one type that come in.
#[derive(Debug)]
pub struct Requests<Q> {
    bus: Bus,
    subscriber: Subscriber,
    message: PhantomData<fn() -> Q>,
}

/// A request that waits for its answer.
#[derive(Debug)]
pub struct Request<Q> {
    bus: Bus,
    reply: Option<async_nats::Subject>,
    /// Where it was sent.
    pub subject: Subject,
    /// What is asked.
    pub message: Q,
}

impl<Q: Message> Requests<Q> {
    /// The next request, or one that cannot be read; `None` when the connection was closed for good.
    pub async fn next(&mut self) -> Option<Result<Request<Q>, Undecodable>> {
        let message = self.subscriber.next().await?;
        let decoded = counted(&self.bus, decode(&message.subject, None, &message.payload));
        let (bus, reply) = (self.bus.clone(), message.reply);
        Some(decoded.map(|(subject, message)| Request { bus, reply, subject, message }))
    }
}

impl<Q> Request<Q> {
    /// Answers. A request that wants no answer gets none.
    pub async fn reply<A: Message>(&self, answer: &A) -> Result<(), crate::PublishError> {
        match &self.reply {
            Some(reply) => self.bus.publish(reply, answer).await,
            None => Ok(()),
        }
    }
}
