//! Commands: JSON requests on `dcmf.v1.cmd.<entity>.<verb>[.<target>]`, served as NATS micro services, so that
//! `nats request` and `nats micro` are enough to steer a farm. The target stands in the subject, where a permission can pin it;
//! an empty request is one in which everything has its default.
//!
//! An error travels in the headers `Nats-Service-Error` (its code's name and text) and
//! `Nats-Service-Error-Code` (its number), and once more as the body, [`CommandError`], because the CLI shows bodies.

mod error;
mod names;
mod page;

pub use error::{CommandError, ErrorCode};
pub use names::{Access, Aim, COMMANDS, CommandName};
pub use page::{ListRequest, MAX_PAGE, MAX_PAGE_LEN, Page};

use crate::{
    codec::message,
    config::{NodeConfig, PoolConfig},
    id::{CoordinatorId, JobId, PoolId, WorkerId},
    job::Job,
    member::{Role, Standing},
    node_status::NodeStatus,
    policy::FarmConfig,
    schedule::WindowOccurrences,
    set_point::{SetPoint, Step},
    throttle::LiveThrottle,
    units::{HashRate, TimestampMs, Work},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Does something with the pool of the subject.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PoolRequest {
    /// Why, for the record.
    #[serde(default)]
    pub reason: String,
    /// For delete: also while it has members.
    #[serde(default)]
    pub force: bool,
}

/// Puts the configuration of the pool of the subject. Written by people, so `config` stays text here and is read strictly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PoolPut {
    /// The whole configuration.
    pub config: serde_json::Value,
    /// The revision that is replaced: 0 for a new pool; absent replaces whatever is there.
    #[serde(default)]
    pub revision: Option<u64>,
}

/// Asks for what the subject says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ViewOf {}

/// Puts the configuration of the worker of the subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NodePut {
    /// The whole configuration.
    pub config: serde_json::Value,
    /// The revision that is replaced, see [`PoolPut::revision`].
    #[serde(default)]
    pub revision: Option<u64>,
}

/// Does something with the worker of the subject, drains it for instance, and says why.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeDuty {
    /// Why, for the record.
    #[serde(default)]
    pub reason: String,
}

/// Halts the farm or lets it go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FarmDuty {
    /// Why, for the record and for everybody who is stopped.
    #[serde(default)]
    pub reason: String,
}

/// Asks why the worker of the subject does what it does, or will at another time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExplainRequest {
    /// When, RFC 3339; now when absent.
    #[serde(default)]
    pub at: Option<String>,
}

/// Why a worker does what it does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    /// The worker.
    pub node: WorkerId,
    /// Its pool.
    pub pool: PoolId,
    /// For when, RFC 3339.
    pub at: String,
    /// What follows from everything that is known.
    pub set_point: SetPoint,
    /// Every rule that had something to say, in the order of ranks; the last one that decides is the reason.
    pub chain: Vec<Step>,
    /// The worker's own last word, for comparison.
    pub reported: Option<SetPoint>,
    /// What had to be assumed: what the worker measures is not known for another time, for instance.
    pub assumed: Vec<String>,
}

/// Asks what the pool of the subject will do, and what another configuration would change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PreviewRequest {
    /// A whole configuration that is proposed; it is checked and not put.
    #[serde(default)]
    pub config: Option<serde_json::Value>,
    /// From when on, RFC 3339; now when absent.
    #[serde(default)]
    pub from: Option<String>,
    /// For how long, 1 to 336 hours; 48 when absent.
    #[serde(default)]
    pub hours: Option<u16>,
}

/// What a pool will do. Load, throttle orders and losses of the future are not known and not in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Preview {
    /// The pool.
    pub pool: PoolId,
    /// Active members that it is made of.
    pub workers: u32,
    /// What will be with the configuration in force, without a gap.
    pub spans: Vec<PreviewSpan>,
    /// What would be with the proposed one, where it differs.
    pub changes: Vec<PreviewChange>,
}

/// A time in which nothing changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PreviewSpan {
    /// From, RFC 3339.
    pub from: String,
    /// Until, RFC 3339.
    pub until: String,
    /// What all active members do together.
    pub search: PreviewSearch,
}

/// What all active members do together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PreviewSearch {
    /// Members that search.
    pub workers: u32,
    /// Hundredths of threads, all together.
    pub thread_hundredths: u64,
    /// How many members each rule decides for.
    pub reasons: std::collections::BTreeMap<crate::set_point::Reason, u32>,
    /// What the schedule says, for people.
    pub rules: Vec<String>,
}

