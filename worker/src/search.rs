//! Search threads: each takes one order at a time, searches it in short chunks and looks after each whether to stop.

use crate::{
    algorithms,
    components::Loaded,
    contexts::Contexts,
    idle_class,
    lookout::{Lookout, Place},
    pace::{self, SharedPace},
};
use algorithm_api::{
    Algorithm, Range, Search, Target,
    context::{Context, Progress},
};
use bus_schemas::{AlgorithmId, policy::Priority};
use nix::time::{ClockId, clock_gettime};
use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::Duration,
};
use tokio::sync::mpsc;
use worker_core::{Input, Pace, SearchOrder};

/// How long a chunk takes at most: a thread stops no later than this after it was told, give or take. Where the rhythm
/// asks for a rest sooner, it is shorter.
pub const CHUNK: Duration = Duration::from_millis(2);
/// A chunk is searched in about so many turns; after each the scheduler may choose again. It does so by itself only at a tick:
/// who woke beside the search a microsecond too early to be owed the processor (EEVDF's lag) would wait up to four milliseconds.
const TURNS: u64 = 40;
/// Fewest positions of a turn: it is long beside what it costs to give way.
const LEAST_TURN: u64 = 512;
/// Positions of a turn are a multiple of this, so that the lanes of a vector stay full.
const LANES: u64 = 64;
/// Of a longer turn they are a multiple of this: of 64, and of the 48 and 56 that paths with two units take at a time. What they
/// leave over another path does, whose code would have to be brought into the cache at each turn.
const BATCHES: u64 = 1_344;
/// Room for what one chunk finds. Chunks are short enough that a quarter of it is expected at most.
const FINDINGS_PER_CHUNK: usize = 256;
/// Most positions of a chunk.
const MAX_BUDGET: u64 = 1 << 24;
/// A chunk's size grows at most by this factor at a time.
const MAX_GROWTH: u64 = 4;
/// Orders that wait at a thread. The core gives the next only after the answer to the last.
const ORDERS_AHEAD: usize = 1;

/// Why an order cannot be handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The system starts no more threads.
    #[error("the system starts no more threads; lower max_threads or raise the limit of tasks")]
    NoThread,
    /// The thread has ended.
    #[error("the search thread is gone")]
    Gone,
}

/// What is done once by each search thread when it begins, for instance to move into a scheduling group.
pub type Settle = Arc<dyn Fn(u16) + Send + Sync>;

/// The kernel's ids of the threads that live, by which a load monitor finds their clocks.
pub type ThreadIds = Arc<Mutex<Vec<i32>>>;

/// The threads. Dropped, it lets them end; they are not waited for.
pub struct SearchPool {
    threads: Vec<Thread>,
    results: mpsc::Sender<Input>,
    pace: SharedPace,
    ids: ThreadIds,
    settle: Settle,
    contexts: Arc<Contexts>,
    loaded: Loaded,
    lookout: Arc<Lookout>,
}

impl fmt::Debug for SearchPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SearchPool")
            .field("threads", &self.threads)
            .field("pace", &self.pace)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Thread {
    orders: Option<SyncSender<SearchOrder>>,
    /// To end its rest.
    handle: Option<std::thread::Thread>,
    /// Orders up to this one are to stop.
    stop: Arc<AtomicU64>,
}

impl Thread {
    fn stop(&self, order: u64) {
        self.stop.fetch_max(order, Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        if let Some(handle) = &self.handle {
            handle.unpark();
        }
    }
}

impl SearchPool {
    /// No threads yet; what they find and finish goes to `results`.
    pub fn new(results: mpsc::Sender<Input>, settle: Settle, contexts: Arc<Contexts>) -> Self {
        let (pace, ids) = (SharedPace::default(), ThreadIds::default());
        let loaded: Loaded = Arc::new(|_| None);
        Self {
            threads: Vec::new(),
            results,
            pace,
            ids,
            settle,
            contexts,
            loaded,
            lookout: Lookout::of_host(),
        }
    }

    /// Threads that are started from now on search with loaded components too.
    #[must_use]
    pub fn with_components(mut self, loaded: Loaded) -> Self {
        self.loaded = loaded;
        self
    }

