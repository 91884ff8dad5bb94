//! Subjects: built, parsed and filtered here and nowhere else.
//!
//! Ids stand at fixed places, so that a permission can pin them: the pool is the fourth token and the worker the
//! fifth of everything that a worker sends or receives.

use crate::{
    config::{ConfigKey, InvalidConfigKey},
    id::{InvalidId, JobId, PoolId, WorkerId},
    throttle::{InvalidThrottleTarget, ThrottleTarget},
};
use std::{fmt, str::FromStr};

/// First two tokens of every subject.
pub const PREFIX: &str = "dcmf.v1";
/// Key of the signed catalogue of certificates in its bucket, and last token of [`Subject::Catalogue`].
pub const CATALOGUE_KEY: &str = "catalogue";
/// Name of the micro service whose endpoints are the commands.
pub const COMMAND_SERVICE: &str = "dcmf";

/// A subject that is not a command or an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// The current job of a pool.
    Job(PoolId),
    /// The place of a worker in a pool.
    Role(PoolId, WorkerId),
    /// Shares of a worker.
    Share(PoolId, WorkerId),
    /// Shares of a worker that meet the network target: the lane of blocks.
    Found(PoolId, WorkerId),
    /// Signs of life of a worker.
    Heartbeat(PoolId, WorkerId),
    /// A worker's request to join.
    Join(PoolId, WorkerId),
    /// A worker's good-bye.
    Leave(PoolId, WorkerId),
    /// A configuration in force, republished.
    InForce(ConfigKey),
    /// A question to the owner of a pool, of whom only it listens.
    View(PoolId),
    /// A block and its state; the second is its hash as displayed.
    Block(PoolId, String),
    /// What makes blocks of a job.
    Template(PoolId, JobId),
    /// The embedded chain of a pool.
    Chain(PoolId),
    /// The ledger of a pool.
    Ledger(PoolId),
    /// Throttle orders for a target.
    Throttle(ThrottleTarget),
    /// What an application tells of its own latency: the name of the application.
    Latency(WorkerId),
    /// The signed catalogue of certificates, republished: bytes that only their reader's own trust roots make believable.
    Catalogue,
    /// Messages of another subject that could not be read.
    Dead(String),
}

/// Why a text is no subject of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSubject {
    /// Not under our prefix, or a kind that does not exist.
    #[error("{0:?} is no subject of this version")]
    Unknown(String),
    /// A token that is no id.
    #[error("subject {0:?}: {1}")]
    Id(String, InvalidId),
    /// A throttle subject without a target.
    #[error("subject {0:?}: {1}")]
    Throttle(String, InvalidThrottleTarget),
    /// A configuration subject without a key.
    #[error("subject {0:?}: {1}")]
    Config(String, InvalidConfigKey),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Job(p) => write!(f, "{PREFIX}.job.{p}"),
            Self::Role(p, w) => write!(f, "{PREFIX}.role.{p}.{w}"),
            Self::Share(p, w) => write!(f, "{PREFIX}.share.{p}.{w}"),
            Self::Found(p, w) => write!(f, "{PREFIX}.found.{p}.{w}"),
            Self::Heartbeat(p, w) => write!(f, "{PREFIX}.hb.{p}.{w}"),
            Self::Join(p, w) => write!(f, "{PREFIX}.join.{p}.{w}"),
            Self::Leave(p, w) => write!(f, "{PREFIX}.leave.{p}.{w}"),
            Self::InForce(key) => write!(f, "{PREFIX}.in-force.{key}"),
            Self::View(p) => write!(f, "{PREFIX}.view.{p}"),
            Self::Block(p, hash) => write!(f, "{PREFIX}.block.{p}.{hash}"),
            Self::Template(p, job) => write!(f, "{PREFIX}.template.{p}.{job}"),
            Self::Chain(p) => write!(f, "{PREFIX}.chain.{p}"),
            Self::Ledger(p) => write!(f, "{PREFIX}.ledger.{p}"),
            Self::Throttle(target) => write!(f, "{PREFIX}.throttle.{target}"),
            Self::Latency(application) => write!(f, "{PREFIX}.latency.{application}"),
            Self::Catalogue => write!(f, "{PREFIX}.cert.{CATALOGUE_KEY}"),
            Self::Dead(rest) => write!(f, "{PREFIX}.dead.{rest}"),
        }
    }
}

