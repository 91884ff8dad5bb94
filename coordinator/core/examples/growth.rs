//! What each handling of an owned pool costs with 100 to 65,000 members, and how that grows:
//! `cargo run --release -p dcmf-coordinator-core --example growth [members …]`.
//!
//! An exponent of 0 says that a handling costs the same however many members there are, 1 that it costs a walk over all.

use bus_schemas::{
    AlgorithmId, Blob, CoordinatorId, Hash32, HashRate, PoolId, SessionId, ShareBits, Target, TimestampMs,
    WorkerId,
    config::ConfigKey,
    heartbeat::Heartbeat,
    job::{AlgorithmRef, Job, WorkUnit},
    member::{Capability, DifficultyStep, JoinRequest, Leave, Member, Role, Standing},
    policy::Priority,
    set_point::{LocalState, Reason, SetPoint},
    share::Share,
    work::HeaderWork,
};
use coordinator_core::{
    ArrivedShare, Coordinator, Effect, Input, JudgedShare, LeaseInput, MonoMs, Now, PoolEffect, PoolInput,
    Recovered, Template, Verdict, ownership::LEASE_TTL_MS,
};
use std::{
    collections::BTreeMap,
    error::Error,
    time::{Duration, Instant},
};

const SIZES: [u32; 4] = [100, 1_000, 10_000, 65_000];
/// Handlings of each kind that are measured.
const ROUNDS: u32 = 200;
/// Shares of one batch.
const BATCH: u32 = 64;
/// Simulated time over which ticks are measured, milliseconds.
const TICKING_MS: u64 = 1_000;

type Any = Box<dyn Error>;

fn pool() -> Result<PoolId, Any> {
    Ok(PoolId::new("main")?)
}

fn worker(n: u32) -> Result<WorkerId, Any> {
    Ok(WorkerId::new(format!("worker-{n:06}"))?)
}

fn session() -> Result<SessionId, Any> {
    Ok(SessionId::new("s")?)
}

fn template() -> Result<Box<Template>, Any> {
    let bits = 0x1d00_ffff;
    let work = HeaderWork {
        version: 0x2000_0000,
        version_mask: 0x00ff_0000,
        prev_hash: Hash32([1; 32]),
        coinbase_prefix: Blob(vec![1; 100]),
        coinbase_suffix: Blob(vec![2; 200]),
        merkle_branch: vec![],
        bits,
        time: 1_000,
        min_time: 990,
        max_time: 1_010,
    };
    Ok(Box::new(Template {
        algorithm: AlgorithmRef { id: AlgorithmId::sha256d(), version: 1, digest: Blob::default() },
        work: WorkUnit::Header(work),
        network_target: Target::from_compact(bits)?,
        height: 7,
        assembly: Blob(vec![9]),
    }))
}

fn member(n: u32, mining: u32) -> Result<Member, Any> {
    Ok(Member {
        pool: pool()?,
        worker: worker(n)?,
        session: session()?,
        role: if n < mining { Role::Active } else { Role::Backup },
        standing: Standing::Present,
        slot: u16::try_from(n)?,
        generation: 1,
        slot_generation: 1,
        epoch: 1,
        difficulty: vec![DifficultyStep { from_job: 0, bits: ShareBits::new(20) }],
        reason: "a place was free".to_owned(),
        decided_at_ms: TimestampMs(1),
    })
}

/// A core that owns a pool, and what it asked for last.
struct Bench {
    core: Coordinator,
    at: u64,
    sequence: u64,
    job: Option<Job>,
    judge: Vec<u64>,
}

