//! What the host's administrator decided: a TOML file and flags, flags first.

use bus_schemas::{PoolId, WorkerId, id::InvalidId};
use clap::Parser;
use serde::Deserialize;
use std::{
    net::SocketAddr,
    num::NonZero,
    path::{Path, PathBuf},
};
use worker_core::search::MAX_THREADS;

/// Largest configuration file in bytes.
const MAX_FILE_LEN: u64 = 64 * 1024;
/// Where a NATS server listens when nothing else is said.
const DEFAULT_SERVER: &str = "nats://127.0.0.1:4222";

/// The mining agent of one host.
#[derive(Debug, Clone, Default, Parser)]
#[command(name = "dcmf-worker", version, about)]
pub struct Flags {
    /// TOML file with the keys worker, pool, servers, max_threads, http, credentials
    #[arg(long, env = "DCMF_WORKER_CONFIG")]
    pub config: Option<PathBuf>,
    /// Name of this worker: letters, digits, '-' and '_'
    #[arg(long, env = "DCMF_WORKER")]
    pub worker: Option<String>,
    /// The pool to join
    #[arg(long, env = "DCMF_POOL")]
    pub pool: Option<String>,
    /// NATS server; may be given several times
    #[arg(long = "server", env = "DCMF_SERVERS", value_delimiter = ',')]
    pub servers: Vec<String>,
    /// Most search threads, whatever the pool says; all processors by default
    #[arg(long)]
    pub max_threads: Option<u16>,
    /// Address for /metrics, /livez and /readyz, for instance 127.0.0.1:9464; none by default
    #[arg(long)]
    pub http: Option<SocketAddr>,
    /// File with the NATS user's JWT and seed
    #[arg(long)]
    pub credentials: Option<PathBuf>,
    /// Write the log as JSON lines
    #[arg(long)]
    pub log_json: bool,
}

/// The host's file as it is written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct HostFile {
    worker: Option<String>,
    pool: Option<String>,
    servers: Vec<String>,
    max_threads: Option<u16>,
    http: Option<SocketAddr>,
    credentials: Option<PathBuf>,
}

/// Everything that a worker needs to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Its name.
    pub worker: WorkerId,
    /// Its pool.
    pub pool: PoolId,
    /// NATS servers.
    pub servers: Vec<String>,
    /// Most search threads.
    pub max_threads: u16,
    /// Where to serve metrics and health.
    pub http: Option<SocketAddr>,
    /// File with the NATS user's JWT and seed.
    pub credentials: Option<PathBuf>,
}

/// Why a worker cannot start with its configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}: {source}; check --config")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is larger than it can sensibly be.
    #[error("the configuration {path} has {len} bytes, at most {MAX_FILE_LEN} are read; check --config")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        len: u64,
    },
    /// The file is no TOML of this shape.
    #[error("the configuration {path} is not usable: {reason}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong and where.
        reason: String,
    },
    /// Something that has no default is missing.
    #[error("{0} is missing; give --{0} or set {0} in the configuration file")]
    Missing(&'static str),
    /// An id is no id.
    #[error("{field} {value:?} cannot be used: {source}")]
    Id {
        /// Which.
        field: &'static str,
        /// As given.
        value: String,
        /// What is wrong.
        source: InvalidId,
    },
    /// More threads than a worker can have.
    #[error("max_threads is {0}; at most {MAX_THREADS} are possible")]
    Threads(u16),
}

impl Config {
    /// Reads the file that the flags name, if any, and lets the flags win over it.
    pub fn load(flags: Flags) -> Result<Self, ConfigError> {
        let file = match &flags.config {
            Some(path) => read(path)?,
            None => HostFile::default(),
        };
        let servers = if flags.servers.is_empty() { file.servers } else { flags.servers };
        let max_threads = flags.max_threads.or(file.max_threads).unwrap_or_else(processors);
        if max_threads > MAX_THREADS {
            return Err(ConfigError::Threads(max_threads));
        }
        Ok(Self {
            worker: id("worker", flags.worker.or(file.worker), WorkerId::new)?,
            pool: id("pool", flags.pool.or(file.pool), PoolId::new)?,
            servers: if servers.is_empty() { vec![DEFAULT_SERVER.to_owned()] } else { servers },
            max_threads,
            http: flags.http.or(file.http),
            credentials: flags.credentials.or(file.credentials),
        })
    }
}