impl From<Subject> for String {
    fn from(subject: Subject) -> Self {
        subject.to_string()
    }
}

impl FromStr for Subject {
    type Err = InvalidSubject;

    fn from_str(text: &str) -> Result<Self, InvalidSubject> {
        let unknown = || InvalidSubject::Unknown(text.to_owned());
        let rest = text.strip_prefix(PREFIX).and_then(|r| r.strip_prefix('.')).ok_or_else(unknown)?;
        let (kind, rest) = rest.split_once('.').ok_or_else(unknown)?;
        let invalid = |e| InvalidSubject::Id(text.to_owned(), e);
        let pool = |id: &str| PoolId::new(id).map_err(invalid);
        let pair = || -> Result<(PoolId, WorkerId), InvalidSubject> {
            let (p, w) = rest.split_once('.').ok_or_else(unknown)?;
            Ok((pool(p)?, WorkerId::new(w).map_err(invalid)?))
        };
        Ok(match kind {
            "job" => Self::Job(pool(rest)?),
            "role" => pair().map(|(p, w)| Self::Role(p, w))?,
            "share" => pair().map(|(p, w)| Self::Share(p, w))?,
            "found" => pair().map(|(p, w)| Self::Found(p, w))?,
            "hb" => pair().map(|(p, w)| Self::Heartbeat(p, w))?,
            "join" => pair().map(|(p, w)| Self::Join(p, w))?,
            "leave" => pair().map(|(p, w)| Self::Leave(p, w))?,
            "in-force" => {
                Self::InForce(rest.parse().map_err(|e| InvalidSubject::Config(text.to_owned(), e))?)
            }
            "view" => Self::View(pool(rest)?),
            "block" => pair().map(|(p, hash)| Self::Block(p, hash.to_string()))?,
            "template" => {
                let (p, job) = rest.split_once('.').ok_or_else(unknown)?;
                Self::Template(pool(p)?, JobId::new(job).map_err(invalid)?)
            }
            "throttle" => {
                let invalid = |e| InvalidSubject::Throttle(text.to_owned(), e);
                Self::Throttle(rest.parse().map_err(invalid)?)
            }
            "latency" => Self::Latency(WorkerId::new(rest).map_err(invalid)?),
            "chain" => Self::Chain(pool(rest)?),
            "ledger" => Self::Ledger(pool(rest)?),
            "cert" if rest == CATALOGUE_KEY => Self::Catalogue,
            "dead" => Self::Dead(rest.to_owned()),
            _ => return Err(unknown()),
        })
    }
}

/// Dead letters of `subject`: the same tokens after the prefix. A subject that is not ours keeps all its tokens.
pub fn dead_letter(subject: &str) -> Subject {
    let rest = subject.strip_prefix(PREFIX).and_then(|r| r.strip_prefix('.')).unwrap_or(subject);
    Subject::Dead(rest.to_owned())
}

/// The subject of a command that concerns the whole farm, `dcmf.v1.cmd.<entity>.<verb>`. Every command stands in
/// [`crate::command::COMMANDS`].
pub fn command(entity: &str, verb: &str) -> String {
    format!("{PREFIX}.cmd.{entity}.{verb}")
}

/// The subject of a command for a target, `dcmf.v1.cmd.<entity>.<verb>.<target>`.
pub fn command_on(entity: &str, verb: &str, target: impl fmt::Display) -> String {
    format!("{}.{target}", command(entity, verb))
}

/// Subjects with wildcards, for subscriptions and consumers.
pub mod filter {
    use super::PREFIX;
    use crate::id::{CoordinatorId, PoolId, WorkerId};

