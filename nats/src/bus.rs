//! The connection: how it is made and kept, and what is known about it.

use crate::{backoff, publish};
use async_nats::{Client, ConnectOptions, Event, ServerAddr, ServerError, connection::State, jetstream};
use futures_util::StreamExt;
use std::{
    fmt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::sync::{broadcast, watch};

/// Longest wait for one attempt to connect, and for the round trip that proves it.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// Longest delay between two attempts to connect.
pub const RECONNECT_DELAY_MAX: Duration = Duration::from_secs(4);
/// Longest wait for room in the queue to the connection.
pub const PUBLISH_DEADLINE: Duration = Duration::from_secs(5);
/// Events of the connection that are kept for a reader that lags.
pub const EVENT_BACKLOG: usize = 256;

/// How to connect.
#[derive(Debug, Clone)]
pub struct BusOptions {
    /// `nats://host:port` of one or more servers of one cluster. A `user:password@` of the first that has one is the
    /// login, and is never printed.
    pub servers: Vec<String>,
    /// Name of the connection, for people that look at the server.
    pub name: String,
    /// Prefix of the subjects of replies, so that a permission can pin them.
    pub inbox_prefix: Option<String>,
    /// File with a user's JWT and seed.
    pub credentials: Option<PathBuf>,
    /// How long to go on trying when no server can be reached; zero tries once.
    pub patience: Duration,
}

impl BusOptions {
    /// Options for a connection `name` to `servers`, tried once, without credentials.
    pub fn new(name: impl Into<String>, servers: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            servers: servers.into_iter().map(Into::into).collect(),
            name: name.into(),
            inbox_prefix: None,
            credentials: None,
            patience: Duration::ZERO,
        }
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// An address is none, or none is given.
    #[error("{server:?} is no address of a server; use nats://host:port")]
    InvalidServer {
        /// The address, without a login.
        server: String,
    },
    /// The credentials could not be read.
    #[error("cannot read the credentials {path}: {source}")]
    Credentials {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// No server answered.
    #[error("cannot connect to {servers}: {reason}; check the address and that the server runs")]
    Unreachable {
        /// Where.
        servers: String,
        /// What the client said.
        reason: String,
    },
    /// A server refused the login.
    #[error("{servers} refused the login: {reason}; check the credentials")]
    Refused {
        /// Where.
        servers: String,
        /// What the client said.
        reason: String,
    },
    /// Connected, but a message to oneself did not come back.
    #[error(
        "connected to {servers}, but a message on {inbox} did not come back: {reason}; check the permissions"
    )]
    NoRoundTrip {
        /// Where.
        servers: String,
        /// Where it was sent.
        inbox: String,
        /// What is missing.
        reason: String,
    },
}

/// Whether there is a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkState {
    /// A server is there.
    Connected,
    /// None is; another attempt follows.
    Disconnected,
    /// The connection was closed for good.
    Closed,
}

/// State of the connection. A reader that only sees every second change still sees by `connects` that it was away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Now.
    pub state: LinkState,
    /// How often a connection was made.
    pub connects: u64,
}

/// What the connection reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BusEvent {
    /// A server is there.
    Connected,
    /// The server is gone.
    Disconnected,
    /// The server is about to stop; the client moves to another.
    ServerGoesDown,
    /// A subscription was full and lost messages.
    SlowConsumer,
    /// The server refused something, for instance a subscription that permissions do not allow.
    Refused(String),
    /// The client could not do something.
    Failed(String),
}

/// Counters of one connection; each only grows.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) undecodable: AtomicU64,
    pub(crate) rejected: AtomicU64,
    pub(crate) dead_letters_lost: AtomicU64,
    pub(crate) reopened: AtomicU64,
    pub(crate) slow_consumer: AtomicU64,
}

/// Values of the counters of one connection; each only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CounterValues {
    /// Messages whose bytes or subject could not be read.
    pub undecodable: u64,
    /// Messages that their consumer rejected for good.
    pub rejected: u64,
    /// Dead letters that could not be kept.
    pub dead_letters_lost: u64,
    /// Times that a reader had to open its consumer again.
    pub reopened: u64,
    /// Times that a full subscription lost a message.
    pub slow_consumer: u64,
    /// Times that a connection was made.
    pub connects: u64,
}

