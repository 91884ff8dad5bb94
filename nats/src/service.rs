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
    command::{CommandError, ErrorCode},
    subject::{COMMAND_SERVICE, command},
};
use bytes::Bytes;
use futures_util::{
    FutureExt, StreamExt,
    stream::{BoxStream, SelectAll},
};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

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

/// A command that waits for its answer.
#[derive(Debug)]
pub struct Call {
    request: async_nats::service::Request,
    refusals: Refusals,
    entity: String,
    verb: String,
}

impl CommandService {
    /// Serves `commands`, each an entity and a verb, as `version` (a semantic version).
    pub async fn start(bus: &Bus, version: &str, commands: &[(&str, &str)]) -> Result<Self, ServiceError> {
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
        for (entity, verb) in commands {
            let subject = command(entity, verb);
            let builder = service.endpoint_builder().name(format!("{entity}-{verb}"));
            let endpoint = builder.add(&subject).await.map_err(failed(&subject))?;
            calls.push(calls_of(endpoint, entity, verb, Arc::clone(&refusals)));
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

fn calls_of(endpoint: Endpoint, entity: &str, verb: &str, refusals: Refusals) -> BoxStream<'static, Call> {
    let (entity, verb) = (entity.to_owned(), verb.to_owned());
    endpoint
        .map(move |request| Call {
            request,
            refusals: Arc::clone(&refusals),
            entity: entity.clone(),
            verb: verb.clone(),
        })
        .boxed()
}

impl Call {
    /// The entity and the verb.
    pub fn command(&self) -> (&str, &str) {
        (&self.entity, &self.verb)
    }

    /// The bytes of the request; empty where a command needs none.
    pub fn payload(&self) -> &Bytes {
        &self.request.message.payload
    }

    /// Reads the request.
    pub fn decode<M: Message>(&self) -> Result<M, CommandError> {
        M::decode(self.payload()).map_err(|e| CommandError::new(ErrorCode::MalformedRequest, e.to_string()))
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
            let refused = refusals.entry(format!("{}-{}", self.entity, self.verb)).or_default();
            refused.refused += 1;
            refused.last_refusal = text;
        }
        self.send(error.encode()?.into(), headers).await
    }

    async fn send(&self, body: Bytes, headers: HeaderMap) -> Result<(), PublishError> {
        if self.request.message.reply.is_none() {
            return Ok(());
        }
        let subject = || command(&self.entity, &self.verb);
        let sent = self.request.respond_with_headers(Ok(body), headers);
        match tokio::time::timeout(crate::PUBLISH_DEADLINE, sent).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(e)) => Err(PublishError::Failed { subject: subject(), reason: e.to_string() }),
            Err(_) => Err(PublishError::Busy { subject: subject() }),
        }
    }
}
