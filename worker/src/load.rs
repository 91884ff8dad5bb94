//! The load monitor: one thread of the normal class that measures the host every 20 ms and tells what changed.
//!
//! [`text`] reads what the kernel writes, [`sources`] keeps its files open, [`meter`] makes samples of readings. The
//! same thread looks after the veto file ([`crate::veto`]), so that one wake-up serves both.

pub mod meter;
pub mod sources;
pub mod text;

use crate::veto;
use meter::{Meter, Reading};
use nix::time::ClockId;
use sources::{Sources, clock_us, thread_us};
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    thread::JoinHandle,
    time::Duration,
};
use tokio::sync::mpsc;
use worker_core::LoadSample;

/// How often the host is measured.
pub const CADENCE: Duration = Duration::from_millis(20);
/// How often at least, on hosts where a measurement takes long.
pub const SLOWEST_CADENCE: Duration = Duration::from_millis(50);
/// What the monitor may take of one processor, in hundred-thousandths: a fifth of a percent.
const BUDGET: u64 = 200;
/// Steps between two looks at the monitor's own use.
const STEPS_PER_LOOK: u64 = 50;
/// How often the veto file is looked at, microseconds.
const VETO_INTERVAL_US: u64 = 100_000;
/// How often the processors are counted, microseconds.
const PROCESSORS_INTERVAL_US: u64 = 1_000_000;
/// Stands for "no slowdown is known" in [`Slowdown`].
const UNKNOWN: u32 = u32::MAX;

/// What the monitor tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// A measurement.
    Load(LoadSample),
    /// The veto was put, with its text, or lifted.
    Veto(Option<String>),
}

/// The main application's slowdown in percent, shared by whoever measures it and the monitor.
#[derive(Debug, Clone)]
pub struct Slowdown(Arc<AtomicU32>);

impl Default for Slowdown {
    fn default() -> Self {
        Self(Arc::new(AtomicU32::new(UNKNOWN)))
    }
}

impl Slowdown {
    /// Sets it; `None` when it is not known.
    pub fn set(&self, percent: Option<u16>) {
        self.0.store(percent.map_or(UNKNOWN, u32::from), Relaxed);
    }

    /// The last value.
    pub fn get(&self) -> Option<u16> {
        u16::try_from(self.0.load(Relaxed)).ok()
    }
}

/// What the monitor looks at.
#[derive(Debug, Default)]
pub struct Watched {
    /// Kernel ids of the search threads.
    pub threads: Arc<Mutex<Vec<i32>>>,
    /// Hundredths of threads that should run now: 150 are one whole thread and one for half of its time.
    pub hundredths: Arc<AtomicU32>,
    /// The main application's own signal.
    pub slowdown: Slowdown,
    /// The veto file.
    pub veto: Option<veto::Watch>,
}

/// What the monitor counts of itself.
#[derive(Debug, Default)]
pub struct Counters {
    /// Measurements.
    pub steps: AtomicU64,
    /// Samples that found no room and are gone.
    pub dropped: AtomicU64,
    /// Processor time that the monitor used, microseconds.
    pub own_us: AtomicU64,
}

/// The running monitor; ends when dropped.
#[derive(Debug)]
pub struct Sampler {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
    counters: Arc<Counters>,
}

impl Sampler {
    /// Starts it. Reports go to `reports`; a sample that finds no room there is dropped, news of the veto are kept.
    pub fn start(watched: Watched, reports: mpsc::Sender<Report>) -> std::io::Result<Self> {
        let (stop, stopped) = channel::<()>();
        let counters = Arc::new(Counters::default());
        let mut monitor = Monitor::new(watched, reports, Arc::clone(&counters));
        let run = move || {
            let mut cadence = CADENCE;
            while stopped.recv_timeout(cadence) == Err(RecvTimeoutError::Timeout) {
                if !monitor.step() {
                    return;
                }
                cadence = monitor.cadence;
            }
        };
        let thread = std::thread::Builder::new().name("load".to_owned()).spawn(run)?;
        Ok(Self { stop: Some(stop), thread: Some(thread), counters })
    }

