//! `make bench-hash`: see [`system_tests::bench::hash`].

use clap::Parser;
use std::{path::PathBuf, process::ExitCode, time::Duration};
use system_tests::bench::{
    hash::{self, Plan, Selection},
    publish,
};

/// Measures how fast each algorithm searches.
#[derive(Debug, Parser)]
struct Arguments {
    /// A rough answer in under two minutes.
    #[arg(long)]
    quick: bool,
    /// Only algorithms whose name begins so.
    #[arg(long)]
    algorithm: Vec<String>,
    /// Only paths whose name begins so; the worker and the peer take their turns anyway.
    #[arg(long)]
    path: Vec<String>,
    /// Only these numbers of threads.
    #[arg(long)]
    threads: Vec<usize>,
    /// The program of a peer that takes its turns in the same run: cpuminer-opt, minerd or xmrig.
    #[arg(long)]
    peer: Option<PathBuf>,
    /// Turns of each contender.
    #[arg(long)]
    rounds: Option<usize>,
}

fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::new("warn,system_tests=info");
    system_tests::log(filter);
    let arguments = Arguments::parse();
    let (rounds, length) = if arguments.quick { (3, 400) } else { (9, 1_500) };
    let plan = Plan { rounds: arguments.rounds.unwrap_or(rounds), length: Duration::from_millis(length) };
    let Arguments { algorithm: algorithms, path: paths, threads, .. } = arguments;
    let measured = hash::measure(plan, &Selection { algorithms, paths, threads }, arguments.peer.as_deref());
    match measured.and_then(|figures| Ok(publish("hash", &figures)?)) {
        Ok(path) => {
            tracing::info!(path = %path.display(), "written");
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!(%error, "could not measure");
            ExitCode::FAILURE
        }
    }
}
