//! The system tests' harness: real parts as processes of one's own, on loopback, on free ports, gone when dropped.
//!
//! The same modules start the parts of `make run`. Nothing here imitates a part.

pub mod audit;
pub mod authority;
pub mod bench;
pub mod bitcoin_knots;
pub mod btcd;
pub mod chain_node;
pub mod coordinator;
pub mod farm;
pub mod folder;
pub mod hand_worker;
pub mod litecoind;
pub mod monerod;
pub mod nats_server;
pub mod parts;
pub mod ports;
pub mod process;
pub mod rpc;
pub mod wait;
pub mod witness;

use std::{fmt, io::IsTerminal};

/// Begins the log of a program, on stderr; in colours where that is a terminal. Whoever reads it may stop reading.
pub fn log(filter: tracing_subscriber::EnvFilter) {
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    log.log_internal_errors(false).with_ansi(std::io::stderr().is_terminal()).init();
}

/// Why a part of the harness could not do its work.
#[derive(thiserror::Error)]
pub enum HarnessError {
    /// A component is not installed.
    #[error(transparent)]
    Part(#[from] parts::PartMissing),
    /// A process could not be started, watched or ended.
    #[error(transparent)]
    Process(#[from] process::ProcessError),
    /// Something that was waited for did not happen.
    #[error(transparent)]
    Overdue(#[from] wait::Overdue),
    /// A node did not answer a call as wanted.
    #[error(transparent)]
    Rpc(#[from] rpc::RpcError),
    /// A folder, file or port of the harness could not be had.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, to what.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A test that unwraps prints this form, and should say what to do.
impl fmt::Debug for HarnessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl HarnessError {
    fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        |source| Self::Io { what, source }
    }
}
