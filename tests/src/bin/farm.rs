//! `make run`: one farm on this machine, of real processes, until it is stopped.

use clap::Parser;
use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use system_tests::farm::chain::ChainKind;
use system_tests::farm::clock::parse_duration;
use system_tests::farm::screen::Screen;
use system_tests::farm::{FarmPlan, session};
use system_tests::folder::RunFolder;
use system_tests::parts::repository;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tracing_subscriber::EnvFilter;

/// The port of NATS, taken when it is free, so that the `nats` program needs no address.
const USUAL_PORT: u16 = 4222;
/// Name of the file that is locked, by which a farm's folder is known; the only one that stays when it is emptied.
const LOCK: &str = "farm.lock";
/// Exit code after a second signal.
const INTERRUPTED: i32 = 130;

/// Starts one farm on this machine: nats-server, a coordinator, three workers and, where it has one, the chain's nodes.
#[derive(Debug, Parser)]
struct Arguments {
    /// What is mined.
    #[arg(long, value_enum, default_value = "embedded")]
    chain: ChainKind,
    /// Ends by itself after this time (30s, 2m), with exit code 0 if blocks were accepted.
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
    length: Option<Duration>,
    /// Who is paid: an output script in hex, instead of one of the farm's own.
    #[arg(long, value_name = "HEX", value_parser = parse_script)]
    payout_script: Option<Script>,
    /// Where everything is written; emptied at the start, kept at the end.
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

#[derive(Debug, Clone)]
struct Script(Vec<u8>);

fn parse_script(text: &str) -> Result<Script, String> {
    let script = hex::decode(text).map_err(|e| format!("not hex: {e}"))?;
    if script.is_empty() { Err("it is empty".to_owned()) } else { Ok(Script(script)) }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // That the bus goes away last is no news.
    let filter = EnvFilter::new("warn,nats_adapter::bus=error");
    system_tests::log(filter);
    let timed = arguments.length.is_some();
    match farm(arguments).await {
        Ok(outcome) if timed && outcome.blocks() == 0 => complain("no block was accepted in this time"),
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => complain(error),
    }
}

async fn farm(arguments: Arguments) -> Result<session::Outcome, Box<dyn std::error::Error>> {
    let stop = signals()?;
    let folder = arguments.folder.unwrap_or_else(|| repository().join(".run"));
    let _lock = lock(&folder)?;
    empty(&folder)?;
    let plan = FarmPlan {
        payout_script: arguments.payout_script.map(|script| script.0),
        nats_port: TcpListener::bind((Ipv4Addr::LOCALHOST, USUAL_PORT)).is_ok().then_some(USUAL_PORT),
        ..FarmPlan::new(arguments.chain)
    };
    let stopped = async {
        // Its sender lives as long as the program.
        let _ = stop.await;
    };
    Ok(session::run(RunFolder::kept(folder)?, plan, arguments.length, stopped, Screen::new()).await?)
}

/// The first SIGINT or SIGTERM ends in order, the second at once; the children die with us.
fn signals() -> io::Result<oneshot::Receiver<()>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (sender, receiver) = oneshot::channel();
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        let _ = sender.send(());
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        std::process::exit(INTERRUPTED);
    });
    Ok(receiver)
}

/// Keeps a second farm out of the same folder for as long as the file is open.
fn lock(folder: &Path) -> Result<File, String> {
    let path = folder.join(LOCK);
    let failed = |e: io::Error| format!("{}: {e}", path.display());
    std::fs::create_dir_all(folder).map_err(failed)?;
    let foreign = std::fs::read_dir(folder).map_err(failed)?.next().is_some() && !path.exists();
    if foreign {
        return Err(format!("{} is not empty and no farm's folder; choose another", folder.display()));
    }
    let file = File::options().create(true).append(true).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(format!(
            "another farm runs in {}; stop it first, or start this one with --folder",
            folder.display()
        )),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

fn empty(folder: &Path) -> Result<(), String> {
    let failed = |e: io::Error| format!("emptying {}: {e}", folder.display());
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name() == LOCK {
            continue;
        }
        let is_folder = entry.file_type().map_err(failed)?.is_dir();
        let gone = if is_folder {
            std::fs::remove_dir_all(entry.path())
        } else {
            std::fs::remove_file(entry.path())
        };
        gone.map_err(failed)?;
    }
    Ok(())
}

fn complain(error: impl std::fmt::Display) -> ExitCode {
    // Without a place to complain to, the exit code still tells.
    let _ = writeln!(io::stderr(), "farm: {error}");
    ExitCode::FAILURE
}
