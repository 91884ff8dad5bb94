//! `dcmf-bus`: makes the streams and buckets of a farm, and tells where they differ from what is declared.

use clap::{Parser, Subcommand};
use nats_adapter::{Action, Bus, BusOptions, Outcome, ensure};
use std::{
    error::Error,
    fmt,
    fmt::Display,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

/// Makes the streams and buckets of a farm, and tells where they differ from what is declared.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Servers of the bus.
    #[arg(long, env = "NATS_URL", default_value = "nats://127.0.0.1:4222", value_delimiter = ',')]
    server: Vec<String>,
    /// Credentials file.
    #[arg(long)]
    creds: Option<PathBuf>,
    /// Copies of each stream: 3 in a cluster of three.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=5))]
    replicas: u8,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make what is missing, and tell what differs.
    Ensure {
        /// Also change what can be changed without losing a message.
        #[arg(long)]
        apply: bool,
    },
    /// Tell what is missing or differs, and change nothing. Ends with 1 if there is anything to tell.
    Drift,
}

/// An error as people should see it.
struct Told(Box<dyn Error>);

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(&self.0, f)
    }
}

impl<E: Error + 'static> From<E> for Told {
    fn from(error: E) -> Self {
        Self(Box::new(error))
    }
}

#[tokio::main]
async fn main() -> Result<ExitCode, Told> {
    let arguments = Arguments::parse();
    let mut options = BusOptions::new("dcmf-bus", arguments.server);
    options.credentials = arguments.creds;
    let bus = Bus::connect(options).await?;
    let action = match arguments.command {
        Command::Ensure { apply: true } => Action::Apply,
        Command::Ensure { apply: false } => Action::Create,
        Command::Drift => Action::Look,
    };
    let outcome = ensure(&bus, arguments.replicas.into(), action).await?;
    match tell(&outcome, action) {
        // Nobody reads any more; the exit code still tells.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        told => told?,
    }
    let in_line = outcome.drift.is_empty() && (action != Action::Look || outcome.missing.is_empty());
    Ok(if in_line { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn tell(outcome: &Outcome, action: Action) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let made = if action == Action::Look { "missing" } else { "created" };
    for stream in &outcome.missing {
        writeln!(out, "{stream}: {made}")?;
    }
    for stream in &outcome.changed {
        writeln!(out, "{stream}: updated")?;
    }
    for drift in &outcome.drift {
        writeln!(out, "{drift}")?;
    }
    if outcome.drift.is_empty() && (action != Action::Look || outcome.missing.is_empty()) {
        writeln!(out, "all streams and buckets are as declared")?;
    }
    out.flush()
}
