//! Signs of life.

use crate::{
    codec::message,
    id::{CoordinatorId, JobId, SessionId},
    set_point::{LocalState, SetPoint},
    units::{HashRate, TimestampMs},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A worker lives. MessagePack on `dcmf.v1.hb.<pool>.<worker>`. Self-reported figures are display only: credit
/// comes from shares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Heartbeat {
    /// The life of the worker.
    pub session: SessionId,
    /// Generation of the role that it follows.
    pub generation: u64,
    /// Counts this session's heartbeats.
    pub sequence: u64,
    /// The job that it searches.
    #[serde(default)]
    pub job: Option<JobId>,
    /// Rate since the last heartbeat.
    pub hash_rate: HashRate,
    /// Hashes since the session began.
    pub hashes_total: u64,
    /// Shares that wait for the bus.
    pub outbox_len: u32,
    /// What it does right now, and why.
    pub set_point: SetPoint,
    /// What only the worker knows of what decides its set-point.
    #[serde(default)]
    pub local: Option<LocalState>,
    /// What the host is busy with.
    #[serde(default)]
    pub load: Option<LoadReport>,
    /// When it was sent.
    pub sent_at_ms: TimestampMs,
}

/// What a worker last measured of its host. Percentages are of the whole host's processor time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LoadReport {
    /// Use by everything but the search.
    pub demand_percent: u8,
    /// Use by the search.
    pub search_percent: u8,
    /// Time that the hypervisor gave to others.
    pub steal_percent: u8,
    /// Share of the time in which some task waited for memory.
    pub memory_pressure_percent: u8,
    /// How much slower the main application is than at its best, by its own signal.
    #[serde(default)]
    pub slowdown_percent: Option<u16>,
    /// Whether the host is quiet enough for the search to use wide vectors.
    #[serde(default)]
    pub wide_vectors: bool,
}

message!(Heartbeat, MessagePack);

/// The value of a pool's lease in the bucket `dcmf_leases`. The time at which the server stored its
/// taking, in milliseconds, is the epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Lease {
    /// Who owns the pool.
    pub coordinator: CoordinatorId,
    /// When it was taken or renewed.
    pub renewed_at_ms: TimestampMs,
}

message!(Lease, Json);

#[cfg(test)]
mod tests {
    use crate::{
        codec::Message,
        heartbeat::Heartbeat,
        set_point::{LoadReason, Reason},
    };

    #[test]
    fn a_heartbeat_of_a_newer_worker_is_read_although_its_reasons_are_not_known_here() {
        let golden = include_bytes!("../golden/Heartbeat.msgpack");
        let mut json = serde_json::to_value(Heartbeat::decode(golden).unwrap()).unwrap();
        json["set_point"]["reason"] = "moon-phase".into();
        json["local"]["load"]["reason"] = "noise".into();
        json["tide"] = 7.into();
        let newer = Heartbeat::decode(&rmp_serde::to_vec_named(&json).unwrap()).unwrap();
        assert_eq!(newer.set_point.reason, Reason::Unknown);
        assert_eq!(newer.local.unwrap().load.unwrap().reason, LoadReason::Unknown);
    }
}