    /// Sets the pace of all threads, from their next chunk on. Who rests longer than the new one asks wakes.
    pub fn set_pace(&self, pace: Pace) {
        self.pace.set(pace);
        for thread in &self.threads {
            thread.wake();
        }
    }

    /// The kernel's ids of the threads.
    pub fn ids(&self) -> ThreadIds {
        Arc::clone(&self.ids)
    }

    /// What the threads know of each other.
    pub fn lookout(&self) -> Arc<Lookout> {
        Arc::clone(&self.lookout)
    }

    /// Hands an order to its thread, which is started if need be.
    pub fn start(&mut self, order: SearchOrder) -> Result<(), StartError> {
        let index = order.thread;
        while self.threads.len() <= usize::from(index) {
            self.threads.push(self.spawn());
        }
        let thread = self.threads.get(usize::from(index)).and_then(|thread| thread.orders.as_ref());
        thread.ok_or(StartError::NoThread)?.try_send(order).map_err(|_| StartError::Gone)
    }

    /// Lets a thread stop `order` and what came before.
    pub fn stop(&self, thread: u16, order: u64) {
        if let Some(thread) = self.threads.get(usize::from(thread)) {
            thread.stop(order);
        }
    }

    fn spawn(&self) -> Thread {
        let (orders, incoming) = sync_channel(ORDERS_AHEAD);
        let stop = Arc::new(AtomicU64::new(0));
        let index = u16::try_from(self.threads.len()).unwrap_or(u16::MAX);
        let searcher = Searcher {
            stop: Arc::clone(&stop),
            results: self.results.clone(),
            findings: Vec::with_capacity(FINDINGS_PER_CHUNK),
            chunk: Chunk::default(),
            pace: self.pace.clone(),
            priority: Priority::Idle,
            worked: Duration::ZERO,
            contexts: Arc::clone(&self.contexts),
            loaded: Arc::clone(&self.loaded),
            place: self.lookout.place(index),
        };
        let (settle, ids) = (Arc::clone(&self.settle), Arc::clone(&self.ids));
        let name = format!("search-{index}");
        let spawned = std::thread::Builder::new().name(name).spawn(move || {
            let _listed = Listed::new(ids);
            settle(index);
            searcher.run(&incoming);
        });
        if let Err(error) = &spawned {
            tracing::error!(%error, "a search thread cannot be started");
        }
        let handle = spawned.as_ref().ok().map(|spawned| spawned.thread().clone());
        Thread { orders: spawned.ok().map(|_| orders), handle, stop }
    }
}

impl Drop for SearchPool {
    fn drop(&mut self) {
        for thread in &self.threads {
            thread.stop(u64::MAX);
        }
    }
}

/// Says that a thread is gone, however it ended.
struct Farewell {
    order: SearchOrder,
    results: mpsc::Sender<Input>,
    done: bool,
}

impl Drop for Farewell {
    fn drop(&mut self) {
        if !self.done {
            let reason = "the search thread has panicked; this is a defect of the algorithm".to_owned();
            // A process that is ending does not need the news.
            let _ = self.results.blocking_send(Input::ThreadFailed { thread: self.order.thread, reason });
        }
    }
}

/// Keeps the calling thread's id among those that live.
struct Listed(ThreadIds, i32);

impl Listed {
    fn new(ids: ThreadIds) -> Self {
        let id = nix::unistd::gettid().as_raw();
        ids.lock().unwrap_or_else(PoisonError::into_inner).push(id);
        Self(ids, id)
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|id| *id != self.1);
    }
}

struct Searcher {
    stop: Arc<AtomicU64>,
    results: mpsc::Sender<Input>,
    findings: Vec<(u32, [u8; 32])>,
    chunk: Chunk,
    pace: SharedPace,
    /// The class that the thread is in.
    priority: Priority,
    /// Processor time since the last rest.
    worked: Duration,
    contexts: Arc<Contexts>,
    loaded: Loaded,
    place: Place,
}

