//! Why a command was not done, and with which exit code it ends.

use certification::{Malformed, Refusal};
use source_digest::SourceError;
use std::{io, path::PathBuf, process::ExitCode};

/// Why a command was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("refused ({code}): {0}", code = .0.code())]
    Refused(#[from] Refusal),
    #[error("{0}")]
    Malformed(#[from] Malformed),
    #[error("{0}")]
    Differs(String),
    #[error("{algorithm} does not pass: {reason}; it cannot be certified")]
    Conformance { algorithm: String, reason: String },
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Sources(#[from] SourceError),
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {path}: {source}")]
    Write { path: PathBuf, source: io::Error },
    #[error("{path} exists already and is not overwritten; name another file")]
    Exists { path: PathBuf },
    #[error("{path} has more than {limit} bytes, which is too much for what it should be")]
    TooLarge { path: PathBuf, limit: usize },
    #[error("the key {path} cannot be used: {reason}")]
    Key { path: PathBuf, reason: String },
    #[error("nothing was signed: it was not confirmed with `yes`")]
    NotConfirmed,
}

impl Failure {
    /// 1: it is not valid, or differs; 2: the command cannot be done as given; 3: not confirmed.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Refused(_) | Self::Malformed(_) | Self::Differs(_) | Self::Conformance { .. } => 1,
            Self::NotConfirmed => 3,
            _ => 2,
        })
    }
}
