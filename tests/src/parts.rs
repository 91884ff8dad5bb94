//! Where the real components lie. `tests/parts/install.sh` alone decides which program is new enough (one on PATH, or
//! the pinned version it installs) and leaves it in `.parts/bin`; so here is only one place to look.

use std::fmt;
use std::path::{Path, PathBuf};

/// A real component that tests and `make run` start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The message server.
    NatsServer,
    /// The `nats` command line program.
    NatsCli,
    /// A Bitcoin node in Go.
    Btcd,
    /// The Litecoin node.
    Litecoind,
    /// The Monero node.
    Monerod,
    /// Another miner of RandomX.
    Xmrig,
    /// What sends alerts on, the monitor's webhook among others.
    Alertmanager,
    /// A second Bitcoin node; installed by `make test-knots` only.
    BitcoinKnots,
    /// A web server; installed by `make bench-idle` only.
    Nginx,
}

/// A component that is not installed.
#[derive(thiserror::Error)]
#[error("{program} is not installed at {path}: run `make {target}`")]
pub struct PartMissing {
    /// The program's file name.
    pub program: &'static str,
    /// Where it was looked for.
    pub path: PathBuf,
    /// The target of the Makefile that installs it.
    pub target: &'static str,
}

/// A test that unwraps prints this form, and should say what to do.
impl fmt::Debug for PartMissing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Part {
    /// The program's file name.
    pub const fn program(self) -> &'static str {
        match self {
            Self::NatsServer => "nats-server",
            Self::NatsCli => "nats",
            Self::Btcd => "btcd",
            Self::Litecoind => "litecoind",
            Self::Monerod => "monerod",
            Self::Xmrig => "xmrig",
            Self::Alertmanager => "alertmanager",
            Self::BitcoinKnots => "bitcoind",
            Self::Nginx => "nginx",
        }
    }

    /// The program to start, or what to do to get it.
    pub fn locate(self) -> Result<PathBuf, PartMissing> {
        let path = repository().join(".parts/bin").join(self.program());
        let target = match self {
            Self::BitcoinKnots => "test-knots",
            Self::Nginx => "bench-idle",
            Self::NatsServer
            | Self::NatsCli
            | Self::Btcd
            | Self::Litecoind
            | Self::Monerod
            | Self::Xmrig
            | Self::Alertmanager => "parts",
        };
        if path.is_file() { Ok(path) } else { Err(PartMissing { program: self.program(), path, target }) }
    }
}

/// The root of this checkout.
pub fn repository() -> &'static Path {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests)
}
