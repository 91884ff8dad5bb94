//! From measurements to figures, and what a reader of the table must know besides.

use super::{
    noise::{Noise, by_chance, summary},
    windows::{Pair, Ratios, spread},
};
use crate::bench::Figure;
use serde_json::{Value, json};
use std::{collections::BTreeMap, fmt::Display};

/// An application under a load: what a case shares with the noise that it is told from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scene {
    /// The main application.
    pub application: &'static str,
    /// Share of the machine that it uses, from 0 to 1.
    pub load: f64,
}

impl Display for Scene {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {:.2}", self.application, self.load)
    }
}

/// What is said to be mined where nothing is.
pub const NOTHING: &str = "nothing";
/// The mode of the noise itself, and of the drift within its pairs.
pub const NOISE: [&str; 2] = ["noise", "drift"];

impl Scene {
    /// The case of pairs without a miner; `mode` is one of [`NOISE`].
    pub fn without_miner(self, mode: &'static str) -> Case {
        Case { application: self.application, load: self.load, algorithm: NOTHING, mode }
    }
}

/// Circumstances of pairs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Case {
    /// The main application.
    pub application: &'static str,
    /// Share of the machine that it uses, from 0 to 1.
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
    /// Whose noise it is told from.
    pub fn scene(&self) -> Scene {
        Scene { application: self.application, load: self.load }
    }

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
    Some(Figure { name, case, value, unit, low, high, samples, goal, better, noise: None })
}

