//! The threads that judge, and the one who looks after them.
//!
//! A share whose judgement panics is judged as failed and the thread goes on with the next. One whose judgement does not end
//! is found by its thread's standing still: the thread is left alone (nobody can end it), another takes its place, the share
//! counts as failed and what it had in hand besides is judged again.

use crate::{
    components::Components,
    judge::{Judge, MAX_JUDGE_BATCHES},
    metrics::Metrics,
    tasks::{Faults, Obituary, text_of},
};
use bus_schemas::PoolId;
use coordinator_core::{FoundTask, Input, JudgeTask, JudgedFound, JudgedShare, PoolInput, Verdict};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

/// Most shares that one thread takes at a time.
pub const JUDGE_BATCH: usize = 512;
/// Most threads that were left alone because they hang; with more the coordinator ends, and its host starts it again.
pub const MAX_HANGING: usize = 8;
/// Failed judgements that are told one by one within [`TELL_INTERVAL`]; the others are only counted.
const TOLD_AT_ONCE: u32 = 4;
const TELL_INTERVAL: Duration = Duration::from_secs(10);
/// Positions of a thread's progress that belong to one batch.
const STEPS_PER_BATCH: u64 = 1 << 20;

/// What one thread takes at a time.
#[derive(Debug)]
struct Batch {
    pool: PoolId,
    epoch: u64,
    work: Work,
}

#[derive(Debug)]
enum Work {
    Shares(Vec<JudgeTask>),
    Found(FoundTask),
}

impl Batch {
    fn len(&self) -> usize {
        match &self.work {
            Work::Shares(tasks) => tasks.len(),
            Work::Found(_) => 1,
        }
    }
}

/// A queue of batches and how it is filled.
#[derive(Clone)]
struct Lane {
    name: &'static str,
    sender: SyncSender<Batch>,
    queue: Arc<Mutex<Receiver<Batch>>>,
}

impl Lane {
    fn new(name: &'static str) -> Self {
        let (sender, queue) = sync_channel(MAX_JUDGE_BATCHES);
        Self { name, sender, queue: Arc::new(Mutex::new(queue)) }
    }

    fn send(&self, batch: Batch) -> Result<(), Overloaded> {
        self.sender.try_send(batch).map_err(|e| match e {
            TrySendError::Full(_) | TrySendError::Disconnected(_) => Overloaded,
        })
    }
}

/// What an overseer sees of one thread.
#[derive(Debug, Default)]
struct Post {
    /// What it has in hand.
    batch: Mutex<Option<Arc<Batch>>>,
    /// Changes with every share: the number of the batch times [`STEPS_PER_BATCH`], plus the place in it.
    progress: AtomicU64,
    /// It is not waited for any more, and its answers count no more.
    left_alone: AtomicBool,
}

/// A thread and when it was last seen to move.
struct Watched {
    post: Arc<Post>,
    lane: Lane,
    seen: (u64, Instant),
}

/// What every judging thread needs.
#[derive(Clone)]
struct Shared {
    inputs: mpsc::Sender<Input>,
    metrics: Arc<Metrics>,
    components: Arc<Components>,
    faults: Faults,
    obituary: Obituary,
    telling: Arc<Mutex<(Instant, u32)>>,
}

/// The judges. Dropped with their overseer, they end when what waits is judged.
pub(crate) struct Judges {
    shares: Lane,
    found: Lane,
}

/// The judges have more to do than can wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Overloaded;

/// Looks after the judges; its end is theirs.
pub(crate) struct Overseer {
    shared: Shared,
    watched: Vec<Watched>,
    hanging: usize,
}

impl Judges {
    /// Starts `threads` for shares and one for block candidates.
    pub(crate) fn start(
        threads: usize,
        inputs: &mpsc::Sender<Input>,
        metrics: &Arc<Metrics>,
        components: &Arc<Components>,
        faults: &Faults,
    ) -> std::io::Result<(Self, Overseer)> {
        let judges = Self { shares: Lane::new("judge"), found: Lane::new("judge-found") };
        let shared = Shared {
            inputs: inputs.clone(),
            metrics: metrics.clone(),
            components: components.clone(),
            faults: faults.clone(),
            obituary: Obituary { metrics: metrics.clone(), inputs: inputs.clone() },
            telling: Arc::new(Mutex::new((Instant::now(), 0))),
        };
        let mut overseer = Overseer { shared, watched: Vec::new(), hanging: 0 };
        for _ in 0..threads {
            overseer.hire(&judges.shares)?;
        }
        overseer.hire(&judges.found)?;
        Ok((judges, overseer))
    }

