//! How fast each algorithm searches: each path alone, the worker's search threads with all that belongs to them, and a
//! peer's program beside them in the same run.
//!
//! All contenders of one algorithm take turns, so that whatever happens to the machine happens to all of them. The first
//! figure is by processor time, which other programs hardly touch; the second by the clock.

mod contender;
mod peer;

pub use peer::Peer;

use super::{Figure, idle::processor_time::processors};
use crate::coordinator::Failure;
use contender::{Contender, OnPath, Searched, WholeWorker};
use serde_json::json;
use std::{path::Path, time::Duration};

/// How often and how long.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Turns of each contender.
    pub rounds: usize,
    /// Of each turn.
    pub length: Duration,
}

/// How much faster than the peer the worker is to be, by processor time.
const GOALS: [(&str, f64); 2] = [("sha256d", 1.35), ("scrypt-1024-1-1", 1.1)];
/// Name of the worker's own row among the paths.
const WORKER: &str = "worker";

/// What one contender did in all its turns.
struct Row {
    contender: Box<dyn Contender>,
    turns: Vec<Searched>,
}

/// Measures the algorithms whose name begins with one of `only`, or all, on one thread and on all processors.
pub fn measure(plan: Plan, only: &[String], peer: Option<&Path>) -> Result<Vec<Figure>, Failure> {
    let mut figures = Vec::new();
    let chosen = |algorithm: &str| only.is_empty() || only.iter().any(|o| algorithm.starts_with(o.as_str()));
    for algorithm in contender::ALGORITHMS.into_iter().filter(|algorithm| chosen(algorithm)) {
        let mut threads = vec![1, processors()];
        threads.dedup();
        for threads in threads {
            figures.extend(one(plan, algorithm, threads, peer)?);
        }
    }
    Ok(figures)
}

fn one(
    plan: Plan,
    algorithm: &'static str,
    threads: usize,
    peer: Option<&Path>,
) -> Result<Vec<Figure>, Failure> {
    let mut rows = Vec::new();
    let mut add = |contender: Box<dyn Contender>| rows.push(Row { contender, turns: Vec::new() });
    for path in OnPath::all(algorithm) {
        add(Box::new(path));
    }
    add(Box::new(WholeWorker { algorithm }));
    if let Some(peer) = peer.and_then(|program| Peer::new(program, algorithm)) {
        add(Box::new(peer));
    }
    for round in 0..plan.rounds {
        for row in &mut rows {
            let searched = row.contender.search(threads, plan.length)?;
            tracing::info!(
                "{algorithm} {} on {threads}: {:.0} hashes a CPU-second, round {round}",
                row.contender.name(),
                searched.per_cpu_second()
            );
            row.turns.push(searched);
        }
    }
    Ok(figures(algorithm, threads, &rows))
}

fn figures(algorithm: &'static str, threads: usize, rows: &[Row]) -> Vec<Figure> {
    let mut figures = Vec::new();
    for row in rows {
        let case = [
            ("algorithm", json!(algorithm)),
            ("path", json!(row.contender.name())),
            ("threads", json!(threads)),
        ];
        let samples = |of: fn(&Searched) -> f64| row.turns.iter().map(of).collect::<Vec<_>>();
        let (by_cpu, by_clock) = (samples(Searched::per_cpu_second), samples(Searched::per_second));
        figures.extend(Figure::higher("hashes_per_cpu_second", "1/s", &case, &by_cpu, None));
        figures.extend(Figure::higher("hashes_per_second", "1/s", &case, &by_clock, None));
    }
    let worker = rows.iter().find(|row| row.contender.name() == WORKER);
    for peer in rows.iter().filter(|row| row.contender.is_peer()) {
        let Some(worker) = worker else { continue };
        let turns = worker.turns.iter().zip(&peer.turns);
        let ratios: Vec<f64> =
            turns.map(|(own, peer)| own.per_cpu_second() / peer.per_cpu_second()).collect();
        let case = [
            ("algorithm", json!(algorithm)),
            ("peer", json!(peer.contender.name())),
            ("threads", json!(threads)),
        ];
        let goal = GOALS.iter().find(|(name, _)| *name == algorithm).map(|(_, goal)| *goal);
        figures.extend(Figure::higher("ratio_to_peer", "ratio", &case, &ratios, goal));
    }
    figures
}
