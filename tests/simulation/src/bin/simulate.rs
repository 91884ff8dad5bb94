//! Simulates farms, one for each seed, and says which failed and how to see it again.

use clap::Parser;
use simulation::{Counts, Options, Report, run, shrink};
use std::{
    collections::BTreeSet,
    io::Write,
    process::ExitCode,
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

/// Simulates farms, one for each seed.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many seeds.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    first_seed: u64,
    /// Workers of each farm; each seed chooses three to eight where this is not said.
    #[arg(long)]
    workers: Option<usize>,
    /// Coordinators of each farm; each seed chooses two or three where this is not said.
    #[arg(long)]
    coordinators: Option<usize>,
    /// How long each farm is disturbed.
    #[arg(long, default_value_t = 4)]
    minutes_of_virtual_time: u64,
    /// Only these steps of the seed, or `none`.
    #[arg(long)]
    only: Option<String>,
    /// Writes down what happens.
    #[arg(long)]
    story: bool,
    /// Failing seeds are told as they are, without looking for the steps that matter.
    #[arg(long)]
    no_shrinking: bool,
    /// Ends after so many failing seeds.
    #[arg(long, default_value_t = 5)]
    failures: usize,
    /// Seeds at the same time, each on a thread of its own.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Ends after so many seconds.
    #[arg(long)]
    seconds: Option<u64>,
}

fn main() -> ExitCode {
    match simulate(&Arguments::parse()) {
        Ok(0) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn simulate(arguments: &Arguments) -> std::io::Result<usize> {
    let (began, mut counts) = (Instant::now(), Counts::default());
    let (next, ended) = (AtomicU64::new(0), AtomicBool::new(false));
    let (sender, reports) = mpsc::channel();
    let (mut done, mut failed) = (0_u64, 0);
    let mut out = std::io::stdout().lock();
    std::thread::scope(|scope| {
        for _ in 0..arguments.threads.max(1) {
            let (sender, next, ended) = (sender.clone(), &next, &ended);
            scope.spawn(move || {
                while !ended.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= arguments.seeds {
                        return;
                    }
                    let report = run(&options(arguments, arguments.first_seed + seed));
                    if sender.send(report).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for report in reports {
            counts.add(report.counts.clone());
            done += 1;
            report.story.iter().try_for_each(|line| writeln!(out, "{line}"))?;
            if report.failure.is_some() {
                failed += 1;
                tell(&mut out, report, arguments.no_shrinking)?;
            }
            let over = arguments.seconds.is_some_and(|s| began.elapsed() >= Duration::from_secs(s));
            if failed >= arguments.failures || over {
                ended.store(true, Ordering::Relaxed);
                break;
            }
        }
        Ok::<_, std::io::Error>(())
    })?;
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    writeln!(out, "{done} seeds, {failed} failed, {:.0} seeds a minute", done as f64 / minutes.max(1e-9))?;
    writeln!(out, "{}", counts.summary())?;
    Ok(failed)
}

fn options(arguments: &Arguments, seed: u64) -> Options {
    let workers = arguments.workers.unwrap_or_else(|| Options::workers_of(seed));
    let only = arguments.only.as_ref().map(|text| {
        let places: BTreeSet<usize> = text.split(',').filter_map(|place| place.parse().ok()).collect();
        places
    });
    Options {
        coordinators: arguments.coordinators,
        only,
        story: arguments.story,
        ..Options::new(seed, workers, arguments.minutes_of_virtual_time)
    }
}

fn tell(out: &mut impl Write, report: Report, as_it_is: bool) -> std::io::Result<()> {
    let seed = report.options.seed;
    writeln!(out, "seed {seed} failed: {}", report.failure.clone().unwrap_or_default())?;
    let report = if as_it_is { report } else { shrink(report) };
    writeln!(out, "  with {} steps: {}", report.steps.len(), report.failure.clone().unwrap_or_default())?;
    for (place, step) in &report.steps {
        writeln!(out, "  {place:>4} at {:>9.3} s: {:?}", step.at_us as f64 / 1e6, step.action)?;
    }
    writeln!(out, "  {}", report.options.command())
}