fn read(path: &Path) -> Result<HostFile, ConfigError> {
    let failed = |source| ConfigError::Read { path: path.to_owned(), source };
    let len = std::fs::metadata(path).map_err(failed)?.len();
    if len > MAX_FILE_LEN {
        return Err(ConfigError::TooLarge { path: path.to_owned(), len });
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    toml::from_str(&text).map_err(|e| ConfigError::Syntax {
        path: path.to_owned(),
        reason: e.to_string().trim_end().to_owned(),
    })
}

fn id<T>(
    field: &'static str,
    value: Option<String>,
    new: impl Fn(String) -> Result<T, InvalidId>,
) -> Result<T, ConfigError> {
    let value = value.ok_or(ConfigError::Missing(field))?;
    new(value.clone()).map_err(|source| ConfigError::Id { field, value, source })
}

fn processors() -> u16 {
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    u16::try_from(processors).unwrap_or(MAX_THREADS).min(MAX_THREADS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(arguments: &[&str]) -> Flags {
        Flags::try_parse_from([&["dcmf-worker"], arguments].concat()).unwrap()
    }

    fn file(text: &str) -> (tempfile::NamedTempFile, Flags) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let flags = Flags { config: Some(file.path().to_owned()), ..Flags::default() };
        (file, flags)
    }

    #[test]
    fn flags_win_over_the_file() {
        let (_file, from_file) = file(
            "worker = 'w1'\npool = 'main'\nservers = ['nats://a:1']\nmax_threads = 3\nhttp = '127.0.0.1:9'\n",
        );
        let config = Config::load(from_file.clone()).unwrap();
        assert_eq!((config.worker.as_str(), config.max_threads), ("w1", 3));
        assert_eq!(config.http, Some("127.0.0.1:9".parse().unwrap()));
        let given = flags(&["--worker", "w2", "--server", "nats://b:1,nats://c:1", "--max-threads", "0"]);
        let config = Config::load(Flags { config: from_file.config, ..given }).unwrap();
        assert_eq!((config.worker.as_str(), config.pool.as_str(), config.max_threads), ("w2", "main", 0));
        assert_eq!(config.servers, ["nats://b:1", "nats://c:1"]);
    }

    #[test]
    fn what_has_a_default_need_not_be_given() {
        let config = Config::load(flags(&["--worker", "w", "--pool", "p"])).unwrap();
        assert_eq!((config.servers, config.http), (vec![DEFAULT_SERVER.to_owned()], None));
        assert_eq!(config.max_threads, processors());
    }

    #[test]
    fn a_wrong_configuration_is_refused_with_what_to_do() {
        for (arguments, told) in [
            (&["--pool", "p"][..], "worker is missing; give --worker"),
            (&["--worker", "a.b", "--pool", "p"], "worker \"a.b\" cannot be used: an id holds '.'"),
            (&["--worker", "w", "--pool", ""], "pool \"\" cannot be used: an id is empty"),
            (&["--worker", "w", "--pool", "p", "--max-threads", "2000"], "max_threads is 2000; at most"),
            (&["--config", "/nonexistent/worker.toml"], "cannot read the configuration /nonexistent"),
        ] {
            let error = Config::load(flags(arguments)).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
        let (_file, misspelt) = file("worker = 'w'\npool = 'p'\nmax_thread = 1\n");
        let error = Config::load(misspelt).unwrap_err().to_string();
        assert!(error.contains("unknown field `max_thread`") && error.contains("line 3"), "{error}");
    }
}
