//! Everything that can happen to a coordinator.

use crate::{orders::KeptDocument, time::MonoMs};
use bus_schemas::{
    Blob, Hash32, JobId, PoolId, Target, TimestampMs, WorkerId,
    block::BlockState,
    command::Stuck,
    config::ConfigKey,
    event::EventData,
    heartbeat::Heartbeat,
    job::{AlgorithmRef, Job, WorkUnit},
    ledger::LedgerRecord,
    member::{JoinRequest, Leave, Member},
    node_status::NodeStatus,
    share::Share,
    throttle::{Throttle, ThrottleTarget},
};

/// Everything that can happen.
#[derive(Debug)]
pub enum Input {
    /// An entry of the bucket of configurations, or its deletion.
    Config {
        /// The key as it stands in the bucket.
        key: String,
        /// Its revision.
        revision: u64,
        /// The JSON, `None` when deleted.
        value: Option<Vec<u8>>,
    },
    /// Every configuration that the bucket held has been given.
    ConfigComplete,
    /// The bucket of configurations was made anew; what it holds now follows, then [`Input::ConfigComplete`].
    ConfigRestarted,
    /// An entry of the bucket of what is in force, or its deletion.
    InForce {
        /// The key as it stands in the bucket.
        key: String,
        /// The JSON, `None` when deleted.
        value: Option<Vec<u8>>,
    },
    /// Everything that the bucket of what is in force held has been given; asked for after [`Input::ConfigComplete`].
    InForceComplete,
    /// The bucket of what is in force was made anew; what it holds now follows, then [`Input::InForceComplete`].
    InForceRestarted,
    /// What another coordinator published is to be followed: an answer to [`crate::Effect::PublishInForce`].
    InForceAdopted {
        /// The key.
        key: ConfigKey,
        /// What is in force.
        value: Vec<u8>,
    },
    /// A throttle order.
    Throttle {
        /// Its sequence in the stream.
        sequence: u64,
        /// Whom it concerns.
        target: ThrottleTarget,
        /// What is ordered.
        order: Throttle,
        /// When the stream stored it.
        stored_at: TimestampMs,
        /// How long ago that was by the server's clock, milliseconds.
        age_ms: u64,
    },
    /// The stream of throttle orders is read from its beginning.
    ThrottlesBegin {
        /// What tells it from an earlier one of its name.
        stream: String,
        /// Its last sequence.
        last: u64,
    },
    /// The orders for a target as they are kept, at first and whenever somebody keeps others, told at `at` of the server's clock.
    ThrottlesKept {
        /// The target.
        target: ThrottleTarget,
        /// The document.
        kept: Box<KeptDocument>,
        /// The server's time.
        at: TimestampMs,
    },
    /// Every document of kept orders that the bucket has is told.
    ThrottlesKeptComplete,
    /// The documents of kept orders will be told from the beginning: the bucket may be another one.
    ThrottlesKeptRestarted,
    /// A message among the throttle orders could not be read and was put aside.
    ThrottleUnreadable {
        /// Its sequence in the stream.
        sequence: u64,
        /// When the stream stored it.
        stored_at: TimestampMs,
        /// Where it came from.
        subject: String,
        /// Why.
        reason: String,
    },
    /// The bucket of members is another one: what owners know of their members is to be stored again.
    MembersReplaced,
    /// Something that concerns the whole farm, to be told. Every coordinator may see it: equal ids are one event.
    News {
        /// The event's id, unless it is this coordinator's alone.
        id: Option<String>,
        /// What happened.
        event: EventData,
    },
    /// Every throttle order that the stream held has been given.
    ThrottlesComplete,
    /// News of a pool's lease.
    Lease(PoolId, LeaseInput),
    /// What JetStream holds of a pool, read after its lease was taken.
    Recovered(PoolId, u64, Box<Recovered>),
    /// Something happened in a pool that is owned under this epoch; of another epoch it is dropped.
    Pool(PoolId, u64, PoolInput),
    /// The deadline has come.
    Tick,
    /// The process is asked to end.
    Shutdown,
}

/// News of a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseInput {
    /// It is ours under this epoch, certainly until then.
    Acquired {
        /// The server's time at which it was taken, milliseconds, or one more than the highest epoch before.
        epoch: u64,
        /// On the local clock, measured from before the request was sent.
        held_until: MonoMs,
    },
    /// It is not known who holds it: the bus did not answer, or refused.
    Unavailable,
    /// Somebody else holds it.
    HeldElsewhere {
        /// It was renewed since the last look: its holder lives.
        renewed: bool,
    },
    /// Renewed, certainly until then.
    Renewed {
        /// On the local clock, measured from before the request was sent.
        held_until: MonoMs,
    },
    /// The term of this epoch is over because the pool cannot go on under it: its state cannot be read, or a part of the
    /// work ended. It is taken again, later after each time.
    GivenUp {
        /// The epoch; of another one it is ignored.
        epoch: u64,
        /// Why.
        trouble: Trouble,
    },
    /// The term of this epoch is over: the lease is gone, or another owner wrote.
    Lost {
        /// The epoch; of another one it is ignored.
        epoch: u64,
        /// Why, for people.
        reason: String,
    },
}

/// Why a pool cannot go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// For people.
    pub reason: String,
    /// What is in the way and how it is mended, where that is known: it is told at once.
    pub stuck: Option<Stuck>,
}