    pub(crate) fn judge(&self, pool: &PoolId, epoch: u64, tasks: Vec<JudgeTask>) -> Result<(), Overloaded> {
        let mut tasks = tasks.into_iter().peekable();
        while tasks.peek().is_some() {
            let work = Work::Shares(tasks.by_ref().take(JUDGE_BATCH).collect());
            self.shares.send(Batch { pool: pool.clone(), epoch, work })?;
        }
        Ok(())
    }

    pub(crate) fn judge_found(&self, pool: &PoolId, epoch: u64, task: FoundTask) -> Result<(), Overloaded> {
        self.found.send(Batch { pool: pool.clone(), epoch, work: Work::Found(task) })
    }
}

impl Overseer {
    fn hire(&mut self, lane: &Lane) -> std::io::Result<()> {
        let post = Arc::<Post>::default();
        let (shared, at, queue) = (self.shared.clone(), post.clone(), lane.queue.clone());
        let name = format!("{}-{}", lane.name, self.watched.len() + self.hanging);
        std::thread::Builder::new().name(name).spawn(move || work(&shared, &at, &queue))?;
        self.watched.push(Watched { post, lane: lane.clone(), seen: (0, Instant::now()) });
        Ok(())
    }

    /// Looks after the threads until so many hang that there is no sense in more.
    pub(crate) async fn run(mut self) {
        let every = (self.shared.faults.judge_stall / 4).max(Duration::from_millis(10));
        let mut looks = tokio::time::interval(every);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            if let Err(error) = self.look(Instant::now()).await {
                tracing::error!(%error, "a judge cannot be replaced");
                return;
            }
            if self.hanging > MAX_HANGING {
                tracing::error!(hanging = self.hanging, "too many judges hang");
                return;
            }
        }
    }

    async fn look(&mut self, now: Instant) -> std::io::Result<()> {
        let stall = self.shared.faults.judge_stall;
        let mut stuck = Vec::new();
        for (place, watched) in self.watched.iter_mut().enumerate() {
            let progress = watched.post.progress.load(Ordering::Relaxed);
            let idle = watched.post.batch.lock().unwrap_or_else(PoisonError::into_inner).is_none();
            if idle || progress != watched.seen.0 {
                watched.seen = (progress, now);
            } else if now.saturating_duration_since(watched.seen.1) >= stall {
                stuck.push(place);
            }
        }
        for place in stuck.into_iter().rev() {
            let watched = self.watched.remove(place);
            self.hanging += 1;
            self.hire(&watched.lane)?;
            self.leave_alone(&watched).await;
        }
        Ok(())
    }

    /// Gives up a thread that hangs, and has everything judged that it had in hand.
    async fn leave_alone(&self, watched: &Watched) {
        watched.post.left_alone.store(true, Ordering::Release);
        let batch = watched.post.batch.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(batch) = batch else { return };
        let at =
            usize::try_from(watched.post.progress.load(Ordering::Relaxed) % STEPS_PER_BATCH).unwrap_or(0);
        let seconds = self.shared.faults.judge_stall.as_secs();
        let reason = format!("judging a share of pool {} did not end within {seconds} s", batch.pool);
        self.shared.obituary.tell(
            watched.lane.name,
            &reason,
            "another thread takes its place; the share is refused",
        );
        self.shared.metrics.not_judged();
        let Batch { pool, epoch, work } = &*batch;
        let input = match work {
            Work::Found(task) => {
                PoolInput::FoundJudged(JudgedFound { token: task.token, verdict: Verdict::Failed })
            }
            Work::Shares(tasks) => {
                let again: Vec<_> = tasks
                    .iter()
                    .enumerate()
                    .filter(|(n, _)| *n != at)
                    .map(|(_, task)| task.clone())
                    .collect();
                let batch = Batch { pool: pool.clone(), epoch: *epoch, work: Work::Shares(again) };
                if batch.len() > 0 && watched.lane.send(batch).is_err() {
                    tracing::error!(%pool, "the judges' queue is full; the pool is given up");
                    let trouble = coordinator_core::Trouble::of("the judges' queue is full");
                    let lost = coordinator_core::LeaseInput::GivenUp { epoch: *epoch, trouble };
                    let _ = self.shared.inputs.send(Input::Lease(pool.clone(), lost)).await;
                }
                let failed =
                    tasks.get(at).map(|t| JudgedShare { sequence: t.sequence, verdict: Verdict::Failed });
                PoolInput::Judged(failed.into_iter().collect())
            }
        };
        let _ = self.shared.inputs.send(Input::Pool(pool.clone(), *epoch, input)).await;
    }
}