    /// What it counts of itself.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("the load monitor has panicked; this is a defect of the program");
        }
    }
}

struct Monitor {
    watched: Watched,
    reports: mpsc::Sender<Report>,
    counters: Arc<Counters>,
    sources: Sources,
    meter: Meter,
    cadence: Duration,
    /// The threads of the last reading.
    threads: Vec<i32>,
    processors_counted_us: u64,
    veto_looked_us: u64,
    veto_told: Option<String>,
    look: u64,
}

impl Monitor {
    fn new(watched: Watched, reports: mpsc::Sender<Report>, counters: Arc<Counters>) -> Self {
        let sources = Sources::open();
        let meter = Meter::new(sources.processors().unwrap_or_else(crate::affinity::usable));
        Self {
            watched,
            reports,
            counters,
            sources,
            meter,
            cadence: CADENCE,
            threads: Vec::new(),
            processors_counted_us: 0,
            veto_looked_us: 0,
            veto_told: None,
            look: 0,
        }
    }

    /// Measures once; false when nobody listens any more.
    fn step(&mut self) -> bool {
        let Ok(at_us) = clock_us(ClockId::CLOCK_MONOTONIC) else { return true };
        self.look_at_veto(at_us);
        self.count_processors(at_us);
        let same_threads = self.follow_threads();
        let search_us = self.threads.iter().filter_map(|tid| thread_us(*tid).ok()).sum();
        let reading = Reading {
            at_us,
            search_us,
            same_threads,
            wanted_hundredths: self.watched.hundredths.load(Relaxed),
            runnable: self.sources.runnable(),
            slowdown_percent: self.watched.slowdown.get(),
            slow: self.meter.wants_slow(at_us).then(|| self.sources.slow()),
        };
        if let Some(sample) = self.meter.read(reading)
            && self.reports.try_send(Report::Load(sample)).is_err()
        {
            self.counters.dropped.fetch_add(1, Relaxed);
        }
        self.look_at_own_use();
        !self.reports.is_closed()
    }

    fn follow_threads(&mut self) -> bool {
        let threads = self.watched.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let same = *threads == self.threads;
        if !same {
            self.threads.clone_from(&threads);
        }
        same
    }

    fn count_processors(&mut self, at_us: u64) {
        if at_us.saturating_sub(self.processors_counted_us) >= PROCESSORS_INTERVAL_US {
            self.processors_counted_us = at_us;
            if let Some(processors) = self.sources.processors() {
                self.meter.set_processors(processors);
            }
        }
    }

    fn look_at_veto(&mut self, at_us: u64) {
        let Some(veto) = &mut self.watched.veto else { return };
        if at_us.saturating_sub(self.veto_looked_us) < VETO_INTERVAL_US {
            return;
        }
        self.veto_looked_us = at_us;
        veto.poll();
        if veto.reason() != self.veto_told.as_deref() {
            let news = veto.reason().map(str::to_owned);
            if self.reports.try_send(Report::Veto(news.clone())).is_ok() {
                self.veto_told = news;
            }
        }
    }

    fn look_at_own_use(&mut self) {
        let steps = self.counters.steps.fetch_add(1, Relaxed) + 1;
        if steps.is_multiple_of(STEPS_PER_LOOK)
            && let Ok(own_us) = clock_us(ClockId::CLOCK_THREAD_CPUTIME_ID)
        {
            let before = self.counters.own_us.swap(own_us, Relaxed);
            self.look = own_us.saturating_sub(before) / STEPS_PER_LOOK;
            self.cadence = cadence(self.look);
        }
    }
}

/// How often a host is measured on which a measurement takes so many microseconds.
fn cadence(step_us: u64) -> Duration {
    Duration::from_micros(step_us.saturating_mul(100_000) / BUDGET).clamp(CADENCE, SLOWEST_CADENCE)
}

#[cfg(test)]
mod tests;
