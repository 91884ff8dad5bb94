//! The host's file as it is written, and the range of each of its values.

use super::{ConfigError, ProbeConfig};
use crate::group::Choice;
use certification::TrustRoots;
use serde::Deserialize;
use std::{fmt::Display, net::SocketAddr, ops::RangeInclusive, path::PathBuf, time::Duration};
use worker_core::search::MAX_THREADS;

const CPU_PERCENT: RangeInclusive<u8> = 1..=100;
const SAFE_THREADS: RangeInclusive<u16> = 0..=MAX_THREADS;
/// Less would not hold the program itself; more is no limit.
const MEMORY_MIB: RangeInclusive<u64> = 32..=16 * 1024 * 1024;
const WORK_US: RangeInclusive<u32> = 50..=1_000_000;
const REST_US: RangeInclusive<u32> = 0..=1_000_000;
const INTERVAL_MS: RangeInclusive<u64> = 10..=60_000;
const TIMEOUT_MS: RangeInclusive<u64> = 1..=60_000;
const DEFAULT_INTERVAL_MS: u64 = 500;
const DEFAULT_TIMEOUT_MS: u64 = 1_000;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct HostFile {
    pub(super) worker: Option<String>,
    pub(super) pool: Option<String>,
    pub(super) servers: Vec<String>,
    pub(super) max_threads: Option<u16>,
    pub(super) http: Option<SocketAddr>,
    pub(super) credentials: Option<PathBuf>,
    pub(super) veto_file: Option<PathBuf>,
    pub(super) state_folder: Option<PathBuf>,
    pub(super) trust: Option<TrustRoots>,
    pub(super) max_cpu_percent: Option<u8>,
    pub(super) safe_threads: Option<u16>,
    pub(super) ungentle_percent: Option<u8>,
    pub(super) max_memory_mib: Option<u64>,
    pub(super) probe: Option<ProbeTable>,
    pub(super) latency: Option<LatencyTable>,
    pub(super) group: Option<GroupValue>,
    pub(super) pin: Option<bool>,
    pub(super) work_us: Option<u32>,
    pub(super) rest_us: Option<u32>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProbeTable {
    url: String,
    interval_ms: Option<u64>,
    timeout_ms: Option<u64>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LatencyTable {
    pub(super) application: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(from = "PathBuf")]
pub(super) struct GroupValue(pub(super) Choice);

impl From<PathBuf> for GroupValue {
    fn from(path: PathBuf) -> Self {
        Self(match path.to_str() {
            Some("auto") => Choice::Auto,
            Some("none") => Choice::None,
            _ => Choice::Path(path),
        })
    }
}

impl From<ProbeTable> for ProbeConfig {
    fn from(table: ProbeTable) -> Self {
        Self {
            url: table.url,
            interval: Duration::from_millis(table.interval_ms.unwrap_or(DEFAULT_INTERVAL_MS)),
            timeout: Duration::from_millis(table.timeout_ms.unwrap_or(DEFAULT_TIMEOUT_MS)),
        }
    }
}

impl HostFile {
    /// Checks every value that stands by itself.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        within("max_cpu_percent", self.max_cpu_percent, CPU_PERCENT)?;
        within("ungentle_percent", self.ungentle_percent, CPU_PERCENT)?;
        within("safe_threads", self.safe_threads, SAFE_THREADS)?;
        within("max_memory_mib", self.max_memory_mib, MEMORY_MIB)?;
        within("work_us", self.work_us, WORK_US)?;
        within("rest_us", self.rest_us, REST_US)?;
        if let Some(GroupValue(Choice::Path(path))) = &self.group
            && !path.is_absolute()
        {
            return Err(value("group", path.to_string_lossy(), "auto, none or an absolute path"));
        }
        if self.veto_file.as_ref().is_some_and(|path| path.file_name().is_none()) {
            let given = self.veto_file.clone().unwrap_or_default();
            return Err(value("veto_file", given.to_string_lossy(), "the path of a file"));
        }
        if self.state_folder.as_ref().is_some_and(|path| !path.is_absolute()) {
            let given = self.state_folder.clone().unwrap_or_default();
            return Err(value("state_folder", given.to_string_lossy(), "an absolute path"));
        }
        let Some(probe) = &self.probe else { return Ok(()) };
        within("probe.interval_ms", probe.interval_ms, INTERVAL_MS)?;
        within("probe.timeout_ms", probe.timeout_ms, TIMEOUT_MS)?;
        if !probe.url.starts_with("http://") {
            return Err(value("probe.url", &probe.url, "http://host:port/path"));
        }
        Ok(())
    }
}

fn value(key: &'static str, value: impl AsRef<str>, wanted: &str) -> ConfigError {
    ConfigError::Value { key, value: format!("{:?}", value.as_ref()), wanted: wanted.to_owned() }
}

fn within<T: PartialOrd + Display>(
    key: &'static str,
    given: Option<T>,
    range: RangeInclusive<T>,
) -> Result<(), ConfigError> {
    match given {
        Some(given) if !range.contains(&given) => {
            let wanted = format!("{} to {}", range.start(), range.end());
            Err(ConfigError::Value { key, value: given.to_string(), wanted })
        }
        _ => Ok(()),
    }
}
