//! The one reader behind replays, watches and recoveries: everything that a filter gives, in stream order, from a
//! starting point on, for ever.
//!
//! A task of its own reads through an ephemeral pull consumer without acknowledgements. Whatever ends the consumer
//! (a reconnect, a restart of the server, a lost message), it is opened again after the last sequence that was handed
//! on, so the reader sees each message once and in order.

use crate::{
    Bus,
    backoff::Backoff,
    delivery::{Delivered, stored_at},
    replay::{BURST_BYTES, BURST_MESSAGES},
};
use async_nats::jetstream::{
    self, ErrorCode,
    consumer::{AckPolicy, DeliverPolicy, pull},
    context::GetStreamErrorKind,
};
use futures_util::{FutureExt, StreamExt};
use std::{sync::atomic::Ordering::Relaxed, time::Duration};
use tokio::sync::mpsc;

/// Bursts that wait for their reader.
const QUEUED_BURSTS: usize = 4;
/// Most messages of one pull request.
const PULL_MESSAGES: usize = 4_096;
/// Most bytes of one pull request; must hold the largest message.
const PULL_BYTES: usize = 16 * 1024 * 1024;
/// How long one pull request stands.
const PULL_EXPIRES: Duration = Duration::from_secs(30);
/// Longest silence of a consumer is twice this: then it is opened again.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// After this time without a reader the server removes a consumer.
const CONSUMER_INACTIVE: Duration = Duration::from_secs(30);
/// Longest delay between two attempts to open a consumer.
const REOPEN_DELAY_MAX: Duration = Duration::from_secs(2);

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// At this sequence, or the next one that is there.
    Sequence(u64),
    /// With the last message of each subject.
    LastPerSubject,
}

/// What to follow.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) stream: String,
    pub(crate) filter: String,
    pub(crate) start: Start,
}

/// What came.
#[derive(Debug)]
pub(crate) enum Burst {
    /// Messages, at least one unless `caught_up`.
    Messages { messages: Vec<Delivered>, caught_up: bool },
    /// The stream is not the one that was read, or lost its end: it has no message at `wanted - 1` any more.
    Rewound { wanted: u64, last: u64 },
}

/// The reader's end; dropping it ends the task, which takes its consumer away.
#[derive(Debug)]
pub(crate) struct Follower {
    bursts: mpsc::Receiver<Burst>,
}

impl Follower {
    /// Opens the consumer once, so that a wrong stream is told at once, and follows from then on.
    pub(crate) async fn start(bus: Bus, plan: Plan) -> Result<Self, OpenError> {
        let mut task = Task { bus, plan, incarnation: None, goal: 0, caught_up: false };
        let opened = task.open().await?;
        let (sender, bursts) = mpsc::channel(QUEUED_BURSTS);
        // Ends with its reader, or after it told that the stream was rewound.
        tokio::spawn(async move { task.run(opened, sender).await });
        Ok(Self { bursts })
    }

    /// The next burst; `None` when the task is gone, which happens only after [`Burst::Rewound`] or when the runtime
    /// shuts down.
    pub(crate) async fn next(&mut self) -> Option<Burst> {
        self.bursts.recv().await
    }
}

/// Why a consumer could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("there is no stream {0}")]
    NoStream(String),
    #[error("stream {stream} ends at {last}, but {wanted} is wanted")]
    Rewound { stream: String, wanted: u64, last: u64 },
    #[error("cannot read stream {stream}: {reason}")]
    Failed { stream: String, reason: String },
}

struct Task {
    bus: Bus,
    plan: Plan,
    /// When the stream was created: another one of the same name is not the same.
    incarnation: Option<i128>,
    /// The stream's last sequence when the reading began.
    goal: u64,
    caught_up: bool,
}

struct Opened {
    consumer: String,
    messages: pull::Stream,
    consumer_sequence: u64,
    pending: u64,
    connects: u64,
}

/// Why pumping ended.
enum Pumped {
    ReaderGone,
    Again,
}

impl Task {
    async fn run(mut self, first: Opened, sender: mpsc::Sender<Burst>) {
        let mut backoff = Backoff::new(REOPEN_DELAY_MAX);
        let mut opened = Ok(first);
        loop {
            match opened {
                Ok(mut stream) => {
                    let before = self.plan.start;
                    if matches!(self.pump(&mut stream, &sender).await, Pumped::ReaderGone) {
                        return self.close(stream).await;
                    }
                    if self.plan.start != before {
                        backoff.reset();
                    }
                }
                Err(OpenError::Rewound { wanted, last, .. }) => {
                    // Without a reader nobody needs to know.
                    let _ = sender.send(Burst::Rewound { wanted, last }).await;
                    return;
                }
                Err(error) => tracing::warn!(%error, "reading is interrupted"),
            }
            tokio::select! {
                () = sender.closed() => return,
                () = tokio::time::sleep(backoff.next()) => {}
            }
            self.bus.count().reopened.fetch_add(1, Relaxed);
            opened = self.open().await;
        }
    }

    /// Takes the consumer away: the stream has room for few, and reads that follow one another would fill it up.
    async fn close(&self, opened: Opened) {
        let (stream, consumer) = (&self.plan.stream, opened.consumer);
        if let Err(error) = self.bus.jetstream().delete_consumer_from_stream(&consumer, stream).await {
            tracing::debug!(%error, stream, consumer, "left to the server, which removes it soon");
        }
    }

