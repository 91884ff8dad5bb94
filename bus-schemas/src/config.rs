//! Configuration that operators write into the bucket `dcmf_config`: JSON under `farm`, `pool.<pool>` and
//! `node.<worker>`.
//!
//! A coordinator accepts an edit by [`parse_strict`], which refuses unknown keys by their path: a misspelt key that is
//! silently ignored is an outage found late. What it accepted is published as [`InForce`]; its readers ignore keys
//! that they do not know, so that a newer coordinator may add some.

mod in_force;
mod source;

pub use in_force::{InForce, MAX_IN_FORCE_LEN, edit_of};
pub use source::{
    Chain, EmbeddedSource, GetBlockTemplateSource, MAX_SCRIPT_LEN, MAX_SOURCE_NODES, MAX_TAG_LEN,
    MoneroSource, NodeEndpoint, Payout, SourceConfig,
};

use crate::{
    blob::{Blob, Hash32},
    codec::{MAX_MESSAGE_LEN, message, refuse_arrays_for_objects},
    id::{AlgorithmId, InvalidId, PoolId, WorkerId},
    job::AlgorithmRef,
    policy::{self, BackupPolicy, FarmConfig, LabelPolicy, Layer, LoadPolicy, MAX_LABEL_POLICIES, Priority},
    schedule::Schedule,
    units::ShareBits,
    work::{MAX_SLOT_BITS, SearchMode},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::fmt;

/// Most labels of a node.
pub const MAX_LABELS: usize = 32;
/// Longest free text in a configuration, in bytes.
pub const MAX_TEXT_LEN: usize = 256;

/// An algorithm that is not compiled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ComponentRef {
    /// The version that the component says of itself.
    pub version: u32,
    /// SHA-256 of its bytes, as `sha256sum` prints it: its name in the bucket `dcmf_components`.
    pub sha256: Hash32,
}

/// What an operator decided about a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PoolConfig {
    /// For people.
    pub description: String,
    /// The algorithm that the pool runs.
    pub algorithm: AlgorithmId,
    /// The WebAssembly component in the bucket `dcmf_components` that the algorithm is; one that is compiled in when absent.
    pub component: Option<ComponentRef>,
    /// Where jobs come from and blocks go.
    pub source: SourceConfig,
    /// How workers divide a template.
    pub mode: SearchMode,
    /// Bits of a slot number; the pool has room for `2^slot_bits` slots under one job. A change holds from the
    /// next job.
    pub slot_bits: u8,
    /// Stops all search of the pool.
    pub paused: bool,
    /// Search threads of each worker; all that the host offers when absent.
    pub threads: Option<u16>,
    /// Share of these threads' time, 1 to 100 percent; all of it when absent.
    pub cap_percent: Option<u8>,
    /// How the kernel ranks search threads; the idle class when absent.
    pub priority: Option<Priority>,
    /// When to search; always when absent.
    pub schedule: Option<Schedule>,
    /// What differs for nodes with a label. Of several that fit a node the first holds.
    pub labels: Vec<LabelPolicy>,
    /// How workers answer to the load of their hosts.
    pub load: LoadPolicy,
    /// When backups step in and back.
    pub backup: BackupPolicy,
    /// How many workers mine; the others are backups.
    pub active_members: u16,
    /// Wanted shares a minute of each worker.
    pub shares_per_minute: u16,
    /// Difficulty of a worker that nothing is known of.
    pub initial_share_bits: ShareBits,
    /// Easiest difficulty.
    pub min_share_bits: ShareBits,
    /// Hardest difficulty.
    pub max_share_bits: ShareBits,
    /// Shares a second that a worker may send for long; more are refused before any hashing.
    pub share_rate_limit: u32,
    /// Time between heartbeats, milliseconds.
    pub heartbeat_interval_ms: u32,
    /// A worker is lost after this many missed heartbeats.
    pub lost_after_heartbeats: u16,
    /// A job is renewed after this time without another reason, milliseconds.
    pub job_refresh_ms: u32,
    /// A worker that heard nothing of its configuration for this long keeps to its host's safe profile, milliseconds: without one
    /// it stops.
    pub config_lease_ms: u32,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            description: String::new(),
            algorithm: AlgorithmId::sha256d(),
            component: None,
            source: SourceConfig::default(),
            mode: SearchMode::OwnBlock,
            slot_bits: 12,
            paused: false,
            threads: None,
            cap_percent: None,
            priority: None,
            schedule: None,
            labels: Vec::new(),
            load: LoadPolicy::default(),
            backup: BackupPolicy::default(),
            active_members: u16::MAX,
            shares_per_minute: 6,
            initial_share_bits: ShareBits::new(20),
            min_share_bits: ShareBits::new(4),
            max_share_bits: ShareBits::new(80),
            share_rate_limit: 50,
            heartbeat_interval_ms: 1_000,
            lost_after_heartbeats: 3,
            job_refresh_ms: 30_000,
            config_lease_ms: 300_000,
        }
    }
}

