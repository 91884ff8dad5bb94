//! What is simulated.

use std::collections::BTreeSet;

/// One simulation. Equal options give an equal one, to the last step.
#[derive(Debug, Clone)]
pub struct Options {
    /// Everything that is left to chance follows from it.
    pub seed: u64,
    /// How many workers.
    pub workers: usize,
    /// How many coordinators; absent, the seed says whether two or three.
    pub coordinators: Option<usize>,
    /// How long it is disturbed, minutes of virtual time; a quiet end follows.
    pub minutes: u64,
    /// Only these of the seed's steps happen; absent, all of them.
    pub only: Option<BTreeSet<usize>>,
    /// What happens is written down.
    pub story: bool,
}

impl Options {
    /// A simulation of some workers for a few minutes.
    pub fn new(seed: u64, workers: usize, minutes: u64) -> Self {
        Self { seed, workers, coordinators: None, minutes, only: None, story: false }
    }

    /// How many workers a seed has that is free to choose: three to eight.
    pub fn workers_of(seed: u64) -> usize {
        3 + usize::try_from(crate::random::mix(seed) % 6).unwrap_or_default()
    }

    /// The command that replays it.
    pub fn command(&self) -> String {
        let Self { seed, workers, minutes, .. } = self;
        let mut command = format!(
            "cargo run --release -p dcmf-simulation -- --first-seed {seed} --seeds 1 --workers {workers} \
             --minutes-of-virtual-time {minutes}"
        );
        if let Some(coordinators) = self.coordinators {
            command.push_str(&format!(" --coordinators {coordinators}"));
        }
        if let Some(only) = &self.only {
            let steps: Vec<_> = only.iter().map(usize::to_string).collect();
            command.push_str(&format!(
                " --only {}",
                if steps.is_empty() { "none".to_owned() } else { steps.join(",") }
            ));
        }
        command
    }
}