/// A time in which a proposal changes something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PreviewChange {
    /// From, RFC 3339.
    pub from: String,
    /// Until, RFC 3339.
    pub until: String,
    /// With the configuration in force.
    pub before: PreviewSearch,
    /// With the proposed one.
    pub after: PreviewSearch,
}

/// The throttle orders that live: a page of them, see [`ListRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ThrottleList {
    /// In the order of targets and sources.
    pub throttles: Vec<LiveThrottle>,
    /// Where the list goes on: `after` of the next request. Absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A configuration was put.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Revision {
    /// The new revision.
    pub revision: u64,
}

/// An edit of a configuration that was refused and is the newest one; what was in force before stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RefusedEdit {
    /// Its revision.
    pub revision: u64,
    /// What is wrong.
    pub reason: String,
}

/// A pool's or a node's configuration was put.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PutReply {
    /// The new revision.
    pub revision: u64,
    /// When each window of its schedules comes next, so that whoever put it sees what it means.
    #[serde(default)]
    pub windows: Vec<WindowOccurrences>,
}

/// A pool as it is configured and as it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PoolView {
    /// The pool.
    pub pool: PoolId,
    /// Revision of the configuration in force.
    pub revision: u64,
    /// The configuration in force.
    pub config: PoolConfig,
    /// A newer edit that was refused.
    #[serde(default)]
    pub refused: Option<RefusedEdit>,
    /// How it runs, or ran when that was last said; absent when nobody ever said.
    pub status: Option<PoolStatus>,
    /// Where `status` comes from, and how old it is.
    #[serde(default)]
    pub known: Known,
    /// What keeps the pool from going on, as far as the coordinator that answers sees it.
    #[serde(default)]
    pub stuck: Option<Stuck>,
}

/// What keeps a pool from going on, and how that is mended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Stuck {
    /// What is the matter.
    pub reason: String,
    /// The stream or bucket, if it is one.
    #[serde(default)]
    pub stream: Option<String>,
    /// Sequence of the message there, if it is one.
    #[serde(default)]
    pub sequence: Option<u64>,
    /// What mends it: a command to type where there is one.
    pub repair: String,
}

/// Where an answer comes from, and how old it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Known {
    /// Who said so.
    pub source: Source,
    /// How long ago, milliseconds; absent when nothing was said or its age is not known.
    pub age_ms: Option<u64>,
    /// It is older than it should be: do not take it for what is now.
    pub stale: bool,
    /// What to know about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// Who said what an answer tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// Nobody.
    #[default]
    Nobody,
    /// The pool's owner, who answers itself or was asked for this answer.
    Owner,
    /// The bucket of states, written by the owner of the epoch that `status` names.
    StoredStatus,
    /// The bucket of members: what was decided when the worker's place last changed; nothing of what it does.
    MemberRecord,
    /// The stream of jobs.
    JobStream,
    /// Something that this version does not know.
    #[serde(other)]
    Unknown,
}

/// Asks the owner of a pool what it knows at this moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ViewRequest {
    /// Only of this worker; of all when absent.
    #[serde(default)]
    pub node: Option<WorkerId>,
    /// Without any member: only how the pool runs.
    #[serde(default)]
    pub status_only: bool,
    /// Only members behind this one, in the order of their ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<WorkerId>,
    /// Most members, 1 to [`MAX_PAGE`]; as many as an answer holds when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u16>,
}

impl ViewRequest {
    /// Most members of the answer.
    pub fn most(&self) -> usize {
        page::most(self.limit)
    }
}

/// What the owner of a pool knows at this moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OwnerView {
    /// How the pool runs.
    pub status: PoolStatus,
    /// What keeps it, if anything does.
    #[serde(default)]
    pub stuck: Option<Stuck>,
    /// Its members in order of their ids, as far as they were asked for.
    pub members: Vec<MemberView>,
    /// More members are behind this one, which is the last that was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<WorkerId>,
}

/// A member as its pool's owner knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MemberView {
    /// Who.
    pub node: WorkerId,
    /// Its place.
    pub membership: Membership,
}