message!(PoolConfig, Json, MAX_MESSAGE_LEN / 8);
message!(FarmConfig, Json, MAX_MESSAGE_LEN / 8);

impl PoolConfig {
    /// The component as jobs name it, if the pool runs one.
    pub fn component_algorithm(&self) -> Option<AlgorithmRef> {
        let ComponentRef { version, sha256 } = self.component?;
        Some(AlgorithmRef { id: self.algorithm.clone(), version, digest: Blob(sha256.0.to_vec()) })
    }

    /// What it allows each worker.
    pub fn layer(&self) -> Layer<'_> {
        Layer {
            threads: self.threads,
            cap_percent: self.cap_percent,
            priority: self.priority,
            schedule: self.schedule.as_ref(),
        }
    }
}

/// What an operator decided about one worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct NodeConfig {
    /// For people.
    pub description: String,
    /// Whether it may mine at all.
    pub enabled: bool,
    /// Search threads instead of the pool's number.
    pub threads: Option<u16>,
    /// Share of these threads' time instead of the pool's, 1 to 100 percent.
    pub cap_percent: Option<u8>,
    /// Priority instead of the pool's.
    pub priority: Option<Priority>,
    /// Schedule instead of the pool's.
    pub schedule: Option<Schedule>,
    /// It hands its work to a backup and stands by, for planned maintenance.
    pub drained: bool,
    /// Pins the role; the coordinator chooses when absent.
    pub role: Option<crate::member::Role>,
    /// Labels, for instance `rack: b2`.
    pub labels: std::collections::BTreeMap<String, String>,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            description: String::new(),
            enabled: true,
            threads: None,
            cap_percent: None,
            priority: None,
            schedule: None,
            drained: false,
            role: None,
            labels: std::collections::BTreeMap::new(),
        }
    }
}

message!(NodeConfig, Json, MAX_MESSAGE_LEN / 8);

impl NodeConfig {
    /// What it allows this worker.
    pub fn layer(&self) -> Layer<'_> {
        Layer {
            threads: self.threads,
            cap_percent: self.cap_percent,
            priority: self.priority,
            schedule: self.schedule.as_ref(),
        }
    }
}

/// A key of the buckets `dcmf_config` and `dcmf_in_force`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConfigKey {
    /// `farm`.
    Farm,
    /// `pool.<pool>`.
    Pool(PoolId),
    /// `node.<worker>`.
    Node(WorkerId),
}

/// Why a text is no key of the bucket.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidConfigKey {
    /// None of `farm`, `pool.<pool>` and `node.<worker>`.
    #[error("{0:?} is no configuration key; use farm, pool.<pool> or node.<worker>")]
    Unknown(String),
    /// The second part is no id.
    #[error("{0:?} is no configuration key: {1}")]
    Id(String, InvalidId),
}

impl std::str::FromStr for ConfigKey {
    type Err = InvalidConfigKey;

    fn from_str(text: &str) -> Result<Self, InvalidConfigKey> {
        let id_error = |e| InvalidConfigKey::Id(text.to_owned(), e);
        match text.split_once('.') {
            None if text == "farm" => Ok(Self::Farm),
            Some(("pool", id)) => PoolId::new(id).map(Self::Pool).map_err(id_error),
            Some(("node", id)) => WorkerId::new(id).map(Self::Node).map_err(id_error),
            _ => Err(InvalidConfigKey::Unknown(text.to_owned())),
        }
    }
}

