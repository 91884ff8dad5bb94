//! Benchmarks: what was measured, as a table for people and as JSON for programs, both from the same figures.

pub mod hash;
pub mod idle;
pub mod share;

use crate::parts::repository;
use idle::noise::{Noise, Verdict};
use nix::time::{ClockId, clock_gettime};
use serde::Serialize;
use std::{collections::BTreeMap, fs, io, path::PathBuf, process::Command, time::Duration};

/// One figure, with the quartiles of its samples.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// What was measured.
    pub name: &'static str,
    /// Under which circumstances.
    pub case: BTreeMap<&'static str, serde_json::Value>,
    /// Median of the samples.
    pub value: f64,
    /// Unit of `value`, `low` and `high`.
    pub unit: &'static str,
    /// Lower quartile.
    pub low: f64,
    /// Upper quartile.
    pub high: f64,
    /// How many samples.
    pub samples: usize,
    /// What is wanted, where something is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub goal: Option<f64>,
    /// `higher` or `lower`; `neither` for what only shows how much others are worth.
    pub better: &'static str,
    /// What chance alone does to it, in the same unit, where that was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub noise: Option<Noise>,
}

impl Figure {
    /// A figure of which more is better. `None` without samples.
    pub fn higher(
        name: &'static str,
        unit: &'static str,
        case: &[(&'static str, serde_json::Value)],
        samples: &[f64],
        goal: Option<f64>,
    ) -> Option<Self> {
        Self::new(name, unit, case, samples, goal, "higher")
    }

    /// A figure of which less is better. `None` without samples.
    pub fn lower(
        name: &'static str,
        unit: &'static str,
        case: &[(&'static str, serde_json::Value)],
        samples: &[f64],
    ) -> Option<Self> {
        Self::new(name, unit, case, samples, None, "lower")
    }

    fn new(
        name: &'static str,
        unit: &'static str,
        case: &[(&'static str, serde_json::Value)],
        samples: &[f64],
        goal: Option<f64>,
        better: &'static str,
    ) -> Option<Self> {
        let mut sorted: Vec<f64> = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let quantile =
            |q: f64| sorted.get(((sorted.len().checked_sub(1)? as f64) * q).round() as usize).copied();
        let case = case.iter().cloned().collect();
        let (value, low, high) = (quantile(0.5)?, quantile(0.25)?, quantile(0.75)?);
        Some(Self { name, case, value, unit, low, high, samples: sorted.len(), goal, better, noise: None })
    }
}

#[derive(Debug, Serialize)]
struct Host {
    cpu: String,
    cores: usize,
    memory_mib: u64,
    kernel: String,
}

#[derive(Debug, Serialize)]
struct Report<'a> {
    bench: &'a str,
    commit: String,
    host: Host,
    figures: &'a [Figure],
}

fn field(path: &str, key: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|l| l.split_once(':').filter(|(k, _)| k.trim() == key));
    line.map_or_else(String::new, |(_, v)| v.trim().to_owned())
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(repository()).output();
    output.map_or_else(|_| String::new(), |o| String::from_utf8_lossy(&o.stdout).trim().to_owned())
}

fn host() -> Host {
    let memory = field("/proc/meminfo", "MemTotal");
    Host {
        cpu: field("/proc/cpuinfo", "model name"),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        memory_mib: memory.trim_end_matches(" kB").parse::<u64>().unwrap_or_default() / 1_024,
        kernel: output("uname", &["-r"]),
    }
}

fn case(figure: &Figure) -> String {
    let pairs = figure.case.iter().map(|(k, v)| format!("{k}={}", v.to_string().trim_matches('"')));
    pairs.collect::<Vec<_>>().join(" ")
}

/// Three digits after the point while they say something.
fn rounded(value: f64) -> String {
    if value.abs() < 1_000.0 { format!("{value:.3}") } else { format!("{value:.0}") }
}

fn noise(noise: &Noise) -> String {
    let place = match noise.verdict {
        Verdict::Within => "within",
        Verdict::Below => "BELOW",
        Verdict::Above => "ABOVE",
    };
    format!("  {place} the noise {} to {}", rounded(noise.low), rounded(noise.high))
}

/// Prints the table and writes `target/bench/<bench>.json`; returns the file.
pub fn publish(bench: &str, figures: &[Figure]) -> io::Result<PathBuf> {
    let report = Report { bench, commit: output("git", &["rev-parse", "HEAD"]), host: host(), figures };
    let folder = repository().join("target/bench");
    fs::create_dir_all(&folder)?;
    let path = folder.join(format!("{bench}.json"));
    fs::write(&path, serde_json::to_string_pretty(&report)? + "\n")?;
    let cases: Vec<String> = figures.iter().map(case).collect();
    let width = cases.iter().map(String::len).max().unwrap_or_default().max("case".len());
    let mut table = format!(
        "{:<24} {:<width$} {:>14} {:>14} {:>14}  {}\n",
        "figure", "case", "low", "median", "high", "unit"
    );
    for (f, case) in figures.iter().zip(&cases) {
        let goal = f.goal.map_or_else(String::new, |g| format!(" (goal {g})"));
        let noise = f.noise.as_ref().map_or_else(String::new, noise);
        table += &format!(
            "{:<24} {case:<width$} {:>14} {:>14} {:>14}  {}{goal}{noise}\n",
            f.name,
            rounded(f.low),
            rounded(f.value),
            rounded(f.high),
            f.unit
        );
    }
    match io::Write::write_all(&mut io::stdout(), table.as_bytes()) {
        // Nobody reads the table; the file is there.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        written => written?,
    }
    Ok(path)
}

/// Processor time of the calling thread.
pub fn thread_cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}
