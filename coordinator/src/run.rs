//! The loop around the core: drain the effects, arm the deadline, wait.

use crate::{
    commands::{self, COMMANDS, MAX_CALLS, Snapshot},
    components::Components,
    configuration,
    host::HostConfig,
    http,
    judge::{Judges, Overloaded},
    lease::{self, LEASE_BACKLOG, LeaseRequest},
    metrics::Metrics,
    pool::{Context, OwnedPool},
    recovery::{self, Positions, RecoveryError},
    throttles,
};
use bus_schemas::{
    PoolId, TimestampMs,
    command::{CommandError, ErrorCode, PoolStatus},
    event::Event,
};
use coordinator_core::{Coordinator, Effect, Input, LeaseInput, MonoMs, Now, PoolEffect};
use nats_adapter::{Action, Bus, BusOptions, CommandService, Expect, LinkState, ensure, streams};
use std::{
    collections::BTreeMap,
    future::Future,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::JoinSet,
};

/// Most inputs that wait for the core.
pub const INPUT_BACKLOG: usize = 1_024;
/// Most events that wait to be published; more are lost and counted.
const EVENT_BACKLOG: usize = 8_192;
/// Most states that wait to be published.
const STATUS_BACKLOG: usize = 256;
/// How long a first connection is tried.
const CONNECT_PATIENCE: Duration = Duration::from_secs(60);
/// How long the last words may take.
const FAREWELL_DEADLINE: Duration = Duration::from_secs(3);
/// Longest time that one event is tried to be published.
const EVENT_DEADLINE: Duration = Duration::from_secs(60);
/// Pause before a failed recovery is tried again by taking the lease anew.
const RECOVERY_DEADLINE: Duration = Duration::from_secs(30);

