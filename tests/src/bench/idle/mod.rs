//! What the main application notices of mining: its latencies with a miner over those without, in interleaved pairs of
//! windows, how much idle time is harvested, what a miner gets of a saturated machine, and how soon it gives way.
//!
//! [`generator`] and [`application`] are the load, [`stage`] runs them, [`modes`] lists what is compared, [`windows`] holds
//! the arithmetic, [`interleaving`] the order, [`noise`] tells results from chance, [`pairs`], [`saturation`] and
//! [`reaction`] measure, [`figures`] and [`table`] tell.

pub mod application;
pub mod arrivals;
pub mod control_group;
pub mod figures;
pub mod generator;
pub mod interleaving;
pub mod mining;
pub mod modes;
pub mod naive;
pub mod noise;
pub mod pairs;
pub mod placement;
pub mod processor_time;
pub mod reaction;
pub mod saturation;
pub mod stage;
pub mod table;
pub mod windows;

use crate::{bench::Figure, coordinator::Failure};
use figures::Notes;
use mining::Mining;
use modes::MODES;
use pairs::{Plan, PlannedCase};
use stage::{Application, Lengths};
use std::time::Duration;

/// What is mined: one algorithm that only computes, one that needs memory.
pub const ALGORITHMS: [&str; 2] = ["sha256d", "scrypt-1024-1-1"];
/// Loads that each application is measured at.
pub const LOADS: [f64; 3] = [0.15, 0.33, 0.50];
/// A load more for the worker with the algorithm that needs memory.
pub const HIGH_LOAD: f64 = 0.64;

/// A part of the benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Latencies in pairs.
    Pairs,
    /// The share of a saturated machine.
    Saturated,
    /// Giving way and stopping.
    Reaction,
}

/// What is chosen; what is left empty is not restricted.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Choice {
    /// A rough answer in three minutes
    #[arg(long)]
    pub quick: bool,
    /// Only these parts
    #[arg(long)]
    pub part: Vec<Part>,
    /// Only these applications
    #[arg(long)]
    pub application: Vec<Application>,
    /// These loads, in percent of the machine
    #[arg(long)]
    pub load: Vec<u8>,
    /// Only these algorithms
    #[arg(long)]
    pub algorithm: Vec<String>,
    /// These modes, also those that are not measured by default
    #[arg(long)]
    pub mode: Vec<String>,
    /// Pairs of each case
    #[arg(long)]
    pub pairs: Option<usize>,
    /// Pairs without a miner in either window, which show the noise, of each application under each load; by default twice
    /// as many as pairs of a case, in a rough answer as many
    #[arg(long)]
    pub noise: Option<usize>,
    /// Length of a window, milliseconds
    #[arg(long)]
    pub window_ms: Option<u64>,
}

impl Choice {
    fn lengths(&self) -> Lengths {
        let (warm_up, window) = if self.quick { (500, 1_500) } else { (1_000, 6_000) };
        let window = self.window_ms.unwrap_or(window);
        Lengths { warm_up: Duration::from_millis(warm_up), window: Duration::from_millis(window) }
    }

    fn wants(&self, part: Part) -> bool {
        self.part.is_empty() || self.part.contains(&part)
    }

    /// The cases that are measured, those of one application next to each other.
    pub fn cases(&self) -> Result<Vec<PlannedCase>, Failure> {
        for name in &self.mode {
            if !MODES.iter().any(|mode| mode.name == name) {
                let known: Vec<_> = MODES.iter().map(|mode| mode.name).collect();
                return Err(format!("mode {name} is unknown; there are {}", known.join(", ")).into());
            }
        }
        if let Some(name) = self.algorithm.iter().find(|name| !ALGORITHMS.contains(&name.as_str())) {
            return Err(format!("algorithm {name} is unknown; there are {}", ALGORITHMS.join(", ")).into());
        }
        let mut cases = Vec::new();
        for application in [Application::Http, Application::Nginx] {
            for algorithm in ALGORITHMS {
                for load in self.loads() {
                    let planned = MODES.iter().map(|mode| PlannedCase { application, load, algorithm, mode });
                    cases.extend(planned.filter(|case| self.takes(case)));
                }
            }
        }
        Ok(cases)
    }

