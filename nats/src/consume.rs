//! Durable consumers: each message is handed to one of its readers until that one acknowledges it.

use crate::{
    Bus, ReplayError,
    backoff::Backoff,
    dead_letter::DeadLetter,
    delivery::{Delivered, Entry, stored_at},
    streams,
};
use async_nats::jetstream::{
    self, AckKind, ErrorCode,
    consumer::{PullConsumer, pull},
    context::GetStreamErrorKind,
};
use bus_schemas::Message;
use futures_util::StreamExt;
use std::{marker::PhantomData, sync::atomic::Ordering::Relaxed, time::Duration};
use tokio::{sync::mpsc, task::AbortHandle};

/// Most messages of a consumer that wait for their acknowledgement, unless options say otherwise.
pub const MAX_IN_HAND: usize = 256;
/// What happens to a message that was delivered so often without an acknowledgement, [`Exhausted`] says.
pub const MAX_DELIVERIES: u32 = 10;
/// A message that is not acknowledged within this time is delivered again.
pub const REDELIVERY_AFTER: Duration = Duration::from_secs(30);

const PULL_BYTES: usize = 16 * 1024 * 1024;
const PULL_EXPIRES: Duration = Duration::from_secs(30);
const HEARTBEAT: Duration = Duration::from_secs(2);
const REOPEN_DELAY_MAX: Duration = Duration::from_secs(2);

/// What happens to a message that was delivered [`MAX_DELIVERIES`] times without an acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Exhausted {
    /// It becomes a dead letter.
    #[default]
    DeadLetter,
    /// It is handed on for as long as its stream keeps it, but only after a pause each time: what its reader could not
    /// do so far may be possible later, and one that harms its reader must not do so without end.
    Slowed(Duration),
}

/// What to consume.
#[derive(Debug, Clone)]
pub struct ConsumeOptions {
    /// The stream.
    pub stream: String,
    /// Name of the consumer; all that use the same name share its messages.
    pub durable: String,
    /// Which of the stream's subjects.
    pub filter: String,
    /// Most messages that wait for their acknowledgement.
    pub max_in_hand: usize,
    /// A message that is not acknowledged within this time is delivered again.
    pub redelivery_after: Duration,
    /// What happens to a message that is never acknowledged.
    pub exhausted: Exhausted,
}

impl ConsumeOptions {
    /// Options with the limits named in this module.
    pub fn new(stream: &str, durable: &str, filter: impl Into<String>) -> Self {
        Self {
            stream: stream.to_owned(),
            durable: durable.to_owned(),
            filter: filter.into(),
            max_in_hand: MAX_IN_HAND,
            redelivery_after: REDELIVERY_AFTER,
            exhausted: Exhausted::default(),
        }
    }
}

/// A message with the one who says what became of it.
#[derive(Debug)]
pub struct Consumed<M> {
    /// What was read, and where it stands.
    pub entry: Entry<M>,
    /// How often it was delivered, this time included.
    pub deliveries: u32,
    /// Says what became of it; dropped, the message comes again.
    pub acker: Acker,
}

/// Says what became of a message.
#[derive(Debug)]
pub struct Acker {
    bus: Bus,
    message: jetstream::Message,
    stream: String,
    sequence: u64,
}

/// A durable consumer that is being read. It goes on over reconnects and restarts of the server.
#[derive(Debug)]
pub struct Consume<M> {
    bus: Bus,
    stream: String,
    exhausted: Exhausted,
    messages: mpsc::Receiver<jetstream::Message>,
    task: AbortHandle,
    message: PhantomData<fn() -> M>,
}

impl<M> Drop for Consume<M> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Bus {
    /// Consumes with a durable consumer, which is made if it is not there.
    pub async fn consume<M: Message>(&self, options: ConsumeOptions) -> Result<Consume<M>, ReplayError> {
        let first = open(self, &options).await?;
        let (stream, exhausted) = (options.stream.clone(), options.exhausted);
        let (sender, messages) = mpsc::channel(1);
        // Ends with its reader.
        let task = tokio::spawn(run(self.clone(), options, first, sender)).abort_handle();
        Ok(Consume { bus: self.clone(), stream, exhausted, messages, task, message: PhantomData })
    }
}

