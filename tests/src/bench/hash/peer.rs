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

/// What it is called, and what our algorithms are called there.
const KNOWN: [(&str, &[(&str, &str)]); 2] = [
    ("cpuminer", &[("sha256d", "sha256d"), ("scrypt-1024-1-1", "scrypt")]),
    ("minerd", &[("sha256d", "sha256d"), ("scrypt-1024-1-1", "scrypt")]),
];
/// Until it has found its pace.
const WARM_UP: Duration = Duration::from_secs(3);
/// It tells its rate every few seconds only, so its turns are at least this long.
const SHORTEST_TURN: Duration = Duration::from_secs(6);

/// A miner of the cpuminer family.
#[derive(Debug)]
pub struct Peer {
    program: PathBuf,
    name: String,
    algorithm: &'static str,
}

impl Peer {
    /// `None` where the program or the algorithm is not one of those that can be compared.
    pub fn new(program: &Path, algorithm: &str) -> Option<Self> {
        let name = program.file_name()?.to_str()?.to_owned();
        let (_, algorithms) = KNOWN.iter().find(|(known, _)| name.starts_with(known))?;
        let (_, algorithm) = algorithms.iter().find(|(ours, _)| *ours == algorithm)?;
        Some(Self { program: program.to_owned(), name, algorithm })
    }
}

impl Contender for Peer {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn is_peer(&self) -> bool {
        true
    }

    fn search(&mut self, threads: usize, length: Duration) -> Result<Searched, Failure> {
        let folder = RunFolder::temporary()?;
        let mut process = Launch::new(&self.name, &self.program, folder.path())
            .args(["-a", self.algorithm, "--benchmark", "-t", &threads.to_string()])
            .start()?;
        thread::sleep(WARM_UP);
        process.check_alive()?;
        let (begun, before) = (Instant::now(), of_process(process.id())?);
        thread::sleep(length.max(SHORTEST_TURN));
        process.check_alive()?;
        let (clock, cpu) = (begun.elapsed(), of_process(process.id())?.saturating_sub(before));
        process.signal(Signal::SIGKILL)?;
        let log = fs::read_to_string(process.log())?;
        let rate = log.lines().filter_map(total).next_back();
        let rate = rate.ok_or_else(|| format!("{} told no rate:\n{}", self.name, process.log_tail()))?;
        Ok(Searched { hashes: rate * clock.as_secs_f64(), cpu, clock })
    }
}

/// Hashes a second out of a line such as `[…] Total: 25.83 khash/s` or `Total: 25.83 Mh/s`.
fn total(line: &str) -> Option<f64> {
    let (_, rest) = line.split_once("Total: ")?;
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
            assert_eq!(total(line), rate, "{line}");
        }
    }

    #[test]
    fn only_known_programs_and_algorithms_are_peers() {
        assert!(Peer::new(Path::new("/opt/minerd"), "scrypt-1024-1-1").is_some());
        assert!(Peer::new(Path::new("/opt/cpuminer-avx512"), "sha256d").is_some());
        assert!(Peer::new(Path::new("/opt/minerd"), "blake3").is_none());
        assert!(Peer::new(Path::new("/opt/other"), "sha256d").is_none());
    }
}
