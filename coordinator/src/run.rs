//! The loop around the core: drain the effects, arm the deadline, wait.

use crate::{
    commands::{self, MAX_CALLS, Snapshot},
    components::Components,
    configuration,
    health::Health,
    host::HostConfig,
    http, in_force,
    judges::Judges,
    metrics::Metrics,
    shell::{Parts, Shell},
    stores::{self, Stores},
    streams_watch,
    tasks::{Faults, Vital, guarded},
    throttles,
};
use bus_schemas::{
    TimestampMs,
    command::{COMMANDS, CommandError, ErrorCode},
};
use coordinator_core::{Input, MonoMs, Now};
use nats_adapter::{
    Action, Bus, BusOptions, CommandService, LinkState, Unsuitable, ensure, largest_messages, of_drift,
    shortcomings,
};
use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::sync::{Semaphore, mpsc};

/// Most inputs that wait for the core.
pub const INPUT_BACKLOG: usize = 1_024;
/// How long a first connection is tried.
const CONNECT_PATIENCE: Duration = Duration::from_secs(60);
/// Questions to the owner that wait for the loop.
const VIEW_BACKLOG: usize = 256;
/// Time between two looks at which pools nobody attends to.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Why a coordinator ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No connection to the bus.
    #[error("cannot connect to NATS: {0}")]
    Connect(#[from] nats_adapter::ConnectError),
    /// The server cannot carry a farm.
    #[error("the NATS server will not do: {0}")]
    Unsuitable(#[from] Unsuitable),
    /// The streams are not there and cannot be made.
    #[error("cannot prepare the streams: {0}")]
    Ensure(#[from] nats_adapter::EnsureError),
    /// The configuration cannot be watched.
    #[error("cannot watch the configuration: {0}")]
    Configuration(#[from] nats_adapter::KvError),
    /// The throttle orders cannot be read.
    #[error("cannot read throttle orders: {0}")]
    Throttles(#[source] nats_adapter::KvError),
    /// The commands cannot be served.
    #[error("cannot serve commands: {0}")]
    Commands(#[from] nats_adapter::ServiceError),
    /// The HTTP address cannot be bound, or a thread not started.
    #[error("cannot start {what}: {source}")]
    Start {
        /// What.
        what: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// The metrics cannot be set up.
    #[error("cannot set up metrics: {0}")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
    /// A part that must run ended.
    #[error("{0} ended although nobody asked it to")]
    Ended(&'static str),
}

/// The clock of the core: monotonic milliseconds since the start, and the wall.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(pub(crate) Instant);

impl Clock {
    pub(crate) fn mono_of(self, at: Instant) -> MonoMs {
        MonoMs(u64::try_from(at.saturating_duration_since(self.0).as_millis()).unwrap_or(u64::MAX))
    }

    pub(crate) fn now(self) -> Now {
        Now { mono: self.mono_of(Instant::now()), wall: TimestampMs(wall()) }
    }

    pub(crate) fn instant_of(self, at: MonoMs) -> tokio::time::Instant {
        (self.0 + Duration::from_millis(at.0)).into()
    }
}

/// Milliseconds since the Unix epoch.
pub(crate) fn wall() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Runs a coordinator until `shutdown` is there: then it gives its pools up, so that another may take them at once.
pub async fn run(config: HostConfig, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
    run_with(config, shutdown, Faults::default()).await
}

/// Like [`run`], with what a test breaks on purpose.
pub async fn run_with(
    config: HostConfig,
    shutdown: impl Future<Output = ()>,
    faults: Faults,
) -> Result<(), RunError> {
    let metrics = Arc::new(Metrics::new()?);
    let mut options = BusOptions::new(format!("dcmf-coordinator {}", config.id), config.servers.clone());
    options.credentials = config.nats_credentials.clone();
    options.patience = CONNECT_PATIENCE;
    let bus = Bus::connect(options).await?;
    check_server(&bus)?;
    let outcome = ensure(&bus, config.replicas, Action::Create).await?;
    for drift in &outcome.drift {
        tracing::warn!(%drift, "a stream is not as declared; see `dcmf-bus drift`");
    }
    let off = of_drift(&outcome.drift);
    if !off.is_empty() {
        return Err(Unsuitable(off).into());
    }
    let (inputs, mut queue) = mpsc::channel(INPUT_BACKLOG);
    let mut tasks = Vital::new(faults.clone());
    let (health, stores) = (Health::default(), Stores::default());
    health.bad(CONFIGURED, "the configuration was not read yet");
    spawn_link(&bus, health.clone(), &mut tasks);
    if let Some(address) = config.http {
        let start = |source| RunError::Start { what: "http", source };
        let addr = http::serve(address, metrics.clone(), health.clone(), &mut tasks).await.map_err(start)?;
        tracing::info!(%addr, "http listens");
    }
    let components = Arc::<Components>::default();
    let (judges, overseer) = Judges::start(config.judge_threads, &inputs, &metrics, &components, &faults)
        .map_err(|source| RunError::Start { what: "judging threads", source })?;
    tasks.spawn("judges", overseer.run());
    spawn_watches(&bus, &config, (&stores, &health, &metrics), &inputs, &mut tasks);
    configuration::watch(&bus, inputs.clone(), &mut tasks).await?;
    let in_force = in_force::Wanted::default();
    let publish = in_force::publish(bus.clone(), in_force.clone(), inputs.clone());
    tasks.spawn("in_force", publish);
    throttles::watch(&bus, inputs.clone(), &mut tasks).await.map_err(RunError::Throttles)?;
    let mut service = CommandService::start(&bus, env!("CARGO_PKG_VERSION"), &COMMANDS).await?;
    let calls = Arc::new(Semaphore::new(MAX_CALLS));
    let (views, mut asked_views) = mpsc::channel(VIEW_BACKLOG);
    let parts = Parts { metrics, judges, components, stores, views, faults, health, in_force };
    let mut shell = Shell::new(&config, bus, parts, inputs);
    let mut looks = tokio::time::interval(LOOK_INTERVAL);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    tracing::info!(id = %config.id, farm = config.farm, "coordinator runs");

    tokio::pin!(shutdown);
    let mut asked = false;
    while !shell.exit {
        shell.drain();
        if shell.core.is_configured() {
            shell.health.good(CONFIGURED);
        }
        if shell.exit {
            break;
        }
        let deadline = shell.core.next_deadline().map(|at| shell.clock.instant_of(at));
        tokio::select! {
            () = &mut shutdown, if !asked => {
                asked = true;
                shell.handle(Input::Shutdown);
            }
            Some(input) = queue.recv() => shell.handle(input),
            () = until(deadline) => shell.handle(Input::Tick),
            // The loop never waits for an answer: with all permits taken, calls wait in the connection's queue.
            Some(call) = service.next(), if calls.available_permits() > 0 => {
                let Ok(permit) = calls.clone().try_acquire_owned() else { continue };
                let snapshot = Snapshot::take(&shell.core, &call, shell.clock.now());
                let answer = commands::answer(shell.bus.clone(), call, snapshot, shell.metrics.clone());
                let (faults, obituary) = (shell.faults.clone(), shell.obituary());
                shell.background.spawn(async move {
                    if let Err(panic) = guarded(&faults, "answer", answer).await {
                        obituary.tell("answer", &panic, "whoever asked gets no answer");
                    }
                    drop(permit);
                });
            }
            Some((pool, epoch, request)) = asked_views.recv() => shell.answer_view(&pool, epoch, request),
            _ = looks.tick() => shell.look(),
            Some(task) = shell.vital.ended() => return Err(RunError::Ended(task)),
            Some(task) = tasks.ended() => match task {
                http::PAGES | http::UPKEEP => {
                    shell.obituary().tell(task, "it ended", "the process goes on without")
                }
                _ => return Err(RunError::Ended(task)),
            },
        }
    }
    let leaving = CommandError::new(ErrorCode::NotOwner, "this coordinator is ending");
    for call in service.stop().await {
        if let Err(error) = call.refuse(&leaving).await {
            tracing::debug!(%error, "a command was not answered");
        }
    }
    shell.farewell().await;
    tracing::info!("coordinator ended");
    Ok(())
}

async fn until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Key of the reason that nothing is configured yet.
const CONFIGURED: &str = "configuration";

/// Names what the server lacks; what nothing can run without ends the start.
fn check_server(bus: &Bus) -> Result<(), RunError> {
    let found = shortcomings(bus, &largest_messages().map_err(nats_adapter::EnsureError::from)?);
    for shortcoming in &found {
        tracing::error!(code = shortcoming.code(), "{shortcoming}");
    }
    if found.iter().any(nats_adapter::Shortcoming::is_fatal) { Err(Unsuitable(found).into()) } else { Ok(()) }
}

/// Without a connection nothing is ready.
fn spawn_link(bus: &Bus, health: Health, tasks: &mut Vital) {
    let mut link = bus.link();
    tasks.spawn("connection", async move {
        loop {
            if link.borrow_and_update().state == LinkState::Connected {
                health.good("connection");
            } else {
                health.bad("connection", "no connection to NATS");
            }
            if link.changed().await.is_err() {
                return;
            }
        }
    });
}

/// Looks after the streams and whether they take what is written.
fn spawn_watches(
    bus: &Bus,
    config: &HostConfig,
    (stores, health, metrics): (&Stores, &Health, &Arc<Metrics>),
    inputs: &mpsc::Sender<Input>,
    tasks: &mut Vital,
) {
    let shown = (health.clone(), metrics.clone());
    let watch = stores::watch(bus.clone(), stores.clone(), config.replicas, shown, inputs.clone());
    tasks.spawn("store", watch);
    let watch = streams_watch::watch(bus.clone(), config.replicas, health.clone(), inputs.clone());
    tasks.spawn("streams", watch);
}
