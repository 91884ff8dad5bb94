//! How soon hash threads give way to a step of load, and how soon they stop after an order.

use super::{
    arrivals::Arrivals,
    figures::{Notes, figure},
    mining::{Kill, Mining, Worker},
    placement::Placement,
    processor_time::{HashThreads, processors, used},
    stage::{Application, Lengths, Stage},
    windows::seed,
};
use crate::{bench::Figure, coordinator::Failure};
use nix::sys::prctl;
use serde_json::json;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// How often the clocks of the hash threads are read.
const SAMPLE_EVERY: Duration = Duration::from_millis(1);
/// Most readings of one round: a minute.
const MAX_READINGS: usize = 60_000;
/// The load before and after the step.
const STEP: (f64, f64) = (0.05, 0.60);
/// How long the load is as before and as after it.
const STEP_LENGTHS: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(3));
/// Over this time the use by hash threads is looked at; what they give way to comes in requests of half a millisecond.
const SLIDING: Duration = Duration::from_millis(10);
/// Hash threads have given way when their share is this little above what the application leaves over.
const MARGIN: f64 = 0.10;
/// No hash thread used anything for so long: it has stopped.
const STOPPED: Duration = Duration::from_millis(250);
/// How long an order may take.
const KILL_DEADLINE: Duration = Duration::from_secs(20);
/// What is mined while the load steps: one that the kernel alone holds back, and one that the governor does.
const ALGORITHMS: [&str; 2] = ["sha256d", "scrypt-1024-1-1"];
/// Reaction to load at the 95th percentile, milliseconds.
const REACTION_GOAL: f64 = 25.0;
/// Until the cap has settled, milliseconds.
const SETTLED_GOAL: f64 = 300.0;
/// Reaction to an order, milliseconds.
const KILL_GOAL: f64 = 1_000.0;

/// A reading: when, and what the hash threads had used since the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// When.
    pub at: Instant,
    /// Processor time of all of them.
    pub used: Duration,
}

/// Measures `steps` steps of load for each algorithm, and as many orders.
pub async fn measure(steps: usize, lengths: Lengths, mining: &mut Mining, notes: &mut Notes) -> Vec<Figure> {
    let (placement, _group) = Placement::of_service();
    let mut figures = Vec::new();
    for algorithm in ALGORITHMS {
        let mut worker = match mining.worker(algorithm, |_| (), "", &placement).await {
            Ok(worker) => worker,
            Err(error) => {
                notes.missing(&format!("reaction_ms, settled_ms and kill_ms of {algorithm}"), &*error);
                continue;
            }
        };
        match loads(steps, lengths, &mut worker, notes).await {
            Ok((reactions, settled)) => {
                figures.extend(quantiles("reaction_ms", algorithm, &reactions, REACTION_GOAL));
                figures.extend(quantiles("settled_ms", algorithm, &settled, SETTLED_GOAL));
            }
            Err(error) => notes.missing(&format!("reaction_ms and settled_ms of {algorithm}"), &*error),
        }
        let mut samples = Vec::new();
        for kill in [Kill::Pool, Kill::Farm] {
            match kills(steps, kill, &mut worker).await {
                Ok(more) => samples.extend(more),
                Err(error) => {
                    notes.say(format!("kill_ms of {algorithm} is without the order {kill:?}: {error}"));
                }
            }
        }
        figures.extend(quantiles("kill_ms", algorithm, &samples, KILL_GOAL));
    }
    figures
}

fn quantiles(
    name: &'static str,
    algorithm: &'static str,
    samples: &[f64],
    goal: f64,
) -> impl Iterator<Item = Figure> {
    [(0.5, None), (0.95, Some(goal))].into_iter().filter_map(move |(quantile, goal)| {
        let mut case = vec![("quantile", json!(quantile))];
        // The first needs no name.
        if algorithm != ALGORITHMS[0] {
            case.push(("algorithm", json!(algorithm)));
        }
        figure(name, "ms", &case, samples, quantile, (goal, "lower"))
    })
}

