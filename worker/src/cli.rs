//! The subcommands: what an administrator does at the host itself.

use crate::{
    certificates::{self, Denial},
    config::{Config, ConfigError, Flags},
    group::{SearchGroup, share::Weight},
    load::sources,
    monitor::MonitorFlags,
    veto,
};
use certification::Subject;
use clap::{Parser, Subcommand};
use std::{
    fmt::Write as _,
    io::{self, Write as _},
};

/// The program's command line. Without a subcommand it works.
#[derive(Debug, Parser)]
#[command(name = "dcmf-worker", version, about)]
pub struct Cli {
    /// Of the worker.
    #[command(flatten)]
    pub flags: Flags,
    /// Something else to do.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What else the program does.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Put the veto: nothing is searched on this host until `resume`, whatever the bus says
    Pause {
        /// Why, for people
        #[arg(long, default_value = "paused at the host")]
        reason: String,
    },
    /// Lift the veto
    Resume,
    /// Show what this host offers the search, and the configuration as it is read
    Check,
    /// Show what certificates permit on this host, and why not
    Certificates,
    /// Watch an application or this host and order the search elsewhere to make room; mines nothing
    Monitor(MonitorFlags),
}

/// Why a subcommand failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The veto file.
    #[error(transparent)]
    Veto(#[from] veto::VetoError),
    /// The program itself.
    #[error(transparent)]
    Program(#[from] certificates::ProgramUnreadable),
    /// The answer has no place, on a full disk for instance.
    #[error("the answer cannot be written: {0}")]
    Output(#[from] io::Error),
}

/// Puts the veto.
pub fn pause(flags: &Flags, reason: &str) -> Result<(), CliError> {
    let path = Config::veto_file(flags)?;
    veto::put(&path, reason)?;
    say(&format!("paused: {} is there; `dcmf-worker resume` removes it\n", path.display()))
}

/// Lifts the veto.
pub fn resume(flags: &Flags) -> Result<(), CliError> {
    let path = Config::veto_file(flags)?;
    let text = if veto::lift(&path)? { "resumed" } else { "was not paused" };
    say(&format!("{text}: no veto at {}\n", path.display()))
}

/// Shows the host.
pub fn check(flags: Flags) -> Result<(), CliError> {
    let config = Config::load(flags)?;
    // Its group is gone with it; a worker that runs has one of its own.
    let report = SearchGroup::open(&config.group, Weight::Idle).check();
    let yes = |there: bool| if there { "yes" } else { "no" };
    let available = sources::available();
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "gentle              {} ({} ‰ of a processor)",
        yes(report.gentle),
        report.share_permille
    );
    let _ = writeln!(text, "scheduling group    {}", report.detail);
    let _ = writeln!(text, "use of processors   {}", yes(available.processors));
    let _ = writeln!(text, "run queue           {}", yes(available.run_queue));
    let _ = writeln!(text, "pressure of memory  {}", yes(available.memory_pressure));
    let processors = match crate::affinity::allowed() {
        Ok(list) => list.len().to_string(),
        Err(error) => format!("unknown: {error}"),
    };
    let _ = writeln!(text, "processors          {processors}");
    let veto = veto::Watch::new(config.veto_file.clone());
    let _ = writeln!(text, "veto                {}", veto.reason().unwrap_or("no"));
    let _ = writeln!(text, "configuration       {config:#?}");
    say(&text)
}

/// Shows what the certificates that this host has kept permit now.
pub fn show_certificates(flags: Flags) -> Result<(), CliError> {
    let config = Config::load(flags)?;
    let (guard, now) = (certificates::open(&config)?, certificates::now());
    let (register, (file, unusable)) = (guard.register(), guard.record());
    let roots = register.roots();
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "trust roots     {} keys; {} author and {} certifier signatures are needed{}",
        roots.keys().len(),
        roots.authors_needed(),
        roots.certifiers_needed(),
        if roots.program_must_be_certified() { "; the program must be certified too" } else { "" }
    );
    let _ = writeln!(text, "kept in         {}", file.display());
    if let Some(error) = unusable {
        let _ = writeln!(text, "unusable        {error}");
    }
    let _ = writeln!(
        text,
        "catalogue       {} certificates; highest serial seen {}",
        register.certificates().len(),
        register.seen().catalogue
    );
    let list = register.revocations();
    let seen = register.seen().revocations;
    let _ = writeln!(text, "revocations     {} entries; highest serial seen {seen}", list.entries.len());
    for subject in guard.subjects() {
        let judged = match guard.judge(subject, now) {
            _ if matches!(subject, Subject::Program { .. }) && !roots.program_must_be_certified() => {
                "need not be certified on this host".to_owned()
            }
            Ok(permit) => format!(
                "permitted until {} by the authors {} and the certifiers {}",
                permit.valid_until,
                permit.authors.join(", "),
                permit.certifiers.join(", ")
            ),
            Err(denial) => told(&denial),
        };
        let _ = writeln!(text, "\n{subject}\n  sha256        {}\n  {judged}", subject.digest());
    }
    say(&text)
}

fn told(denial: &Denial) -> String {
    format!("refused       {}: {denial}", denial.code())
}

fn say(text: &str) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Who asked has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}
