//! The trait of a job source and what its answers mean.

use crate::{
    assembly::{Assembly, AssemblyError, FoundBlock, HeaderAssembly},
    embedded::LogError,
    gbt::InvalidTemplate,
};
use bus_schemas::{node_status::NodeStanding, units::Target};
use std::{future::Future, pin::Pin, time::Duration};

/// A future behind a pointer, so that [`JobSource`] can be a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where jobs come from and where blocks go.
///
/// Every future may be dropped at any time: nothing is lost but the waiting. What was asked of a node goes on, and whoever
/// asks next gets the answer. All methods may run at once, so a block
/// goes out while a long poll waits.
pub trait JobSource: Send + Sync {
    /// The current template at once when `after` is absent; else the next one that differs from `after` in more than
    /// its time. An error is of one attempt: whoever calls again waits as long as the nodes' backoff asks for.
    fn template<'a>(&'a self, after: Option<&'a Template>) -> BoxFuture<'a, Result<Template, SourceError>>;

    /// Asks whether a block of this template would be valid but for its work (BIP 23 proposal).
    fn propose<'a>(&'a self, template: &'a Template) -> BoxFuture<'a, Result<Proposal, SourceError>>;

    /// Gives a block to every node at once and comes back with the first success, or with all answers. Submitting
    /// the same block again is always safe; [`Submission::decision`] tells whether that is needed.
    fn submit<'a>(&'a self, block: &'a FoundBlock) -> BoxFuture<'a, Submission>;

    /// What is known of each node, in order of preference.
    fn health(&self) -> Vec<NodeHealth>;

    /// No template is wanted any more: ends what is asked for them. Blocks still go out.
    fn rest(&self) {}
}

/// Something to mine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// What the job carries and what makes blocks of its findings.
    pub assembly: Assembly,
    /// The target of the header's bits.
    pub network_target: Target,
    /// Where it came from: a node's URL, or `embedded`.
    pub origin: String,
    /// The node's token for asking for the next one (BIP 22 `longpollid`).
    pub longpoll: Option<String>,
    /// Whether the node offers to check proposals.
    pub proposals: bool,
}

impl Template {
    /// What makes a block of a Bitcoin-family chain, if it is one.
    pub fn header(&self) -> Option<&HeaderAssembly> {
        match &self.assembly {
            Assembly::Header(assembly) => Some(assembly),
            Assembly::CryptoNote(_) => None,
        }
    }

    /// Whether mining on `other` instead would change more than the time.
    pub fn differs_from(&self, other: &Self) -> bool {
        match (&self.assembly, &other.assembly) {
            (Assembly::Header(a), Assembly::Header(b)) => a.differs_from(b),
            (Assembly::CryptoNote(a), Assembly::CryptoNote(b)) => a.differs_from(b),
            _ => true,
        }
    }
}

/// What a node says of a proposed block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proposal {
    /// It would be valid.
    Valid,
    /// It does not build on the node's tip any more.
    Stale,
    /// It would be refused.
    Refused {
        /// In the node's words.
        reason: String,
    },
    /// The node does not check proposals.
    Unsupported,
}

/// What became of a submitted block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SubmitOutcome {
    /// It is the tip, or was for a moment.
    Accepted,
    /// The node had it already: as good as accepted.
    AlreadyKnown,
    /// The node holds it or knows its place, and it is not in the active chain: another block is there, or none yet.
    NotTip,
    /// The node refused it.
    Refused {
        /// In the node's words.
        reason: String,
    },
}

impl SubmitOutcome {
    /// Whether the network has the block.
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Accepted | Self::AlreadyKnown)
    }
}

/// What one node answered to a submission.
#[derive(Debug)]
pub struct NodeReport {
    /// The node's URL, or `embedded`.
    pub node: String,
    /// Its answer. An answer that judges nothing is an error: [`SourceError::NotNow`] or [`SourceError::UnknownAnswer`].
    pub outcome: Result<SubmitOutcome, SourceError>,
    /// With [`SubmitOutcome::NotTip`]: the block in its place is so deep in the node's chain that it stays there.
    pub buried: bool,
}

/// What the nodes that have answered so far said. Nodes that are slower than the first success are not waited for;
/// they still get the block.
#[derive(Debug)]
pub struct Submission {
    /// In the order of their answers.
    pub reports: Vec<NodeReport>,
}

/// What has become of a submitted block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It will not change by submitting again.
    Final(SubmitOutcome),
    /// Not decided: it is to be submitted again.
    Open {
        /// What the nodes said that decided nothing, for people.
        said: String,
        /// One of them said something that is not known here.
        unknown: bool,
        /// What others have decided; it stands if those that have not answered never do.
        standing: Option<SubmitOutcome>,
    },
}

impl Submission {
    /// The best answer: any success wins. Without one, a node that did not answer, or could not judge, may know better
    /// than those that did: its error wins over "not the tip", and that over a refusal. A node that is behind knows
    /// nothing better. `None` only without nodes.
    pub fn outcome(&self) -> Option<Result<&SubmitOutcome, &SourceError>> {
        let rank = |report: &&NodeReport| match report.outcome {
            Ok(SubmitOutcome::Accepted) => 0,
            Ok(SubmitOutcome::AlreadyKnown) => 1,
            Err(SourceError::Behind { .. }) => 5,
            Err(_) => 2,
            Ok(SubmitOutcome::NotTip) => 3,
            Ok(SubmitOutcome::Refused { .. }) => 4,
        };
        self.reports.iter().min_by_key(rank).map(|report| report.outcome.as_ref())
    }

