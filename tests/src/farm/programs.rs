//! The programs of this workspace, as `cargo build` leaves them beside whoever asks.

use std::fmt;
use std::path::PathBuf;

/// A program of this workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// The mining server.
    Coordinator,
    /// The mining agent.
    Worker,
    /// Shows messages of the bus.
    Decode,
    /// Makes streams and buckets and tells where they differ.
    Bus,
    /// Starts a farm on this machine.
    Farm,
}

/// A program that is not built.
#[derive(thiserror::Error)]
#[error("{program} is not built at {path}: run `cargo build --workspace --bins`")]
pub struct ProgramMissing {
    /// Its file name.
    pub program: &'static str,
    /// Where it was looked for.
    pub path: PathBuf,
}

/// A test that unwraps prints this form, and should say what to do.
impl fmt::Debug for ProgramMissing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Program {
    /// The program's file name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Coordinator => "dcmf-coordinator",
            Self::Worker => "dcmf-worker",
            Self::Decode => "dcmf-decode",
            Self::Bus => "dcmf-bus",
            Self::Farm => "farm",
        }
    }

    /// The program to start, or what to do to get it.
    pub fn locate(self) -> Result<PathBuf, ProgramMissing> {
        let path = folder().join(self.name());
        if path.is_file() { Ok(path) } else { Err(ProgramMissing { program: self.name(), path }) }
    }
}

/// Where cargo puts programs: beside this one, or one up when this is a test.
pub fn folder() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    let mut folder = own.parent().map(PathBuf::from).unwrap_or_default();
    if folder.ends_with("deps") {
        folder.pop();
    }
    folder
}
