//! Events: what happened, as CloudEvents 1.0 in structured JSON, on
//! `dcmf.v1.evt.<coordinator|worker>.<producer>.<entity>.<event>.<pool>[.<id>]`. A permission pins the producer: no worker can
//! say anything as a coordinator, or as another worker.

use crate::{
    blob::{Blob, Hash32},
    codec::message,
    id::{AlgorithmId, CoordinatorId, JobId, PoolId, WorkerId},
    member::Role,
    node_status::NodeStanding,
    set_point::LoadReason,
    share::ShareRefusal,
    subject::PREFIX,
    units::{Target, TimestampMs},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A fact in the past tense.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum EventData {
    /// A worker joined.
    #[serde(rename = "dcmf.worker.joined")]
    WorkerJoined {
        /// Who.
        worker: WorkerId,
        /// As what.
        role: Role,
        /// Its slot.
        slot: u16,
        /// Why this role.
        reason: String,
    },
    /// A worker was not heard of for too long.
    #[serde(rename = "dcmf.worker.lost")]
    WorkerLost {
        /// Who.
        worker: WorkerId,
        /// For how long, milliseconds.
        silent_ms: u64,
    },
    /// A lost worker was heard of again.
    #[serde(rename = "dcmf.worker.returned")]
    WorkerReturned {
        /// Who.
        worker: WorkerId,
        /// As what.
        role: Role,
    },
    /// A worker said good-bye.
    #[serde(rename = "dcmf.worker.left")]
    WorkerLeft {
        /// Who.
        worker: WorkerId,
        /// Why.
        reason: String,
    },
    /// A worker got another role.
    #[serde(rename = "dcmf.worker.role-changed")]
    WorkerRoleChanged {
        /// Who.
        worker: WorkerId,
        /// The new role.
        role: Role,
        /// Why.
        reason: String,
    },
    /// A worker throttles itself for the load of its host.
    #[serde(rename = "dcmf.throttle.engaged")]
    ThrottleEngaged {
        /// Who.
        worker: WorkerId,
        /// What it answers to.
        reason: LoadReason,
        /// The measured value, percent.
        measured: u16,
        /// The most of their time that is left to the search threads, percent.
        left_percent: u8,
    },
    /// A worker does not throttle itself any more.
    #[serde(rename = "dcmf.throttle.released")]
    ThrottleReleased {
        /// Who.
        worker: WorkerId,
        /// For how long it did, milliseconds.
        engaged_ms: u64,
        /// The least that was left in that time, percent.
        least_percent: u8,
    },
    /// A throttle order was given.
    #[serde(rename = "dcmf.throttle.ordered")]
    ThrottleOrdered {
        /// For whom.
        target: String,
        /// By whom.
        source: String,
        /// The most of their time that search threads may use, percent.
        cap_percent: u8,
        /// For how long, seconds.
        ttl_seconds: u32,
        /// Why.
        reason: String,
    },
    /// The host's administrator stopped a worker, whatever the farm says.
    #[serde(rename = "dcmf.worker.vetoed")]
    WorkerVetoed {
        /// Who.
        worker: WorkerId,
        /// What the administrator wrote.
        reason: String,
    },
    /// The host's administrator lifted the veto.
    #[serde(rename = "dcmf.worker.veto-lifted")]
    WorkerVetoLifted {
        /// Who.
        worker: WorkerId,
    },
    /// What a worker gets beside a busy program changed: its scheduling group was lowered, or could not be.
    #[serde(rename = "dcmf.worker.group-checked")]
    WorkerGroupChecked {
        /// Who.
        worker: WorkerId,
        /// Whether the search yields as it should.
        gentle: bool,
        /// Share of a processor that the search would get beside one busy program, in thousandths.
        share_permille: u16,
        /// What this host offers, what was used, and what could be done.
        detail: String,
    },
    /// A worker does not run an algorithm that a job wants. Told once until something changes.
    #[serde(rename = "dcmf.worker.algorithm-refused")]
    WorkerAlgorithmRefused {
        /// Who.
        worker: WorkerId,
        /// Which algorithm.
        algorithm: AlgorithmId,
        /// Its version.
        version: u32,
        /// SHA-256 of its sources or artifact on the worker's host, empty if it has none.
        digest: Blob,
        /// Why, for programs.
        code: String,
        /// Why, for people.
        reason: String,
    },
    /// A worker does not believe the catalogue of certificates; it keeps the one before.
    #[serde(rename = "dcmf.worker.catalogue-refused")]
    WorkerCatalogueRefused {
        /// Who.
        worker: WorkerId,
        /// Why, for programs.
        code: String,
        /// Why, for people.
        reason: String,
    },
    /// Every present worker of a pool has stopped after it was paused or the farm was halted.
    #[serde(rename = "dcmf.pool.stopped")]
    PoolStopped {
        /// How long it took until the last one said so, milliseconds.
        after_ms: u64,
        /// How many they were.
        workers: u32,
    },
    /// The capacity of the active members is below the pool's threshold, or enough again.
    #[serde(rename = "dcmf.pool.capacity-changed")]
    PoolCapacityChanged {
        /// What is left of the active members, in percent of one whole member each.
        capacity_percent: u32,
        /// What is wanted, in the same unit.
        wanted_percent: u32,
        /// Whether it is enough.
        enough: bool,
    },
    /// A job was published.
    #[serde(rename = "dcmf.job.published")]
    JobPublished {
        /// Its id.
        job: JobId,
        /// Its number.
        sequence: u64,
        /// Height of the block that is sought.
        height: u64,
        /// What a block must meet.
        network_target: Target,
        /// Whether older jobs became worthless.
        clean: bool,
    },
    /// Shares were refused; one event tells of all since the one before.
    #[serde(rename = "dcmf.share.refused")]
    ShareRefused {
        /// Whose.
        worker: WorkerId,
        /// Why.
        refusal: ShareRefusal,
        /// How many.
        count: u64,
    },
    /// A finding meets the network target.
    #[serde(rename = "dcmf.block.found")]
    BlockFound {
        /// Its hash as displayed.
        hash: String,
        /// Its height.
        height: u64,
        /// Who found it.
        worker: WorkerId,
        /// The job.
        job: JobId,
    },
    /// A node took a block.
    #[serde(rename = "dcmf.block.accepted")]
    BlockAccepted {
        /// Its hash as displayed.
        hash: String,
        /// Its height.
        height: u64,
        /// Who found it.
        worker: WorkerId,
    },
    /// A block is not part of the chain.
    #[serde(rename = "dcmf.block.refused")]
    BlockRefused {
        /// Its hash as displayed.
        hash: String,
        /// Its height.
        height: u64,
        /// Who found it.
        worker: WorkerId,
        /// What the node said.
        reason: String,
    },
    /// No node has decided a block yet; it is submitted again until one does. Told once for each block: at once when a
    /// node gave an answer that is not known, else when it has been so for minutes.
    #[serde(rename = "dcmf.block.waiting")]
    BlockWaiting {
        /// Its hash as displayed.
        hash: String,
        /// Its height.
        height: u64,
        /// Who found it.
        worker: WorkerId,
        /// What the nodes said last.
        reason: String,
    },
    /// The bytes of a block cannot be kept; it is submitted from memory alone and does not survive a takeover.
    #[serde(rename = "dcmf.block.unkept")]
    BlockUnkept {
        /// Its hash as displayed.
        hash: String,
        /// Its height.
        height: u64,
        /// Who found it.
        worker: WorkerId,
        /// Why, and what to set.
        reason: String,
    },
    /// A configuration is in force.
    #[serde(rename = "dcmf.config.applied")]
    ConfigApplied {
        /// Its key.
        key: String,
        /// Its revision.
        revision: u64,
    },
    /// A configuration was refused; the last good one stays in force.
    #[serde(rename = "dcmf.config.refused")]
    ConfigRefused {
        /// Its key.
        key: String,
        /// Its revision.
        revision: u64,
        /// Why.
        reason: String,
        /// The revision in force, 0 for none.
        in_force: u64,
    },
    /// The bucket `dcmf_config` was made anew, or lost its end. What was in force stays in force until it is edited.
    #[serde(rename = "dcmf.config.bucket-replaced")]
    ConfigBucketReplaced {
        /// Configurations in force that the bucket does not hold any more.
        kept: u64,
    },
    /// A coordinator owns a pool.
    #[serde(rename = "dcmf.pool.owned")]
    PoolOwned {
        /// Who.
        coordinator: CoordinatorId,
        /// Its epoch.
        epoch: u64,
    },
    /// A coordinator no longer owns a pool.
    #[serde(rename = "dcmf.pool.disowned")]
    PoolDisowned {
        /// Who.
        coordinator: CoordinatorId,
        /// Its epoch.
        epoch: u64,
        /// Why.
        reason: String,
    },
    /// A pool cannot go on, and says what keeps it and how that is mended. It is tried again by itself, more and more slowly.
    #[serde(rename = "dcmf.pool.stuck")]
    PoolStuck {
        /// What is the matter.
        reason: String,
        /// The stream or bucket, if it is one.
        stream: Option<String>,
        /// Sequence of the message there, if it is one.
        sequence: Option<u64>,
        /// What mends it: a command to type where there is one.
        repair: String,
        /// How often the pool was given up for it without running in between.
        attempts: u32,
    },
    /// A pool that was stuck goes on.
    #[serde(rename = "dcmf.pool.unstuck")]
    PoolUnstuck {
        /// For how long it was stuck, milliseconds.
        stuck_ms: u64,
    },
    /// A stream or bucket was missing and was made again, empty.
    #[serde(rename = "dcmf.stream.made")]
    StreamMade {
        /// Its name.
        stream: String,
    },
    /// A stream is another one than the sequences that are remembered come from: made anew or restored.
    #[serde(rename = "dcmf.stream.replaced")]
    StreamReplaced {
        /// Its name.
        stream: String,
        /// The last sequence of the former one that was dealt with.
        known_to: u64,
        /// After which sequence of this one it goes on.
        goes_on_after: u64,
        /// What was seen.
        reason: String,
    },
    /// The store of the bus takes no messages of a stream.
    #[serde(rename = "dcmf.store.failing")]
    StoreFailing {
        /// The stream.
        stream: String,
        /// What it answers.
        reason: String,
        /// For how long, milliseconds.
        failing_ms: u64,
        /// What mends it.
        repair: String,
    },
    /// The store takes the messages of a stream again.
    #[serde(rename = "dcmf.store.recovered")]
    StoreRecovered {
        /// The stream.
        stream: String,
        /// For how long it did not, milliseconds.
        failed_ms: u64,
    },
    /// A task or thread of a coordinator ended although nobody asked it to.
    #[serde(rename = "dcmf.task.failed")]
    TaskFailed {
        /// Its name.
        task: String,
        /// How it ended.
        reason: String,
        /// What follows.
        answer: String,
    },
    /// A job source gives no templates.
    #[serde(rename = "dcmf.source.failed")]
    SourceFailed {
        /// Why.
        reason: String,
    },
    /// A job source gives templates again.
    #[serde(rename = "dcmf.source.recovered")]
    SourceRecovered {},
    /// Another node of the job source has been further than this one for longer than a grace; templates do not come from
    /// this one until it has caught up.
    #[serde(rename = "dcmf.source.lagging")]
    SourceLagging {
        /// The node that is behind: its URL without name, password and query.
        node: String,
        /// Height of its best block.
        height: u64,
        /// The node that is further.
        further: String,
        /// Height of that one's best block.
        further_height: u64,
    },
    /// A node of the job source is good for something else than before.
    #[serde(rename = "dcmf.source.node-changed")]
    SourceNodeChanged {
        /// Its URL without name, password and query.
        node: String,
        /// What it is good for now.
        standing: NodeStanding,
        /// Height of its best block, `None` while it is not known.
        height: Option<u64>,
        /// Why.
        reason: String,
    },
    /// A message could not be read and was put aside.
    #[serde(rename = "dcmf.message.undecodable")]
    MessageUndecodable {
        /// Where it came from.
        subject: String,
        /// Why.
        reason: String,
        /// How many since the event before.
        count: u64,
    },
}

impl EventData {
    /// The last part of the event's subject, if it has one.
    fn id(&self) -> Option<&str> {
        match self {
            Self::WorkerJoined { worker, .. }
            | Self::WorkerLost { worker, .. }
            | Self::WorkerReturned { worker, .. }
            | Self::WorkerLeft { worker, .. }
            | Self::WorkerRoleChanged { worker, .. }
            | Self::ThrottleEngaged { worker, .. }
            | Self::ThrottleReleased { worker, .. }
            | Self::WorkerVetoed { worker, .. }
            | Self::WorkerVetoLifted { worker }
            | Self::WorkerGroupChecked { worker, .. }
            | Self::WorkerAlgorithmRefused { worker, .. }
            | Self::WorkerCatalogueRefused { worker, .. }
            | Self::ShareRefused { worker, .. } => Some(worker.as_str()),
            Self::JobPublished { job, .. } => Some(job.as_str()),
            Self::BlockFound { hash, .. }
            | Self::BlockAccepted { hash, .. }
            | Self::BlockRefused { hash, .. }
            | Self::BlockWaiting { hash, .. }
            | Self::BlockUnkept { hash, .. } => Some(hash),
            Self::PoolOwned { coordinator, .. } | Self::PoolDisowned { coordinator, .. } => {
                Some(coordinator.as_str())
            }
            Self::ThrottleOrdered { .. }
            | Self::PoolStopped { .. }
            | Self::PoolCapacityChanged { .. }
            | Self::ConfigApplied { .. }
            | Self::ConfigRefused { .. }
            | Self::ConfigBucketReplaced { .. }
            | Self::SourceFailed { .. }
            | Self::SourceRecovered {}
            | Self::SourceLagging { .. }
            | Self::SourceNodeChanged { .. }
            | Self::PoolStuck { .. }
            | Self::PoolUnstuck { .. }
            | Self::StreamMade { .. }
            | Self::StreamReplaced { .. }
            | Self::StoreFailing { .. }
            | Self::StoreRecovered { .. }
            | Self::TaskFailed { .. }
            | Self::MessageUndecodable { .. } => None,
        }
    }
}

/// Stands for the pool in the subject of an event that concerns no single pool, a node's configuration for one.
pub const FARM_WIDE: &str = "_farm";

/// What every `source` begins with.
const SOURCE_PREFIX: &str = "/dcmf/";
/// What follows in the `source` of a worker.
const WORKER_SOURCE: &str = "worker/";

/// An event in its CloudEvents envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Always `1.0`.
    pub specversion: String,
    /// Unique together with `source`; also the message id, so that a repeated publish is one event.
    pub id: String,
    /// Who says so: `/dcmf/<coordinator>` or `/dcmf/worker/<worker>`.
    pub source: String,
    /// Whom it concerns: the pool, or [`FARM_WIDE`].
    pub subject: String,
    /// When, RFC 3339.
    pub time: String,
    /// Always `application/json`.
    pub datacontenttype: String,
    /// What happened: the attributes `type` and `data`.
    #[serde(flatten)]
    pub what: EventData,
}

