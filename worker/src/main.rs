//! The agent's program: flags, log, signals.

use clap::Parser;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use worker::{Config, Flags};

/// Exit code of a process that a second signal ended, as shells know it from SIGINT.
const INTERRUPTED: i32 = 130;

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let flags = Flags::parse();
    log(flags.log_json);
    let config = match Config::load(flags) {
        Ok(config) => config,
        Err(error) => {
            tracing::error!("{error}");
            return ExitCode::from(2);
        }
    };
    let shutdown = CancellationToken::new();
    if let Err(error) = end_on_signal(shutdown.clone()) {
        tracing::error!(%error, "signals cannot be received");
        return ExitCode::FAILURE;
    }
    match worker::run(config, shutdown).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The first SIGTERM or SIGINT asks to end, the second ends at once.
fn end_on_signal(shutdown: CancellationToken) -> std::io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if shutdown.is_cancelled() {
                std::process::exit(INTERRUPTED);
            }
            tracing::info!("ending; a second signal ends at once");
            shutdown.cancel();
        }
    });
    Ok(())
}

fn log(json: bool) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if json { log.json().init() } else { log.init() }
}
