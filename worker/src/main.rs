//! The agent's program: flags, log, signals.

use clap::Parser;
use std::{io::IsTerminal, process::ExitCode};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use worker::{
    Config, Flags,
    cli::{self, Cli, Command},
    monitor::{self, MonitorFlags},
};

/// Exit code of a process that a second signal ended, as shells know it from SIGINT.
const INTERRUPTED: i32 = 130;

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let Cli { flags, command } = Cli::parse();
    log(flags.log_json);
    let done = match command {
        None => return run(flags).await,
        Some(Command::Monitor(monitor)) => return run_monitor(&flags, monitor).await,
        Some(Command::Pause { reason }) => cli::pause(&flags, &reason),
        Some(Command::Resume) => cli::resume(&flags),
        Some(Command::Check) => cli::check(flags),
        Some(Command::Certificates) => cli::show_certificates(flags),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refuse(&error),
    }
}

async fn run(flags: Flags) -> ExitCode {
    let config = match Config::load(flags) {
        Ok(config) => config,
        Err(error) => return refuse(&error),
    };
    ended(async |shutdown| worker::run(config, shutdown).await).await
}

async fn run_monitor(flags: &Flags, monitor: MonitorFlags) -> ExitCode {
    let config = match monitor.config(flags) {
        Ok(config) => config,
        Err(error) => return refuse(&error),
    };
    ended(async |shutdown| monitor::run(config, shutdown).await).await
}

/// A command that cannot be done as it was given.
fn refuse(error: &dyn std::error::Error) -> ExitCode {
    tracing::error!("{error}");
    ExitCode::from(2)
}

/// Works until a signal asks to end.
async fn ended<E: std::error::Error>(work: impl AsyncFnOnce(CancellationToken) -> Result<(), E>) -> ExitCode {
    let shutdown = CancellationToken::new();
    if let Err(error) = end_on_signal(shutdown.clone()) {
        tracing::error!(%error, "signals cannot be received");
        return ExitCode::FAILURE;
    }
    match work(shutdown).await {
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
    let filter = EnvFilter::try_from_env("DCMF_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // Who reads the log may have gone: then it is not written, and nothing else changes.
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .log_internal_errors(false);
    if json { log.json().init() } else { log.with_ansi(std::io::stderr().is_terminal()).init() }
}
