//! From measurements to figures, and what a reader of the table must know besides.

use super::windows::{Outcome, Pair, spread};
use crate::bench::Figure;
use serde_json::{Value, json};
use std::{collections::BTreeMap, fmt::Display};

/// Circumstances of pairs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Case {
    /// The main application.
    pub application: &'static str,
    /// Share of the machine that it uses.
    pub load: f64,
    /// What is mined.
    pub algorithm: &'static str,
    /// How.
    pub mode: &'static str,
}

impl Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { application, load, algorithm, mode } = self;
        write!(f, "{application} at {load:.2}, {algorithm}, {mode}")
    }
}

impl Case {
    fn json(&self) -> [(&'static str, Value); 4] {
        [
            ("application", json!(self.application)),
            ("load", json!(self.load)),
            ("algorithm", json!(self.algorithm)),
            ("mode", json!(self.mode)),
        ]
    }
}

/// A figure of some quantile of samples. `None` without samples.
pub fn figure(
    name: &'static str,
    unit: &'static str,
    case: &[(&'static str, Value)],
    samples: &[f64],
    quantile: f64,
    (goal, better): (Option<f64>, &'static str),
) -> Option<Figure> {
    let spread = spread(samples, quantile)?;
    let case: BTreeMap<_, _> = case.iter().cloned().collect();
    let (value, low, high, samples) = (spread.value, spread.low, spread.high, spread.samples);
    Some(Figure { name, case, value, unit, low, high, samples, goal, better })
}

/// A measured ratio: its name, how to get it, the goal of what has goals, and what is better.
type Ratio = (&'static str, fn(&Outcome) -> f64, f64, &'static str);

const RATIOS: [Ratio; 5] = [
    ("p50_ratio", |o| o.p50, 1.0, "lower"),
    ("mean_ratio", |o| o.mean, 1.0, "lower"),
    ("p99_ratio", |o| o.p99, 1.03, "lower"),
    ("p999_ratio", |o| o.p999, 1.05, "lower"),
    ("harvested", |o| o.harvested, 0.97, "higher"),
];
/// A memory-hard algorithm has another goal, for its 99th percentile alone and at a high load.
const MEMORY_HARD_P99: f64 = 1.3;
/// From this load on.
const HIGH_LOAD: f64 = 0.6;

/// The figures of one case.
pub fn of_pairs(case: &Case, goals: bool, pairs: &[Pair], notes: &mut Notes) -> Vec<Figure> {
    let outcomes: Vec<Outcome> = pairs.iter().map(Pair::outcome).collect();
    let mut figures = Vec::new();
    for (name, of, goal, better) in RATIOS {
        let samples: Vec<f64> = outcomes.iter().map(of).collect();
        let goal = match (case.algorithm == "sha256d", name) {
            (true, _) => Some(goal),
            (false, "p99_ratio") if case.load >= HIGH_LOAD => Some(MEMORY_HARD_P99),
            (false, _) => None,
        };
        let goal = goal.filter(|_| goals);
        match figure(name, "ratio", &case.json(), &samples, 0.5, (goal, better)) {
            Some(figure) => figures.push(figure),
            None => notes.say(format!("absent: {name} of {case}: no pair counts")),
        }
    }
    figures
}

/// What a reader must know besides: told at once, and once more below the table.
#[derive(Debug, Default)]
pub struct Notes(Vec<String>);

impl Notes {
    /// Tells something.
    pub fn say(&mut self, line: String) {
        tracing::warn!("{line}");
        self.0.push(line);
    }

    /// Tells why figures of `what` are absent.
    pub fn missing(&mut self, what: &impl Display, why: &dyn std::error::Error) {
        self.say(format!("absent: {what}: {why}"));
    }

    /// Tells how many pairs did not count.
    pub fn dropped(&mut self, case: &Case, pairs: usize) {
        if pairs > 0 {
            self.say(format!("{case}: {pairs} pairs do not count: the hypervisor or other programs took too much of a window"));
        }
    }

    /// Tells how a pair went; not repeated below the table.
    pub fn pair(&self, case: &Case, number: usize, pair: &Pair) {
        let (baseline, mining, outcome) = (&pair.baseline, &pair.mining, pair.outcome());
        let percent = |share: f64| format!("{:.1} %", share * 100.0);
        tracing::info!(
            "{case}, pair {number}: {} requests, load {} without and {} with, stolen {} and {}, others {} and {}, \
             idle {} and {}; p50 {:.0} µs ×{:.2}, p99 {:.0} µs ×{:.2}, p99.9 {:.0} µs ×{:.2}; harvested {}",
            baseline.latencies.requests,
            percent(baseline.load()),
            percent(mining.load()),
            percent(baseline.stolen()),
            percent(mining.stolen()),
            percent(baseline.foreign()),
            percent(mining.foreign()),
            percent(baseline.idle_share()),
            percent(mining.idle_share()),
            baseline.latencies.p50,
            outcome.p50,
            baseline.latencies.p99,
            outcome.p99,
            baseline.latencies.p999,
            outcome.p999,
            percent(outcome.harvested),
        );
    }

    /// All lines.
    pub fn lines(&self) -> &[String] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::idle::windows::{Latencies, Window};
    use std::time::Duration;

    const CASE: Case = Case { application: "http", load: 0.33, algorithm: "sha256d", mode: "worker" };

    fn pair(p99: f64) -> Pair {
        let window = |p99| Window {
            latencies: Latencies { p50: 1.0, p99, p999: 5.0, mean: 1.0, requests: 1 },
            length: Duration::from_secs(1),
            processors: 1,
            application: Duration::ZERO,
            miner: Duration::from_millis(600),
            idle: Duration::from_millis(800),
            steal: Duration::ZERO,
        };
        Pair { baseline: window(2.0), mining: window(p99) }
    }

    #[test]
    fn a_case_gives_each_ratio_with_its_goal_and_its_quartiles() {
        let figures = of_pairs(&CASE, true, &[2.0, 2.2, 2.4].map(pair), &mut Notes::default());
        let p99 = figures.iter().find(|figure| figure.name == "p99_ratio").unwrap();
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(close(p99.value, 1.1) && close(p99.low, 1.05) && close(p99.high, 1.15), "{p99:?}");
        assert_eq!((p99.samples, p99.goal, p99.better), (3, Some(1.03), "lower"));
        assert_eq!(p99.case["load"], json!(0.33));
        let harvested = figures.iter().find(|figure| figure.name == "harvested").unwrap();
        assert!(close(harvested.value, 0.75));
        assert_eq!((figures.len(), harvested.better), (5, "higher"));
    }

    #[test]
    fn what_is_compared_with_has_no_goals_and_a_memory_hard_algorithm_only_under_high_load() {
        let goals = |case: &Case, goals| -> Vec<f64> {
            of_pairs(case, goals, &[pair(2.0)], &mut Notes::default()).iter().filter_map(|f| f.goal).collect()
        };
        assert!(goals(&CASE, false).is_empty());
        let memory_hard = Case { algorithm: "scrypt-1024-1-1", ..CASE };
        assert!(goals(&memory_hard, true).is_empty());
        assert_eq!(goals(&Case { load: 0.64, ..memory_hard }, true), [1.3]);
    }

    #[test]
    fn a_case_without_pairs_has_no_figures_and_the_table_says_why() {
        let mut notes = Notes::default();
        assert!(of_pairs(&CASE, true, &[], &mut notes).is_empty());
        assert_eq!(notes.lines().len(), 5);
    }
}