    fn loads(&self) -> Vec<f64> {
        if self.load.is_empty() {
            return LOADS.into_iter().chain([HIGH_LOAD]).collect();
        }
        self.load.iter().map(|percent| f64::from(*percent) / 100.0).collect()
    }

    fn takes(&self, case: &PlannedCase) -> bool {
        let PlannedCase { application, load, algorithm, mode } = *case;
        let worker = mode.name == MODES[0].name;
        let http = application == Application::Http;
        let chosen = (self.application.is_empty() || self.application.contains(&application))
            && (self.algorithm.is_empty() || self.algorithm.iter().any(|name| name == algorithm))
            && if self.mode.is_empty() {
                mode.by_default
            } else {
                self.mode.iter().any(|name| name == mode.name)
            };
        let high = http && worker && algorithm == ALGORITHMS[1];
        let usual = !self.load.is_empty() || load < HIGH_LOAD || high;
        let quick = !self.load.is_empty() || load == LOADS[1];
        let rough = quick
            && ((worker && http) || algorithm == ALGORITHMS[0] && (worker || http) || !self.mode.is_empty());
        chosen && usual && (!self.quick || rough)
    }
}

/// Measures what is chosen: the figures, and what a reader must know besides.
pub async fn measure(choice: &Choice) -> Result<(Vec<Figure>, Vec<String>), Failure> {
    let cases = if choice.wants(Part::Pairs) { choice.cases()? } else { Vec::new() };
    let lengths = choice.lengths();
    let pairs = choice.pairs.unwrap_or(if choice.quick { 2 } else { 12 });
    let noise = choice.noise.unwrap_or(if choice.quick { pairs } else { pairs * 2 });
    let mut notes = Notes::default();
    let mut mining = Mining::start().await?;
    let mut figures = pairs::measure(&Plan { cases, pairs, noise, lengths }, &mut mining, &mut notes).await;
    if choice.wants(Part::Saturated) {
        let (samples, seconds) = if choice.quick { (1, 1) } else { (5, 3) };
        let plan = saturation::Plan { samples, length: Duration::from_secs(seconds) };
        figures.extend(saturation::measure(plan, &mut mining, &mut notes).await);
    }
    if choice.wants(Part::Reaction) {
        let steps = if choice.quick { 3 } else { 20 };
        figures.extend(reaction::measure(steps, lengths, &mut mining, &mut notes).await);
    }
    Ok((figures, notes.lines().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_choice_every_application_load_algorithm_and_mode_is_measured() {
        let cases = Choice::default().cases().unwrap();
        assert_eq!(cases.len(), 2 * 2 * 3 * 3 + 1);
        let high: Vec<_> = cases.iter().filter(|case| case.load == HIGH_LOAD).collect();
        assert_eq!(high.len(), 1);
        assert_eq!((high[0].mode.name, high[0].algorithm), ("worker", "scrypt-1024-1-1"));
    }

    #[test]
    fn a_choice_restricts_and_may_name_what_is_not_measured_by_default() {
        let mode = vec!["nice19-same-group".to_owned()];
        let choice =
            Choice { mode, load: vec![64], algorithm: vec!["sha256d".to_owned()], ..Choice::default() };
        let cases = choice.cases().unwrap();
        assert_eq!(
            cases.iter().map(|c| (c.load, c.mode.name)).collect::<Vec<_>>(),
            [(0.64, "nice19-same-group"); 2]
        );
        let unknown = Choice { mode: vec!["nice".to_owned()], ..Choice::default() };
        assert!(unknown.cases().unwrap_err().to_string().contains("there are worker, nice19"));
    }

    #[test]
    fn a_rough_answer_still_has_both_applications_both_algorithms_and_every_way_to_mine() {
        let cases = Choice { quick: true, ..Choice::default() }.cases().unwrap();
        assert!(cases.len() <= 5, "{}", cases.len());
        for algorithm in ALGORITHMS {
            assert!(cases.iter().any(|case| case.algorithm == algorithm));
        }
        for mode in MODES.iter().filter(|mode| mode.by_default) {
            assert!(cases.iter().any(|case| case.mode.name == mode.name));
        }
        assert!(cases.iter().any(|case| case.application == Application::Nginx));
    }
}
