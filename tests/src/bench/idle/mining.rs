//! A farm for the benchmark: a real server and coordinator, and a pool for each algorithm in which nothing is found.

use super::{
    placement::Placement,
    processor_time::{HashThreads, Threads, used},
};
use crate::{
    authority::Authority,
    coordinator::Failure,
    farm::programs::Program,
    folder::RunFolder,
    nats_server::{NatsOptions, NatsServer},
    parts::repository,
    process::{Launch, Process},
    wait,
};
use bus_schemas::{
    AlgorithmId, Message, PoolId, ShareBits, WorkerId,
    command::{FarmDuty, FarmStatus, PoolPut, PoolRequest, Revision},
    config::{EmbeddedSource, PoolConfig, SourceConfig},
    heartbeat::Heartbeat,
    subject::{Subject, command, command_on},
};
use nats_adapter::{Bus, BusOptions};
use nix::sys::signal::Signal;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;

/// How long a process may take to do its first work.
const READY: Duration = Duration::from_secs(30);
/// How long hash threads may take to begin or stop after an order.
const OBEYED: Duration = Duration::from_secs(20);
/// Threads that used nothing for so long do not hash.
const QUIET: Duration = Duration::from_millis(60);
/// Threads that used so much hash.
const BUSY: Duration = Duration::from_millis(5);
/// Most heartbeats that are kept.
const MAX_TOLD: usize = 4_096;
/// Why, in orders.
const REASON: &str = "bench-idle";

/// Hashes that a share takes, as a power of two: days of work.
const SHARE_BITS: u8 = 48;
/// Target of a block in compact form: harder than a share.
const BLOCK_BITS: u32 = 0x1900_ffff;

/// A pool in which nothing is found and nobody is missed while he is paused.
pub fn pool_config(algorithm: &AlgorithmId) -> PoolConfig {
    let bits = ShareBits::new(SHARE_BITS);
    PoolConfig {
        algorithm: algorithm.clone(),
        initial_share_bits: bits,
        min_share_bits: bits,
        source: SourceConfig::Embedded(EmbeddedSource {
            initial_bits: BLOCK_BITS,
            ..EmbeddedSource::default()
        }),
        heartbeat_interval_ms: 600_000,
        ..PoolConfig::default()
    }
}

/// What stops everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kill {
    /// The pool is paused.
    Pool,
    /// The farm is halted.
    Farm,
}

/// Server and coordinator. Dropped, both are killed.
#[derive(Debug)]
pub struct Mining {
    bus: Bus,
    _coordinator: Process,
    server: NatsServer,
    authority: Authority,
    folder: RunFolder,
    started: u32,
}

impl Mining {
    /// Starts them, without a pool.
    pub async fn start() -> Result<Self, Failure> {
        let folder = RunFolder::temporary()?;
        let own = RunFolder::kept(folder.inner("nats-server")?)?;
        let config = Some(repository().join("nats/server/one.conf"));
        let server = NatsServer::start_in(own, NatsOptions { config, port: None }).await?;
        let file = folder.path().join("coordinator.toml");
        std::fs::write(&file, format!("id = \"c1\"\nfarm = 1\nservers = [\"{}\"]\n", server.url()))?;
        let launch = Launch::new("coordinator", Program::Coordinator.locate()?, folder.path());
        let mut coordinator = launch.args(["--config".as_ref(), file.as_os_str()]).start()?;
        let bus = Bus::connect(BusOptions::new("bench", [server.url()])).await?;
        let status = command("farm", "status");
        let asked = async || {
            let answer = bus.request_bytes(&status, Vec::new().into()).await.ok()?;
            FarmStatus::decode(&answer).ok()
        };
        coordinator.ready(READY, "answer commands", asked).await?;
        let authority = Authority::new()?;
        authority.permit_all(&bus, Some(&Program::Worker.locate()?)).await?;
        Ok(Self { bus, _coordinator: coordinator, server, authority, folder, started: 0 })
    }

    /// Starts a worker in the pool of `algorithm`, whose configuration `adjust` changes and whose host file `host` adds
    /// to, and waits until it hashes.
    pub async fn worker(
        &mut self,
        algorithm: &str,
        adjust: fn(&mut PoolConfig),
        host: &str,
        placement: &Placement,
    ) -> Result<Worker, Failure> {
        let pool = PoolId::new(algorithm)?;
        let mut config = pool_config(&AlgorithmId::new(algorithm)?);
        adjust(&mut config);
        let put = PoolPut { config: serde_json::to_value(config)?, revision: None };
        let _: Revision = self.bus.request(command_on("pool", "put", &pool), &put).await?;
        // A name of its own each time: nobody waits for the one that was killed before.
        self.started += 1;
        let name = format!("idle-{}", self.started);
        let file = self.folder.path().join(format!("{name}.toml"));
        let (url, pool_id) = (self.server.url(), &pool);
        let state = self.folder.inner("state")?;
        let (state, trust) = (state.display(), self.authority.trust("program_must_be_certified = true"));
        let text = format!(
            "worker = \"{name}\"\npool = \"{pool_id}\"\nservers = [\"{url}\"]\nstate_folder = \"{state}\"\n{host}{trust}"
        );
        std::fs::write(&file, text)?;
        let launch = placement.launch(&name, Program::Worker.locate()?, self.folder.path());
        let process = launch.args(["--config".as_ref(), file.as_os_str()]).start()?;
        let id = WorkerId::new(name.as_str())?;
        let mut worker = Worker { process, bus: self.bus.clone(), pool, id, stopped: false };
        worker.until_hashing().await?;
        Ok(worker)
    }
}

