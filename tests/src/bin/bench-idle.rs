//! `make bench-idle`: see [`system_tests::bench::idle`].
//!
//! It starts itself once more in a session of its own, which is the application's: whoever called is then in another
//! scheduling group, as the miners are. A terminal's Ctrl-C reaches the caller, and its end ends the other.

use clap::Parser;
use std::{
    io::Write,
    process::{Command, ExitCode},
};
use system_tests::{
    bench::{idle, publish},
    coordinator::Failure,
};
use tokio::signal::unix::{SignalKind, signal};

/// Measures what the main application notices of mining.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    choice: idle::Choice,
    /// This is the process that measures
    #[arg(long, hide = true)]
    in_session: bool,
}

async fn measure(choice: &idle::Choice) -> Result<(), Failure> {
    let mut terminate = signal(SignalKind::terminate())?;
    // Ended by a signal, everything that was started is dropped and so killed.
    let (figures, notes) = tokio::select! {
        measured = idle::measure(choice) => measured?,
        _ = terminate.recv() => return Err("ended by a signal".into()),
    };
    let path = publish("idle", &figures)?;
    for line in idle::table::lines(&figures).iter().chain(&notes) {
        writeln!(std::io::stdout(), "{line}")?;
    }
    tracing::info!(path = %path.display(), "written");
    if figures.is_empty() { Err("nothing could be measured".into()) } else { Ok(()) }
}

/// The same program with the same arguments in a new session. It is told to end when this process ends.
fn again_in_a_session() -> std::io::Result<ExitCode> {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "--", "setsid"]).arg(std::env::current_exe()?);
    let status = command.args(std::env::args_os().skip(1)).arg("--in-session").status()?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = tracing_subscriber::EnvFilter::new("warn,bench_idle=info,system_tests=info");
    system_tests::log(filter);
    let outcome: Result<ExitCode, Failure> = if arguments.in_session {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        runtime
            .map_err(Failure::from)
            .and_then(|runtime| runtime.block_on(measure(&arguments.choice)).map(|()| ExitCode::SUCCESS))
    } else {
        again_in_a_session().map_err(Failure::from)
    };
    outcome.unwrap_or_else(|error| {
        tracing::error!(%error, "could not measure");
        ExitCode::FAILURE
    })
}
