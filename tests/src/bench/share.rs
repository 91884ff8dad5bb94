//! How many shares a second are judged, and how many go the whole way: from a worker's publish through JetStream,
//! judgement and the ledger's record, none lost.

use super::{Figure, thread_cpu};
use crate::{
    coordinator::{Failure, InProcess, credited, every_hash_is_a_share, job, owned, put_pool},
    hand_worker::HandWorker,
    nats_server::NatsServer,
    wait,
};
use bus_schemas::{
    AlgorithmId, Blob, Hash32, PoolId, ShareBits, Target, examples,
    job::{Job, WorkUnit},
    share::{Finding, HeaderFinding},
};
use coordinator::Judge;
use nats_adapter::{Bus, BusOptions};
use serde_json::json;
use std::{
    collections::VecDeque,
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

/// Merkle branch of a full block: two to the twelfth transactions.
const BRANCH_LEN: usize = 12;
/// Coinbase of a pool with a witness commitment, in bytes on either side of the extranonce.
const COINBASE_HALVES: (usize, usize) = (64, 128);
/// Messages of one publisher under way.
const IN_FLIGHT: usize = 4_096;
/// Longest time for one round.
const ROUND_DEADLINE: Duration = Duration::from_secs(120);

fn realistic_job(algorithm: &str) -> Result<Arc<Job>, Failure> {
    let mut job = examples::job()?;
    let WorkUnit::Header(work) = &mut job.work else { return Err("a header was expected".into()) };
    work.coinbase_prefix = Blob(vec![7; COINBASE_HALVES.0]);
    work.coinbase_suffix = Blob(vec![8; COINBASE_HALVES.1]);
    work.merkle_branch = (0..BRANCH_LEN).map(|n| Hash32([n as u8; 32])).collect();
    job.algorithm.id = AlgorithmId::new(algorithm)?;
    Ok(Arc::new(job))
}

/// Judges for about `time` and returns how many a processor-second.
fn judge_for(judge: &mut Judge, job: &Arc<Job>, time: Duration) -> f64 {
    let (begun, mut judged) = (thread_cpu(), 0_u32);
    let target = Target::from_share_bits(ShareBits::new(20));
    loop {
        for _ in 0..16 {
            let finding = Finding::Header(HeaderFinding {
                roll: judged >> 16,
                version: 0x2000_0000,
                time: 1,
                nonce: judged,
            });
            let verdict = judge.judge(job, (judged % 64) as u16, &finding, target);
            black_box(verdict);
            judged += 1;
        }
        let spent = thread_cpu().saturating_sub(begun);
        if spent >= time {
            return f64::from(judged) / spent.as_secs_f64();
        }
    }
}

/// Judgements by one thread, the algorithms in turn.
pub fn judged(rounds: usize, time: Duration) -> Result<Vec<Figure>, Failure> {
    const ALGORITHMS: [&str; 2] = ["sha256d", "scrypt-1024-1-1"];
    let jobs = ALGORITHMS.map(realistic_job);
    let (mut judge, mut samples) = (Judge::default(), [Vec::new(), Vec::new()]);
    for _ in 0..rounds {
        for (job, samples) in jobs.iter().zip(&mut samples) {
            samples.push(judge_for(&mut judge, job.as_ref().map_err(ToString::to_string)?, time));
        }
    }
    let figure = |(algorithm, samples): (&str, &Vec<f64>)| {
        Figure::higher("judged_per_cpu_second", "1/s", &[("algorithm", json!(algorithm))], samples, None)
    };
    Ok(ALGORITHMS.into_iter().zip(&samples).filter_map(figure).collect())
}

/// A coordinator in this process on a server of its own, and a worker that has joined.
struct Farm {
    _server: NatsServer,
    bus: Bus,
    pool: PoolId,
    worker: HandWorker,
    coordinator: InProcess,
}

impl Farm {
    async fn start() -> Result<Self, Failure> {
        let server = NatsServer::start().await?;
        let coordinator = InProcess::start(server.url(), "bench", "")?;
        let bus = Bus::connect(BusOptions::new("bench", [server.url()])).await?;
        let pool = PoolId::new("bench")?;
        put_pool(&bus, &pool, &every_hash_is_a_share()).await?;
        owned(&bus, &pool, 0).await?;
        let worker = HandWorker::join(&bus, &pool, "bench", "bench").await?;
        Ok(Self { _server: server, bus, pool, worker, coordinator })
    }

    /// Sends `shares` new shares and returns how many a second were credited. A lost share is a failure.
    async fn round(&self, shares: u32, first_nonce: u32) -> Result<f64, Failure> {
        let before = credited(&self.bus, &self.pool).await?;
        let job = job(&self.bus, &self.pool).await?;
        let begun = Instant::now();
        let mut acks = VecDeque::with_capacity(IN_FLIGHT);
        for nonce in first_nonce..first_nonce + shares {
            acks.push_back(self.worker.begin(&self.worker.share(&job, nonce)?).await?);
            if acks.len() == IN_FLIGHT
                && let Some(ack) = acks.pop_front()
            {
                ack.stored().await?;
            }
        }
        for ack in acks {
            ack.stored().await?;
        }
        let wanted = before + u64::from(shares);
        let all = wait::until(ROUND_DEADLINE, "every share in the ledger", async || {
            credited(&self.bus, &self.pool).await.ok().filter(|credited| *credited >= wanted)
        });
        let credited = all.await?;
        if credited != wanted {
            return Err(format!("{credited} shares are credited, {wanted} were sent").into());
        }
        Ok(f64::from(shares) / begun.elapsed().as_secs_f64())
    }
}

/// Shares from publish to the ledger, on one server with one replica.
pub async fn end_to_end(rounds: usize, shares: u32) -> Result<Option<Figure>, Failure> {
    let farm = Farm::start().await?;
    let mut samples = Vec::new();
    for round in 0..rounds {
        samples.push(farm.round(shares, round as u32 * shares).await?);
    }
    farm.coordinator.stop().await?;
    let case = [("algorithm", json!("sha256d")), ("replicas", json!(1))];
    Ok(Figure::higher("end_to_end_per_second", "1/s", &case, &samples, Some(50_000.0)))
}
