//! `make bench-share`: see [`system_tests::bench::share`].

use clap::Parser;
use std::{process::ExitCode, time::Duration};
use system_tests::bench::{publish, share};

/// Measures how many shares a second are judged and credited.
#[derive(Debug, Parser)]
struct Arguments {
    /// A rough answer in under two minutes.
    #[arg(long)]
    quick: bool,
}

async fn measure(quick: bool) -> Result<(), system_tests::coordinator::Failure> {
    let (rounds, time, shares) = if quick { (3, 300, 100_000) } else { (9, 1_000, 200_000) };
    let mut figures = share::judged(rounds, Duration::from_millis(time))?;
    figures.extend(share::end_to_end(rounds, shares).await?);
    let path = publish("share", &figures)?;
    tracing::info!(path = %path.display(), "written");
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::new("warn,bench_share=info");
    system_tests::log(filter);
    match measure(Arguments::parse().quick).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "could not measure");
            ExitCode::FAILURE
        }
    }
}