impl Trouble {
    /// Something of which only the reason is known.
    pub fn of(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), stuck: None }
    }

    /// Something that must be mended.
    pub fn stuck(stuck: Stuck) -> Self {
        Self { reason: stuck.reason.clone(), stuck: Some(stuck) }
    }
}

/// Where the shares that are not accounted begin in the stream that is there now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShareBasis {
    /// What tells the stream from another one of its name.
    pub stream: Option<String>,
    /// Everything up to this sequence is accounted, `None` as the ledger says.
    pub accounted_to: Option<u64>,
}

/// A pool as JetStream holds it.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Every kept version of every member's record and when the bucket stored it, oldest first.
    pub members: Vec<(Member, TimestampMs)>,
    /// The time of the bucket's server when they were read.
    pub members_at: TimestampMs,
    /// The latest jobs and when the stream stored them, oldest first.
    pub jobs: Vec<(Job, TimestampMs)>,
    /// The last ledger record.
    pub ledger: Option<LedgerRecord>,
    /// Where accounting goes on.
    pub shares: ShareBasis,
    /// Facts about what was read, to be told.
    pub news: Vec<EventData>,
    /// The last state of each block.
    pub blocks: Vec<(Hash32, u64, WorkerId, BlockState)>,
}

/// What a job source offers to be searched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// The algorithm, as jobs are to name it.
    pub algorithm: AlgorithmRef,
    /// What to search.
    pub work: WorkUnit,
    /// What a block must meet.
    pub network_target: Target,
    /// Height of the block.
    pub height: u64,
    /// What the source needs to make whole blocks of findings.
    pub assembly: Blob,
}

/// Something happened in an owned pool.
#[derive(Debug)]
pub enum PoolInput {
    /// The job source offers this from now on.
    Template(Box<Template>),
    /// The job source gives nothing.
    SourceFailed(String),
    /// The job was stored and sent, at this time of the stream.
    JobPublished(JobId, TimestampMs),
    /// The job can never be stored as it is; it was not sent.
    JobUnstorable(JobId, Stuck),
    /// A worker asks to join; the answer carries the token.
    Join {
        /// Names the waiting request.
        token: u64,
        /// Who, as its subject says.
        worker: WorkerId,
        /// What it offers.
        request: Box<JoinRequest>,
    },
    /// A worker goes.
    Leave(WorkerId, Leave),
    /// A worker lives.
    Heartbeat(WorkerId, Box<Heartbeat>),
    /// Shares in the order of the stream.
    Shares(Vec<ArrivedShare>),
    /// Judgements, in any order.
    Judged(Vec<JudgedShare>),
    /// A block candidate on its own lane.
    Found(Box<ArrivedFound>),
    /// A judgement of the block lane.
    FoundJudged(JudgedFound),
    /// A block's bytes are kept.
    BlockStored(Hash32),
    /// A block could not be put together; it is given up with this reason.
    BlockUnusable(Hash32, String),
    /// The bytes of a block cannot be kept, for this reason; it is submitted all the same.
    BlockUnkept(Hash32, String),
    /// The job source answered for a block, once for each submission.
    BlockAnswered(Hash32, BlockAnswer),
    /// How the nodes of the job source do.
    Nodes(Vec<NodeFacts>),
    /// The ledger record with this number is stored.
    LedgerAppended(u64),
    /// The bucket of members has no room for a record: those who are gone for longest are to be forgotten.
    MembersFull,
    /// A message could not be read and was put aside.
    Undecodable {
        /// Where it came from.
        subject: String,
        /// Why.
        reason: String,
    },
}

/// A message of the share stream.
#[derive(Debug, Clone)]
pub struct ArrivedShare {
    /// Its sequence in the stream.
    pub sequence: u64,
    /// When the stream stored it.
    pub stored_at: TimestampMs,
    /// Who sent it, as its subject says.
    pub worker: WorkerId,
    /// The share; `None` when its bytes were no share.
    pub share: Option<Share>,
}

/// A message of the block lane.
#[derive(Debug, Clone)]
pub struct ArrivedFound {
    /// Names the message for its acknowledgement.
    pub token: u64,
    /// When the stream stored it.
    pub stored_at: TimestampMs,
    /// Who sent it, as its subject says.
    pub worker: WorkerId,
    /// The finding.
    pub share: Share,
}

/// What hashing said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The finding meets the target that was asked for.
    Meets {
        /// The block's hash in header order.
        block_hash: Hash32,
        /// Whether it meets the network target as well.
        block: bool,
    },
    /// It does not.
    Low,
    /// The algorithm is not available here.
    UnknownAlgorithm,
    /// Judging it failed: the algorithm panicked or did not end.
    Failed,
}

/// A judged share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JudgedShare {
    /// Its sequence in the stream.
    pub sequence: u64,
    /// What hashing said.
    pub verdict: Verdict,
}

/// A judged block candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JudgedFound {
    /// Its message.
    pub token: u64,
    /// What hashing said.
    pub verdict: Verdict,
}

/// What the job source said of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlockAnswer {
    /// Taken, or known already.
    Accepted,
    /// Valid, but another was first.
    NotTip,
    /// Refused.
    Refused(String),
    /// Not decided: it is to be submitted again.
    Open {
        /// What was said, for people.
        said: String,
        /// Something was said whose meaning is not known.
        unknown: bool,
        /// What some have decided; it stands if the others never do.
        standing: Option<Box<Self>>,
    },
}

/// A node of the job source as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFacts {
    /// For people.
    pub status: NodeStatus,
    /// While it lags: the node that is further, and how far that is.
    pub behind: Option<(String, u64)>,
}