/// A connection to the bus. Clones share it.
#[derive(Clone)]
pub struct Bus {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    jetstream: jetstream::Context,
    link: watch::Receiver<Link>,
    events: broadcast::Sender<BusEvent>,
    counters: Arc<Counters>,
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus").field("link", &*self.shared.link.borrow()).finish_non_exhaustive()
    }
}

impl Bus {
    /// Connects, and proves by a round trip that the login was accepted. From then on the connection is kept: after
    /// a loss it is made again with growing, jittered delays, for ever.
    pub async fn connect(options: BusOptions) -> Result<Self, ConnectError> {
        let give_up = tokio::time::Instant::now() + options.patience;
        let mut backoff = backoff::Backoff::new(RECONNECT_DELAY_MAX);
        loop {
            let error = match Self::try_connect(&options).await {
                Ok(bus) => return Ok(bus),
                Err(error @ (ConnectError::Unreachable { .. } | ConnectError::NoRoundTrip { .. })) => error,
                Err(error) => return Err(error),
            };
            let delay = backoff.next();
            if tokio::time::Instant::now() + delay >= give_up {
                return Err(error);
            }
            tracing::warn!(%error, "no connection yet");
            tokio::time::sleep(delay).await;
        }
    }

    async fn try_connect(options: &BusOptions) -> Result<Self, ConnectError> {
        let (link_sender, link) = watch::channel(Link { state: LinkState::Connected, connects: 1 });
        let (events, _) = broadcast::channel(EVENT_BACKLOG);
        let counters = Arc::new(Counters::default());
        let report = {
            let (events, counters) = (events.clone(), Arc::clone(&counters));
            let link_sender = Arc::new(link_sender);
            move |event: Event| {
                note(&event, &link_sender, &events, &counters);
                std::future::ready(())
            }
        };
        let mut connect = ConnectOptions::new()
            .name(&options.name)
            .connection_timeout(CONNECT_DEADLINE)
            .request_timeout(Some(crate::REQUEST_DEADLINE))
            .max_reconnects(None)
            .reconnect_delay_callback(|attempt| backoff::delay(attempt, RECONNECT_DELAY_MAX))
            .event_callback(report);
        if let Some(prefix) = &options.inbox_prefix {
            connect = connect.custom_inbox_prefix(prefix);
        }
        if let Some(path) = &options.credentials {
            connect = connect
                .credentials_file(path)
                .await
                .map_err(|source| ConnectError::Credentials { path: path.clone(), source })?;
        }
        let addresses = addresses(&options.servers)?;
        if let Some((user, password)) = addresses.iter().find_map(|a| Some((a.username()?, a.password()?))) {
            connect = connect.user_and_password(user.to_owned(), password.to_owned());
        }
        let shown: Vec<_> = addresses.iter().map(|a| format!("{}:{}", a.host(), a.port())).collect();
        let servers = shown.join(",");
        let client = match tokio::time::timeout(CONNECT_DEADLINE * 2, connect.connect(addresses)).await {
            Ok(Ok(client)) => client,
            Ok(Err(error)) => return Err(connect_error(servers, &error)),
            Err(_) => {
                let reason = format!("no answer within {:?}", CONNECT_DEADLINE * 2);
                return Err(ConnectError::Unreachable { servers, reason });
            }
        };
        round_trip(&client, &servers).await?;
        let jetstream = publish::context(client.clone());
        Ok(Self { shared: Arc::new(Shared { client, jetstream, link, events, counters }) })
    }

    /// The state of the connection, to look at or to wait for its changes.
    pub fn link(&self) -> watch::Receiver<Link> {
        self.shared.link.clone()
    }

    /// What the connection reports from now on. A reader that lags by more than [`EVENT_BACKLOG`] loses the oldest.
    pub fn events(&self) -> broadcast::Receiver<BusEvent> {
        self.shared.events.subscribe()
    }

    /// The counters as they stand.
    pub fn counters(&self) -> CounterValues {
        let counters = &self.shared.counters;
        CounterValues {
            undecodable: counters.undecodable.load(Relaxed),
            rejected: counters.rejected.load(Relaxed),
            dead_letters_lost: counters.dead_letters_lost.load(Relaxed),
            reopened: counters.reopened.load(Relaxed),
            slow_consumer: counters.slow_consumer.load(Relaxed),
            connects: self.shared.link.borrow().connects,
        }
    }