/// Judges until nobody gives work any more or the thread was left alone.
fn work(shared: &Shared, post: &Post, queue: &Mutex<Receiver<Batch>>) {
    let mut judge = Judge::with(shared.components.clone());
    for number in 1_u64.. {
        let batch = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(batch) = batch else { return };
        let (batch, started) = (Arc::new(batch), Instant::now());
        post.progress.store(number * STEPS_PER_BATCH, Ordering::Relaxed);
        *post.batch.lock().unwrap_or_else(PoisonError::into_inner) = Some(batch.clone());
        let input = match &batch.work {
            Work::Shares(tasks) => {
                let mut judged = Vec::with_capacity(tasks.len());
                for (place, task) in (0_u64..).zip(tasks) {
                    post.progress.store(number * STEPS_PER_BATCH + place, Ordering::Relaxed);
                    judged.push(JudgedShare {
                        sequence: task.sequence,
                        verdict: shared.judge(&mut judge, task),
                    });
                }
                PoolInput::Judged(judged)
            }
            Work::Found(task) => {
                let share = JudgeTask {
                    sequence: task.token,
                    job: task.job.clone(),
                    slot: task.slot,
                    finding: task.finding,
                    target: task.job.network_target,
                };
                let verdict = shared.judge(&mut judge, &share);
                PoolInput::FoundJudged(JudgedFound { token: task.token, verdict })
            }
        };
        *post.batch.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if post.left_alone.load(Ordering::Acquire) {
            return;
        }
        shared.metrics.judged(batch.len(), started.elapsed());
        if shared.inputs.blocking_send(Input::Pool(batch.pool.clone(), batch.epoch, input)).is_err() {
            return;
        }
    }
}

impl Shared {
    /// Judges one finding; a panic is the algorithm's and no reason to stop.
    fn judge(&self, judge: &mut Judge, task: &JudgeTask) -> Verdict {
        let verdict = catch_unwind(AssertUnwindSafe(|| {
            self.faults.before_judging(task);
            judge.judge(&task.job, task.slot, &task.finding, task.target)
        }));
        verdict.unwrap_or_else(|panic| {
            // What it remembered may be half written.
            *judge = Judge::with(self.components.clone());
            self.metrics.not_judged();
            let reason = format!(
                "judging share {} of job {} by {}: {}",
                task.sequence,
                task.job.id,
                task.job.algorithm.id,
                text_of(&*panic)
            );
            if self.may_tell() {
                self.obituary.tell("judge", &reason, "the share is refused as not-judged");
            } else {
                tracing::debug!(reason, "a judgement failed");
            }
            Verdict::Failed
        })
    }