async fn open(bus: &Bus, options: &ConsumeOptions) -> Result<pull::Stream, ReplayError> {
    let ConsumeOptions { stream, durable, filter, max_in_hand, redelivery_after, .. } = options;
    let failed = |reason: String| ReplayError::Failed { stream: stream.clone(), reason };
    let handle = bus.jetstream().get_stream(stream).await.map_err(|error| match error.kind() {
        GetStreamErrorKind::JetStream(e) if e.error_code() == ErrorCode::STREAM_NOT_FOUND => {
            ReplayError::NoStream(stream.clone())
        }
        _ => failed(error.to_string()),
    })?;
    let declared = streams::declared_consumer().map_err(|e| failed(e.to_string()))?;
    let config = pull::Config {
        durable_name: Some(durable.clone()),
        ack_wait: *redelivery_after,
        filter_subject: filter.clone(),
        max_ack_pending: i64::try_from(*max_in_hand).unwrap_or(i64::MAX),
        ..declared
    };
    let consumer: PullConsumer = handle.create_consumer(config).await.map_err(|e| failed(e.to_string()))?;
    consumer
        .stream()
        .max_messages_per_batch(*max_in_hand)
        .max_bytes_per_batch(PULL_BYTES)
        .expires(PULL_EXPIRES)
        .heartbeat(HEARTBEAT)
        .messages()
        .await
        .map_err(|e| failed(e.to_string()))
}

async fn run(
    bus: Bus,
    options: ConsumeOptions,
    first: pull::Stream,
    sender: mpsc::Sender<jetstream::Message>,
) {
    let mut backoff = Backoff::new(REOPEN_DELAY_MAX);
    let mut opened = Ok(first);
    loop {
        match opened {
            Ok(mut messages) => loop {
                let message = tokio::select! {
                    () = sender.closed() => return,
                    message = messages.next() => message,
                };
                let Some(Ok(message)) = message else { break };
                backoff.reset();
                if sender.send(message).await.is_err() {
                    return;
                }
            },
            Err(error) => tracing::warn!(%error, durable = options.durable, "consuming is interrupted"),
        }
        tokio::select! {
            () = sender.closed() => return,
            () = tokio::time::sleep(backoff.next()) => {}
        }
        bus.count().reopened.fetch_add(1, Relaxed);
        opened = open(&bus, &options).await;
    }
}

impl<M: Message> Consume<M> {
    /// The next message. One that cannot be read becomes a dead letter and is not handed on; what happens to one that was
    /// delivered more than [`MAX_DELIVERIES`] times, [`ConsumeOptions::exhausted`] says. May be dropped in a `select!`; a message that is lost so is
    /// delivered again. `None` only when the runtime shuts down.
    pub async fn next(&mut self) -> Option<Consumed<M>> {
        loop {
            let message = self.messages.recv().await?;
            let place = message.info().map(|info| {
                (info.stream_sequence, info.delivered, stored_at(info.published.unix_timestamp_nanos()))
            });
            let Ok((sequence, deliveries, stored_at)) = place else {
                tracing::warn!(subject = %message.subject, "a message without its place in the stream is ignored");
                continue;
            };
            let deliveries = u32::try_from(deliveries).unwrap_or(u32::MAX);
            let delivered = Delivered {
                sequence,
                stored_at,
                subject: message.subject.clone(),
                payload: message.payload.clone(),
                headers: None,
            };
            let acker = Acker { bus: self.bus.clone(), message, stream: self.stream.clone(), sequence };
            match self.exhausted {
                Exhausted::DeadLetter if deliveries > MAX_DELIVERIES => {
                    let reason = format!("delivered {MAX_DELIVERIES} times without an acknowledgement");
                    acker.reject(&reason).await;
                    continue;
                }
                // Every second delivery is put back for the pause, and the one after it is handed on.
                Exhausted::Slowed(pause) if deliveries > MAX_DELIVERIES && deliveries % 2 == 1 => {
                    acker.retry(pause).await;
                    continue;
                }
                _ => {}
            }
            match delivered.decode() {
                Ok(entry) => return Some(Consumed { entry, deliveries, acker }),
                Err(undecodable) => {
                    self.bus.dead_letter(&self.stream, &undecodable).await;
                    acker.send(AckKind::Term).await;
                }
            }
        }
    }
}

impl Acker {
    /// It is done: what it led to is kept.
    pub async fn ack(self) {
        self.send(AckKind::Ack).await;
    }

    /// It cannot be done now: deliver it again after `delay`.
    pub async fn retry(self, delay: Duration) {
        self.send(AckKind::Nak(Some(delay))).await;
    }

    /// It can never be done: keep it as a dead letter and do not deliver it again.
    pub async fn reject(self, reason: &str) {
        self.bus.count().rejected.fetch_add(1, Relaxed);
        let letter = DeadLetter {
            subject: &self.message.subject,
            stream: &self.stream,
            sequence: Some(self.sequence),
            reason,
            payload: &self.message.payload,
        };
        self.bus.keep_dead_letter(letter).await;
        self.send(AckKind::Term).await;
    }

    /// An acknowledgement that is lost leads to another delivery, which readers bear.
    async fn send(&self, kind: AckKind) {
        if let Err(error) = self.message.ack_with(kind).await {
            tracing::debug!(%error, stream = self.stream, sequence = self.sequence, "not acknowledged");
        }
    }
}
