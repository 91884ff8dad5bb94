//! Commands as a NATS micro service: `nats micro ls`, `info` and `stats` show it, `nats request` uses it.

use crate::{
    Bus, PublishError,
    request::{SERVICE_ERROR, SERVICE_ERROR_CODE},
};
use async_nats::{
    HeaderMap, HeaderValue,
    service::{Service, ServiceExt, endpoint::Endpoint},
};
use bus_schemas::{
    Message,
    command::{Aim, CommandError, CommandName, ErrorCode},
    subject::COMMAND_SERVICE,
};
use bytes::Bytes;
use futures_util::{
    FutureExt, StreamExt,
    stream::{BoxStream, SelectAll},
};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    fmt::Display,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
};

/// Of all coordinators one gets each call; micro services use the same name.
const QUEUE: &str = "q";

/// The service could not be started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot serve {what}: {reason}")]
pub struct ServiceError {
    /// The service or the command.
    pub what: String,
    /// What the client said.
    pub reason: String,
}

/// What was refused on an endpoint, for `nats micro stats`: the library counts only errors without a body.
#[derive(Debug, Clone, Default, Serialize)]
struct Refused {
    refused: u64,
    last_refusal: String,
}

type Refusals = Arc<Mutex<BTreeMap<String, Refused>>>;

/// Commands that are being served. Of all coordinators one gets each call.
pub struct CommandService {
    bus: Bus,
    service: Service,
    calls: SelectAll<BoxStream<'static, Call>>,
}

/// Where a call comes from.
#[derive(Debug)]
enum Origin {
    Endpoint(Box<async_nats::service::Request>),
    /// The subject of a command that needs a target, without one.
    Bare(Box<async_nats::Message>, async_nats::Client),
}

/// A command that waits for its answer.
#[derive(Debug)]
pub struct Call {
    origin: Origin,
    refusals: Refusals,
    name: &'static CommandName,
}

impl CommandService {
    /// Serves `commands` as `version` (a semantic version). Where a command needs a target, its subject without one is served
    /// too, beside the endpoints: whoever calls it as it was before is told what to do.
    pub async fn start(
        bus: &Bus,
        version: &str,
        commands: &'static [CommandName],
    ) -> Result<Self, ServiceError> {
        let failed = |what: &str| {
            let what = what.to_owned();
            move |e: async_nats::Error| ServiceError { what, reason: e.to_string() }
        };
        let refusals = Refusals::default();
        let shown = Arc::clone(&refusals);
        let service = bus
            .client()
            .service_builder()
            .description("Commands of a DCMF coordinator")
            .stats_handler(move |endpoint, _| {
                let refusals = shown.lock().unwrap_or_else(PoisonError::into_inner);
                serde_json::to_value(refusals.get(&endpoint)).unwrap_or_default()
            })
            .start(COMMAND_SERVICE, version)
            .await
            .map_err(failed(COMMAND_SERVICE))?;
        let mut calls = SelectAll::new();
        for name in commands {
            let (served, bare) = (name.served(), name.bare());
            let builder = service.endpoint_builder().name(format!("{}-{}", name.entity, name.verb));
            let endpoint = builder.add(&served).await.map_err(failed(&served))?;
            let of_endpoint = calls_of(endpoint, name, Arc::clone(&refusals));
            calls.push(of_endpoint);
            if name.aim != Aim::Farm {
                let subscribed = bus.client().queue_subscribe(bare.clone(), QUEUE.to_owned()).await;
                let messages = subscribed.map_err(|e| failed(&bare)(e.into()))?;
                let (client, refusals) = (bus.client().clone(), Arc::clone(&refusals));
                let call = move |message| Call {
                    origin: Origin::Bare(Box::new(message), client.clone()),
                    refusals: Arc::clone(&refusals),
                    name,
                };
                calls.push(messages.map(call).boxed());
            }
        }
        Ok(Self { bus: bus.clone(), service, calls })
    }

    /// The next command; `None` when the connection was closed for good.
    pub async fn next(&mut self) -> Option<Call> {
        self.calls.next().await
    }