    /// A worker can send many such shares; each is counted, a few are told.
    fn may_tell(&self) -> bool {
        let mut telling = self.telling.lock().unwrap_or_else(PoisonError::into_inner);
        if telling.0.elapsed() >= TELL_INTERVAL {
            *telling = (Instant::now(), 0);
        }
        telling.1 = telling.1.saturating_add(1);
        telling.1 <= TOLD_AT_ONCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bus_schemas::{examples, share::Finding};
    use std::collections::BTreeMap;

    const STALL: Duration = Duration::from_millis(200);

    struct Court {
        judges: Judges,
        answers: mpsc::Receiver<Input>,
        metrics: Arc<Metrics>,
        _overseer: tokio::task::JoinHandle<()>,
    }

    fn court(threads: usize, fault: impl Fn(&JudgeTask) + Send + Sync + 'static) -> Court {
        let (inputs, answers) = mpsc::channel(1_024);
        let metrics = Arc::new(Metrics::new().unwrap());
        let faults = Faults::default().judges_stall_after(STALL).in_judges(fault);
        let (judges, overseer) = Judges::start(threads, &inputs, &metrics, &Arc::default(), &faults).unwrap();
        Court { judges, answers, metrics, _overseer: tokio::spawn(overseer.run()) }
    }

    fn tasks(sequences: std::ops::Range<u64>) -> Vec<JudgeTask> {
        let (job, share) = (Arc::new(examples::job().unwrap()), examples::share().unwrap());
        let task = |sequence| JudgeTask {
            sequence,
            job: job.clone(),
            slot: share.slot,
            finding: share.finding,
            target: bus_schemas::Target::MAX,
        };
        sequences.map(task).collect()
    }

    impl Court {
        async fn next(&mut self) -> Input {
            let next = tokio::time::timeout(Duration::from_secs(20), self.answers.recv());
            next.await.expect("an answer in time").expect("the judges live")
        }

        /// Waits until `count` shares are judged: which of them failed.
        async fn verdicts(&mut self, count: usize) -> BTreeMap<u64, bool> {
            let mut verdicts = BTreeMap::new();
            while verdicts.len() < count {
                if let Input::Pool(_, _, PoolInput::Judged(judged)) = self.next().await {
                    verdicts.extend(judged.iter().map(|j| (j.sequence, j.verdict == Verdict::Failed)));
                }
            }
            verdicts
        }
    }

    fn pool() -> PoolId {
        PoolId::new("main").unwrap()
    }

    fn only(failed: u64, count: u64) -> BTreeMap<u64, bool> {
        (0..count).map(|n| (n, n == failed)).collect()
    }

    #[tokio::test]
    async fn a_share_that_makes_its_algorithm_panic_fails_alone() {
        let mut court = court(1, |task| assert_ne!(task.sequence, 7, "a defect"));
        for _ in 0..3 {
            court.judges.judge(&pool(), 1, tasks(0..20)).unwrap();
            assert_eq!(court.verdicts(20).await, only(7, 20));
        }
        assert!(court.metrics.handle().render().contains("dcmf_coordinator_not_judged_total 3"));
    }

    #[tokio::test]
    async fn a_judge_that_hangs_is_replaced_and_what_it_had_in_hand_is_judged() {
        let mut court = court(1, |task| {
            if task.sequence == 7 {
                std::thread::park_timeout(STALL * 10);
            }
        });
        court.judges.judge(&pool(), 1, tasks(0..20)).unwrap();
        assert_eq!(court.verdicts(20).await, only(7, 20));
        court.judges.judge(&pool(), 1, tasks(20..30)).unwrap();
        assert_eq!(court.verdicts(10).await.len(), 10);
    }

    #[tokio::test]
    async fn a_candidate_whose_judgement_fails_is_answered() {
        let mut court = court(1, |_| assert_eq!(1, 2, "a defect"));
        let Some(JudgeTask { job, slot, finding, .. }) = tasks(0..1).pop() else { panic!("a task") };
        let Finding::Header(_) = finding else { panic!("a header") };
        court.judges.judge_found(&pool(), 1, FoundTask { token: 5, job, slot, finding }).unwrap();
        loop {
            if let Input::Pool(_, 1, PoolInput::FoundJudged(judged)) = court.next().await {
                assert_eq!((judged.token, judged.verdict), (5, Verdict::Failed));
                return;
            }
        }
    }

    #[tokio::test]
    async fn judges_that_all_hang_end_the_coordinator() {
        let (inputs, mut answers) = mpsc::channel(1_024);
        let metrics = Arc::new(Metrics::new().unwrap());
        let faults = Faults::default()
            .judges_stall_after(Duration::from_millis(20))
            .in_judges(|_| std::thread::park_timeout(Duration::from_secs(5)));
        let (judges, overseer) = Judges::start(1, &inputs, &metrics, &Arc::default(), &faults).unwrap();
        judges.judge(&pool(), 1, tasks(0..100)).unwrap();
        let heard = tokio::spawn(async move { while answers.recv().await.is_some() {} });
        let ended = tokio::time::timeout(Duration::from_secs(30), overseer.run()).await;
        ended.unwrap();
        heard.abort();
    }
}