message!(Event, Json);

impl Event {
    /// An event of `pool`. `id` must not repeat within `source`.
    pub fn new(
        source: &CoordinatorId,
        id: impl Into<String>,
        pool: Option<&PoolId>,
        at: TimestampMs,
        what: EventData,
    ) -> Self {
        Self::from_source(format!("{SOURCE_PREFIX}{source}"), id.into(), pool, at, what)
    }

    /// An event that a worker tells of itself. `id` must not repeat within `source`.
    pub fn of_worker(
        worker: &WorkerId,
        id: impl Into<String>,
        pool: &PoolId,
        at: TimestampMs,
        what: EventData,
    ) -> Self {
        Self::from_source(format!("{SOURCE_PREFIX}{WORKER_SOURCE}{worker}"), id.into(), Some(pool), at, what)
    }

    fn from_source(
        source: String,
        id: String,
        pool: Option<&PoolId>,
        at: TimestampMs,
        what: EventData,
    ) -> Self {
        Self {
            specversion: "1.0".to_owned(),
            id,
            source,
            subject: pool.map_or(FARM_WIDE, PoolId::as_str).to_owned(),
            time: at.to_rfc3339(),
            datacontenttype: "application/json".to_owned(),
            what,
        }
    }

    /// Where it is published. `source` names the producer, so whoever reads the event compares both.
    pub fn bus_subject(&self) -> String {
        let kind = self.kind();
        let producer = self.source.strip_prefix(SOURCE_PREFIX).unwrap_or_default();
        let (role, producer) = match producer.strip_prefix(WORKER_SOURCE) {
            Some(worker) => ("worker", worker),
            None => ("coordinator", producer),
        };
        let mut subject = format!("{PREFIX}.evt.{role}.{producer}.{kind}.{}", self.subject);
        if let Some(id) = self.what.id() {
            subject.push('.');
            subject.push_str(id);
        }
        subject
    }

