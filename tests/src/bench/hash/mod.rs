//! How fast each algorithm searches: each path alone, the worker's search threads with all that belongs to them, and a
//! peer's program beside them in the same run.
//!
//! All contenders of one algorithm take turns, so that whatever happens to the machine happens to all of them. The first
//! figure is by processor time, which other programs hardly touch; the second by the clock.

mod contender;
mod huge_pages;
mod peer;
mod race;
mod randomx;
mod whole_worker;
mod xmrig;

pub use peer::Peer;

use super::{Figure, idle::processor_time::processors};
use crate::coordinator::Failure;
use contender::{Contender, OnPath};
use race::{Extra, Rows};
use serde_json::{Value, json};
use std::{path::Path, time::Duration};
use whole_worker::WholeWorker;

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

/// What of it all.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Beginnings of the algorithms' names; none for all.
    pub algorithms: Vec<String>,
    /// Beginnings of the paths' names; none for all. The worker and the peer take their turns anyway.
    pub paths: Vec<String>,
    /// Numbers of threads; none for one and as many as there are processors.
    pub threads: Vec<usize>,
}

impl Selection {
    fn has_algorithm(&self, name: &str) -> bool {
        begins_with_one(name, &self.algorithms)
    }

    fn has_path(&self, name: &str) -> bool {
        begins_with_one(name, &self.paths)
    }

    fn threads(&self) -> Vec<usize> {
        let mut threads = if self.threads.is_empty() { vec![1, processors()] } else { self.threads.clone() };
        threads.dedup();
        threads
    }
}

fn begins_with_one(name: &str, beginnings: &[String]) -> bool {
    beginnings.is_empty() || beginnings.iter().any(|beginning| name.starts_with(beginning.as_str()))
}

/// Measures what is selected.
pub fn measure(plan: Plan, selection: &Selection, peer: Option<&Path>) -> Result<Vec<Figure>, Failure> {
    let mut figures = Vec::new();
    for algorithm in contender::ALGORITHMS.into_iter().filter(|name| selection.has_algorithm(name)) {
        for threads in selection.threads() {
            figures.extend(one(plan, selection, algorithm, threads, peer)?);
        }
    }
    if selection.has_algorithm(randomx::NAME) {
        figures.extend(randomx::measure(plan, selection, peer)?);
    }
    Ok(figures)
}

fn one(
    plan: Plan,
    selection: &Selection,
    algorithm: &'static str,
    threads: usize,
    peer: Option<&Path>,
) -> Result<Vec<Figure>, Failure> {
    let mut rows = Rows::default();
    for path in OnPath::all(algorithm).into_iter().filter(|path| selection.has_path(&path.name())) {
        rows.add(path);
    }
    rows.add(WholeWorker::new(algorithm)?);
    if let Some(peer) = peer.and_then(|program| Peer::new(program, algorithm)) {
        rows.add(peer);
    }
    rows.turns(plan, algorithm, threads)?;
    let mut figures = rows.figures(algorithm, threads, &[]);
    let goal = GOALS.iter().find(|(name, _)| *name == algorithm).map(|(_, goal)| *goal);
    if let Some(worker) = rows.position(WORKER) {
        figures.extend(rows.ratios(algorithm, threads, worker, &[], goal));
    }
    Ok(figures)
}

/// The circumstances of a figure.
fn case(algorithm: &str, threads: usize, extra: Extra<'_>) -> Vec<(&'static str, Value)> {
    let always = [("algorithm", json!(algorithm)), ("threads", json!(threads))];
    [&always, extra].concat()
}
