//! `dcmf-certify`: certifies algorithms, components and programs, inspects and revokes certificates, makes catalogues.
//! See docs/certification.md.

mod algorithms;
mod certify;
mod cli;
mod component;
mod digest;
mod failure;
mod files;
mod inspect;
mod keys;
mod measure;
mod output;
mod publish;

use clap::Parser;
use cli::{Cli, Command};
use std::{
    io::Write,
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

fn main() -> ExitCode {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let now = certification::UnixSeconds::new(now);
    let done = match Cli::parse().command {
        Command::Keygen(command) => keys::generate(&command),
        Command::Digest(command) => digest::run(&command),
        Command::Certify(command) => certify::certify(command, now),
        Command::Countersign(command) => certify::countersign(&command),
        Command::Attach(command) => certify::attach(&command),
        Command::Inspect(command) => inspect::run(&command, now),
        Command::Revoke(command) => publish::revoke(&command, now),
        Command::Catalogue(command) => publish::catalogue(&command, now),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // There is nobody left to tell when this cannot be written.
            let _ = writeln!(std::io::stderr(), "{failure}");
            failure.exit_code()
        }
    }
}