    /// `<entity>.<event>`, for instance `worker.joined`.
    pub fn kind(&self) -> String {
        let name =
            serde_json::to_value(&self.what).ok().and_then(|v| Some(v.get("type")?.as_str()?.to_owned()));
        name.as_deref().and_then(|n| n.strip_prefix("dcmf.")).unwrap_or("unknown.unknown").to_owned()
    }
}

/// A block's hash as it stands in the subjects and events of blocks.
pub fn block_id(hash: Hash32) -> String {
    hash.to_display_hex()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_cloud_event_and_its_subject_names_producer_entity_event_pool_and_id() {
        let source = CoordinatorId::new("c1").unwrap();
        let pool = PoolId::new("main").unwrap();
        let what = EventData::WorkerLost { worker: WorkerId::new("w1").unwrap(), silent_ms: 3_001 };
        let event = Event::new(&source, "7-1", Some(&pool), TimestampMs(0), what);
        assert_eq!(event.bus_subject(), "dcmf.v1.evt.coordinator.c1.worker.lost.main.w1");
        let json: serde_json::Value =
            serde_json::from_slice(&crate::codec::Message::encode(&event).unwrap()).unwrap();
        assert_eq!(json["specversion"], "1.0");
        assert_eq!(json["type"], "dcmf.worker.lost");
        assert_eq!(json["data"]["silent_ms"], 3_001);
        assert_eq!(json["time"], "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn what_a_worker_says_stands_under_its_own_name() {
        let (worker, pool) = (WorkerId::new("w1").unwrap(), PoolId::new("main").unwrap());
        let what = EventData::WorkerVetoLifted { worker: worker.clone() };
        let event = Event::of_worker(&worker, "1", &pool, TimestampMs(0), what);
        assert_eq!(event.bus_subject(), "dcmf.v1.evt.worker.w1.worker.veto-lifted.main.w1");
    }

    #[test]
    fn an_event_without_a_pool_is_farm_wide() {
        let source = CoordinatorId::new("c1").unwrap();
        let what = EventData::ConfigApplied { key: "node.w1".into(), revision: 3 };
        let event = Event::new(&source, "7-2", None, TimestampMs(0), what);
        assert_eq!(event.bus_subject(), "dcmf.v1.evt.coordinator.c1.config.applied._farm");
    }
}