/// A ratio: its name, how to get it, and the goal of what has goals.
type Ratio = (&'static str, fn(&Ratios) -> f64, f64);

const RATIOS: [Ratio; 4] = [
    ("p50_ratio", |r| r.p50, 1.0),
    ("mean_ratio", |r| r.mean, 1.0),
    ("p99_ratio", |r| r.p99, 1.03),
    ("p999_ratio", |r| r.p999, 1.05),
];
/// How much of the idle time is to be used.
const HARVESTED_GOAL: f64 = 0.97;
/// A memory-hard algorithm has another goal, for its 99th percentile alone and at a high load.
const MEMORY_HARD_P99: f64 = 1.3;
/// From this load on.
const HIGH_LOAD: f64 = 0.6;

/// A measured case.
#[derive(Debug, Clone)]
pub struct Measured {
    /// Its circumstances.
    pub case: Case,
    /// Whether its figures have goals.
    pub goals: bool,
    /// Its pairs that count.
    pub pairs: Vec<Pair>,
}

/// The figures of everything that was measured in pairs: for each scene its noise, the drift within the pairs of that, and
/// its cases, each ratio with the noise beside it. Noise is the pairs of each scene that count.
pub fn of_all(measured: &[Measured], noise: &[(Scene, Vec<Pair>)], notes: &mut Notes) -> Vec<Figure> {
    let mut figures = Vec::new();
    for (scene, quiet) in noise {
        let cases = measured.iter().filter(|measured| measured.case.scene() == *scene);
        figures.extend(of_noise(*scene, quiet));
        for Measured { case, goals, pairs } in cases {
            figures.extend(of_pairs(case, *goals, pairs, quiet, notes));
        }
    }
    let beside = figures.iter().filter_map(|figure| figure.noise.as_ref());
    if let Some(summary) = summary(beside) {
        notes.sum_up(summary);
    }
    figures
}

/// The figures of pairs without a miner. None without any pair.
fn of_noise(scene: Scene, pairs: &[Pair]) -> Vec<Figure> {
    let [noise, drift] = NOISE.map(|mode| scene.without_miner(mode).json());
    let of = |case: &[_], ratios: fn(&Pair) -> Ratios| -> Vec<_> {
        let ratios: Vec<Ratios> = pairs.iter().map(ratios).collect();
        let figure = |(name, of, _): &Ratio| {
            let samples: Vec<f64> = ratios.iter().map(of).collect();
            figure(name, "ratio", case, &samples, 0.5, (None, "neither"))
        };
        RATIOS.iter().filter_map(figure).collect()
    };
    [of(&noise, Pair::ratios), of(&drift, Pair::drift)].concat()
}

/// The figures of one case, with the noise of its scene.
fn of_pairs(case: &Case, goals: bool, pairs: &[Pair], quiet: &[Pair], notes: &mut Notes) -> Vec<Figure> {
    let [ratios, chance]: [Vec<Ratios>; 2] =
        [pairs, quiet].map(|pairs| pairs.iter().map(Pair::ratios).collect());
    let by_chance = by_chance(pairs.len(), quiet.len());
    let mut figures = Vec::new();
    let mut add = |name, figure: Option<Figure>| match figure {
        Some(figure) => figures.push(figure),
        None => notes.say(format!("absent: {name} of {case}: no pair counts")),
    };
    for (name, of, goal) in RATIOS {
        let [samples, chance] = [&ratios, &chance].map(|all| all.iter().map(of).collect::<Vec<f64>>());
        let goal = match (case.algorithm == "sha256d", name) {
            (true, _) => Some(goal),
            (false, "p99_ratio") if case.load >= HIGH_LOAD => Some(MEMORY_HARD_P99),
            (false, _) => None,
        };
        let goal = goal.filter(|_| goals);
        let noise = spread(&samples, 0.5).zip(spread(&chance, 0.5));
        let noise = noise.map(|(measured, noise)| Noise::beside(&measured, &noise, by_chance));
        let figure = figure(name, "ratio", &case.json(), &samples, 0.5, (goal, "lower"));
        add(name, figure.map(|figure| Figure { noise, ..figure }));
    }
    let samples: Vec<f64> = pairs.iter().map(Pair::harvested).collect();
    let goal = (goals && case.algorithm == "sha256d").then_some(HARVESTED_GOAL);
    let name = "harvested";
    add(name, figure(name, "ratio", &case.json(), &samples, 0.5, (goal, "higher")));
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

    /// Tells what it all comes to.
    pub fn sum_up(&mut self, line: String) {
        tracing::info!("{line}");
        self.0.push(line);
    }

    /// Tells how many pairs did not count.
    pub fn dropped(&mut self, case: &impl Display, pairs: usize) {
        if pairs > 0 {
            self.say(format!("{case}: {pairs} pairs do not count: the hypervisor or other programs took too much of a window"));
        }
    }

    /// Tells how a pair went; not repeated below the table.
    pub fn pair(&self, case: &Case, number: usize, pair: &Pair) {
        let (baseline, other, ratios) = (&pair.baseline, &pair.other, pair.ratios());
        let percent = |share: f64| format!("{:.1} %", share * 100.0);
        let harvested = match case.algorithm {
            NOTHING => String::new(),
            _ => format!("; harvested {}", percent(pair.harvested())),
        };
        tracing::info!(
            "{case}, pair {number}: {} requests, load {} and {}, stolen {} and {}, others {} and {}, \
             idle {} and {}; p50 {:.0} µs ×{:.2}, p99 {:.0} µs ×{:.2}, p99.9 {:.0} µs ×{:.2}{}",
            baseline.latencies.requests,
            percent(baseline.load()),
            percent(other.load()),
            percent(baseline.stolen()),
            percent(other.stolen()),
            percent(baseline.foreign()),
            percent(other.foreign()),
            percent(baseline.idle_share()),
            percent(other.idle_share()),
            baseline.latencies.p50,
            ratios.p50,
            baseline.latencies.p99,
            ratios.p99,
            baseline.latencies.p999,
            ratios.p999,
            harvested,
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
    use crate::bench::idle::{
        noise::Verdict,
        windows::{Latencies, Window},
    };
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
        Pair { baseline: window(2.0), other: window(p99), other_first: false }
    }

    fn of_case(case: &Case, goals: bool, pairs: &[Pair]) -> Vec<Figure> {
        of_pairs(case, goals, pairs, &[], &mut Notes::default())
    }

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn a_case_gives_each_ratio_with_its_goal_and_its_quartiles() {
        let figures = of_case(&CASE, true, &[2.0, 2.2, 2.4].map(pair));
        let p99 = figures.iter().find(|figure| figure.name == "p99_ratio").unwrap();
        assert!(close(p99.value, 1.1) && close(p99.low, 1.05) && close(p99.high, 1.15), "{p99:?}");
        assert_eq!((p99.samples, p99.goal, p99.better), (3, Some(1.03), "lower"));
        assert_eq!(p99.case["load"], json!(0.33));
        let harvested = figures.iter().find(|figure| figure.name == "harvested").unwrap();
        assert!(close(harvested.value, 0.75));
        assert_eq!((figures.len(), harvested.better), (5, "higher"));
        assert!(figures.iter().all(|figure| figure.noise.is_none()));
    }

    #[test]
    fn each_ratio_stands_beside_the_noise_of_its_scene_which_has_rows_of_its_own() {
        let measured = |load| {
            let case = Case { load, ..CASE };
            Measured { case, goals: true, pairs: [2.0, 2.2, 2.4].map(pair).to_vec() }
        };
        let [scene, loaded, unmeasured] = [0.33, 0.5, 0.64].map(|load| Case { load, ..CASE }.scene());
        let reversed = Pair { other_first: true, ..pair(2.08) };
        let noise =
            [(scene, vec![pair(1.96), reversed]), (loaded, vec![pair(2.2), pair(2.3)]), (unmeasured, vec![])];
        let mut notes = Notes::default();
        let figures = of_all(&[measured(0.33), measured(0.5)], &noise, &mut notes);
        let p99 = |mode: &str, load| {
            let wanted = |figure: &&Figure| {
                figure.name == "p99_ratio" && figure.case["mode"] == mode && figure.case["load"] == load
            };
            figures.iter().find(wanted).unwrap()
        };
        let row = p99("noise", 0.33);
        assert!(close(row.value, 1.01) && close(row.low, 0.995) && close(row.high, 1.025), "{row:?}");
        assert_eq!((&row.case["algorithm"], row.samples, row.better), (&json!(NOTHING), 2, "neither"));
        assert!(p99("drift", 0.33).value < 1.0);
        let [calm, loud] = [0.33, 0.5].map(|load| p99("worker", load).noise.unwrap());
        assert!(close(calm.low, row.low) && close(calm.high, row.high) && calm.samples == 2, "{calm:?}");
        assert_eq!((calm.verdict, loud.verdict), (Verdict::Above, Verdict::Below));
        let harvested = figures.iter().filter(|figure| figure.name == "harvested");
        assert!(harvested.clone().count() == 2 && harvested.clone().all(|figure| figure.noise.is_none()));
        assert_eq!(figures.len(), 2 * (4 + 4 + 5));
        assert!(notes.lines().last().unwrap().starts_with("noise: 2 of 8 ratios"), "{:?}", notes.lines());
    }

    #[test]
    fn what_is_compared_with_has_no_goals_and_a_memory_hard_algorithm_only_under_high_load() {
        let goals = |case: &Case, goals| -> Vec<f64> {
            of_case(case, goals, &[pair(2.0)]).iter().filter_map(|f| f.goal).collect()
        };
        assert!(goals(&CASE, false).is_empty());
        let memory_hard = Case { algorithm: "scrypt-1024-1-1", ..CASE };
        assert!(goals(&memory_hard, true).is_empty());
        assert_eq!(goals(&Case { load: 0.64, ..memory_hard }, true), [1.3]);
    }

    #[test]
    fn a_case_without_pairs_has_no_figures_and_the_table_says_why() {
        let mut notes = Notes::default();
        assert!(of_pairs(&CASE, true, &[], &[pair(2.0)], &mut notes).is_empty());
        assert_eq!(notes.lines().len(), 5);
    }
}
