//! Everything that can happen to a worker.

use bus_schemas::{
    config::{NodeConfig, PoolConfig},
    job::{AlgorithmRef, Job},
    member::{JoinReply, Member},
    policy::FarmConfig,
    throttle::{Throttle, ThrottleTarget},
    units::TimestampMs,
};

use crate::{
    clearance::{Clearance, Denied},
    governor::LoadSample,
    worker::Offered,
};

/// An input of [`crate::WorkerCore::handle`].
#[derive(Debug, Clone)]
pub enum Input {
    /// The bus is there, for the first time or again.
    Connected,
    /// The bus is gone.
    Disconnected,
    /// The answer to [`crate::Effect::ReadConfiguration`].
    ConfigurationRead(Box<Snapshot>),
    /// A read failed.
    ReadFailed {
        /// What the bus said.
        reason: String,
    },
    /// The pool's configuration was pushed.
    PoolConfig(Stored<PoolConfig>),
    /// The node's configuration was pushed.
    NodeConfig(Stored<NodeConfig>),
    /// The farm's configuration was pushed.
    FarmConfig(Stored<FarmConfig>),
    /// A throttle order was pushed, or read.
    Throttle(ThrottleOrder),
    /// The load monitor measured.
    Load(LoadSample),
    /// The host's administrator vetoes the search, for this reason, or does not any more.
    Veto(Option<String>),
    /// What the search gets beside busy programs was checked.
    Group(GroupReport),
    /// A role was pushed.
    Role(Box<Member>),
    /// A job was pushed.
    Job(Box<Job>),
    /// The pool's job is in force no more and there is no other yet: its source is another one.
    JobWithdrawn,
    /// A message on one of our subjects could not be read.
    Undecodable {
        /// Its subject.
        subject: String,
        /// What the codec said.
        reason: String,
    },
    /// The answer to [`crate::Effect::Join`].
    JoinReply(JoinReply),
    /// No answer to [`crate::Effect::Join`].
    JoinFailed {
        /// What the bus said.
        reason: String,
    },
    /// A search thread found something.
    Found {
        /// The thread.
        thread: u16,
        /// The order that it works on.
        order: u64,
        /// The nonce.
        nonce: u32,
        /// The hash, as it lies in memory.
        hash: [u8; 32],
    },
    /// A search thread is at the end of its unit, or was stopped.
    UnitEnded {
        /// The thread.
        thread: u16,
        /// The order that ended.
        order: u64,
        /// First nonce that was not searched.
        next: u64,
    },
    /// A search thread cannot search this job.
    SearchRefused {
        /// The thread.
        thread: u16,
        /// The order that is refused.
        order: u64,
        /// What the algorithm said.
        reason: String,
    },
    /// A search thread could not be started or is gone. It is not used again.
    ThreadFailed {
        /// The thread.
        thread: u16,
        /// What the system said.
        reason: String,
    },
    /// The bus has stored a publication.
    Acked {
        /// Its [`crate::Publication::id`].
        id: u64,
    },
    /// A publication failed or was not confirmed in time.
    PublishFailed {
        /// Its [`crate::Publication::id`].
        id: u64,
        /// Its [`crate::Publication::attempt`].
        attempt: u32,
        /// What the bus said.
        reason: String,
    },
    /// What the host's certificates say of every algorithm that it has; replaces what was said before.
    Clearances(Vec<Clearance>),
    /// A catalogue of certificates was refused; the one before stays.
    CatalogueRefused(Denied),
    /// What was asked for by [`crate::Effect::ObtainAlgorithm`] is here and can be searched with.
    AlgorithmObtained(Offered),
    /// What was asked for by [`crate::Effect::ObtainAlgorithm`] cannot be searched with.
    AlgorithmDenied {
        /// What was asked for.
        algorithm: AlgorithmRef,
        /// Why not.
        denied: Denied,
    },
    /// The host's administrator allows so many threads from now on.
    HostThreads(u16),
    /// A deadline has come.
    Tick,
    /// The process is asked to end.
    ShutdownRequested {
        /// Why, for people.
        reason: String,
    },
}

/// A value of a bucket at a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored<C> {
    /// The revision.
    pub revision: u64,
    /// The value; `None` when it was deleted; an error when it cannot be read.
    pub value: Result<Option<C>, String>,
}

/// A throttle order as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThrottleOrder {
    /// Whom it concerns.
    pub target: ThrottleTarget,
    /// The order.
    pub order: Throttle,
    /// When it was given, as the bus says; when it came, if the bus does not.
    pub given_at: TimestampMs,
}

/// Which share of a processor the search gets beside one busy program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupReport {
    /// Whether that is little enough.
    pub gentle: bool,
    /// Whether the search has an idle group of its own.
    pub idle: bool,
    /// The share, in thousandths.
    pub share_permille: u16,
    /// What this host offers, what was used and what could be done, for people.
    pub detail: String,
}

/// What one direct get of everything gave. What could not be decoded is absent here and reported by
/// [`Input::Undecodable`].
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The pool's configuration; absent when the bucket holds none.
    pub pool: Option<Stored<PoolConfig>>,
    /// The node's configuration; absent when the bucket holds none.
    pub node: Option<Stored<NodeConfig>>,
    /// The farm's configuration; absent when the bucket holds none.
    pub farm: Option<Stored<FarmConfig>>,
    /// The throttle orders that the bus keeps.
    pub throttles: Vec<ThrottleOrder>,
    /// The worker's place.
    pub role: Option<Member>,
    /// The pool's job.
    pub job: Option<Job>,
}