    /// Stops serving and gives the calls that came before and wait for their answers. On return the server sends no
    /// more of them here; a call that was on its way meanwhile gets no answer, and its caller asks again.
    pub async fn stop(mut self) -> Vec<Call> {
        if let Err(error) = self.service.stop().await {
            tracing::debug!(%error, "the service had stopped already");
        }
        // An endpoint unsubscribes when it is looked at.
        let mut waiting = Vec::new();
        while let Some(Some(call)) = self.calls.next().now_or_never() {
            waiting.push(call);
        }
        if let Err(error) = self.bus.round_trip().await {
            tracing::debug!(%error, "the connection is gone, and with it the subscriptions");
        }
        waiting
    }
}

fn calls_of(endpoint: Endpoint, name: &'static CommandName, refusals: Refusals) -> BoxStream<'static, Call> {
    let call = move |request| {
        let origin = Origin::Endpoint(Box::new(request));
        Call { origin, refusals: Arc::clone(&refusals), name }
    };
    endpoint.map(call).boxed()
}

impl Call {
    /// The command.
    pub fn name(&self) -> &'static CommandName {
        self.name
    }

    fn message(&self) -> &async_nats::Message {
        match &self.origin {
            Origin::Endpoint(request) => &request.message,
            Origin::Bare(message, _) => message,
        }
    }

    /// What the command is about, as it stands in the subject.
    pub fn target<T: FromStr<Err: Display>>(&self) -> Result<T, CommandError> {
        let bare = self.name.bare();
        let rest = self.message().subject.as_str().strip_prefix(&bare).and_then(|r| r.strip_prefix('.'));
        let missing = || {
            let placeholder = self.name.aim.placeholder();
            let text = format!("{bare} names no target; ask on {bare}.{placeholder}");
            CommandError::new(ErrorCode::TargetMissing, text)
        };
        let code = match self.name.aim {
            Aim::Throttle => ErrorCode::InvalidThrottle,
            _ => ErrorCode::MalformedRequest,
        };
        let text = rest.ok_or_else(missing)?;
        text.parse().map_err(|e: T::Err| CommandError::new(code, format!("the target in the subject: {e}")))
    }

    /// The bytes of the request; empty where a command needs none.
    pub fn payload(&self) -> &Bytes {
        &self.message().payload
    }

    /// Reads the request; an empty one is one without any field.
    pub fn decode<M: Message>(&self) -> Result<M, CommandError> {
        let payload: &[u8] = if self.payload().trim_ascii().is_empty() { b"{}" } else { self.payload() };
        M::decode(payload).map_err(|e| CommandError::new(ErrorCode::MalformedRequest, e.to_string()))
    }

    /// Answers: the body, or the error in the headers of micro services and in the body.
    pub async fn respond<M: Message>(self, answer: Result<&M, &CommandError>) -> Result<(), PublishError> {
        match answer {
            Ok(message) => self.send(message.encode()?.into(), HeaderMap::new()).await,
            Err(error) => self.refuse(error).await,
        }
    }

    /// Answers with a body that is encoded already.
    pub async fn respond_bytes(self, body: Bytes) -> Result<(), PublishError> {
        self.send(body, HeaderMap::new()).await
    }

    /// Answers with an error.
    pub async fn refuse(self, error: &CommandError) -> Result<(), PublishError> {
        let text: String = error.to_string().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let mut headers = HeaderMap::new();
        headers.insert(SERVICE_ERROR, text.as_str());
        headers.insert(SERVICE_ERROR_CODE, HeaderValue::from(error.code.number()));
        {
            let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
            let refused = refusals.entry(format!("{}-{}", self.name.entity, self.name.verb)).or_default();
            refused.refused += 1;
            refused.last_refusal = text;
        }
        self.send(error.encode()?.into(), headers).await
    }

    async fn send(&self, body: Bytes, headers: HeaderMap) -> Result<(), PublishError> {
        let Some(reply) = self.message().reply.clone() else { return Ok(()) };
        let subject = || self.name.bare();
        let sent = async {
            let sent = match &self.origin {
                Origin::Endpoint(request) => request.respond_with_headers(Ok(body), headers).await,
                Origin::Bare(_, client) => client.publish_with_headers(reply, headers, body).await,
            };
            sent.map_err(|e| e.to_string())
        };
        match tokio::time::timeout(crate::PUBLISH_DEADLINE, sent).await {
            Ok(sent) => sent.map_err(|reason| PublishError::Failed { subject: subject(), reason }),
            Err(_) => Err(PublishError::Busy { subject: subject() }),
        }
    }
}