/// Milliseconds from each step of load until the hash threads gave way, and until its cap had settled.
async fn loads(
    steps: usize,
    lengths: Lengths,
    worker: &mut Worker,
    notes: &mut Notes,
) -> Result<(Vec<f64>, Vec<f64>), Failure> {
    worker.pause().await?;
    let mut stage = Stage::start(Application::Http).await?;
    let full = stage.rate(STEP.1, lengths).await?;
    let (before, after) = STEP_LENGTHS;
    let full_capacity = u32::try_from(processors() * 100)?;
    let (mut reactions, mut settled) = (Vec::new(), Vec::new());
    for step in 0..steps {
        worker.resume().await?;
        let rates = [(full * STEP.0 / STEP.1, before), (full, after)];
        let sending = stage.send(Arrivals::stepped(seed(step), &rates))?;
        let at = sending.begin + before;
        tokio::time::sleep_until((at - 2 * SLIDING).into()).await;
        let watch = Watch::begin(worker.threads()?);
        let capacities = worker.capacities().await?;
        let answers = stage.answers(sending).await;
        let readings = watch.end().await?;
        answers?;
        let end = at + after;
        let reaction = gave_way(&readings, at, end, 1.0 - STEP.1 + MARGIN, processors());
        if reaction.is_none() {
            notes.say(format!("step {step}: the hash threads never gave way; {after:?} are counted"));
        }
        let (last, turned) = settled_after(&capacities.end(), full_capacity, at, end);
        let [reaction, last] = [reaction.unwrap_or(after), last].map(|time| time.as_secs_f64() * 1e3);
        if turned > 0 {
            notes.say(format!("step {step}: the cap turned round {turned} times"));
        }
        tracing::info!("step {step}: gave way after {reaction:.1} ms, the cap settled after {last:.1} ms");
        reactions.push(reaction);
        settled.push(last);
        worker.pause().await?;
    }
    worker.resume().await?;
    Ok((reactions, settled))
}

/// Milliseconds from each order until no hash thread used anything any more.
async fn kills(rounds: usize, kill: Kill, worker: &mut Worker) -> Result<Vec<f64>, Failure> {
    let mut samples = Vec::new();
    for round in 0..rounds {
        worker.until_hashing().await?;
        let watch = Watch::begin(worker.threads()?);
        let ordered = Instant::now();
        worker.kill(kill).await?;
        let stopped = tokio::time::timeout(KILL_DEADLINE, worker.until_quiet()).await;
        tokio::time::sleep(STOPPED).await;
        let readings = watch.end().await?;
        stopped??;
        let time = last_use(&readings).map(|last| last.saturating_duration_since(ordered));
        let time = time.ok_or("no hash thread was seen to hash")?;
        tracing::info!("order {kill:?} {round}: stopped after {:.1} ms", time.as_secs_f64() * 1e3);
        samples.push(time.as_secs_f64() * 1e3);
        worker.revive(kill).await?;
    }
    Ok(samples)
}

/// The time from `step` until the share of the machine that was used within [`SLIDING`] was not above `share`.
fn gave_way(
    readings: &[Reading],
    step: Instant,
    end: Instant,
    share: f64,
    machine: usize,
) -> Option<Duration> {
    let mut first = 0;
    for now in readings {
        while readings.get(first + 1).is_some_and(|next| next.at + SLIDING <= now.at) {
            first += 1;
        }
        let Some(then) = readings.get(first).filter(|_| now.at > step && now.at <= end) else { continue };
        let length = now.at.saturating_duration_since(then.at);
        if length < SLIDING {
            continue;
        }
        let used = now.used.saturating_sub(then.used).as_secs_f64();
        if used / (length.as_secs_f64() * machine as f64) <= share {
            return Some(now.at.saturating_duration_since(step));
        }
    }
    None
}

/// The time from `step` until what the worker lets itself use stayed within [`MARGIN`] of where it ended, and how often it
/// turned round. `full` is what it may use at most, in hundredths of threads like the readings.
fn settled_after(capacities: &[(Instant, u32)], full: u32, step: Instant, end: Instant) -> (Duration, usize) {
    let within: Vec<(Instant, u32)> =
        capacities.iter().copied().filter(|(at, _)| *at > step && *at <= end).collect();
    let Some((_, level)) = within.last() else { return (Duration::ZERO, 0) };
    let away = |capacity: u32| f64::from(capacity.abs_diff(*level)) > MARGIN * f64::from(full);
    // Each reading holds until the next; the first one ends what was before.
    let first = within.iter().rposition(|(_, capacity)| away(*capacity)).map_or(0, |last| last + 1);
    let settled = within.get(first).map_or(Duration::ZERO, |(at, _)| at.saturating_duration_since(step));
    let rises = within.windows(2).filter(|pair| pair[0].1 != pair[1].1).map(|pair| pair[1].1 > pair[0].1);
    let rises: Vec<bool> = rises.collect();
    (settled, rises.windows(2).filter(|pair| pair[0] != pair[1]).count())
}