    /// What is decided by these answers. A refusal and a place that is lost are final only when every node has judged that is
    /// not behind; `None` only without nodes.
    pub fn decision(&self) -> Option<Decision> {
        let best = self.outcome()?;
        if let Ok(success) = best
            && success.is_success()
        {
            return Some(Decision::Final(success.clone()));
        }
        let decided = |report: &&NodeReport| match &report.outcome {
            Ok(SubmitOutcome::NotTip) => report.buried,
            Ok(_) => true,
            Err(_) => false,
        };
        let standing = self.reports.iter().filter(decided).filter_map(|report| report.outcome.as_ref().ok());
        let standing =
            standing.min_by_key(|outcome| matches!(outcome, SubmitOutcome::Refused { .. })).cloned();
        let open: Vec<_> = self.reports.iter().filter(|report| !decided(report)).collect();
        let behind = |report: &&NodeReport| matches!(report.outcome, Err(SourceError::Behind { .. }));
        if let (true, Some(standing)) = (open.iter().all(behind), &standing) {
            return Some(Decision::Final(standing.clone()));
        }
        let said = open.iter().map(|report| match &report.outcome {
            Err(error) => error.to_string(),
            Ok(_) => format!("{}: another block is in its place so far", report.node),
        });
        let unknown =
            open.iter().any(|report| matches!(report.outcome, Err(SourceError::UnknownAnswer { .. })));
        Some(Decision::Open { said: said.collect::<Vec<_>>().join("; "), unknown, standing })
    }
}

/// What is known of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeHealth {
    /// Its URL without name, password and query, or `embedded`.
    pub node: String,
    /// Whether templates come from it now.
    pub current: bool,
    /// Failures since its last good answer.
    pub failures: u32,
    /// The last failure since then.
    pub last_error: Option<String>,
    /// What it is good for now.
    pub standing: NodeStanding,
    /// Height of its best block.
    pub height: Option<u64>,
    /// Age of its last good answer.
    pub answered_ago: Option<Duration>,
    /// While it lags: the node that is further, and how far that is.
    pub behind: Option<(String, u64)>,
}

/// Why a source did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// No connection, or it broke.
    #[error("{node}: cannot be reached: {reason}; check that the node runs and its address")]
    Unreachable {
        /// The node's URL.
        node: String,
        /// What the connection said.
        reason: String,
    },
    /// No answer in time.
    #[error("{node}: no answer to {method} within {limit_ms} ms")]
    Timeout {
        /// The node's URL.
        node: String,
        /// What was asked.
        method: &'static str,
        /// How long was waited, in milliseconds.
        limit_ms: u64,
    },
    /// The node does not know us.
    #[error("{node}: refuses the name and password; check the credentials in the coordinator's host file")]
    Unauthorized {
        /// The node's URL.
        node: String,
    },
    /// The node has too much to do: HTTP 429 or 503.
    #[error("{node}: has no room for {method} (HTTP {status})")]
    Busy {
        /// The node's URL.
        node: String,
        /// What was asked.
        method: &'static str,
        /// HTTP status.
        status: u16,
    },
    /// The node lacks the block that a submitted one builds on.
    #[error("{node}: is behind and has not judged the block: {said}")]
    Behind {
        /// The node's URL.
        node: String,
        /// In the node's words.
        said: String,
    },
    /// The node did not judge a block, or could not yet.
    #[error("{node}: has not judged the block: {said}")]
    NotNow {
        /// The node's URL.
        node: String,
        /// In the node's words.
        said: String,
    },
    /// The node answered for a block with something whose meaning is not known.
    #[error("{node}: says of the block {said:?}, whose meaning is not known here")]
    UnknownAnswer {
        /// The node's URL.
        node: String,
        /// In the node's words.
        said: String,
    },
    /// Something that is no answer.
    #[error("{node}: answers {method} with {what}")]
    BadAnswer {
        /// The node's URL.
        node: String,
        /// What was asked.
        method: &'static str,
        /// What came instead.
        what: String,
    },
    /// The node answered with an error of its own.
    #[error("{node}: refuses {method}: {message} (code {code})")]
    Rpc {
        /// The node's URL.
        node: String,
        /// What was asked.
        method: &'static str,
        /// JSON-RPC error code.
        code: i64,
        /// The node's words.
        message: String,
    },
    /// A template that must not be mined.
    #[error("{node}: hands out a template that must not be mined: {reason}")]
    Template {
        /// The node's URL.
        node: String,
        /// Why not.
        reason: InvalidTemplate,
    },
    /// A template of a Monero daemon that must not be mined.
    #[error("{node}: hands out a template that must not be mined: {reason}")]
    MoneroTemplate {
        /// The daemon's URL.
        node: String,
        /// Why not.
        reason: Box<crate::monero::InvalidTemplate>,
    },
    /// A block could not be put together.
    #[error(transparent)]
    Assembly(#[from] AssemblyError),
    /// The embedded chain's log failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The HTTP client could not be made, or there is no node.
    #[error("the job source cannot start: {reason}")]
    Setup {
        /// Why not.
        reason: String,
    },
}

impl SourceError {
    /// One of a closed set of words, for metrics and events.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "unreachable",
            Self::Timeout { .. } => "timeout",
            Self::Unauthorized { .. } => "unauthorized",
            Self::BadAnswer { .. } => "bad_answer",
            Self::Busy { .. } => "busy",
            Self::Behind { .. } => "behind",
            Self::NotNow { .. } => "not_now",
            Self::UnknownAnswer { .. } => "unknown_answer",
            Self::Rpc { .. } => "rpc",
            Self::Template { .. } | Self::MoneroTemplate { .. } => "template",
            Self::Assembly(_) => "assembly",
            Self::Log(_) => "log",
            Self::Setup { .. } => "setup",
        }
    }
}
