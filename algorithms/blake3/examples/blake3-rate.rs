//! Million hashes a CPU-second of each path that this processor can go, and of the plain way.
//!
//! `cargo run --release -p dcmf-algorithm-blake3 --example blake3-rate [-- ROUNDS [PATH…]]`

use algorithm_api::{Algorithm, Range, Target};
use algorithm_blake3::{Blake3, HEADER_LEN, Path};
use nix::time::{ClockId, clock_gettime};
use std::error::Error;

/// Positions of a call. A worker asks for no more, since it wants to be able to stop at any moment.
const BUDGET: u64 = 1 << 16;
/// CPU time of a sample, in seconds.
const SAMPLE_SECONDS: f64 = 0.25;
const ROUNDS: usize = 9;
/// Hashes of the plain way between two looks at the clock.
const PLAIN_HASHES: usize = 1 << 12;
/// What [`Algorithm::verify`] does.
const PLAIN: &str = "verify";

fn cpu_seconds() -> Result<f64, Box<dyn Error>> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    Ok(time.tv_sec() as f64 + time.tv_nsec() as f64 * 1e-9)
}

/// Calls `hash`, which says how many hashes it did, for a while: million hashes a CPU-second.
fn sample(mut hash: impl FnMut() -> Result<u64, Box<dyn Error>>) -> Result<f64, Box<dyn Error>> {
    let (mut hashes, begin) = (0, cpu_seconds()?);
    loop {
        hashes += hash()?;
        let spent = cpu_seconds()? - begin;
        if spent > SAMPLE_SECONDS {
            return Ok(hashes as f64 / spent / 1e6);
        }
    }
}

fn rate(path: Option<Path>) -> Result<f64, Box<dyn Error>> {
    let header = [0x5a; HEADER_LEN];
    let Some(path) = path else {
        let mut nonces = 0_u32..;
        let verify = |nonce: u32| Blake3.verify(&header, &nonce.to_le_bytes());
        return sample(|| {
            nonces.by_ref().take(PLAIN_HASHES).try_for_each(|nonce| verify(nonce).map(drop))?;
            Ok(PLAIN_HASHES as u64)
        });
    };
    // Hardly a finding, as with shares of a real pool.
    let target = Target::from_le_bytes([0; 32]);
    let mut search = Blake3::on(path).ok_or("not available")?.prepare(&header)?;
    let mut range = Range { next: 0, end: u64::MAX };
    sample(|| Ok(search.search(&mut range, BUDGET, &target, &mut |_| {})))
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let rounds = words.next().map_or(Ok(ROUNDS), |word| word.parse())?;
    let wanted: Vec<String> = words.collect();
    let ways = Path::available().map(|path| (path.name(), Some(path))).chain([(PLAIN, None)]);
    let mut samples: Vec<(&str, Option<Path>, Vec<f64>)> = ways
        .filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|word| word == name))
        .map(|(name, path)| (name, path, Vec::new()))
        .collect();
    for _ in 0..rounds {
        for (_, path, rates) in &mut samples {
            rates.push(rate(*path)?);
        }
    }
    println!("million hashes a CPU-second, quartiles of {rounds} rounds");
    println!("{:<10} {:>8} {:>8} {:>8}", "path", "low", "median", "high");
    for (name, _, mut rates) in samples {
        rates.sort_by(f64::total_cmp);
        let at =
            |quarter: usize| rates.get(rates.len().saturating_sub(1) * quarter / 4).copied().unwrap_or(0.0);
        println!("{name:<10} {:>8.2} {:>8.2} {:>8.2}", at(1), at(2), at(3));
    }
    Ok(())
}
