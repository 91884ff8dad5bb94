//! A farm of real processes on this machine: what `make run` starts and the end to end tests work on.

pub mod chain;
pub mod clock;
pub mod payout;
pub mod programs;
pub mod screen;
pub mod session;
pub mod wallet;

use crate::HarnessError;
use crate::authority::{Authority, AuthorityError};
use crate::folder::RunFolder;
use crate::nats_server::{NatsOptions, NatsServer};
use crate::parts::repository;
use crate::process::{Launch, Process, ProcessError};
use crate::rpc::RpcError;
use bus_schemas::command::{FarmStatus, PoolPut, PoolStatus, Revision};
use bus_schemas::config::PoolConfig;
use bus_schemas::id::InvalidId;
use bus_schemas::subject::{command, command_on};
use bus_schemas::{Message, PoolId};
use chain::{Chain, ChainKind};
use nats_adapter::{Bus, BusOptions, ConnectError, KvError, ReadError, ReplayError, RequestError, streams};
use programs::Program;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// How long the coordinator may take to serve commands.
const COORDINATOR_READY: Duration = Duration::from_secs(30);
/// How long the active workers may take to join.
const WORKERS_READY: Duration = Duration::from_secs(30);
/// How long a process of ours may take to go in order.
const STOP_DEADLINE: Duration = Duration::from_secs(15);
/// How many workers of a farm mine; the others are backups.
pub const ACTIVE_MEMBERS: u16 = 2;
/// Folder of the keys by which a farm's workers are certified.
pub const KEYS: &str = "keys";
/// Folder in which the workers keep which certificates they have seen.
const STATE: &str = "state";
/// The workers of a farm. Those that mine come first.
pub const WORKERS: [&str; 3] = ["w1", "w2", "w3"];
/// The farm's only pool.
pub const POOL: &str = "main";