/// How a pool runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PoolStatus {
    /// Who owns it.
    pub owner: CoordinatorId,
    /// Its epoch.
    pub epoch: u64,
    /// Members by role and standing.
    pub active: u32,
    /// Present backups.
    pub backup: u32,
    /// Members that are lost.
    pub lost: u32,
    /// Sum of what active members report.
    pub hash_rate: HashRate,
    /// The current job.
    pub job: Option<JobId>,
    /// Height that is sought.
    pub height: u64,
    /// Shares credited since the ledger began.
    pub shares: u64,
    /// Work credited since the ledger began.
    pub work: Work,
    /// Shares refused since this owner began.
    pub shares_refused: u64,
    /// Blocks accepted since this owner began.
    pub blocks_accepted: u64,
    /// Blocks that no node has decided yet; they are submitted again.
    #[serde(default)]
    pub blocks_open: u64,
    /// The nodes of the job source, in order of preference.
    #[serde(default)]
    pub nodes: Vec<NodeStatus>,
    /// When the owner said so, on its own clock; 0 in states of versions before.
    #[serde(default)]
    pub at_ms: TimestampMs,
}

/// All pools: a page of them, see [`ListRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PoolList {
    /// In order of their ids.
    pub pools: Vec<PoolView>,
    /// Where the list goes on: `after` of the next request. Absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A worker as it is configured and as it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeView {
    /// The worker.
    pub node: WorkerId,
    /// Revision of its configuration, 0 when it has none of its own.
    pub revision: u64,
    /// Its configuration in force.
    pub config: NodeConfig,
    /// A newer edit that was refused.
    #[serde(default)]
    pub refused: Option<RefusedEdit>,
    /// Its place, when it is a member.
    pub membership: Option<Membership>,
}

/// A worker's place in a pool, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Membership {
    /// The pool.
    pub pool: PoolId,
    /// Its role.
    pub role: Role,
    /// Whether it is there.
    pub standing: Standing,
    /// Its slot.
    pub slot: u16,
    /// Generation of its role.
    pub generation: u64,
    /// Why.
    pub reason: String,
    /// Reported rate; absent when it is not known.
    pub hash_rate: Option<HashRate>,
    /// Threads in use; absent when it is not known.
    pub threads: Option<u16>,
    /// What is left of one whole member, percent: less while it is throttled; absent when it is not known.
    #[serde(default)]
    pub capacity_percent: Option<u16>,
    /// The rule that decided its set-point.
    pub set_point_reason: Option<crate::set_point::Reason>,
    /// When it was last heard of, on the clock of the coordinator that heard it.
    pub last_heard_ms: TimestampMs,
    /// Where this comes from, and how long ago the worker or its record said so.
    #[serde(default)]
    pub known: Known,
}

/// All nodes: a page of them, see [`ListRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeList {
    /// In order of their ids.
    pub nodes: Vec<NodeView>,
    /// Where the list goes on: `after` of the next request. Absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A job for people: JSON instead of MessagePack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobView {
    /// The job.
    pub job: Job,
    /// Where it comes from, and how long ago it was stored.
    #[serde(default)]
    pub known: Known,
}

/// What holds for the whole farm.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FarmView {
    /// Revision of the configuration in force, 0 when there is none.
    pub revision: u64,
    /// The configuration in force: the kill switch.
    pub config: FarmConfig,
    /// A newer edit that was refused.
    #[serde(default)]
    pub refused: Option<RefusedEdit>,
}

/// The farm at a glance, with a page of its pools, see [`ListRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FarmStatus {
    /// The coordinator that answers.
    pub coordinator: CoordinatorId,
    /// Its version.
    pub version: String,
    /// The farm's configuration in force.
    #[serde(default)]
    pub farm: FarmView,
    /// Every pool that it knows, in order of their ids.
    pub pools: Vec<PoolView>,
    /// Where the list goes on: `after` of the next request. Absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

macro_rules! json_messages {
    ($($type:ty),+ $(,)?) => { $(message!($type, Json);)+ };
}

json_messages!(
    PoolRequest,
    PoolPut,
    ViewOf,
    NodePut,
    Revision,
    PutReply,
    PoolView,
    PoolList,
    NodeView,
    NodeList,
    JobView,
    FarmStatus,
    NodeDuty,
    FarmDuty,
    ExplainRequest,
    Explanation,
    PreviewRequest,
    Preview,
    ThrottleList,
    ViewRequest,
    OwnerView,
    ListRequest
);
