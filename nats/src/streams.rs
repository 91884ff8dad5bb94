//! The catalogue of streams and buckets: `nats/streams/*.json`, the same files that `nats stream add --config` takes.

use async_nats::jetstream::{consumer::pull, stream::Config};

/// Room for headers in a stream's `max_msg_size`, in bytes, beside the largest message.
pub const MAX_HEADERS_LEN: usize = 4 * 1024;

macro_rules! catalogue {
    ($($(#[$doc:meta])* $constant:ident = $name:literal;)+) => {
        $($(#[$doc])* pub const $constant: &str = $name;)+

        /// Name and JSON of every stream, buckets included.
        pub const FILES: &[(&str, &str)] = &[$(($name, include_str!(concat!("../streams/", $name, ".json")))),+];
    };
}

catalogue! {
    /// Jobs.
    JOB = "DCMF_JOB";
    /// Shares.
    SHARE = "DCMF_SHARE";
    /// Shares that meet the network target.
    FOUND = "DCMF_FOUND";
    /// Blocks.
    BLOCK = "DCMF_BLOCK";
    /// What makes whole blocks of jobs.
    TEMPLATE = "DCMF_TEMPLATE";
    /// The embedded chain.
    CHAIN = "DCMF_CHAIN";
    /// The ledger.
    LEDGER = "DCMF_LEDGER";
    /// Events.
    EVENT = "DCMF_EVT";
    /// Throttle orders.
    THROTTLE = "DCMF_THROTTLE";
    /// Dead letters.
    DEAD = "DCMF_DEAD";
    /// The stream of [`CONFIG`].
    KV_CONFIG = "KV_dcmf_config";
    /// The stream of [`IN_FORCE`].
    KV_IN_FORCE = "KV_dcmf_in_force";
    /// The stream of [`MEMBERS`].
    KV_MEMBERS = "KV_dcmf_members";
    /// The stream of [`LEASES`].
    KV_LEASES = "KV_dcmf_leases";
    /// The stream of [`STATUS`].
    KV_STATUS = "KV_dcmf_status";
    /// The stream of [`CERTIFICATES`].
    KV_CERTIFICATES = "KV_dcmf_certificates";
    /// The stream of [`COMPONENTS`].
    OBJ_COMPONENTS = "OBJ_dcmf_components";
}

/// Bucket of the configuration that operators wish for; keys are [`bus_schemas::config::ConfigKey`].
pub const CONFIG: &str = "dcmf_config";
/// Bucket of the configuration in force, written by coordinators and read by workers; the keys are those of [`CONFIG`].
pub const IN_FORCE: &str = "dcmf_in_force";
/// Bucket of the members; keys are `<pool>.<worker>`.
pub const MEMBERS: &str = "dcmf_members";
/// Bucket of the leases; keys are pools.
pub const LEASES: &str = "dcmf_leases";
/// Bucket of the pools' states, written by their owners every second; keys are pools.
pub const STATUS: &str = "dcmf_status";
/// Bucket of the signed catalogue of certificates, under [`bus_schemas::subject::CATALOGUE_KEY`].
pub const CERTIFICATES: &str = "dcmf_certificates";

/// Bucket of the components: objects, each named by the SHA-256 of its bytes in lower-case hex.
pub const COMPONENTS: &str = "dcmf_components";

/// The durable consumer of block candidates: what `nats consumer add DCMF_FOUND --config` takes for the pool `main`.
/// Name and filter differ from pool to pool.
pub const FOUND_CONSUMER: &str = include_str!("../consumers/found.json");

/// A file of the catalogue that is no configuration.
#[derive(Debug, thiserror::Error)]
#[error("the file of {name} in the folder nats: {source}")]
pub struct InvalidFile {
    /// The stream or consumer.
    pub name: &'static str,
    /// What is wrong.
    pub source: serde_json::Error,
}

/// Every stream as it should be, with `replicas` copies of each.
pub fn declared(replicas: usize) -> Result<Vec<Config>, InvalidFile> {
    let read = |&(name, json): &(&'static str, &str)| {
        let config: Config = serde_json::from_str(json).map_err(|source| InvalidFile { name, source })?;
        Ok(Config { num_replicas: replicas, ..config })
    };
    FILES.iter().map(read).collect()
}

/// The durable consumer as it should be, under the name and filter of the file.
pub fn declared_consumer() -> Result<pull::Config, InvalidFile> {
    serde_json::from_str(FOUND_CONSUMER).map_err(|source| InvalidFile { name: "consumers/found", source })
}