/// Why a farm did not start, or could not be watched or stopped.
#[derive(thiserror::Error)]
pub enum FarmError {
    /// A part did not do what it should.
    #[error(transparent)]
    Harness(#[from] HarnessError),
    /// A program of this workspace is not built.
    #[error(transparent)]
    Program(#[from] programs::ProgramMissing),
    /// The bus cannot be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A command was refused or not answered.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// A stream cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A stream cannot be followed.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// A bucket cannot be read.
    #[error(transparent)]
    Kv(#[from] KvError),
    /// A subscription could not be made.
    #[error("subscribing: {0}")]
    Subscribe(String),
    /// A name is no id.
    #[error(transparent)]
    Id(#[from] InvalidId),
    /// What the workers run could not be certified.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// A payout is not what was configured.
    #[error(transparent)]
    Payout(#[from] payout::PayoutFault),
    /// A Monero block is not the wallet's.
    #[error(transparent)]
    NotOurs(#[from] wallet::NotOurs),
    /// Something on the bus is not of the expected shape.
    #[error("{what} cannot be read: {reason}")]
    Shape {
        /// What.
        what: String,
        /// Why not.
        reason: String,
    },
}

/// A test that unwraps prints this form, and should say what to do.
impl fmt::Debug for FarmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl From<ProcessError> for FarmError {
    fn from(error: ProcessError) -> Self {
        HarnessError::from(error).into()
    }
}

impl From<crate::wait::Overdue> for FarmError {
    fn from(error: crate::wait::Overdue) -> Self {
        HarnessError::from(error).into()
    }
}

impl From<RpcError> for FarmError {
    fn from(error: RpcError) -> Self {
        HarnessError::from(error).into()
    }
}

/// What to start.
#[derive(Debug)]
pub struct FarmPlan {
    /// What is mined.
    pub chain: ChainKind,
    /// Who is paid, as an output script; one of the farm's own when absent.
    pub payout_script: Option<Vec<u8>>,
    /// The bus's port, if it is free, instead of any free one.
    pub nats_port: Option<u16>,
    /// Changes the pool's configuration before it is put.
    pub adjust: fn(&mut PoolConfig),
}

impl FarmPlan {
    /// A farm that mines `chain`, on any free port.
    pub fn new(chain: ChainKind) -> Self {
        Self { chain, payout_script: None, nats_port: None, adjust: |_| () }
    }
}

/// A running farm. Dropped, it is killed from the workers to the bus.
#[derive(Debug)]
pub struct Farm {
    /// The workers, in the order of [`WORKERS`].
    pub workers: Vec<Process>,
    coordinator: Process,
    coordinator_launch: Launch,
    /// What is mined.
    pub chain: Chain,
    /// Whose certificates the workers believe.
    pub authority: Authority,
    /// A connection of one's own.
    pub bus: Bus,
    /// The bus's server.
    pub server: NatsServer,
    /// The pool.
    pub pool: PoolId,
    /// The pool's configuration as it was put.
    pub config: PoolConfig,
    /// What all of them write; dropped after the processes.
    pub folder: RunFolder,
}

impl Farm {
    /// Starts everything, one after another as far as one needs the other, and returns when the active workers have
    /// joined; the backup may still be about to.
    pub async fn start(folder: RunFolder, plan: FarmPlan) -> Result<Self, FarmError> {
        let (server, chain) = tokio::try_join!(
            start_bus(&folder, plan.nats_port),
            Chain::start(&folder, plan.chain, plan.payout_script.clone())
        )?;
        let bus = Bus::connect(BusOptions::new("farm", [server.url()])).await?;
        let pool = PoolId::new(POOL)?;
        let mut config = chain.pool_config();
        (plan.adjust)(&mut config);

        let keys = folder.inner(KEYS)?;
        let authority = Authority::in_folder(&keys)?;
        let coordinator_launch = coordinator(&folder, &server, &chain)?;
        let coordinator = coordinator_launch.start()?;
        let mut farm = Self {
            workers: Vec::new(),
            coordinator,
            coordinator_launch,
            chain,
            authority,
            bus,
            server,
            pool,
            config,
            folder,
        };
        farm.coordinator_answers().await?;
        farm.put_pool(&farm.config).await?;
        farm.authority.permit_all(&farm.bus, Some(&Program::Worker.locate()?)).await?;
        farm.start_workers().await?;
        Ok(farm)
    }

    /// Puts the pool's configuration through the coordinator's command.
    pub async fn put_pool(&self, config: &PoolConfig) -> Result<Revision, FarmError> {
        let shape = |e: serde_json::Error| FarmError::Shape {
            what: "the pool's configuration".to_owned(),
            reason: e.to_string(),
        };
        let config = serde_json::to_value(config).map_err(shape)?;
        let put = PoolPut { config, revision: None };
        Ok(self.bus.request(command_on("pool", "put", &self.pool), &put).await?)
    }

    /// Waits until the coordinator serves commands.
    pub async fn coordinator_answers(&mut self) -> Result<FarmStatus, FarmError> {
        let (bus, subject) = (self.bus.clone(), command("farm", "status"));
        let ask = async || {
            let answer = bus.request_bytes(&subject, Vec::new().into()).await.ok()?;
            FarmStatus::decode(&answer).ok()
        };
        Ok(self.coordinator.ready(COORDINATOR_READY, "answer commands", ask).await?)
    }

    async fn start_workers(&mut self) -> Result<(), FarmError> {
        // Who asks first gets the active role.
        for (index, name) in WORKERS.iter().enumerate() {
            if index == usize::from(ACTIVE_MEMBERS) {
                self.until_active(ACTIVE_MEMBERS.into()).await?;
            }
            let launch = worker(&self.folder, &self.server, &self.authority, name)?;
            self.workers.push(launch.start()?);
        }
        Ok(())
    }

    /// Waits until so many members mine.
    pub async fn until_active(&mut self, active: u32) -> Result<(), FarmError> {
        let what = format!("{active} active members");
        self.until_status(WORKERS_READY, &what, |status| status.active == active).await.map(drop)
    }

    /// Waits until the pool's status is as wanted, no longer than `deadline` and only while every process runs.
    pub async fn until_status(
        &mut self,
        deadline: Duration,
        what: &str,
        wanted: impl Fn(&PoolStatus) -> bool,
    ) -> Result<PoolStatus, FarmError> {
        let (bus, pool) = (self.bus.clone(), self.pool.clone());
        let processes = std::iter::once(&mut self.coordinator).chain(&mut self.workers);
        let mut processes: Vec<_> = processes.collect();
        let look = async || {
            if let Some(error) = processes.iter_mut().find_map(|process| process.check_alive().err()) {
                return Some(Err(FarmError::from(error)));
            }
            status(&bus, &pool).await.ok().flatten().filter(|status| wanted(status)).map(Ok)
        };
        crate::wait::until(deadline, what, look).await?
    }

    /// How the pool runs, as its owner last wrote it; nothing before there is an owner.
    pub async fn status(&self) -> Result<Option<PoolStatus>, FarmError> {
        status(&self.bus, &self.pool).await
    }

    /// An error when one of the processes has ended by itself.
    pub fn check_alive(&mut self) -> Result<(), FarmError> {
        self.coordinator.check_alive()?;
        self.server.process().check_alive()?;
        self.workers.iter_mut().try_for_each(Process::check_alive)?;
        Ok(())
    }

    /// Kills the coordinator where it stands.
    pub fn kill_coordinator(&mut self) -> Result<(), FarmError> {
        self.coordinator.kill9()?;
        Ok(())
    }

    /// Starts the coordinator again.
    pub fn start_coordinator(&mut self) -> Result<(), FarmError> {
        self.coordinator = self.coordinator_launch.start()?;
        Ok(())
    }

    /// Stops the workers in order. What they found is on the bus.
    pub async fn stop_workers(&mut self) -> Result<(), FarmError> {
        for worker in &mut self.workers {
            worker.signal(nix::sys::signal::Signal::SIGTERM)?;
        }
        for worker in &mut self.workers {
            worker.stop(STOP_DEADLINE).await?;
        }
        Ok(())
    }

    /// Stops the coordinator in order; before its chain's nodes, which wait for its connections.
    pub async fn stop_coordinator(&mut self) -> Result<(), FarmError> {
        self.coordinator.stop(STOP_DEADLINE).await?;
        Ok(())
    }

    /// Stops what is left, from the workers to the bus.
    pub async fn stop(mut self) -> Result<(), FarmError> {
        self.stop_workers().await?;
        self.stop_coordinator().await?;
        self.chain.stop().await?;
        self.server.stop().await?;
        Ok(())
    }
}

/// On the wished port, or on any free one when somebody took that since it was looked at.
async fn start_bus(folder: &RunFolder, wish: Option<u16>) -> Result<NatsServer, FarmError> {
    let start = async |port| {
        let config = Some(repository().join("nats/server/one.conf"));
        let own = RunFolder::kept(folder.inner("nats-server")?)?;
        NatsServer::start_in(own, NatsOptions { config, port }).await
    };
    if wish.is_some() {
        match start(wish).await {
            Ok(server) => return Ok(server),
            Err(error) => {
                tracing::warn!(%error, "the bus does not start on its usual port and takes any free one")
            }
        }
    }
    Ok(start(None).await?)
}

fn coordinator(folder: &RunFolder, server: &NatsServer, chain: &Chain) -> Result<Launch, FarmError> {
    let text = format!(
        "id = \"c1\"\nfarm = 1\nservers = [\"{}\"]\nhttp = \"127.0.0.1:0\"\n{}",
        server.url(),
        chain.credentials()
    );
    let file = host_file(folder, "coordinator.toml", &text)?;
    Ok(Launch::new("coordinator", Program::Coordinator.locate()?, folder.path())
        .args(["--config".as_ref(), file.as_os_str()]))
}

fn worker(
    folder: &RunFolder,
    server: &NatsServer,
    authority: &Authority,
    name: &str,
) -> Result<Launch, FarmError> {
    let text = format!(
        "worker = \"{name}\"\npool = \"{POOL}\"\nservers = [\"{}\"]\nmax_threads = 1\nhttp = \"127.0.0.1:0\"\n\
         # All workers of this farm share one machine.\npin = false\ngroup = \"none\"\nungentle_percent = 100\n\
         state_folder = \"{}\"\n{}",
        server.url(),
        folder.inner(STATE)?.display(),
        authority.trust("program_must_be_certified = true")
    );
    let file = host_file(folder, &format!("{name}.toml"), &text)?;
    Ok(Launch::new(name, Program::Worker.locate()?, folder.path())
        .args(["--config".as_ref(), file.as_os_str()]))
}

fn host_file(folder: &RunFolder, name: &str, text: &str) -> Result<PathBuf, HarnessError> {
    let path = folder.path().join(name);
    std::fs::write(&path, text).map_err(HarnessError::io(format!("writing {}", path.display())))?;
    Ok(path)
}

async fn status(bus: &Bus, pool: &PoolId) -> Result<Option<PoolStatus>, FarmError> {
    let Some(entry) = bus.kv(streams::STATUS).get(pool).await? else { return Ok(None) };
    let shape = |e: serde_json::Error| FarmError::Shape {
        what: format!("the status of pool {pool}"),
        reason: e.to_string(),
    };
    serde_json::from_slice(&entry.value).map(Some).map_err(shape)
}