/// A running worker and the pool that it is alone in.
#[derive(Debug)]
pub struct Worker {
    /// Its process.
    pub process: Process,
    bus: Bus,
    pool: PoolId,
    id: WorkerId,
    stopped: bool,
}

/// What a worker tells of its capacity, in hundredths of threads: it sends a heartbeat at each change.
#[derive(Debug)]
pub struct Capacities {
    told: Arc<Mutex<Vec<(Instant, u32)>>>,
    task: JoinHandle<()>,
}

impl Capacities {
    /// What was told until now.
    pub fn end(self) -> Vec<(Instant, u32)> {
        std::mem::take(&mut *self.told.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Capacities {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Worker {
    /// Listens to its heartbeats from now on, at most [`MAX_TOLD`].
    pub async fn capacities(&self) -> Result<Capacities, Failure> {
        let subject = Subject::Heartbeat(self.pool.clone(), self.id.clone());
        let mut beats = self.bus.subscribe::<Heartbeat>(subject.to_string()).await?;
        let told = Arc::new(Mutex::new(Vec::new()));
        let list = Arc::clone(&told);
        let task = tokio::spawn(async move {
            while let Some(Ok(beat)) = beats.next().await {
                let mut list = list.lock().unwrap_or_else(PoisonError::into_inner);
                if list.len() < MAX_TOLD {
                    list.push((Instant::now(), beat.message.set_point.capacity()));
                }
            }
        });
        Ok(Capacities { told, task })
    }

    /// Its search threads at this moment.
    pub fn threads(&self) -> Result<HashThreads, Failure> {
        Ok(HashThreads::of_worker(self.process.id())?)
    }

    fn times(&self) -> Threads {
        HashThreads::of_worker(self.process.id()).map(|threads| threads.read()).unwrap_or_default()
    }

    /// Waits until its search threads use processor time.
    pub async fn until_hashing(&mut self) -> Result<(), Failure> {
        let id = self.process.id();
        let times = || HashThreads::of_worker(id).map(|threads| threads.read()).unwrap_or_default();
        let before = times();
        let hashing = async || (used(&before, &times()) >= BUSY).then_some(());
        Ok(self.process.ready(OBEYED + READY, "hash", hashing).await?)
    }

    /// Waits until no search thread used anything for [`QUIET`].
    pub async fn until_quiet(&self) -> Result<(), Failure> {
        let mut last = (self.times(), Instant::now());
        let quiet = async || {
            let now = self.times();
            if used(&last.0, &now) > Duration::ZERO {
                last = (now, Instant::now());
            }
            (last.1.elapsed() >= QUIET).then_some(())
        };
        Ok(wait::until(OBEYED, "the search threads to be quiet", quiet).await?)
    }

    /// Pauses the pool, waits until nothing is hashed, and stops the process, so that not even its monitor runs. A
    /// process that was stopped while it hashes would take the gap for the load of others.
    pub async fn pause(&mut self) -> Result<(), Failure> {
        if !self.stopped {
            self.kill(Kill::Pool).await?;
            self.until_quiet().await?;
            self.process.signal(Signal::SIGSTOP)?;
            self.stopped = true;
        }
        Ok(())
    }

    /// Undoes [`Worker::pause`] and waits until it hashes.
    pub async fn resume(&mut self) -> Result<(), Failure> {
        if self.stopped {
            self.process.signal(Signal::SIGCONT)?;
            self.stopped = false;
            self.revive(Kill::Pool).await?;
        }
        Ok(())
    }

    /// Gives the order to stop and returns when it was answered.
    pub async fn kill(&self, kill: Kill) -> Result<(), Failure> {
        self.order(kill, "pause", "halt").await
    }

    /// Takes the order back and waits until it hashes.
    pub async fn revive(&mut self, kill: Kill) -> Result<(), Failure> {
        self.order(kill, "resume", "resume").await?;
        self.until_hashing().await
    }

    async fn order(&self, kill: Kill, of_pool: &'static str, of_farm: &'static str) -> Result<(), Failure> {
        let reason = REASON.to_owned();
        let _: Revision = match kill {
            Kill::Pool => {
                let request = PoolRequest { reason, force: false };
                self.bus.request(command_on("pool", of_pool, &self.pool), &request).await?
            }
            Kill::Farm => self.bus.request(command("farm", of_farm), &FarmDuty { reason }).await?,
        };
        Ok(())
    }
}
