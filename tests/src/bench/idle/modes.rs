//! The ways to mine that are compared. A row more in [`MODES`] is measured like the others.

use super::{
    mining::{Mining, Worker},
    placement::Placement,
    processor_time::{HashThreads, Threads, of_process, used},
};
use crate::{
    coordinator::Failure,
    farm::programs,
    folder::RunFolder,
    process::{Launch, Process},
};
use bus_schemas::{config::PoolConfig, policy::NEVER_PERCENT};
use nix::sys::signal::Signal;
use std::{path::PathBuf, time::Duration};

/// A way to mine.
#[derive(Debug, Clone, Copy)]
pub struct Mode {
    /// Its name in the figures.
    pub name: &'static str,
    /// What is started.
    pub kind: Kind,
    /// Whether it has a session of its own, as a service has.
    pub own_session: bool,
    /// Whether the figures have goals: for what is offered to operators.
    pub goals: bool,
    /// Whether it is measured when nothing is chosen.
    pub by_default: bool,
}

/// What is started.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// The worker: what differs from the defaults in the pool's configuration and in the host file.
    Worker(fn(&mut PoolConfig), &'static str),
    /// [`super::naive`] at nice 19, and the percentage of others' use above which it stops.
    Naive(Option<u8>),
}

const fn mode(name: &'static str, kind: Kind) -> Mode {
    Mode { name, kind, own_session: true, goals: false, by_default: true }
}

fn as_it_comes(_: &mut PoolConfig) {}

fn three_quarters(config: &mut PoolConfig) {
    config.cap_percent = Some(75);
}

fn wide(config: &mut PoolConfig) {
    config.load.wide_vectors_below_percent = NEVER_PERCENT;
}

fn one_thread(config: &mut PoolConfig) {
    config.threads = Some(1);
}

fn half(config: &mut PoolConfig) {
    config.cap_percent = Some(50);
}

/// Every mode. The worker under caps, on one processor and with wide vectors draws the curve of the trade between tail and harvest; with rests
/// it shows what they do in a group in which there are none by themselves.
pub const MODES: [Mode; 9] = [
    Mode { goals: true, ..mode("worker", Kind::Worker(as_it_comes, "")) },
    mode("nice19", Kind::Naive(None)),
    mode("stop-above-25", Kind::Naive(Some(25))),
    Mode { own_session: false, by_default: false, ..mode("nice19-same-group", Kind::Naive(None)) },
    Mode {
        by_default: false,
        ..mode("worker-rests", Kind::Worker(as_it_comes, "work_us = 500\nrest_us = 20\n"))
    },
    Mode { by_default: false, ..mode("worker-wide", Kind::Worker(wide, "")) },
    Mode { by_default: false, ..mode("worker-cap-75", Kind::Worker(three_quarters, "")) },
    Mode { by_default: false, ..mode("worker-cap-50", Kind::Worker(half, "")) },
    Mode { by_default: false, ..mode("worker-one-thread", Kind::Worker(one_thread, "")) },
];

/// What a miner has used so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MinerTime {
    /// Its threads that hash.
    Threads(Threads),
    /// All of it.
    Whole(Duration),
}

impl MinerTime {
    /// What was used since an earlier reading.
    pub fn since(&self, earlier: &Self) -> Duration {
        match (self, earlier) {
            (Self::Threads(now), Self::Threads(then)) => used(then, now),
            (Self::Whole(now), Self::Whole(then)) => now.saturating_sub(*then),
            _ => Duration::ZERO,
        }
    }
}

/// A miner that runs. Dropped, it is killed.
#[derive(Debug)]
pub enum Miner {
    /// The worker.
    Worker(Box<Worker>),
    /// The naive one.
    Naive(Process),
}

impl Miner {
    /// Starts `mode` on `algorithm` and leaves it paused.
    pub async fn start(
        mode: &Mode,
        algorithm: &str,
        placement: &Placement,
        mining: &mut Mining,
        logs: &RunFolder,
    ) -> Result<Self, Failure> {
        let mut miner = match mode.kind {
            Kind::Worker(adjust, host) => {
                let worker = mining.worker(algorithm, adjust, host, placement).await?;
                Self::Worker(Box::new(worker))
            }
            Kind::Naive(stop_above) => Self::Naive(naive(algorithm, stop_above, placement, logs)?.start()?),
        };
        miner.pause().await?;
        Ok(miner)
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        match self {
            Self::Worker(worker) => &mut worker.process,
            Self::Naive(process) => process,
        }
    }

    /// What it has used so far.
    pub fn time(&mut self) -> Result<MinerTime, Failure> {
        Ok(match self {
            Self::Worker(worker) => MinerTime::Threads(HashThreads::of_worker(worker.process.id())?.read()),
            Self::Naive(process) => MinerTime::Whole(of_process(process.id())?),
        })
    }

    /// Leaves nothing of it that uses processor time.
    pub async fn pause(&mut self) -> Result<(), Failure> {
        match self {
            Self::Worker(worker) => worker.pause().await,
            Self::Naive(process) => Ok(process.signal(Signal::SIGSTOP)?),
        }
    }

    /// Lets it go on.
    pub async fn resume(&mut self) -> Result<(), Failure> {
        match self {
            Self::Worker(worker) => worker.resume().await,
            Self::Naive(process) => Ok(process.signal(Signal::SIGCONT)?),
        }
    }
}

/// A program of the benchmark, as `cargo build` leaves it beside this one.
pub fn own_program(name: &str) -> PathBuf {
    programs::folder().join(name)
}

fn naive(
    algorithm: &str,
    stop_above: Option<u8>,
    placement: &Placement,
    logs: &RunFolder,
) -> Result<Launch, Failure> {
    let nice = ["/usr/bin/nice", "/bin/nice"].map(PathBuf::from).into_iter().find(|path| path.is_file());
    let nice = nice.ok_or("there is no /usr/bin/nice; install coreutils")?;
    let mut launch = placement
        .launch("naive-miner", nice, logs.path())
        .args(["-n".as_ref(), "19".as_ref(), own_program("naive-miner").as_os_str()])
        .args(["--algorithm", algorithm]);
    if let Some(percent) = stop_above {
        launch = launch.args(["--stop-above", &percent.to_string()]);
    }
    Ok(launch)
}
