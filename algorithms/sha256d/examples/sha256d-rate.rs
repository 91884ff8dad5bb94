//! Million hashes a CPU-second of each path that this processor can go.
//!
//! `cargo run --release -p dcmf-algorithm-sha256d --example sha256d-rate [-- ROUNDS [PATH…]]`

use std::{collections::BTreeMap, error::Error, time::Duration};

use algorithm_api::{Algorithm, Range, Target};
use algorithm_sha256d::{Path, Sha256d};
use nix::time::{ClockId, clock_gettime};

/// Positions of a call, as a miner that can be stopped at any moment would ask for.
const BUDGET: u64 = 1 << 16;
/// CPU time of a sample, in seconds.
const SAMPLE_SECONDS: f64 = 0.2;
const ROUNDS: usize = 9;

fn cpu_seconds() -> Result<f64, Box<dyn Error>> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    Ok(time.tv_sec() as f64 + time.tv_nsec() as f64 * 1e-9)
}

fn sample(path: Path) -> Result<f64, Box<dyn Error>> {
    let algorithm = Sha256d::on(path)?;
    let mut search = algorithm.prepare(&[0x5a; 80])?;
    // One finding in 2^32 hashes: as a share of a real pool is rare.
    let mut target = [0xff; 32];
    target[28..].fill(0);
    let target = Target::from_le_bytes(target);
    let mut range = Range { next: 0, end: 1 << 32 };
    let (mut hashes, begin) = (0, cpu_seconds()?);
    loop {
        hashes += search.search(&mut range, BUDGET, &target, &mut |_| {});
        let spent = cpu_seconds()? - begin;
        if spent > SAMPLE_SECONDS || range.is_empty() {
            return Ok(hashes as f64 / spent / 1e6);
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let rounds = words.next().map_or(Ok(ROUNDS), |word| word.parse())?;
    let wanted: Vec<_> = words.collect();
    let paths: Vec<_> =
        Path::available().filter(|p| wanted.is_empty() || wanted.iter().any(|w| w == p.name())).collect();
    let trial = || cpu_seconds().map_or(Duration::ZERO, Duration::from_secs_f64);
    println!("a worker would take {}", Path::fastest(trial));
    let mut samples = BTreeMap::<Path, Vec<f64>>::new();
    for _ in 0..rounds {
        for path in &paths {
            samples.entry(*path).or_default().push(sample(*path)?);
        }
    }
    println!(
        "{:<12} {:>8} {:>8} {:>8}  million hashes a CPU-second ({rounds} rounds)",
        "path", "low", "median", "high"
    );
    for (path, mut rates) in samples {
        rates.sort_by(f64::total_cmp);
        let at = |quarter: usize| rates[(rates.len() - 1) * quarter / 4];
        println!("{:<12} {:>8.2} {:>8.2} {:>8.2}", path.name(), at(1), at(2), at(3));
    }
    Ok(())
}