    /// Shares of a pool.
    pub fn shares(pool: &PoolId) -> String {
        format!("{PREFIX}.share.{pool}.*")
    }

    /// Block candidates of a pool.
    pub fn found(pool: &PoolId) -> String {
        format!("{PREFIX}.found.{pool}.*")
    }

    /// Heartbeats of a pool.
    pub fn heartbeats(pool: &PoolId) -> String {
        format!("{PREFIX}.hb.{pool}.*")
    }

    /// Requests to join a pool.
    pub fn joins(pool: &PoolId) -> String {
        format!("{PREFIX}.join.{pool}.*")
    }

    /// Good-byes of a pool.
    pub fn leaves(pool: &PoolId) -> String {
        format!("{PREFIX}.leave.{pool}.*")
    }

    /// Blocks of a pool.
    pub fn blocks(pool: &PoolId) -> String {
        format!("{PREFIX}.block.{pool}.*")
    }

    /// Every throttle order.
    pub fn throttles() -> String {
        format!("{PREFIX}.throttle.>")
    }

    /// Throttle orders for labels.
    pub fn label_throttles() -> String {
        format!("{PREFIX}.throttle.label.*.*")
    }

    /// Every event.
    pub fn events() -> String {
        format!("{PREFIX}.evt.>")
    }

    /// Every event that a coordinator tells.
    pub fn events_of_coordinator(coordinator: &CoordinatorId) -> String {
        format!("{PREFIX}.evt.coordinator.{coordinator}.>")
    }

    /// Every event that a worker tells.
    pub fn events_of_worker(worker: &WorkerId) -> String {
        format!("{PREFIX}.evt.worker.{worker}.>")
    }

    /// What every application tells of its latency.
    pub fn latencies() -> String {
        format!("{PREFIX}.latency.*")
    }

    /// Inbox prefix of a worker, so that a permission can pin its replies.
    pub fn worker_inbox(worker: &WorkerId) -> String {
        format!("_INBOX_{worker}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subject_is_parsed_back_to_itself() {
        let (p, w) = (PoolId::new("main").unwrap(), WorkerId::new("w-1").unwrap());
        for subject in [
            Subject::Job(p.clone()),
            Subject::Role(p.clone(), w.clone()),
            Subject::Share(p.clone(), w.clone()),
            Subject::Found(p.clone(), w.clone()),
            Subject::Heartbeat(p.clone(), w.clone()),
            Subject::Join(p.clone(), w.clone()),
            Subject::Leave(p.clone(), w.clone()),
            Subject::InForce(ConfigKey::Pool(p.clone())),
            Subject::InForce(ConfigKey::Node(w.clone())),
            Subject::View(p.clone()),
            Subject::Block(p.clone(), "ab".repeat(32)),
            Subject::Template(p.clone(), JobId::new("0a").unwrap()),
            Subject::Chain(p.clone()),
            Subject::InForce(ConfigKey::Farm),
            Subject::Throttle(ThrottleTarget::Farm),
            Subject::Throttle(ThrottleTarget::Pool(p.clone())),
            Subject::Throttle(ThrottleTarget::Label(w.clone(), w.clone())),
            Subject::Latency(w.clone()),
            Subject::Ledger(p),
            Subject::Catalogue,
            Subject::Dead("share.main.w-1".into()),
        ] {
            assert_eq!(subject.to_string().parse(), Ok(subject));
        }
    }

    #[test]
    fn ids_with_dots_and_foreign_subjects_are_refused() {
        for text in
            ["", "dcmf.v1", "dcmf.v2.job.a", "dcmf.v1.job.a.b", "dcmf.v1.share.a.b.c", "dcmf.v1.x.y", "foo"]
        {
            assert!(text.parse::<Subject>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_dead_letter_keeps_the_tokens_of_its_subject() {
        assert_eq!(dead_letter("dcmf.v1.share.main.w1").to_string(), "dcmf.v1.dead.share.main.w1");
    }
}