/// When the used time was last seen to grow.
fn last_use(readings: &[Reading]) -> Option<Instant> {
    let pairs = readings.iter().zip(readings.iter().skip(1));
    pairs.filter(|(before, after)| after.used > before.used).map(|(_, after)| after.at).next_back()
}

/// A thread that reads the clocks of hash threads.
#[derive(Debug)]
struct Watch {
    end: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Vec<Reading>>,
}

impl Watch {
    fn begin(threads: HashThreads) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&end);
        let task = tokio::task::spawn_blocking(move || {
            // A refusal only costs precision.
            let _ = prctl::set_timerslack(1);
            let first = threads.read();
            let mut readings = Vec::with_capacity(MAX_READINGS);
            while !ended.load(Ordering::Acquire) && readings.len() < MAX_READINGS {
                let now = threads.read();
                readings.push(Reading { at: Instant::now(), used: used(&first, &now) });
                std::thread::sleep(SAMPLE_EVERY);
            }
            readings
        });
        Self { end, task }
    }

    async fn end(mut self) -> Result<Vec<Reading>, Failure> {
        self.end.store(true, Ordering::Release);
        Ok((&mut self.task).await?)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Readings every millisecond of two processors, of which `share` of each millisecond is used.
    fn readings(begin: Instant, share: impl Fn(u32) -> f64) -> Vec<Reading> {
        let mut used = Duration::ZERO;
        let mut reading = |n: u32| {
            used += MS.mul_f64(2.0 * share(n));
            Reading { at: begin + MS * n, used }
        };
        (0..1_000).map(&mut reading).collect()
    }

    #[test]
    fn giving_way_is_when_the_use_of_the_last_ten_milliseconds_is_low_enough() {
        let begin = Instant::now();
        let readings = readings(begin, |ms| if ms <= 60 { 0.95 } else { 0.3 });
        let (step, end) = (begin + 50 * MS, begin + 200 * MS);
        // From 60 ms on it takes 7 of 10 ms at 0.3 until the mean is at most 0.5.
        assert_eq!(gave_way(&readings, step, end, 0.5, 2), Some(17 * MS));
    }

    #[test]
    fn threads_that_never_give_way_have_no_time() {
        let begin = Instant::now();
        let readings = readings(begin, |_| 0.9);
        assert_eq!(gave_way(&readings, begin + 50 * MS, begin + 200 * MS, 0.5, 2), None);
    }

    #[test]
    fn a_cap_has_settled_when_it_stays_near_where_it_ends_and_flaps_when_it_turns_round() {
        let begin = Instant::now();
        let (step, end) = (begin + 50 * MS, begin + 900 * MS);
        let told = |all: &[(u32, u32)]| {
            let all: Vec<_> = all.iter().map(|(ms, capacity)| (begin + MS * *ms, *capacity)).collect();
            settled_after(&all, 200, step, end)
        };
        assert_eq!(told(&[(0, 200)]), (Duration::ZERO, 0));
        assert_eq!(told(&[(0, 100), (10, 200), (100, 120), (160, 30), (400, 20)]), (110 * MS, 0));
        assert_eq!(told(&[(0, 200), (100, 20), (300, 60), (500, 20), (950, 0)]), (450 * MS, 1));
        assert_eq!(told(&[(100, 20), (300, 60), (500, 20), (600, 60)]).1, 2);
    }

    #[test]
    fn the_last_use_is_the_last_reading_that_grew() {
        let begin = Instant::now();
        let readings = readings(begin, |ms| if ms <= 70 { 0.9 } else { 0.0 });
        assert_eq!(last_use(&readings), Some(begin + 70 * MS));
        assert_eq!(last_use(&[]), None);
    }
}
