//! What the host's administrator decided: a TOML file and flags, flags first.

mod file;

use crate::{affinity, certificates, group, veto};
use bus_schemas::{PoolId, WorkerId, id::InvalidId};
use certification::TrustRoots;
use clap::Parser;
use file::HostFile;
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};
use worker_core::{UNGENTLE_PERCENT, search::MAX_THREADS};

/// Largest configuration file in bytes.
const MAX_FILE_LEN: u64 = 64 * 1024;
/// Where a NATS server listens when nothing else is said.
pub(crate) const DEFAULT_SERVER: &str = "nats://127.0.0.1:4222";

/// The mining agent of one host.
#[derive(Debug, Clone, Default, Parser)]
#[command(name = "dcmf-worker", version, about)]
pub struct Flags {
    /// TOML file with what the host's administrator decided; docs/operations.md lists its keys
    #[arg(long, env = "DCMF_WORKER_CONFIG", global = true)]
    pub config: Option<PathBuf>,
    /// Name of this worker: letters, digits, '-' and '_'
    #[arg(long, env = "DCMF_WORKER")]
    pub worker: Option<String>,
    /// The pool to join
    #[arg(long, env = "DCMF_POOL")]
    pub pool: Option<String>,
    /// NATS server; may be given several times
    #[arg(long = "server", env = "DCMF_SERVERS", value_delimiter = ',', global = true)]
    pub servers: Vec<String>,
    /// Most search threads, whatever the pool says; all processors by default
    #[arg(long)]
    pub max_threads: Option<u16>,
    /// Cap of the search where its group cannot be lowered, 1 to 100 percent; the lowest cap of all rules holds
    #[arg(long)]
    pub ungentle_percent: Option<u8>,
    /// Address for /metrics, /livez and /readyz, for instance 127.0.0.1:9464; none by default
    #[arg(long)]
    pub http: Option<SocketAddr>,
    /// File with the NATS user's JWT and seed
    #[arg(long, global = true)]
    pub credentials: Option<PathBuf>,
    /// Write the log as JSON lines
    #[arg(long, global = true)]
    pub log_json: bool,
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
    /// `max_threads` was not chosen: it follows the processors that the process may use.
    pub follow_processors: bool,
    /// Where to serve metrics and health.
    pub http: Option<SocketAddr>,
    /// File with the NATS user's JWT and seed.
    pub credentials: Option<PathBuf>,
    /// While this file is there, nothing is searched.
    pub veto_file: PathBuf,
    /// Whose certificates count on this host.
    pub trust: TrustRoots,
    /// Where it keeps which certificates it has seen.
    pub state_folder: PathBuf,
    /// The most of its time that a search thread searches, 1 to 100 percent.
    pub max_cpu_percent: u8,
    /// Threads when nothing was heard for the configuration lease.
    pub safe_threads: u16,
    /// Cap of the search where its group cannot be lowered, 1 to 100 percent; the lowest cap of all rules holds.
    pub ungentle_percent: u8,
    /// Most memory of the whole worker, MiB.
    pub max_memory_mib: Option<u64>,
    /// How the main application's answers are measured.
    pub probe: Option<ProbeConfig>,
    /// The application whose own latency is followed on the bus.
    pub latency_application: Option<WorkerId>,
    /// Which scheduling group the search is in.
    pub group: group::Choice,
    /// Whether search threads are pinned to processors.
    pub pin: bool,
    /// Work between two short rests, microseconds, instead of what the governor chooses.
    pub work_us: Option<u32>,
    /// A short rest, microseconds, instead of what the governor chooses.
    pub rest_us: Option<u32>,
}

/// How an application's answers are measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeConfig {
    /// What to get: `http://…`.
    pub url: String,
    /// How often.
    pub interval: Duration,
    /// An answer that takes longer counts as one that took so long.
    pub timeout: Duration,
}

