//! The worker's search threads as in operation: chunks, findings, pace, idle class.

use super::{
    WORKER,
    contender::{BITS, Contender, Searched},
};
use crate::{
    bench::idle::processor_time::{HashThreads, processors, used},
    coordinator::Failure,
};
use algorithm_api::context::Mode;
use bus_schemas::{
    AlgorithmId, Hash32, ShareBits, examples,
    job::{AlgorithmRef, Job},
    policy::Priority,
    work::{NonceRange, WorkUnit},
};
use std::{
    collections::BTreeMap,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;
use worker::{contexts::Contexts, search::SearchPool};
use worker_core::{Assignment, Input, Pace, Rhythm, SearchOrder, Unit};

/// Time that a pool of threads may take to say how far it got.
const STOP_DEADLINE: Duration = Duration::from_secs(10);
/// Time that it may take to prepare a context.
const CONTEXT_DEADLINE: Duration = Duration::from_secs(300);
/// How often it is asked.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// Findings and ends that wait for the benchmark.
const INBOX: usize = 1_024;
/// Memory of a worker that searches in the light mode, in MiB.
const LIGHT_MIB: u64 = 600;

/// Clones have the same context.
#[derive(Clone)]
pub(super) struct WholeWorker {
    job: Job,
    contexts: Arc<Contexts>,
}

impl WholeWorker {
    /// Of an algorithm that searches headers.
    pub(super) fn new(algorithm: &str) -> Result<Self, Failure> {
        let mut job = examples::job()?;
        job.algorithm = AlgorithmRef { id: AlgorithmId::new(algorithm)?, ..job.algorithm };
        Ok(Self { job, contexts: Arc::new(Contexts::new(None)) })
    }

    /// Of RandomX, its context prepared.
    pub(super) fn of_randomx(seed: [u8; 32], mode: Mode) -> Result<Self, Failure> {
        let mut job = examples::crypto_note_job()?;
        if let WorkUnit::CryptoNote(work) = &mut job.work {
            (work.seed, work.next_seed) = (Hash32(seed), None);
        }
        let limit = if mode == Mode::Light { Some(LIGHT_MIB) } else { None };
        let this = Self { job, contexts: Arc::new(Contexts::new(limit)) };
        let (pool, mut inbox) = this.begun(processors())?;
        let is_ready = || this.contexts.standing().is_some_and(|standing| standing.prepared[0] >= 1.0);
        let deadline = Instant::now() + CONTEXT_DEADLINE;
        while !is_ready() {
            if Instant::now() > deadline {
                return Err(format!("the worker prepared no context within {CONTEXT_DEADLINE:?}").into());
            }
            thread::sleep(LOOK_EVERY);
        }
        ended(&pool, &mut inbox, processors())?;
        Ok(this)
    }

    fn begun(&self, threads: usize) -> Result<(SearchPool, mpsc::Receiver<Input>), Failure> {
        let (results, inbox) = mpsc::channel(INBOX);
        let mut pool = SearchPool::new(results, Arc::new(|_| ()), Arc::clone(&self.contexts));
        let rhythm = Rhythm { work_us: 20_000, rest_us: 0 };
        pool.set_pace(Pace { cap_percent: 100, priority: Priority::Idle, rhythm, wide_vectors: true });
        for thread in 0..threads {
            pool.start(self.order(thread))?;
        }
        Ok((pool, inbox))
    }

    fn order(&self, thread: usize) -> SearchOrder {
        let bits = ShareBits::new(BITS);
        let target = bus_schemas::Target::from_share_bits(bits);
        let job = Arc::new(self.job.clone());
        let assignment = Assignment { job, slot: 3, slot_generation: 1, bits, target };
        let unit = Unit { row: thread as u64, nonces: NonceRange { start: 0, end: 1 << 32 } };
        SearchOrder { thread: thread as u16, order: 1, assignment: Arc::new(assignment), unit }
    }
}

impl Contender for WholeWorker {
    fn name(&self) -> String {
        WORKER.to_owned()
    }

    fn search(&mut self, threads: usize, length: Duration) -> Result<Searched, Failure> {
        let begun = Instant::now();
        let (pool, mut inbox) = self.begun(threads)?;
        thread::sleep(length);
        let searching = HashThreads::of_worker(std::process::id())?;
        let hashes = ended(&pool, &mut inbox, threads)?;
        let clock = begun.elapsed();
        // They wait for their next order, so all that they used was for this one.
        let cpu = used(&BTreeMap::new(), &searching.read());
        Ok(Searched { hashes: hashes as f64, cpu, clock })
    }
}

/// Ends the search of all threads: the positions that they have searched.
fn ended(pool: &SearchPool, inbox: &mut mpsc::Receiver<Input>, threads: usize) -> Result<u64, Failure> {
    for thread in 0..threads {
        pool.stop(thread as u16, 1);
    }
    let deadline = Instant::now() + STOP_DEADLINE;
    let (mut positions, mut left) = (0, threads);
    while left > 0 && Instant::now() < deadline {
        match inbox.try_recv() {
            Ok(Input::UnitEnded { next, .. }) => {
                positions += next;
                left -= 1;
            }
            Ok(Input::Found { .. }) => {}
            Ok(other) => return Err(format!("the search threads say {other:?}").into()),
            Err(_) => thread::sleep(LOOK_EVERY),
        }
    }
    if left > 0 {
        return Err(format!("the search threads did not stop within {STOP_DEADLINE:?}").into());
    }
    Ok(positions)
}