/// Why a coordinator ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No connection to the bus.
    #[error("cannot connect to NATS: {0}")]
    Connect(#[from] nats_adapter::ConnectError),
    /// The streams are not there and cannot be made.
    #[error("cannot prepare the streams: {0}")]
    Ensure(#[from] nats_adapter::EnsureError),
    /// The configuration cannot be watched.
    #[error("cannot watch the configuration: {0}")]
    Configuration(#[from] nats_adapter::KvError),
    /// The throttle orders cannot be read.
    #[error("cannot read throttle orders: {0}")]
    Throttles(#[from] nats_adapter::ReplayError),
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
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn mono_of(self, at: Instant) -> MonoMs {
        MonoMs(u64::try_from(at.saturating_duration_since(self.0).as_millis()).unwrap_or(u64::MAX))
    }

    fn now(self) -> Now {
        Now { mono: self.mono_of(Instant::now()), wall: TimestampMs(wall()) }
    }

    fn instant_of(self, at: MonoMs) -> tokio::time::Instant {
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
    let metrics = Arc::new(Metrics::new()?);
    let mut options = BusOptions::new(format!("dcmf-coordinator {}", config.id), config.servers.clone());
    options.credentials = config.nats_credentials.clone();
    options.patience = CONNECT_PATIENCE;
    let bus = Bus::connect(options).await?;
    for drift in ensure(&bus, config.replicas, Action::Create).await?.drift {
        tracing::warn!(%drift, "a stream is not as declared; see `dcmf-bus drift`");
    }
    let (inputs, mut queue) = mpsc::channel(INPUT_BACKLOG);
    let mut tasks = JoinSet::new();
    let configured = watch::Sender::new(false);
    let ready = spawn_ready(&bus, configured.subscribe(), &mut tasks);
    if let Some(address) = config.http {
        let start = |source| RunError::Start { what: "http", source };
        let addr = http::serve(address, metrics.clone(), ready, &mut tasks).await.map_err(start)?;
        tracing::info!(%addr, "http listens");
    }
    let components = Arc::<Components>::default();
    let judges = Judges::start(config.judge_threads, &inputs, &metrics, &components)
        .map_err(|source| RunError::Start { what: "judging threads", source })?;
    configuration::watch(&bus, inputs.clone(), &mut tasks).await?;
    throttles::watch(&bus, inputs.clone(), &mut tasks).await?;
    let mut service = CommandService::start(&bus, env!("CARGO_PKG_VERSION"), &COMMANDS).await?;
    let calls = Arc::new(Semaphore::new(MAX_CALLS));
    let mut shell = Shell::new(&config, bus, metrics, judges, components, inputs);
    tracing::info!(id = %config.id, farm = config.farm, "coordinator runs");

    tokio::pin!(shutdown);
    let mut asked = false;
    while !shell.exit {
        shell.drain();
        configured.send_if_modified(|c| {
            std::mem::replace(c, shell.core.is_configured()) != shell.core.is_configured()
        });
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
                let snapshot = Snapshot::take(&shell.core, call.command());
                let answer = commands::answer(shell.bus.clone(), call, snapshot, shell.metrics.clone());
                tokio::spawn(async move { answer.await; drop(permit) });
            }
            Some(ended) = tasks.join_next() => match ended {
                Ok("http") => {}
                Ok(task) => return Err(RunError::Ended(task)),
                Err(_) => return Err(RunError::Ended("a task of the coordinator")),
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

/// Ready means connected, and every configuration was read: what is owned is visible in the metrics.
fn spawn_ready(
    bus: &Bus,
    mut configured: watch::Receiver<bool>,
    tasks: &mut JoinSet<&'static str>,
) -> watch::Receiver<bool> {
    let mut link = bus.link();
    let (sender, ready) = watch::channel(false);
    tasks.spawn(async move {
        loop {
            let connected = link.borrow_and_update().state == LinkState::Connected;
            sender.send_replace(connected && *configured.borrow_and_update());
            tokio::select! {
                changed = link.changed() => if changed.is_err() { return "connection" },
                changed = configured.changed() => if changed.is_err() { return "connection" },
            }
        }
    });
    ready
}

struct Shell {
    core: Coordinator,
    clock: Clock,
    bus: Bus,
    metrics: Arc<Metrics>,
    judges: Judges,
    inputs: mpsc::Sender<Input>,
    config: Arc<HostConfig>,
    credentials: Arc<BTreeMap<String, job_sources::Credentials>>,
    components: Arc<Components>,
    /// Long polls that nodes may still hold, over all terms of all pools.
    abandoned: job_sources::Abandoned,
    leases: BTreeMap<PoolId, mpsc::Sender<LeaseRequest>>,
    pools: BTreeMap<PoolId, OwnedPool>,
    /// Where writers go on, from a recovery until the pool is started.
    positions: Arc<std::sync::Mutex<BTreeMap<(PoolId, u64), Positions>>>,
    events: mpsc::Sender<Box<Event>>,
    statuses: mpsc::Sender<(PoolId, Box<PoolStatus>)>,
    background: JoinSet<()>,
    event_task: tokio::task::JoinHandle<()>,
    exit: bool,
}

impl Shell {
    fn new(
        config: &HostConfig,
        bus: Bus,
        metrics: Arc<Metrics>,
        judges: Judges,
        components: Arc<Components>,
        inputs: mpsc::Sender<Input>,
    ) -> Self {
        let (events, event_queue) = mpsc::channel(EVENT_BACKLOG);
        let (statuses, status_queue) = mpsc::channel(STATUS_BACKLOG);
        let mut background = JoinSet::new();
        background.spawn(publish_statuses(bus.clone(), status_queue));
        let event_task = tokio::spawn(publish_events(bus.clone(), event_queue, metrics.clone()));
        let session = format!("{}-{:016x}", config.id, rand::random::<u64>());
        Self {
            core: Coordinator::new(config.id.clone(), config.farm, session),
            clock: Clock(Instant::now()),
            bus,
            metrics,
            judges,
            inputs,
            credentials: Arc::new(config.credentials.clone()),
            components,
            abandoned: job_sources::Abandoned::default(),
            config: Arc::new(config.clone()),
            leases: BTreeMap::new(),
            pools: BTreeMap::new(),
            positions: Arc::default(),
            events,
            statuses,
            background,
            event_task,
            exit: false,
        }
    }

    fn handle(&mut self, input: Input) {
        self.core.handle(input, self.clock.now());
    }

    fn drain(&mut self) {
        while let Some(effect) = self.core.next_effect() {
            self.perform(effect);
        }
        for (id, pool) in &self.pools {
            pool.set_room(self.core.has_room(id, pool.epoch));
        }
        while self.background.try_join_next().is_some() {}
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::AcquireLease(pool) => self.lease(pool, LeaseRequest::Acquire),
            Effect::RenewLease(pool, epoch) => self.lease(pool, LeaseRequest::Renew(epoch)),
            Effect::ReleaseLease(pool, epoch) => self.lease(pool, LeaseRequest::Release(epoch)),
            Effect::Recover(pool, epoch) => self.recover(pool, epoch),
            Effect::StartPool { pool, epoch, shares_after, config } => {
                tracing::info!(%pool, epoch, shares_after, "pool is owned");
                let mut positions = self.positions.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                let positions = positions.remove(&(pool.clone(), epoch));
                let Some(positions) = positions else {
                    tracing::error!(%pool, epoch, "a pool is to start whose state was not read");
                    return;
                };
                let context = self.context(&pool, epoch);
                let owned = OwnedPool::start(&context, *config, shares_after, positions);
                self.pools.insert(pool, owned);
            }
            Effect::RestartSource(pool, epoch, config) => {
                if let Some(owned) = self.pools.get(&pool).filter(|p| p.epoch == epoch) {
                    owned.configure(*config);
                }
            }
            Effect::StopPool(pool, epoch) => {
                tracing::info!(%pool, epoch, "pool is given up");
                if self.pools.get(&pool).is_some_and(|p| p.epoch == epoch) {
                    self.pools.remove(&pool);
                }
            }
            Effect::PublishEvent(event) => {
                self.metrics.event(&event.subject, &event.what);
                if self.events.try_send(event).is_err() {
                    self.metrics.event_lost();
                }
            }
            Effect::PublishStatus(pool, status) => {
                self.metrics.status(&pool, &status);
                self.metrics.capacity(&pool, self.core.capacity(&pool));
                self.metrics.throttles(self.core.throttles().live(self.clock.now().wall).count());
                // A state that does not fit is replaced by the next one in a second.
                let _ = self.statuses.try_send((pool, status));
            }
            Effect::Pool(pool, epoch, effect) => self.perform_in_pool(pool, epoch, effect),
            Effect::Exit => self.exit = true,
        }
    }

    fn perform_in_pool(&mut self, pool: PoolId, epoch: u64, effect: PoolEffect) {
        let done = match effect {
            PoolEffect::Judge(tasks) => self.judges.judge(&pool, epoch, tasks),
            PoolEffect::JudgeFound(task) => self.judges.judge_found(&pool, epoch, task),
            effect => match self.pools.get(&pool).filter(|p| p.epoch == epoch) {
                Some(owned) => owned.perform(effect),
                None => Ok(()),
            },
        };
        if done == Err(Overloaded) {
            // What did not fit is lost to this term; the state in JetStream is whole, so a new term begins from it.
            tracing::error!(%pool, epoch, "a queue is full; the pool is given up and taken anew");
            self.metrics.overloaded(&pool);
            let reason = "a queue was full; see dcmf_coordinator_overloads_total".to_owned();
            self.handle(Input::Lease(pool, LeaseInput::Lost { epoch, reason }));
        }
    }

    fn context(&self, pool: &PoolId, epoch: u64) -> Context {
        Context {
            bus: self.bus.clone(),
            pool: pool.clone(),
            epoch,
            inputs: self.inputs.clone(),
            metrics: self.metrics.clone(),
            credentials: self.credentials.clone(),
            components: self.components.clone(),
            abandoned: self.abandoned.clone(),
        }
    }

    fn lease(&mut self, pool: PoolId, request: LeaseRequest) {
        let sender = self.leases.entry(pool.clone()).or_insert_with(|| {
            let (sender, queue) = mpsc::channel(LEASE_BACKLOG);
            let (bus, id, inputs) = (self.bus.clone(), self.config.id.clone(), self.inputs.clone());
            self.background.spawn(lease::serve(bus, pool.clone(), id, self.clock, queue, inputs));
            sender
        });
        if sender.try_send(request).is_err() && matches!(request, LeaseRequest::Acquire) {
            self.handle(Input::Lease(pool, LeaseInput::Unavailable));
        }
    }

    fn recover(&mut self, pool: PoolId, epoch: u64) {
        let (bus, inputs, positions) = (self.bus.clone(), self.inputs.clone(), self.positions.clone());
        let components = self.components.clone();
        self.background.spawn(async move {
            let whole = async {
                let found = recovery::read(&bus, &pool).await?;
                components.obtain_for(&bus, &found.recovered.jobs).await?;
                Ok(found)
            };
            let read: Result<Result<_, RecoveryError>, _> =
                tokio::time::timeout(RECOVERY_DEADLINE, whole).await;
            let input = match read {
                Ok(Ok(found)) => {
                    let mut positions = positions.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    positions.retain(|(p, e), _| *p != pool || *e > epoch);
                    positions.insert((pool.clone(), epoch), found.positions);
                    Input::Recovered(pool, epoch, Box::new(found.recovered))
                }
                failed => {
                    let reason = match failed {
                        Ok(Err(error)) => format!("its state cannot be read: {error}"),
                        _ => format!("its state could not be read within {} s", RECOVERY_DEADLINE.as_secs()),
                    };
                    tracing::error!(%pool, epoch, reason, "a pool is given up");
                    Input::Lease(pool, LeaseInput::Lost { epoch, reason })
                }
            };
            let _ = inputs.send(input).await;
        });
    }

    /// Waits for what is on its way: released leases and the last events.
    async fn farewell(self) {
        let Self { mut background, event_task, events, statuses, leases, pools, inputs, judges, .. } = self;
        drop((events, statuses, leases, pools, inputs, judges));
        let last_words = async {
            let _ = event_task.await;
            while background.join_next().await.is_some() {}
        };
        if tokio::time::timeout(FAREWELL_DEADLINE, last_words).await.is_err() {
            tracing::warn!("not everything could be said in time; leases end by themselves");
        }
        self.bus.close().await;
    }
}

/// Publishes events in their order.
async fn publish_events(bus: Bus, mut queue: mpsc::Receiver<Box<Event>>, metrics: Arc<Metrics>) {
    while let Some(event) = queue.recv().await {
        let subject = event.bus_subject();
        let attempts = async {
            while let Err(error) = bus.publish_stored(&subject, &*event, Some(&event.id), Expect::None).await
            {
                tracing::warn!(%error, "an event is not published yet");
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        };
        if tokio::time::timeout(EVENT_DEADLINE, attempts).await.is_err() {
            metrics.event_lost();
        }
    }
}

async fn publish_statuses(bus: Bus, mut queue: mpsc::Receiver<(PoolId, Box<PoolStatus>)>) {
    while let Some((pool, status)) = queue.recv().await {
        let Ok(json) = serde_json::to_vec(&status) else { continue };
        if let Err(error) = bus.kv(streams::STATUS).put(&pool, json.into()).await {
            tracing::debug!(%pool, %error, "the state of a pool was not written; the next follows");
        }
    }
}