impl Searcher {
    /// Until the pool or the receiver of results is gone.
    fn run(mut self, orders: &Receiver<SearchOrder>) {
        if let Err(error) = idle_class::sleep_precisely() {
            tracing::warn!(%error, "a search thread may rest longer than it should");
        }
        if let Err(error) = idle_class::enter(Priority::Idle) {
            tracing::warn!(%error, "a search thread cannot enter the idle class and competes with other programs");
        }
        for order in orders {
            let mut farewell = Farewell { order, results: self.results.clone(), done: false };
            let answer = self.search(&farewell.order);
            self.place.rests();
            farewell.done = true;
            if answer.is_none_or(|answer| self.results.blocking_send(answer).is_err()) {
                return;
            }
        }
    }

    /// Searches one unit; `None` when nobody listens any more.
    fn search(&mut self, order: &SearchOrder) -> Option<Input> {
        let (thread, number) = (order.thread, order.order);
        let refused = |reason: String| Some(Input::SearchRefused { thread, order: number, reason });
        let nonces = order.unit.nonces;
        let mut search = match self.prepare(order) {
            Ok(Some(prepared)) => prepared,
            Ok(None) => return Some(Input::UnitEnded { thread, order: number, next: nonces.start }),
            Err(reason) => return refused(reason),
        };
        let job = &order.assignment.job;
        self.chunk.begin(&job.algorithm.id, job.algorithm.version);
        let target = Target::from_le_bytes(order.assignment.target.to_le_bytes());
        let most = most_positions(&target);
        let mut range = Range { next: nonces.start, end: nonces.end };
        while !range.is_empty() && self.stop.load(Ordering::Acquire) < number {
            let pace = self.pace.get();
            self.rank(pace.priority);
            search.avoid_wide_vectors(!pace.wide_vectors);
            let began = thread_time();
            let findings = &mut self.findings;
            let mut sink = |finding: algorithm_api::Finding<'_>| {
                if let Ok(nonce) = finding.bytes.try_into() {
                    findings.push((u32::from_le_bytes(nonce), finding.hash));
                }
            };
            let mut done = 0;
            for budget in turns(self.chunk.budget.min(most)) {
                done += search.search(&mut range, budget, &target, &mut sink);
                std::thread::yield_now();
                self.place.turn();
                if range.is_empty() || self.stop.load(Ordering::Acquire) >= number {
                    break;
                }
            }
            if done == 0 {
                let reason = search.failure().unwrap_or_else(|| "it stopped within its space".to_owned());
                return refused(format!("{}: {reason}", order.assignment.job.algorithm.id));
            }
            let took = thread_time().saturating_sub(began);
            let wanted = CHUNK.min(Duration::from_micros(pace.rhythm.work_us.into()));
            self.chunk.measure(done, took, wanted);
            for (nonce, hash) in self.findings.drain(..) {
                self.results.blocking_send(Input::Found { thread, order: number, nonce, hash }).ok()?;
            }
            self.rest(took, pace, number);
        }
        Some(Input::UnitEnded { thread, order: number, next: range.next })
    }

    /// Rests, if it is time to, after `took` more of work.
    fn rest(&mut self, took: Duration, pace: Pace, order: u64) {
        self.worked += took;
        if let Some(rest) = pace::rest_after(self.worked, pace) {
            self.worked = Duration::ZERO;
            self.place.rests();
            let sooner = || self.pace.get().cap_percent > pace.cap_percent;
            pace::rest(rest, || self.stop.load(Ordering::Acquire) >= order || sooner());
        }
    }

    /// The search of an order's input, its context made ready first if it needs one. `None` when the order was stopped
    /// before that.
    fn prepare(&mut self, order: &SearchOrder) -> Result<Option<Box<dyn Search>>, String> {
        let job = &order.assignment.job;
        let (id, version) = (&job.algorithm.id, job.algorithm.version);
        let (roll, rolled) = order.unit.roll(&job.work);
        let root = job.work.root(job.extranonce(order.assignment.slot, roll));
        let input = job.work.input_over(&root, &job.work.finding(roll, rolled, 0));
        let input = input.ok_or("the job's work cannot be searched; this is a defect of the program")?;
        let Some(algorithm) = algorithms::find(id, version) else {
            let component = (self.loaded)(&job.algorithm);
            let component = component.ok_or_else(|| format!("{id} version {version} is not here"))?;
            self.contexts.clear();
            return component.prepare(input.as_ref()).map(Some).map_err(|error| error.to_string());
        };
        let search = match (algorithm.seeded(), job.work.seeds()) {
            (None, None) => {
                self.contexts.clear();
                algorithm.prepare(input.as_ref())
            }
            (Some(seeded), Some((seed, next))) => {
                let context = self.contexts.of(algorithm, seeded, seed, next).map_err(|e| e.to_string())?;
                let Some(bound) = self.ready(&*context, order.order) else { return Ok(None) };
                self.contexts.work_ahead(|| self.stop.load(Ordering::Acquire) < order.order);
                bound.prepare(input.as_ref())
            }
            (Some(_), None) => return Err(format!("{id} needs a seed and the job has none")),
            (None, Some(_)) => return Err(format!("{id} searches no work of this kind")),
        };
        search.map(Some).map_err(|error| error.to_string())
    }

    /// Works on a context with the other threads until it is ready; `None` when the order was stopped before.
    fn ready(&mut self, context: &dyn Context, order: u64) -> Option<Arc<dyn Algorithm>> {
        while self.stop.load(Ordering::Acquire) < order {
            let pace = self.pace.get();
            self.rank(pace.priority);
            let began = thread_time();
            let progress = context.advance();
            std::thread::yield_now();
            match progress {
                Progress::Ready => {
                    if let Some(news) = self.contexts.news() {
                        tracing::info!("{news}");
                    }
                    return context.algorithm();
                }
                Progress::Waiting => std::thread::park_timeout(CHUNK),
                Progress::Underway { .. } => {}
            }
            self.rest(thread_time().saturating_sub(began), pace, order);
        }
        None
    }

    /// Changes the thread's class if another is wanted.
    fn rank(&mut self, wanted: Priority) {
        if wanted == self.priority {
            return;
        }
        if let Err(error) = idle_class::enter(wanted) {
            tracing::warn!(%error, ?wanted, "a search thread cannot change its class and stays as it was");
        }
        self.priority = wanted;
    }
}

