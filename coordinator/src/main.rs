//! The coordinator as a process.

use clap::Parser;
use coordinator::{HostConfig, run};
use std::{io::IsTerminal, path::PathBuf, process::ExitCode};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};
use tracing_subscriber::EnvFilter;

/// The mining server of a DCMF farm: publishes jobs, judges shares, keeps the ledger. It never mines.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The host's own file, see docs/operations.md.
    #[arg(long, env = "DCMF_COORDINATOR_CONFIG")]
    config: PathBuf,
    /// Check the file and print what it means, without secrets; then end.
    #[arg(long)]
    dump_config: bool,
    /// Write the log as JSON.
    #[arg(long)]
    json_log: bool,
}

fn start_log(json: bool) {
    let filter = EnvFilter::try_from_env("DCMF_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // Who reads the log may have gone: then it is not written, and nothing else changes.
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .log_internal_errors(false);
    if json { log.json().init() } else { log.with_ansi(std::io::stderr().is_terminal()).init() }
}

/// Answers the first SIGTERM or SIGINT with an orderly end and the second by exiting at once.
fn spawn_signals() -> std::io::Result<oneshot::Receiver<()>> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (sender, receiver) = oneshot::channel();
    tokio::spawn(async move {
        tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
        tracing::info!("asked to end; a second signal ends at once");
        let _ = sender.send(());
        tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
        std::process::exit(130);
    });
    Ok(receiver)
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    start_log(arguments.json_log);
    let config = match HostConfig::read(&arguments.config) {
        Ok(config) => config,
        Err(error) => {
            tracing::error!(%error, "cannot start");
            return ExitCode::from(2);
        }
    };
    if arguments.dump_config {
        tracing::info!(?config, "the configuration is valid");
        return ExitCode::SUCCESS;
    }
    let shutdown = match spawn_signals() {
        Ok(receiver) => receiver,
        Err(error) => {
            tracing::error!(%error, "cannot listen for signals");
            return ExitCode::FAILURE;
        }
    };
    let asked = async move {
        let _ = shutdown.await;
    };
    match run(config, asked).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "ended");
            ExitCode::FAILURE
        }
    }
}
