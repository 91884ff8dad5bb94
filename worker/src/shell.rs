//! The loop: drain effects, arm the deadline, wait.

use crate::{
    algorithms,
    bus::{self, Address, Outgoing},
    certificates::{self, Certificates, Guard, ProgramUnreadable},
    components::{self, Components},
    config::{Config, ProbeConfig},
    contexts::{self, Contexts},
    host, http,
    metrics::Metrics,
    report,
    search::SearchPool,
    surroundings::{SignalFailed, Surroundings},
    veto,
};
use algorithm_component::Limits;
use bus_schemas::{SessionId, WorkerId, id::InvalidId, subject::filter};
use nats_adapter::{Bus, BusOptions, ConnectError, Link, LinkState};
use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use worker_core::{Effect, HostLimits, Identity, Input, MonotonicMs, Now, Status, WorkerCore};

/// Inputs that wait for the loop; who has more waits.
const INPUT_LIMIT: usize = 1_024;
/// Findings and ended units that wait for the loop; search threads that have more wait.
const RESULT_LIMIT: usize = 1_024;
/// How long a worker that starts goes on trying to connect: as long as an operator may take to notice.
const CONNECT_PATIENCE: Duration = Duration::from_secs(365 * 24 * 3_600);
/// How long the last messages may take to leave.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// Why a worker ended or did not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The HTTP address cannot be used.
    #[error(
        "cannot listen on {address}: {source}; choose another --http or end the program that listens there"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The metrics cannot be made.
    #[error("the metrics cannot be set up: {0}; this is a defect of the program")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
    /// An id of the program's own is no id.
    #[error("{0}; this is a defect of the program")]
    Id(#[from] InvalidId),
    /// The load monitor cannot be started.
    #[error(
        "the load monitor cannot be started: {0}; without it nothing is searched: raise the limit of tasks"
    )]
    Monitor(std::io::Error),
    /// The login was refused.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The application's signal cannot be followed.
    #[error(transparent)]
    Signal(#[from] SignalFailed),
    /// A subscription was refused.
    #[error(transparent)]
    Subscribe(#[from] bus::SubscribeFailed),
    /// The program cannot be compared with its certificate.
    #[error(transparent)]
    Program(#[from] ProgramUnreadable),
    /// Something ended that never should.
    #[error("certificates could not be judged: {0}; this is a defect of the program")]
    Judge(#[from] tokio::task::JoinError),
    /// The connection was closed for good.
    #[error("the connection to the bus was closed for good; start the worker again")]
    BusClosed,
}

/// A worker that can be run: its address for HTTP is bound.
#[derive(Debug)]
pub struct Worker {
    config: Config,
    session: SessionId,
    metrics: Arc<Metrics>,
    listener: Option<TcpListener>,
}

impl Worker {
    /// Binds the HTTP address and draws the session.
    pub async fn bind(config: Config) -> Result<Self, RunError> {
        let listener = match config.http {
            Some(address) => {
                let bound = TcpListener::bind(address).await;
                Some(bound.map_err(|source| RunError::Listen { address, source })?)
            }
            None => None,
        };
        let session = SessionId::new(format!("s-{:016x}", rand::random::<u64>()))?;
        Ok(Self { config, session, metrics: Arc::new(Metrics::new()?), listener })
    }

    /// This life of the worker.
    pub fn session(&self) -> &SessionId {
        &self.session
    }

    /// Where it serves HTTP.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.listener.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// Works until `shutdown` and then ends in order: stops the search, sends what waits, says good-bye.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), RunError> {
        let Self { config, session, metrics, listener } = self;
        let (status, shown) = watch::channel(None);
        // Cancelled however this function ends.
        let ended = CancellationToken::new();
        let _end = ended.clone().drop_guard();
        if let Some(listener) = listener {
            if let Ok(address) = listener.local_addr() {
                tracing::info!("metrics and health at http://{address}/metrics, /livez and /readyz");
            }
            let served = http::serve(listener, Arc::clone(&metrics), shown, ended);
            tokio::spawn(async move {
                if let Err(error) = served.await {
                    tracing::error!(%error, "metrics and health are not served any more");
                }
            });
        }
        let host = config.clone();
        let guard = tokio::task::spawn_blocking(move || certificates::open(&host)).await??;
        let options = BusOptions {
            inbox_prefix: Some(filter::worker_inbox(&config.worker)),
            credentials: config.credentials.clone(),
            patience: CONNECT_PATIENCE,
            ..BusOptions::new(format!("worker {}", config.worker), config.servers.clone())
        };
        let bus = tokio::select! {
            connected = Bus::connect(options) => connected?,
            () = shutdown.cancelled() => return Ok(()),
        };
        let mut shell = Shell::new(config, session, metrics, bus, status, guard)?;
        let outcome = shell.work(&shutdown).await;
        shell.end().await;
        outcome
    }
}

/// Binds and runs a worker.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), RunError> {
    Worker::bind(config).await?.run(shutdown).await
}

struct Shell {
    core: WorkerCore,
    bus: Bus,
    address: Address,
    certificates: Certificates,
    components: Arc<Components>,
    contexts: Arc<Contexts>,
    search: SearchPool,
    surroundings: Surroundings,
    /// Work and rest in microseconds as the host's own file wants them.
    rhythm: (Option<u32>, Option<u32>),
    /// The main application's own signal.
    signal: (Option<ProbeConfig>, Option<WorkerId>),
    /// The veto as it was found at the start.
    veto: Option<String>,
    metrics: Arc<Metrics>,
    log: report::Log,
    status: watch::Sender<Option<Status>>,
    began: Instant,
    /// Orders that were told to stop, and when.
    stopping: BTreeMap<u16, (u64, Instant)>,
    tasks: JoinSet<()>,
    publisher: tokio::task::JoinHandle<()>,
    outgoing: Option<mpsc::Sender<Outgoing>>,
    inputs: mpsc::Sender<Input>,
    inbox: mpsc::Receiver<Input>,
    results: mpsc::Receiver<Input>,
}

impl Shell {
    fn new(
        config: Config,
        session: SessionId,
        metrics: Arc<Metrics>,
        bus: Bus,
        status: watch::Sender<Option<Status>>,
        guard: Guard,
    ) -> Result<Self, RunError> {
        let algorithms = algorithms::offered()?;
        let ids = algorithms.iter().map(|offered| offered.id.clone()).collect();
        let capability = host::capability(config.max_threads, ids);
        let address = Address { pool: config.pool.clone(), worker: config.worker.clone() };
        tracing::info!(worker = %config.worker, pool = %config.pool, %session, max_threads = config.max_threads,
            processor = %capability.processor, memory_mib = capability.memory_mib, "worker");
        let limits = HostLimits {
            threads: config.max_threads,
            cap_percent: config.max_cpu_percent,
            safe_threads: config.safe_threads,
            ungentle_percent: config.ungentle_percent,
        };
        let mut surroundings = Surroundings::new(&config);
        let veto_file = config.veto_file;
        // Before anything is searched, and then by the monitor.
        let veto = veto::Watch::new(veto_file.clone()).reason().map(str::to_owned);
        let rhythm = (config.work_us, config.rest_us);
        let signal = (config.probe, config.latency_application);
        let (pool, worker) = (config.pool, config.worker);
        let jitter_seed = rand::random();
        let core =
            WorkerCore::new(Identity { pool, worker, session, capability, limits, algorithms, jitter_seed });
        let (inputs, inbox) = mpsc::channel(INPUT_LIMIT);
        let (found, results) = mpsc::channel(RESULT_LIMIT);
        let (outgoing, queue) = mpsc::channel(bus::OUTGOING_LIMIT);
        let contexts = Arc::new(Contexts::new(config.max_memory_mib));
        let certificates = Certificates::new(guard, inputs.clone());
        let components = Arc::new(Components::new(bus.clone(), Limits::default(), certificates.permitted()));
        let search = SearchPool::new(found, surroundings.settle(), Arc::clone(&contexts))
            .with_components(components.loader());
        let mut tasks = JoinSet::new();
        tasks.spawn(contexts::keep_tidy(Arc::clone(&contexts)));
        surroundings.watch(search.ids(), veto_file, &inputs, &mut tasks).map_err(RunError::Monitor)?;
        let publish = bus::publish(bus.clone(), address.clone(), queue, Arc::clone(&metrics), inputs.clone());
        Ok(Self {
            core,
            bus,
            address,
            certificates,
            components,
            contexts,
            search,
            surroundings,
            rhythm,
            signal,
            veto,
            metrics,
            log: report::Log::default(),
            status,
            began: Instant::now(),
            stopping: BTreeMap::new(),
            tasks,
            publisher: tokio::spawn(publish),
            outgoing: Some(outgoing),
            inputs,
            inbox,
            results,
        })
    }

    /// Subscribes, then one input after another until nothing is left to do.
    async fn work(&mut self, shutdown: &CancellationToken) -> Result<(), RunError> {
        let mut link = self.bus.link();
        let mut known = *link.borrow_and_update();
        bus::subscribe(&self.bus, &self.address, &self.inputs, &mut self.tasks).await?;
        // What was kept permits, before anything is heard.
        self.certificates.judge(None).await;
        bus::follow_catalogue(&self.bus, self.certificates.clone(), &mut self.tasks).await?;
        let (probe, application) = std::mem::take(&mut self.signal);
        self.surroundings.listen(&self.bus, probe, application, &mut self.tasks).await?;
        let veto = self.veto.take();
        self.step(Input::Veto(veto));
        let mut input = (known.state == LinkState::Connected).then_some(Input::Connected);
        let mut asked_to_end = false;
        loop {
            if let Some(input) = input.take()
                && self.step(input)
            {
                return Ok(());
            }
            let deadline = self.core.next_deadline();
            input = tokio::select! {
                () = shutdown.cancelled(), if !asked_to_end => {
                    asked_to_end = true;
                    Some(Input::ShutdownRequested { reason: "the process was asked to end".to_owned() })
                }
                changed = link.changed() => {
                    changed.map_err(|_| RunError::BusClosed)?;
                    let now = *link.borrow_and_update();
                    self.metrics.reconnected(now.connects.saturating_sub(known.connects));
                    let input = link_input(known, now)?;
                    known = now;
                    input
                }
                Some(result) = self.results.recv() => Some(result),
                Some(incoming) = self.inbox.recv() => Some(incoming),
                // Tasks that ended have sent their answer already; a panic of one shows in the log.
                Some(_) = self.tasks.join_next() => None,
                () = sleep_until(self.began, deadline) => Some(Input::Tick),
            };
        }
    }

    /// Handles one input and everything that follows from it; true when the worker is to end.
    fn step(&mut self, input: Input) -> bool {
        // What fails on the spot is the next input, after the other effects.
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            self.measure_stop(&input);
            if let Input::Clearances(clearances) = &input {
                self.components.offer_kernels(algorithms::permitted(clearances, bus::wall()));
            }
            self.core.handle(input, self.now());
            while let Some(effect) = self.core.next_effect() {
                if matches!(effect, Effect::Exit) {
                    return true;
                }
                inputs.extend(self.perform(effect));
            }
        }
        let status = self.core.status();
        let hundredths = u32::from(status.search_threads) * u32::from(status.set_point.cap_percent);
        self.surroundings.hundredths.store(hundredths, Ordering::Relaxed);
        self.metrics.show(&status);
        if let Some(standing) = self.contexts.standing() {
            self.metrics.show_contexts(&standing);
        }
        self.status.send_if_modified(|shown| {
            let changed = shown.as_ref() != Some(&status);
            *shown = Some(status);
            changed
        });
        false
    }

    fn now(&self) -> Now {
        let elapsed = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Now { monotonic: MonotonicMs(elapsed), wall: bus::wall() }
    }

    /// Does what the core asks. Gives an input when it fails on the spot.
    fn perform(&mut self, effect: Effect) -> Option<Input> {
        match effect {
            Effect::StartSearch(order) => {
                let thread = order.thread;
                let failed = self.search.start(order).err()?;
                return Some(Input::ThreadFailed { thread, reason: failed.to_string() });
            }
            Effect::StopSearch { thread, order } => {
                self.stopping.insert(thread, (order, Instant::now()));
                self.search.stop(thread, order);
            }
            Effect::Publish(publication) => {
                let (id, attempt) = (publication.id, publication.attempt);
                if !self.send(Outgoing::Share(publication)) {
                    let reason = "too many messages wait for the bus".to_owned();
                    return Some(Input::PublishFailed { id, attempt, reason });
                }
            }
            Effect::SetPace(mut pace) => {
                pace.rhythm.work_us = self.rhythm.0.unwrap_or(pace.rhythm.work_us);
                pace.rhythm.rest_us = self.rhythm.1.unwrap_or(pace.rhythm.rest_us);
                self.search.set_pace(pace);
            }
            Effect::PublishEvent(event) => {
                tracing::info!(event = event.kind(), what = ?event.what, "told");
                if !self.send(Outgoing::Event(event)) {
                    self.metrics.signal_lost();
                }
            }
            Effect::PublishHeartbeat(heartbeat) => {
                if !self.send(Outgoing::Heartbeat(heartbeat)) {
                    self.metrics.signal_lost();
                }
            }
            Effect::PublishLeave(leave) => {
                if !self.send(Outgoing::Leave(leave)) {
                    self.metrics.signal_lost();
                }
            }
            Effect::Join(request) => {
                let (bus, address) = (self.bus.clone(), self.address.clone());
                let (metrics, inputs) = (Arc::clone(&self.metrics), self.inputs.clone());
                self.tasks.spawn(bus::join(bus, address, *request, metrics, inputs));
            }
            Effect::ReadConfiguration => {
                let (bus, address) = (self.bus.clone(), self.address.clone());
                let (certificates, inputs) = (self.certificates.clone(), self.inputs.clone());
                self.tasks.spawn(bus::read(bus, address, certificates, inputs));
            }
            Effect::ObtainAlgorithm(algorithm) => {
                let (components, certificates) = (Arc::clone(&self.components), self.certificates.clone());
                let inputs = self.inputs.clone();
                self.tasks.spawn(components::answer(components, certificates, algorithm, inputs));
            }
            Effect::Notice(notice) => {
                self.metrics.count(&notice);
                self.log.write(&notice, Instant::now());
            }
            // Ends the loop before it gets here.
            Effect::Exit => {}
        }
        None
    }

    fn send(&self, message: Outgoing) -> bool {
        self.outgoing.as_ref().is_some_and(|outgoing| outgoing.try_send(message).is_ok())
    }

    fn measure_stop(&mut self, input: &Input) {
        if let Input::UnitEnded { thread, order, .. } = input
            && let Some((_, told)) = self.stopping.remove(thread).filter(|(stopped, _)| stopped == order)
        {
            self.metrics.stop_seconds.record(told.elapsed());
        }
    }

    /// Lets the last messages leave and closes the connection.
    async fn end(mut self) {
        self.outgoing = None;
        drop(self.search);
        let flushed = async {
            // A publisher that panicked has nothing left to say.
            let _ = self.publisher.await;
            self.bus.client().flush().await
        };
        match tokio::time::timeout(FLUSH_LIMIT, flushed).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the last messages may not have left"),
            Err(_) => tracing::warn!("the last messages did not leave within {FLUSH_LIMIT:?}"),
        }
        self.bus.close().await;
    }
}

fn link_input(known: Link, now: Link) -> Result<Option<Input>, RunError> {
    match now.state {
        LinkState::Connected if now.connects > known.connects => Ok(Some(Input::Connected)),
        LinkState::Connected => Ok(None),
        LinkState::Disconnected => Ok(Some(Input::Disconnected)),
        LinkState::Closed => Err(RunError::BusClosed),
    }
}

async fn sleep_until(began: Instant, deadline: Option<MonotonicMs>) {
    match deadline.and_then(|at| began.checked_add(Duration::from_millis(at.0))) {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
