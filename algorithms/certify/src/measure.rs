//! What a statement says of an algorithm's correctness and speed.

use crate::{cli, failure::Failure, output::say};
use algorithm_api::{
    Algorithm, Range, Target,
    conformance::{self, KnownAnswer},
};
use certification::{Digest, KnownAnswers, Rate};
use nix::time::{ClockId, clock_gettime};
use std::{thread, time::Duration};

/// Processor time of one call of a search, at least, so that reading the clock costs nothing.
const CALL: Duration = Duration::from_millis(10);

/// An algorithm and the published results that it must reproduce.
pub(crate) struct Testee<'a> {
    /// The algorithm.
    pub(crate) algorithm: &'a dyn Algorithm,
    /// The results.
    pub(crate) answers: Vec<KnownAnswer>,
    /// Digest of the file that has them.
    pub(crate) vectors: Digest,
    /// Positions that the conformance kit scans at each place.
    pub(crate) span: u64,
}

impl Testee<'_> {
    fn failed(&self, reason: String) -> Failure {
        Failure::Conformance { algorithm: self.algorithm.descriptor().id.to_string(), reason }
    }
}

/// Runs the known answers and the conformance kit.
pub(crate) fn prove(testee: &Testee<'_>) -> Result<KnownAnswers, Failure> {
    let answers = &testee.answers;
    conformance::check(testee.algorithm, answers, testee.span)
        .map_err(|violation| testee.failed(violation.to_string()))?;
    let id = &testee.algorithm.descriptor().id;
    say!("{id}: {} known answers and the conformance kit passed", answers.len());
    let passed = u32::try_from(answers.len()).unwrap_or(u32::MAX);
    Ok(KnownAnswers { passed, sha256: testee.vectors })
}

/// Searches with each of these numbers of threads for `seconds` of processor time each.
pub(crate) fn rates(testee: &Testee<'_>, measured: &cli::Measured) -> Result<Vec<Rate>, Failure> {
    let mut threads = measured.threads.clone();
    threads.sort_unstable();
    threads.dedup();
    threads.into_iter().map(|threads| rate(testee, threads, measured.seconds)).collect()
}

fn rate(testee: &Testee<'_>, threads: u16, seconds: u16) -> Result<Rate, Failure> {
    let none = || testee.failed("there are no known answers".to_owned());
    let input = &testee.answers.first().ok_or_else(none)?.input;
    let time = Duration::from_secs(seconds.into());
    let samples: Option<Vec<Sample>> = thread::scope(|scope| {
        let threads: Vec<_> =
            (0..threads).map(|_| scope.spawn(|| search(testee.algorithm, input, time))).collect();
        threads.into_iter().map(|thread| thread.join().ok().flatten()).collect()
    });
    let samples = samples.ok_or_else(|| testee.failed("it could not be measured".to_owned()))?;
    let positions: u128 = samples.iter().map(|sample| u128::from(sample.positions)).sum();
    let nanoseconds: u128 = samples.iter().map(|sample| sample.time.as_nanos()).sum();
    let per_second = positions * Duration::from_secs(1).as_nanos() / nanoseconds.max(1);
    let hashes_per_cpu_second = u64::try_from(per_second).unwrap_or(u64::MAX);
    let rate =
        Rate { path: format!("chosen at run time on {}", processor()), threads, hashes_per_cpu_second };
    let id = &testee.algorithm.descriptor().id;
    say!("{id}: {hashes_per_cpu_second} hashes per CPU-second on {threads} threads");
    Ok(rate)
}

struct Sample {
    positions: u64,
    time: Duration,
}

/// Searches until the calling thread has used `time` of its processor.
fn search(algorithm: &dyn Algorithm, input: &[u8], time: Duration) -> Option<Sample> {
    let mut search = algorithm.prepare(input).ok()?;
    let nothing = Target::from_le_bytes([0; 32]);
    let whole = Range { next: 0, end: algorithm.descriptor().positions };
    let (mut range, mut budget, mut positions) = (whole, 1, 0);
    let start = used()?;
    loop {
        let before = used()?;
        positions += search.search(&mut range, budget, &nothing, &mut |_| {});
        let now = used()?;
        if now - start >= time {
            return Some(Sample { positions, time: now - start });
        }
        if now - before < CALL {
            budget *= 2;
        }
        if range.is_empty() {
            range = whole;
        }
    }
}

/// Processor time of the calling thread.
fn used() -> Option<Duration> {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).ok().map(Duration::from)
}

/// The processor's own name.
fn processor() -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}