    async fn open(&mut self) -> Result<Opened, OpenError> {
        let name = || self.plan.stream.clone();
        let failed = |reason: String| OpenError::Failed { stream: name(), reason };
        let connects = self.bus.link().borrow().connects;
        let stream = self.bus.jetstream().get_stream(&self.plan.stream).await;
        let stream = stream.map_err(|error| match error.kind() {
            GetStreamErrorKind::JetStream(e) if e.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                OpenError::NoStream(name())
            }
            _ => failed(error.to_string()),
        })?;
        let info = stream.cached_info();
        let created = info.created.unix_timestamp_nanos();
        let last = info.state.last_sequence;
        if let Start::Sequence(wanted) = self.plan.start
            && (self.incarnation.is_some_and(|known| known != created) || last.saturating_add(1) < wanted)
        {
            return Err(OpenError::Rewound { stream: name(), wanted, last });
        }
        let consumer =
            stream.create_consumer(consumer_config(&self.plan)).await.map_err(|e| failed(e.to_string()))?;
        let info = consumer.cached_info();
        let (pending, name) = (info.num_pending, info.name.clone());
        let messages = consumer
            .stream()
            .max_messages_per_batch(PULL_MESSAGES)
            .max_bytes_per_batch(PULL_BYTES)
            .expires(PULL_EXPIRES)
            .heartbeat(HEARTBEAT)
            .messages()
            .await
            .map_err(|e| failed(e.to_string()))?;
        if self.incarnation.replace(created).is_none() {
            self.goal = last;
        }
        Ok(Opened { consumer: name, messages, consumer_sequence: 0, pending, connects })
    }

    /// Hands on what comes, until the consumer has to be opened again.
    async fn pump(&mut self, opened: &mut Opened, sender: &mpsc::Sender<Burst>) -> Pumped {
        let mut link = self.bus.link();
        if opened.pending == 0 && !self.caught_up {
            self.caught_up = true;
            let burst = Burst::Messages { messages: Vec::new(), caught_up: true };
            if sender.send(burst).await.is_err() {
                return Pumped::ReaderGone;
            }
        }
        loop {
            let first = tokio::select! {
                () = sender.closed() => return Pumped::ReaderGone,
                // A consumer does not outlive its server, and asking is cheaper than waiting for its silence.
                _ = link.wait_for(|link| link.connects != opened.connects) => return Pumped::Again,
                message = opened.messages.next() => message,
            };
            let (messages, broken) = self.gather(opened, first);
            let at_goal =
                opened.pending == 0 || messages.last().is_some_and(|last| last.sequence >= self.goal);
            let caught_up = at_goal && !self.caught_up && !messages.is_empty();
            self.caught_up |= caught_up;
            if !messages.is_empty() && sender.send(Burst::Messages { messages, caught_up }).await.is_err() {
                return Pumped::ReaderGone;
            }
            if broken {
                return Pumped::Again;
            }
        }
    }

    /// `first` and everything that is there already, within the limits of a burst, and whether the consumer broke.
    fn gather(&mut self, opened: &mut Opened, first: Pulled) -> (Vec<Delivered>, bool) {
        let mut messages = Vec::new();
        let mut bytes = 0;
        let mut next = first;
        loop {
            let message = match next {
                Some(Ok(message)) => message,
                Some(Err(error)) => {
                    tracing::debug!(%error, stream = self.plan.stream, "a consumer ended");
                    return (messages, true);
                }
                None => return (messages, true),
            };
            match self.place(opened, message) {
                Some(delivered) => {
                    bytes += delivered.payload.len();
                    messages.push(delivered);
                }
                None => return (messages, true),
            }
            if messages.len() >= BURST_MESSAGES || bytes >= BURST_BYTES {
                return (messages, false);
            }
            match opened.messages.next().now_or_never() {
                Some(more) => next = more,
                None => return (messages, false),
            }
        }
    }

    /// Checks that nothing is missing before this message, `None` when something is.
    fn place(&mut self, opened: &mut Opened, message: jetstream::Message) -> Option<Delivered> {
        let (sequence, consumer_sequence, pending, stored_at) = {
            let info = message.info().ok()?;
            let stored_at = stored_at(info.published.unix_timestamp_nanos());
            (info.stream_sequence, info.consumer_sequence, info.pending, stored_at)
        };
        if consumer_sequence != opened.consumer_sequence + 1 {
            return None;
        }
        opened.consumer_sequence = consumer_sequence;
        opened.pending = pending;
        self.plan.start = Start::Sequence(sequence + 1);
        let async_nats::Message { subject, payload, headers, .. } = message.message;
        Some(Delivered { sequence, stored_at, subject, payload, headers })
    }
}

type Pulled = Option<Result<jetstream::Message, pull::MessagesError>>;

fn consumer_config(plan: &Plan) -> pull::Config {
    pull::Config {
        deliver_policy: match plan.start {
            Start::Sequence(start_sequence) => {
                DeliverPolicy::ByStartSequence { start_sequence: start_sequence.max(1) }
            }
            Start::LastPerSubject => DeliverPolicy::LastPerSubject,
        },
        ack_policy: AckPolicy::None,
        filter_subject: plan.filter.clone(),
        inactive_threshold: CONSUMER_INACTIVE,
        memory_storage: true,
        num_replicas: 1,
        ..pull::Config::default()
    }
}