impl fmt::Display for ConfigKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Farm => f.write_str("farm"),
            Self::Pool(id) => write!(f, "pool.{id}"),
            Self::Node(id) => write!(f, "node.{id}"),
        }
    }
}

/// Why a configuration is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidConfig {
    /// Not JSON, or not of this shape.
    #[error("not readable: {0}")]
    Malformed(String),
    /// A key that means nothing.
    #[error("unknown key {0}; look at the schema for the spelling")]
    UnknownKey(String),
    /// A value that cannot be.
    #[error("{field}: {why}")]
    Value {
        /// The field's path.
        field: &'static str,
        /// What is wrong and what is allowed.
        why: String,
    },
}

pub(crate) fn value(field: &'static str, why: impl Into<String>) -> InvalidConfig {
    InvalidConfig::Value { field, why: why.into() }
}

/// A configuration that can judge itself.
pub trait Checked: Serialize + DeserializeOwned {
    /// Checks every value against its range.
    fn check(&self) -> Result<(), InvalidConfig>;
}

/// Reads JSON, refusing unknown keys by path, and checks the values.
pub fn parse_strict<C: Checked>(json: &[u8]) -> Result<C, InvalidConfig> {
    if json.len() > MAX_MESSAGE_LEN / 8 {
        return Err(InvalidConfig::Malformed(format!(
            "{} bytes, the limit is {}",
            json.len(),
            MAX_MESSAGE_LEN / 8
        )));
    }
    let mut unknown = None;
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let config: C = serde_ignored::deserialize(&mut deserializer, |path| {
        unknown.get_or_insert_with(|| path.to_string());
    })
    .map_err(|e| InvalidConfig::Malformed(e.to_string()))?;
    deserializer.end().map_err(|e| InvalidConfig::Malformed(e.to_string()))?;
    if let Some(path) = unknown {
        return Err(InvalidConfig::UnknownKey(path));
    }
    refuse_arrays_for_objects(json, &config).map_err(InvalidConfig::Malformed)?;
    config.check()?;
    Ok(config)
}

fn check_text(field: &'static str, text: &str, limit: usize) -> Result<(), InvalidConfig> {
    if text.len() > limit {
        return Err(value(field, format!("{} bytes, the limit is {limit}", text.len())));
    }
    Ok(())
}

pub(crate) fn check_range(
    field: &'static str,
    v: u64,
    range: std::ops::RangeInclusive<u64>,
) -> Result<(), InvalidConfig> {
    if range.contains(&v) {
        return Ok(());
    }
    Err(value(field, format!("{v} is outside {} to {}", range.start(), range.end())))
}

impl Checked for PoolConfig {
    fn check(&self) -> Result<(), InvalidConfig> {
        check_text("description", &self.description, MAX_TEXT_LEN)?;
        check_range("slot_bits", self.slot_bits.into(), 1..=MAX_SLOT_BITS.into())?;
        policy::check_layer(self.layer())?;
        check_range("labels", self.labels.len() as u64, 0..=MAX_LABEL_POLICIES as u64)?;
        for label in &self.labels {
            check_label(&label.key, &label.value)?;
            policy::check_layer(label.layer())?;
        }
        self.load.check()?;
        self.backup.check()?;
        check_range("shares_per_minute", self.shares_per_minute.into(), 1..=6_000)?;
        check_range("share_rate_limit", self.share_rate_limit.into(), 1..=10_000_000)?;
        if u64::from(self.share_rate_limit) * 60 < 4 * u64::from(self.shares_per_minute) {
            return Err(value(
                "share_rate_limit",
                "is less than four times shares_per_minute; honest workers vary that much",
            ));
        }
        check_range("heartbeat_interval_ms", self.heartbeat_interval_ms.into(), 100..=600_000)?;
        check_range("lost_after_heartbeats", self.lost_after_heartbeats.into(), 2..=1_000)?;
        check_range("job_refresh_ms", self.job_refresh_ms.into(), 1_000..=600_000)?;
        check_range("config_lease_ms", self.config_lease_ms.into(), 5_000..=86_400_000)?;
        if self.min_share_bits > self.max_share_bits {
            return Err(value("min_share_bits", "is above max_share_bits"));
        }
        if !(self.min_share_bits..=self.max_share_bits).contains(&self.initial_share_bits) {
            return Err(value("initial_share_bits", "lies outside min_share_bits to max_share_bits"));
        }
        self.source.check()
    }
}