/// Processor time of the calling thread: what it did, not what it waited.
pub(crate) fn thread_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// Positions of which a quarter of [`FINDINGS_PER_CHUNK`] meet the target, at least.
fn most_positions(target: &Target) -> u64 {
    let bytes = target.to_le_bytes();
    let zero_bytes = bytes.iter().rev().take_while(|byte| **byte == 0).count();
    let first = bytes.iter().rev().nth(zero_bytes).map_or(0, |byte| byte.leading_zeros());
    let bits = u32::try_from(zero_bytes * 8).unwrap_or(u32::MAX).saturating_add(first);
    (FINDINGS_PER_CHUNK as u64 / 4).saturating_mul(1_u64.checked_shl(bits).unwrap_or(u64::MAX))
}

/// The budgets of the turns in which a chunk of `positions` is searched: at least one.
fn turns(positions: u64) -> impl Iterator<Item = u64> {
    let wanted = positions / (positions / LEAST_TURN).clamp(1, TURNS);
    let each = match wanted {
        BATCHES.. => (wanted + BATCHES / 2) / BATCHES * BATCHES,
        _ => (wanted / LANES * LANES).max(LANES),
    };
    let count = (positions / each).max(1);
    (1..=count).map(move |turn| if turn < count { each } else { positions - each * (count - 1) })
}

/// How many positions make a chunk.
#[derive(Debug)]
struct Chunk {
    algorithm: Option<(AlgorithmId, u32)>,
    budget: u64,
}

impl Default for Chunk {
    fn default() -> Self {
        Self { algorithm: None, budget: 1 }
    }
}

impl Chunk {
    /// Another algorithm begins with the smallest chunk.
    fn begin(&mut self, id: &AlgorithmId, version: u32) {
        if self.algorithm.as_ref().is_none_or(|(known, v)| known != id || *v != version) {
            *self = Self { algorithm: Some((id.clone(), version)), budget: 1 };
        }
    }

    fn measure(&mut self, done: u64, took: Duration, wanted: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).max(1);
        let wanted = u64::try_from(wanted.as_nanos()).unwrap_or(u64::MAX);
        let fitting =
            u64::try_from(u128::from(done) * u128::from(wanted) / u128::from(nanos)).unwrap_or(u64::MAX);
        self.budget = fitting.min(self.budget.saturating_mul(MAX_GROWTH)).clamp(1, MAX_BUDGET);
    }
}

#[cfg(test)]
mod tests;
