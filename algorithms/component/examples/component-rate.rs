//! Million SHA-256d a CPU-second: in a component's own code, by the kernel of the host from a component, and native; and what the
//! things around it cost.
//!
//! `cargo run --release -p dcmf-algorithm-component --example component-rate -- OWN.wasm KERNEL.wasm [ROUNDS]`
//!
//! The components are the example guests, made by the example `componentize`.

use algorithm_api::{Algorithm, InvalidInput, Range, Target};
use algorithm_component::{Limits, Sandbox};
use algorithm_sha256d::Sha256d;
use nix::time::{ClockId, clock_gettime};
use std::{error::Error, fs};

/// CPU time that a call is to take, as a worker has it.
const CALL_SECONDS: f64 = 0.002;
/// CPU time of a sample, in seconds.
const SAMPLE_SECONDS: f64 = 0.25;
const ROUNDS: usize = 9;
/// Repetitions of what is measured once.
const REPETITIONS: u32 = 200;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn cpu_seconds() -> Outcome<f64> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    Ok(time.tv_sec() as f64 + time.tv_nsec() as f64 * 1e-9)
}

/// Million hashes a CPU-second over a while.
fn rate(algorithm: &dyn Algorithm) -> Outcome<f64> {
    let mut search = algorithm.prepare(&[0x5a; 80])?;
    // Hardly a finding, as with shares of a real pool.
    let target = Target::from_le_bytes([0; 32]);
    let (mut range, mut budget, mut hashes) = (Range { next: 0, end: u64::MAX }, 1, 0);
    let begin = cpu_seconds()?;
    loop {
        let before = cpu_seconds()?;
        let done = search.search(&mut range, budget, &target, &mut |_| {});
        if done == 0 {
            return Err(search.failure().unwrap_or_default().into());
        }
        hashes += done;
        let now = cpu_seconds()?;
        if now - begin > SAMPLE_SECONDS {
            return Ok(hashes as f64 / (now - begin) / 1e6);
        }
        let fitting = done as f64 * CALL_SECONDS / (now - before).max(1e-9);
        budget = (fitting as u64).clamp(1, budget * 4);
    }
}

/// Microseconds of CPU time that `work` takes, on average.
fn cost(mut work: impl FnMut() -> Result<(), InvalidInput>) -> Outcome<f64> {
    let begin = cpu_seconds()?;
    for _ in 0..REPETITIONS {
        work()?;
    }
    Ok((cpu_seconds()? - begin) * 1e6 / f64::from(REPETITIONS))
}

fn main() -> Outcome<()> {
    let mut words = std::env::args().skip(1);
    let (Some(own), Some(kernel)) = (words.next(), words.next()) else {
        return Err("give the paths of both components".into());
    };
    let rounds = words.next().map_or(Ok(ROUNDS), |word| word.parse())?;
    let sandbox = Sandbox::new(Limits::default(), &[&Sha256d])?;
    let (own, kernel) = (fs::read(own)?, fs::read(kernel)?);
    let begin = cpu_seconds()?;
    let (own, kernel) = (sandbox.load(&own)?, sandbox.load(&kernel)?);
    println!("loading both took {:.0} ms of CPU time", (cpu_seconds()? - begin) * 1e3);
    println!("preparing an input takes {:.1} µs", cost(|| own.prepare(&[1; 80]).map(drop))?);
    println!("verifying takes {:.1} µs", cost(|| own.verify(&[1; 80], &[1; 4]).map(|_| ()))?);
    let ways: [(&str, &dyn Algorithm); 3] = [("own code", &own), ("kernel", &kernel), ("native", &Sha256d)];
    let mut samples = ways.map(|(name, algorithm)| (name, algorithm, Vec::new()));
    for _ in 0..rounds {
        for (_, algorithm, rates) in &mut samples {
            rates.push(rate(*algorithm)?);
        }
    }
    println!("million hashes a CPU-second, quartiles of {rounds} rounds");
    println!("{:<10} {:>8} {:>8} {:>8}", "way", "low", "median", "high");
    for (name, _, mut rates) in samples {
        rates.sort_by(f64::total_cmp);
        let at =
            |quarter: usize| rates.get(rates.len().saturating_sub(1) * quarter / 4).copied().unwrap_or(0.0);
        println!("{name:<10} {:>8.2} {:>8.2} {:>8.2}", at(1), at(2), at(3));
    }
    Ok(())
}