impl Checked for NodeConfig {
    fn check(&self) -> Result<(), InvalidConfig> {
        check_text("description", &self.description, MAX_TEXT_LEN)?;
        policy::check_layer(self.layer())?;
        check_range("labels", self.labels.len() as u64, 0..=MAX_LABELS as u64)?;
        self.labels.iter().try_for_each(|(key, text)| check_label(key, text))
    }
}

fn check_label(key: &str, text: &str) -> Result<(), InvalidConfig> {
    for part in [key, text] {
        WorkerId::new(part).map_err(|e| value("labels", format!("{part:?}: {e}")))?;
    }
    Ok(())
}

impl Checked for FarmConfig {
    fn check(&self) -> Result<(), InvalidConfig> {
        check_text("reason", &self.reason, MAX_TEXT_LEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_configuration_is_valid() {
        assert_eq!(PoolConfig::default().check(), Ok(()));
        assert_eq!(parse_strict::<PoolConfig>(b"{}"), Ok(PoolConfig::default()));
        assert_eq!(parse_strict::<NodeConfig>(b"{}"), Ok(NodeConfig::default()));
    }

    #[test]
    fn a_misspelt_key_is_refused_with_its_path() {
        let refused = parse_strict::<PoolConfig>(br#"{"source":{"embedded":{"spacing_second":5}}}"#);
        assert_eq!(refused, Err(InvalidConfig::UnknownKey("source.?.spacing_second".into())));
    }

    #[test]
    fn a_value_out_of_range_is_refused_with_its_field() {
        for (json, field) in [
            (r#"{"slot_bits":17}"#, "slot_bits"),
            (r#"{"shares_per_minute":0}"#, "shares_per_minute"),
            (r#"{"shares_per_minute":600,"share_rate_limit":39}"#, "share_rate_limit"),
            (r#"{"min_share_bits":50,"max_share_bits":40}"#, "min_share_bits"),
            (r#"{"initial_share_bits":1}"#, "initial_share_bits"),
            (r#"{"source":{"embedded":{"initial_bits":0}}}"#, "source.embedded.initial_bits"),
        ] {
            match parse_strict::<PoolConfig>(json.as_bytes()) {
                Err(InvalidConfig::Value { field: f, .. }) => assert_eq!(f, field, "{json}"),
                other => panic!("{json}: {other:?}"),
            }
        }
        assert!(matches!(parse_strict::<PoolConfig>(b"{} x"), Err(InvalidConfig::Malformed(_))));
    }

    #[test]
    fn a_component_is_named_by_the_digest_that_sha256sum_prints() {
        let digest = "ab".repeat(32);
        let json = format!(r#"{{"algorithm":"x","component":{{"version":3,"sha256":"{digest}"}}}}"#);
        let config = parse_strict::<PoolConfig>(json.as_bytes()).unwrap();
        let named = config.component_algorithm().unwrap();
        assert_eq!((named.id.as_str(), named.version, named.digest), ("x", 3, Blob(vec![0xab; 32])));
        assert_eq!(PoolConfig::default().component_algorithm(), None);
        let short = parse_strict::<PoolConfig>(br#"{"component":{"version":3,"sha256":"abcd"}}"#);
        assert!(matches!(short, Err(InvalidConfig::Malformed(_))), "{short:?}");
    }

    #[test]
    fn a_configuration_key_names_a_pool_or_a_node() {
        assert_eq!("pool.main".parse(), Ok(ConfigKey::Pool(PoolId::new("main").unwrap())));
        assert_eq!("node.w1".parse(), Ok(ConfigKey::Node(WorkerId::new("w1").unwrap())));
        assert!(matches!("pool.a.b".parse::<ConfigKey>(), Err(InvalidConfigKey::Id(..))));
        assert!(matches!("pools.a".parse::<ConfigKey>(), Err(InvalidConfigKey::Unknown(_))));
    }
}