impl Bench {
    /// A pool with `count` members, of whom half mine, all heard of.
    fn new(count: u32) -> Result<Self, Any> {
        let core = Coordinator::new(CoordinatorId::new("c")?, 1, "life");
        let mut bench = Self { core, at: 1_000, sequence: 0, job: None, judge: Vec::new() };
        bench.configure(&format!(r#"{{"active_members":{},"slot_bits":16}}"#, count / 2), 1)?;
        bench.give(Input::ConfigComplete);
        bench.give(Input::InForceComplete);
        bench.give(Input::ThrottlesBegin { stream: "1".to_owned(), last: 0 });
        bench.give(Input::ThrottlesKeptComplete);
        bench.give(Input::ThrottlesComplete);
        let held_until = MonoMs(bench.at + 10 * LEASE_TTL_MS);
        bench.give(Input::Lease(pool()?, LeaseInput::Acquired { epoch: 1, held_until }));
        let members =
            (0..count).map(|n| Ok((member(n, count / 2)?, TimestampMs(1)))).collect::<Result<_, Any>>()?;
        bench.give(Input::Recovered(pool()?, 1, Box::new(Recovered { members, ..Recovered::default() })));
        bench.pool_input(PoolInput::Template(template()?))?;
        let job = bench.job.as_ref().ok_or("no job")?.id.clone();
        bench.pool_input(PoolInput::JobPublished(job, TimestampMs(bench.at)))?;
        for n in 0..count {
            bench.heartbeat(n, n < count / 2)?;
        }
        Ok(bench)
    }

    fn configure(&mut self, json: &str, revision: u64) -> Result<(), Any> {
        let (key, value) = (ConfigKey::Pool(pool()?).to_string(), Some(json.as_bytes().to_vec()));
        self.give(Input::Config { key, revision, value });
        Ok(())
    }

    fn now(&self) -> Now {
        Now { mono: MonoMs(self.at), wall: TimestampMs(1_700_000_000_000 + self.at) }
    }

    fn give(&mut self, input: Input) -> Duration {
        let (now, began) = (self.now(), clock());
        self.core.handle(input, now);
        while let Some(effect) = self.core.next_effect() {
            match effect {
                Effect::Pool(_, _, PoolEffect::PublishJob(job, _)) => self.job = Some((*job).clone()),
                Effect::Pool(_, _, PoolEffect::Judge(tasks)) => {
                    self.judge.extend(tasks.iter().map(|t| t.sequence));
                }
                _ => {}
            }
        }
        // A shell looks when to come back after each input.
        let _ = self.core.next_deadline();
        began.elapsed()
    }

    fn pool_input(&mut self, input: PoolInput) -> Result<Duration, Any> {
        Ok(self.give(Input::Pool(pool()?, 1, input)))
    }

    fn heartbeat(&mut self, n: u32, searches: bool) -> Result<Duration, Any> {
        let set_point = if searches {
            SetPoint { threads: 1, cap_percent: 100, priority: Priority::Idle, reason: Reason::HostThreads }
        } else {
            SetPoint::stopped(Reason::Backup)
        };
        let heartbeat = Heartbeat {
            session: session()?,
            generation: 0,
            sequence: 0,
            job: None,
            hash_rate: HashRate(if searches { 1_000 } else { 0 }),
            hashes_total: 0,
            outbox_len: 0,
            set_point,
            local: Some(LocalState::open(1)),
            load: None,
            sent_at_ms: TimestampMs(0),
        };
        self.pool_input(PoolInput::Heartbeat(worker(n)?, Box::new(heartbeat)))
    }

    fn join(&mut self, n: u32) -> Result<Duration, Any> {
        let request = Box::new(JoinRequest {
            session: session()?,
            capability: Capability {
                threads: 1,
                memory_mib: 1,
                processor: String::new(),
                algorithms: vec![AlgorithmId::sha256d()],
                agent_version: String::new(),
            },
            expected_rate: None,
        });
        self.pool_input(PoolInput::Join { token: u64::from(n), worker: worker(n)?, request })
    }

    fn leave(&mut self, n: u32) -> Result<Duration, Any> {
        let leave = Leave { session: session()?, reason: "the host is shut down".to_owned() };
        self.pool_input(PoolInput::Leave(worker(n)?, leave))
    }

    /// A batch of shares from its arrival to its judgement.
    fn shares(&mut self, from: u32, round: u32) -> Result<Duration, Any> {
        let job = self.job.clone().ok_or("no job")?;
        let mut batch = Vec::new();
        for n in from..from + BATCH {
            self.sequence += 1;
            let share = Share {
                job: job.id.clone(),
                session: session()?,
                slot: u16::try_from(n)?,
                generation: 1,
                bits: ShareBits::new(20),
                finding: job.work.finding(0, job.work.version(), round),
                found_at_ms: TimestampMs(0),
            };
            batch.push(ArrivedShare {
                sequence: self.sequence,
                stored_at: TimestampMs(self.at),
                worker: worker(n)?,
                share: Some(share),
            });
        }
        let mut took = self.pool_input(PoolInput::Shares(batch))?;
        let (block_hash, block) = (Hash32::default(), false);
        let verdict = Verdict::Meets { block_hash, block };
        let judged = self.judge.drain(..).map(|sequence| JudgedShare { sequence, verdict }).collect();
        took += self.pool_input(PoolInput::Judged(judged))?;
        Ok(took)
    }

    /// All ticks of a while: how many, how long in all, and the longest.
    fn ticks(&mut self) -> (u32, Duration, Duration) {
        let end = self.at + TICKING_MS;
        let (mut count, mut total, mut longest) = (0, Duration::ZERO, Duration::ZERO);
        while let Some(deadline) = self.core.next_deadline().filter(|d| d.0 <= end) {
            self.at = self.at.max(deadline.0).max(self.at + u64::from(deadline.0 <= self.at));
            let took = self.give(Input::Tick);
            (count, total, longest) = (count + 1, total + took, longest.max(took));
        }
        self.at = end;
        (count, total, longest)
    }
}

#[expect(clippy::disallowed_methods, reason = "it measures the core from outside")]
fn clock() -> Instant {
    Instant::now()
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// Microseconds of each handling with so many members.
fn measure(count: u32) -> Result<Vec<(&'static str, f64)>, Any> {
    let mut bench = Bench::new(count)?;
    let mining = count / 2;
    let mut figures = Vec::new();
    let mut of = |name, total: Duration, times: u32| figures.push((name, micros(total) / f64::from(times)));
    let (ticks, total, longest) = bench.ticks();
    of("tick, mean", total, ticks.max(1));
    of("tick, longest", longest, 1);
    of("all ticks of a second, a member", total, count);
    let mut total = Duration::ZERO;
    for round in 0..ROUNDS {
        total += bench.heartbeat(round % mining, true)?;
    }
    of("heartbeat", total, ROUNDS);
    let (mut joins, mut leaves) = (Duration::ZERO, Duration::ZERO);
    let rounds = ROUNDS.min(mining);
    for n in 0..rounds {
        joins += bench.join(count + n)?;
        // Someone who mines goes, so that another takes the place.
        leaves += bench.leave(n)?;
    }
    of("join", joins, rounds);
    of("leave", leaves, rounds);
    let mut total = Duration::ZERO;
    let batches = ROUNDS / BATCH + 1;
    for round in 0..batches {
        total += bench.shares(count - BATCH, round)?;
    }
    of("share", total, batches * BATCH);
    bench.configure(&format!(r#"{{"active_members":{mining},"slot_bits":16,"paused":true}}"#), 2)?;
    let mut total = Duration::ZERO;
    for n in 0..rounds {
        total += bench.heartbeat(n, false)?;
    }
    of("heartbeat of one that stopped", total, rounds);
    Ok(figures)
}

/// The exponent of the growth: slope of the least squares of the logarithms.
fn exponent(points: &[(f64, f64)]) -> f64 {
    let logs: Vec<_> = points.iter().map(|(n, us)| (n.ln(), us.max(1e-3).ln())).collect();
    let count = f64::from(u32::try_from(logs.len()).unwrap_or(1));
    let mean = |of: fn(&(f64, f64)) -> f64| logs.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|p| p.0), mean(|p| p.1));
    let covariance: f64 = logs.iter().map(|p| (p.0 - x) * (p.1 - y)).sum();
    covariance / logs.iter().map(|p| (p.0 - x).powi(2)).sum::<f64>()
}

fn main() -> Result<(), Any> {
    let asked = std::env::args().skip(1).map(|size| size.parse()).collect::<Result<Vec<u32>, _>>()?;
    let sizes = if asked.is_empty() { SIZES.to_vec() } else { asked };
    let mut table: BTreeMap<&'static str, Vec<(f64, f64)>> = BTreeMap::new();
    for size in sizes.iter().copied() {
        for (name, us) in measure(size)? {
            table.entry(name).or_default().push((f64::from(size), us));
        }
    }
    let head: String = sizes.iter().map(|size| format!("{size:>12}")).collect();
    println!("{:<34}{head}{:>10}", "microseconds, with members:", "exponent");
    for (name, points) in table {
        let row: String = points.iter().map(|(_, us)| format!("{us:>12.2}")).collect();
        println!("{name:<34}{row}{:>10.2}", exponent(&points));
    }
    Ok(())
}