impl Config {
    /// Of a worker about whose host nothing else is said.
    pub fn new(worker: WorkerId, pool: PoolId) -> Self {
        Self {
            worker,
            pool,
            servers: vec![DEFAULT_SERVER.to_owned()],
            max_threads: processors(),
            follow_processors: true,
            http: None,
            credentials: None,
            veto_file: veto_file(None),
            trust: TrustRoots::none(),
            state_folder: certificates::default_folder(),
            max_cpu_percent: 100,
            safe_threads: 0,
            ungentle_percent: UNGENTLE_PERCENT,
            max_memory_mib: None,
            probe: None,
            latency_application: None,
            group: group::Choice::Auto,
            pin: true,
            work_us: None,
            rest_us: None,
        }
    }
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
    /// A value that cannot be.
    #[error("{key} is {value}; it must be {wanted}")]
    Value {
        /// Its key.
        key: &'static str,
        /// As given.
        value: String,
        /// What would do.
        wanted: String,
    },
}

impl Config {
    /// Reads the file that the flags name, if any, and lets the flags win over it.
    pub fn load(flags: Flags) -> Result<Self, ConfigError> {
        let file = match &flags.config {
            Some(path) => read(path)?,
            None => HostFile::default(),
        };
        let file = HostFile { ungentle_percent: flags.ungentle_percent.or(file.ungentle_percent), ..file };
        file.check()?;
        let chosen = flags.max_threads.or(file.max_threads);
        let max_threads = chosen.unwrap_or_else(processors);
        if max_threads > MAX_THREADS {
            return Err(ConfigError::Threads(max_threads));
        }
        let worker = id("worker", flags.worker.or(file.worker), WorkerId::new)?;
        let pool = id("pool", flags.pool.or(file.pool), PoolId::new)?;
        let base = Self::new(worker, pool);
        let servers = if flags.servers.is_empty() { file.servers } else { flags.servers };
        let application = file.latency.map(|latency| Some(latency.application));
        Ok(Self {
            servers: if servers.is_empty() { base.servers } else { servers },
            max_threads,
            follow_processors: chosen.is_none(),
            http: flags.http.or(file.http),
            credentials: flags.credentials.or(file.credentials),
            veto_file: file.veto_file.unwrap_or_else(|| veto_file(flags.config.as_deref())),
            trust: file.trust.unwrap_or_default(),
            state_folder: file.state_folder.unwrap_or(base.state_folder),
            max_cpu_percent: file.max_cpu_percent.unwrap_or(base.max_cpu_percent),
            safe_threads: file.safe_threads.unwrap_or(0).min(max_threads),
            ungentle_percent: file.ungentle_percent.unwrap_or(base.ungentle_percent),
            max_memory_mib: file.max_memory_mib,
            probe: file.probe.map(Into::into),
            latency_application: application
                .map(|name| id("latency.application", name, WorkerId::new))
                .transpose()?,
            group: file.group.unwrap_or_default().0,
            pin: file.pin.unwrap_or(base.pin),
            work_us: file.work_us,
            rest_us: file.rest_us,
            ..base
        })
    }

    /// The veto file of a host, for programs that need nothing else of its configuration.
    pub fn veto_file(flags: &Flags) -> Result<PathBuf, ConfigError> {
        let named = match &flags.config {
            Some(path) => read(path)?.veto_file,
            None => None,
        };
        Ok(named.unwrap_or_else(|| veto_file(flags.config.as_deref())))
    }
}

