//! The coordinator's own file on its host: what is never on the bus.

use bus_schemas::CoordinatorId;
use job_sources::Credentials;
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// Most judging threads.
pub const MAX_JUDGE_THREADS: usize = 256;

/// The host's own file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostConfig {
    /// Which coordinator this is; two processes may share an id, their leases keep them apart.
    pub id: CoordinatorId,
    /// The farm's number; it stands in every header.
    #[serde(default)]
    pub farm: u32,
    /// NATS servers.
    pub servers: Vec<String>,
    /// NATS credentials file.
    #[serde(default)]
    pub nats_credentials: Option<PathBuf>,
    /// Where `/metrics`, `/livez` and `/readyz` are served; nowhere when absent.
    #[serde(default)]
    pub http: Option<SocketAddr>,
    /// Threads that judge shares.
    #[serde(default = "one")]
    pub judge_threads: usize,
    /// Copies of each stream that is made because it is missing.
    #[serde(default = "one")]
    pub replicas: usize,
    /// How chain nodes know us, by the name that a pool's source uses.
    #[serde(default)]
    pub credentials: BTreeMap<String, Credentials>,
}

fn one() -> usize {
    1
}

/// Why the host's file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HostConfigError {
    /// It cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It is not of the expected shape.
    #[error("{path}: {reason}")]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What is wrong, without the values of secrets.
        reason: String,
    },
    /// A value that cannot be.
    #[error("{field}: {why}")]
    Value {
        /// The field.
        field: &'static str,
        /// What is allowed.
        why: String,
    },
}

impl HostConfig {
    /// Reads and checks the file.
    pub fn read(path: &Path) -> Result<Self, HostConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| HostConfigError::Read { path: path.to_owned(), source })?;
        // The parser's full text quotes the line, which may hold a password; its message alone does not.
        let malformed = |e: toml::de::Error| HostConfigError::Malformed {
            path: path.to_owned(),
            reason: e.message().to_owned(),
        };
        let config: Self = toml::from_str(&text).map_err(malformed)?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), HostConfigError> {
        let value = |field, why: String| Err(HostConfigError::Value { field, why });
        if self.servers.is_empty() {
            return value("servers", "name at least one NATS server".to_owned());
        }
        if !(1..=MAX_JUDGE_THREADS).contains(&self.judge_threads) {
            return value("judge_threads", format!("1 to {MAX_JUDGE_THREADS} are possible"));
        }
        if !matches!(self.replicas, 1 | 3 | 5) {
            return value("replicas", "1, 3 or 5 are possible".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<HostConfig, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.toml");
        std::fs::write(&path, text).unwrap();
        HostConfig::read(&path).map_err(|e| e.to_string())
    }

    #[test]
    fn a_small_file_is_enough_and_mistakes_are_named() {
        assert!(parse("id = \"c1\"\nservers = [\"nats://127.0.0.1:4222\"]").is_ok());
        assert!(parse("id = \"a.b\"\nservers = [\"x\"]").unwrap_err().contains("an id holds '.'"));
        assert!(parse("id = \"a\"\nservers = []").unwrap_err().contains("at least one"));
        assert!(parse("id = \"a\"\nservers = [\"x\"]\nserver = 1").unwrap_err().contains("unknown field"));
        assert!(parse("id = \"a\"\nservers = [\"x\"]\nreplicas = 2").unwrap_err().contains("1, 3 or 5"));
    }

    #[test]
    fn no_password_is_ever_printed() {
        let text = "id = \"c1\"\nservers = [\"x\"]\n[credentials.n]\nuser = \"u\"\npassword = \"hunter2\"\n";
        assert!(!format!("{:?}", parse(text).unwrap()).contains("hunter2"));
        assert!(!parse(&text.replace("hunter2\"", "hunter2\" x")).unwrap_err().contains("hunter2"));
    }
}
