//! Another miner's program, in the same run.

use super::contender::{Contender, Searched};
use crate::{
    bench::idle::processor_time::of_process, coordinator::Failure, folder::RunFolder, process::Launch,
};
use nix::sys::signal::Signal;
use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// A kind of program that can be compared.
#[derive(Debug)]
struct Kind {
    /// How the names of its programs begin.
    program: &'static str,
    /// The words before its rate.
    rate_after: &'static str,
    /// It takes a time limit, at which it ends by itself. cpuminer-opt sums up exactly only then; its `Total` on the way
    /// counts whole seconds.
    ends_itself: bool,
}

const KINDS: [Kind; 2] = [
    Kind { program: "cpuminer", rate_after: "Benchmark: ", ends_itself: true },
    Kind { program: "minerd", rate_after: "Total: ", ends_itself: false },
];
/// What our algorithms are called there.
const ALGORITHMS: [(&str, &str); 2] = [("sha256d", "sha256d"), ("scrypt-1024-1-1", "scrypt")];
/// Until it has found its pace.
const WARM_UP: Duration = Duration::from_secs(3);
/// It tells its rate every few seconds only, so its turns are at least this long.
const SHORTEST_TURN: Duration = Duration::from_secs(6);
/// It ends by itself so long after the turn, and takes at most [`END_DEADLINE`] for that.
const AFTER: Duration = Duration::from_secs(1);
const END_DEADLINE: Duration = Duration::from_secs(10);
/// How often is looked whether it has ended.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A miner of the cpuminer family.
#[derive(Debug)]
pub struct Peer {
    program: PathBuf,
    name: String,
    algorithm: &'static str,
    kind: &'static Kind,
}

impl Peer {
    /// `None` where the program or the algorithm is not one of those that can be compared.
    pub fn new(program: &Path, algorithm: &str) -> Option<Self> {
        let name = program.file_name()?.to_str()?.to_owned();
        let kind = KINDS.iter().find(|kind| name.starts_with(kind.program))?;
        let (_, algorithm) = ALGORITHMS.iter().find(|(ours, _)| *ours == algorithm)?;
        Some(Self { program: program.to_owned(), name, algorithm, kind })
    }
}

impl Contender for Peer {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn peer(&self) -> Option<&str> {
        Some(&self.name)
    }

    fn search(&mut self, threads: usize, length: Duration) -> Result<Searched, Failure> {
        let length = length.max(SHORTEST_TURN);
        let folder = RunFolder::temporary()?;
        let mut launch = Launch::new(&self.name, &self.program, folder.path()).args([
            "-a",
            self.algorithm,
            "--benchmark",
            "-t",
            &threads.to_string(),
        ]);
        let ends_itself = self.kind.ends_itself;
        if ends_itself {
            let limit = (WARM_UP + length + AFTER).as_secs();
            launch = launch.args(["--time-limit", &limit.to_string()]);
        }
        let mut process = launch.start()?;
        thread::sleep(WARM_UP);
        process.check_alive()?;
        let (begun, before) = (Instant::now(), of_process(process.id())?);
        thread::sleep(length);
        process.check_alive()?;
        let (clock, cpu) = (begun.elapsed(), of_process(process.id())?.saturating_sub(before));
        while ends_itself && process.ended()?.is_none() && begun.elapsed() < length + AFTER + END_DEADLINE {
            thread::sleep(LOOK_EVERY);
        }
        process.signal(Signal::SIGKILL)?;
        let log = fs::read_to_string(process.log())?;
        let rate = log.lines().filter_map(|line| rate(line, self.kind.rate_after)).next_back();
        let rate = rate.ok_or_else(|| format!("{} told no rate:\n{}", self.name, process.log_tail()))?;
        Ok(Searched { hashes: rate * clock.as_secs_f64(), cpu, clock })
    }
}

/// Hashes a second out of a line such as `[…] Total: 25.83 khash/s` or `Benchmark: 25.83 MH/s`.
fn rate(line: &str, after: &str) -> Option<f64> {
    let (_, rest) = line.split_once(after)?;
    let mut words = rest.split_whitespace();
    let (number, unit) = (words.next()?.parse::<f64>().ok()?, words.next()?);
    let factor = match unit.to_ascii_lowercase().as_bytes().first()? {
        b'h' => 1.0,
        b'k' => 1e3,
        b'm' => 1e6,
        b'g' => 1e9,
        _ => return None,
    };
    Some(number * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_of_a_peer_is_read_in_every_unit_and_nothing_else_is_a_rate() {
        for (line, rate) in [
            ("[2026-11-21 19:00:00] Total: 25.50 khash/s", Some(25_500.0)),
            ("\u{1b}[36mTotal: 26.25 Mh/s, Temp", Some(26_250_000.0)),
            ("Total: 900 h/s", Some(900.0)),
            ("thread 0: 4104 hashes, 25.9 khash/s", None),
            ("Total: many", None),
        ] {
            assert_eq!(super::rate(line, "Total: "), rate, "{line}");
        }
    }

    #[test]
    fn only_the_line_that_is_exact_counts() {
        assert_eq!(rate("Benchmark: 23.54 MH/s", "Benchmark: "), Some(23_540_000.0));
        assert_eq!(rate("Total: 25.84 MH/s", "Benchmark: "), None);
    }

    #[test]
    fn only_known_programs_and_algorithms_are_peers() {
        assert!(Peer::new(Path::new("/opt/minerd"), "scrypt-1024-1-1").is_some());
        assert!(Peer::new(Path::new("/opt/cpuminer-avx512"), "sha256d").is_some());
        assert!(Peer::new(Path::new("/opt/minerd"), "blake3").is_none());
        assert!(Peer::new(Path::new("/opt/other"), "sha256d").is_none());
    }
}