    /// Most bytes that the server carries in one message.
    pub fn max_payload(&self) -> usize {
        self.client().server_info().max_payload
    }

    /// The client beneath, for what this adapter has no word for.
    pub fn client(&self) -> &Client {
        &self.shared.client
    }

    /// JetStream beneath, for what this adapter has no word for.
    pub fn jetstream(&self) -> &jetstream::Context {
        &self.shared.jetstream
    }

    /// Sends what is queued and closes the connection: subscriptions end, nothing is reconnected.
    pub async fn close(&self) {
        if let Err(error) = self.shared.client.drain().await {
            tracing::debug!(%error, "the connection was closed already");
        }
    }

    /// Waits until the server has done everything that was asked of it before.
    pub(crate) async fn round_trip(&self) -> Result<(), ConnectError> {
        round_trip(&self.shared.client, "the server").await
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.shared.client.connection_state() == State::Connected
    }

    pub(crate) fn count(&self) -> &Counters {
        &self.shared.counters
    }
}

fn note(
    event: &Event,
    link: &watch::Sender<Link>,
    events: &broadcast::Sender<BusEvent>,
    counters: &Counters,
) {
    let state = |state| link.send_modify(|link| link.state = state);
    let report = match event {
        Event::Connected => {
            link.send_modify(|link| {
                // The first connection is in the initial value.
                if link.state != LinkState::Connected {
                    *link = Link { state: LinkState::Connected, connects: link.connects + 1 };
                }
            });
            BusEvent::Connected
        }
        Event::Disconnected => {
            state(LinkState::Disconnected);
            BusEvent::Disconnected
        }
        Event::Closed => {
            state(LinkState::Closed);
            BusEvent::Disconnected
        }
        Event::LameDuckMode => BusEvent::ServerGoesDown,
        Event::Draining => return,
        Event::SlowConsumer(_) | Event::ServerError(ServerError::SlowConsumer(_)) => {
            counters.slow_consumer.fetch_add(1, Relaxed);
            BusEvent::SlowConsumer
        }
        Event::ServerError(error) => BusEvent::Refused(error.to_string()),
        Event::ClientError(error) => BusEvent::Failed(error.to_string()),
    };
    match &report {
        BusEvent::Connected => tracing::info!("connected to the bus"),
        other => tracing::warn!(event = ?other, "bus"),
    }
    // Nobody needs to listen.
    let _ = events.send(report);
}

fn addresses(servers: &[String]) -> Result<Vec<ServerAddr>, ConnectError> {
    // What cannot be read may hold a password in any place before the last @.
    let shown = |server: &str| server.rsplit('@').next().unwrap_or_default().to_owned();
    if servers.is_empty() {
        return Err(ConnectError::InvalidServer { server: String::new() });
    }
    let parse =
        |server: &String| server.parse().map_err(|_| ConnectError::InvalidServer { server: shown(server) });
    servers.iter().map(parse).collect()
}

fn connect_error(servers: String, error: &async_nats::ConnectError) -> ConnectError {
    use async_nats::ConnectErrorKind as Kind;
    let reason = error.to_string();
    match error.kind() {
        Kind::Authentication | Kind::AuthorizationViolation => ConnectError::Refused { servers, reason },
        _ => ConnectError::Unreachable { servers, reason },
    }
}

async fn round_trip(client: &Client, servers: &str) -> Result<(), ConnectError> {
    let inbox = client.new_inbox();
    let failed = |reason: String| ConnectError::NoRoundTrip {
        servers: servers.to_owned(),
        inbox: inbox.clone(),
        reason,
    };
    let trip = async {
        let mut echo = client.subscribe(inbox.clone()).await.map_err(|e| failed(e.to_string()))?;
        client.publish(inbox.clone(), "".into()).await.map_err(|e| failed(e.to_string()))?;
        echo.next().await.ok_or_else(|| failed("the connection was closed".to_owned()))?;
        Ok(())
    };
    match tokio::time::timeout(CONNECT_DEADLINE, trip).await {
        Ok(result) => result,
        Err(_) => Err(failed(format!("nothing within {CONNECT_DEADLINE:?}"))),
    }
}