fn veto_file(config: Option<&Path>) -> PathBuf {
    let runtime_folder = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let root = nix::unistd::Uid::effective().is_root();
    veto::default_path(config, root, runtime_folder.as_deref())
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

/// Search threads of a worker whose administrator names no number: one for each processor that it may use.
pub(crate) fn processors() -> u16 {
    affinity::usable().min(MAX_THREADS)
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
        assert_eq!((config.max_threads, config.follow_processors), (processors(), true));
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
        for (line, told) in [
            ("max_thread = 1", "unknown field `max_thread`"),
            ("[probe]\nurls = 'http://a'", "unknown field `urls`"),
            ("max_cpu_percent = 0", "max_cpu_percent is 0; it must be 1 to 100"),
            ("max_cpu_percent = 101", "max_cpu_percent is 101; it must be 1 to 100"),
            ("safe_threads = 9999", "safe_threads is 9999; it must be 0 to"),
            ("max_memory_mib = 1", "max_memory_mib is 1; it must be"),
            ("group = 'some'", "group is \"some\"; it must be auto, none or an absolute path"),
            ("work_us = 1", "work_us is 1; it must be"),
            ("rest_us = 2000000", "rest_us is 2000000; it must be"),
            ("state_folder = 'x'", "state_folder is \"x\"; it must be an absolute path"),
            ("[trust]\nauthors = 1", "unknown field `authors`"),
            ("[trust]\nauthors_needed = 0", "must each be 1 or more"),
            ("[[trust.keys]]\nname = 'a'\nkey = 'RWx'\nroles = ['author']", "the key of a: "),
            ("veto_file = ''", "veto_file is \"\"; it must be"),
            ("[probe]\nurl = 'https://a'", "probe.url is \"https://a\"; it must be http://"),
            ("[probe]\nurl = 'http://a'\ninterval_ms = 0", "probe.interval_ms is 0; it must be"),
            ("[probe]\nurl = 'http://a'\ntimeout_ms = 0", "probe.timeout_ms is 0; it must be"),
            ("[probe]\ntimeout_ms = 9", "missing field `url`"),
            ("[latency]\napplication = 'a.b'", "latency.application \"a.b\" cannot be used"),
        ] {
            let (_file, wrong) = file(&format!("worker = 'w'\npool = 'p'\n{line}\n"));
            let error = Config::load(wrong).unwrap_err().to_string();
            assert!(error.contains(told), "{line}: {error}");
        }
    }

    #[test]
    fn what_the_host_file_says_is_kept() {
        let (_file, flags) = file(
            "worker = 'w'\npool = 'p'\nmax_threads = 4\nveto_file = '/run/veto'\nmax_cpu_percent = 50\n\
             safe_threads = 9\nmax_memory_mib = 512\ngroup = '/sys/fs/cgroup/cpu/low'\npin = false\nwork_us = 500\n\
             rest_us = 20\nstate_folder = '/var/lib/x'\n[probe]\nurl = 'http://127.0.0.1:80/'\ninterval_ms = 250\n[latency]\napplication = 'shop'\n",
        );
        let config = Config::load(flags).unwrap();
        let wanted = Config {
            servers: vec![DEFAULT_SERVER.to_owned()],
            max_threads: 4,
            follow_processors: false,
            http: None,
            credentials: None,
            veto_file: "/run/veto".into(),
            max_cpu_percent: 50,
            safe_threads: 4,
            max_memory_mib: Some(512),
            probe: Some(ProbeConfig {
                url: "http://127.0.0.1:80/".into(),
                interval: Duration::from_millis(250),
                timeout: Duration::from_secs(1),
            }),
            latency_application: Some(WorkerId::new("shop").unwrap()),
            group: group::Choice::Path("/sys/fs/cgroup/cpu/low".into()),
            pin: false,
            work_us: Some(500),
            rest_us: Some(20),
            state_folder: "/var/lib/x".into(),
            ..Config::new(WorkerId::new("w").unwrap(), PoolId::new("p").unwrap())
        };
        assert_eq!(config, wanted);
    }

    #[test]
    fn the_veto_file_lies_beside_the_host_file_unless_that_names_another() {
        let (here, flags) = file("worker = 'w'\npool = 'p'\n");
        let beside = here.path().with_file_name("veto");
        assert_eq!(Config::load(flags.clone()).unwrap().veto_file, beside);
        assert_eq!(Config::veto_file(&flags).unwrap(), beside);
        let (_file, flags) = file("veto_file = '/run/other'\n");
        assert_eq!(Config::veto_file(&flags).unwrap(), Path::new("/run/other"));
    }
}
