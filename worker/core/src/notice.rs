//! What is worth a line in the log or a step of a counter.

use crate::{clearance::Denied, effect::Lane, outbox::DropReason};
use bus_schemas::{
    AlgorithmId, JobId, PoolId, SessionId, WorkerId,
    command::ErrorCode,
    config::ConfigKey,
    job::InvalidJob,
    member::{Role, Standing},
    set_point::SetPoint,
    throttle::InvalidThrottle,
};
use std::fmt;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The pool has given us a place, or changed it.
    RoleApplied {
        /// What we do.
        role: Role,
        /// Whether we count as present.
        standing: Standing,
        /// Our slot.
        slot: u16,
        /// Epoch of the owner.
        epoch: u64,
        /// Generation of the role.
        generation: u64,
        /// Why, as the coordinator says.
        reason: String,
    },
    /// The pool did not take us.
    JoinRefused {
        /// Closed code.
        code: ErrorCode,
        /// What the coordinator says.
        message: String,
        /// When we ask again, milliseconds from now.
        retry_ms: u64,
    },
    /// The pool did not answer.
    JoinFailed {
        /// What the bus said.
        reason: String,
        /// When we ask again, milliseconds from now.
        retry_ms: u64,
    },
    /// A configuration is in force.
    ConfigApplied {
        /// Its key.
        key: ConfigKey,
        /// Its revision.
        revision: u64,
    },
    /// A configuration is not there any more.
    ConfigGone {
        /// Its key.
        key: ConfigKey,
    },
    /// The bucket of what is in force was made anew or restored: what its leader says is followed.
    ConfigRewound {
        /// The key.
        key: ConfigKey,
        /// The bucket's revision that was followed.
        from: u64,
        /// The one that is followed now.
        to: u64,
    },
    /// The stream of jobs, or the bucket of members, was made anew or restored: what its leader says is followed.
    OrderRewound {
        /// What is followed.
        order: &'static str,
    },
    /// Configuration, role and job could not be read.
    ReadFailed {
        /// What the bus said.
        reason: String,
        /// When we read again, milliseconds from now.
        retry_ms: u64,
    },
    /// A new job is searched from now on.
    JobApplied {
        /// Its id.
        job: JobId,
        /// Its number.
        sequence: u64,
        /// Height that is sought.
        height: u64,
    },
    /// An order is not followed.
    OrderRefused(Refusal),
    /// What the worker does has changed.
    SetPointChanged(SetPoint),
    /// A share was found.
    ShareFound {
        /// Of this job.
        job: JobId,
        /// It is a block.
        block: bool,
    },
    /// The bus has stored a share.
    ShareStored {
        /// Where.
        lane: Lane,
    },
    /// Shares are given up.
    SharesDropped {
        /// Why.
        reason: DropReason,
        /// How many.
        count: u64,
    },
    /// A publication has to be repeated.
    PublishFailed {
        /// Which attempt it was.
        attempt: u32,
        /// What the bus said.
        reason: String,
    },
    /// A search thread cannot be used any more.
    ThreadFailed {
        /// Which.
        thread: u16,
        /// What the system said.
        reason: String,
    },
    /// A message could not be read.
    Undecodable {
        /// Its subject.
        subject: String,
        /// What the codec said.
        reason: String,
    },
    /// A job wants an algorithm that this host does not run. Told once until something changes.
    AlgorithmRefused {
        /// Which.
        algorithm: AlgorithmId,
        /// Its version.
        version: u32,
        /// Why.
        denied: Denied,
    },
    /// A catalogue of certificates was refused.
    CatalogueRefused(Denied),
    /// The search holds because the bus does not take the shares (`true`), or goes on (`false`).
    SearchHeld(bool),
}

/// Why an order is not followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A role for somebody else.
    #[error("role for worker {worker} of pool {pool} is not ours; check the permissions of who sent it")]
    RoleNotOurs {
        /// Whose pool.
        pool: PoolId,
        /// Whose role.
        worker: WorkerId,
    },
    /// A role for another life of this worker.
    #[error("role is for session {0}; if that process still runs, give one of the two another worker id")]
    RoleOfOtherSession(SessionId),
    /// A role older than the one that is followed.
    #[error(
        "role of epoch {epoch}, generation {generation} is older than what was seen; nothing is to be done"
    )]
    RoleOutdated {
        /// Its epoch.
        epoch: u64,
        /// Its generation.
        generation: u64,
    },
    /// A job of another pool.
    #[error("job {job} is of pool {pool}, which is not ours; check the permissions of who sent it")]
    JobNotOurs {
        /// The job.
        job: JobId,
        /// Its pool.
        pool: PoolId,
    },
    /// A job older than the one that is searched.
    #[error(
        "job {job} of epoch {epoch}, sequence {sequence} is older than what was seen; nothing is to be done"
    )]
    JobOutdated {
        /// The job.
        job: JobId,
        /// Its epoch.
        epoch: u64,
        /// Its number.
        sequence: u64,
    },
    /// A job that contradicts itself or its limits.
    #[error("job is not usable: {0}; the coordinator that made it must be corrected")]
    JobInvalid(InvalidJob),
    /// A job for an algorithm that this agent does not have.
    #[error(
        "job {job} wants {algorithm} version {version}, which this agent does not have; update the agent"
    )]
    AlgorithmNotOffered {
        /// The job.
        job: JobId,
        /// The algorithm.
        algorithm: AlgorithmId,
        /// Its version.
        version: u32,
    },
    /// A job for an algorithm that could not be obtained, or may not run here.
    #[error("job {job} wants {algorithm} version {version}, which does not run here: {reason}")]
    AlgorithmDenied {
        /// The job.
        job: JobId,
        /// The algorithm.
        algorithm: AlgorithmId,
        /// Its version.
        version: u32,
        /// Why.
        reason: String,
    },
    /// A job for another build of an algorithm than the one that is here.
    #[error(
        "job {job} wants {algorithm} version {version} with another digest than it has here; install the build that the pool wants"
    )]
    DigestDiffers {
        /// The job.
        job: JobId,
        /// The algorithm.
        algorithm: AlgorithmId,
        /// Its version.
        version: u32,
    },
    /// Our slot does not exist under the job, or no difficulty is given for it.
    #[error("job {job} has no work for slot {slot}: {why}; wait for the next job or role")]
    NoWorkForSlot {
        /// The job.
        job: JobId,
        /// Our slot.
        slot: u16,
        /// What is missing.
        why: &'static str,
    },
    /// A job that the algorithm refuses.
    #[error("job {job} cannot be searched: {reason}; wait for the next job")]
    SearchRefused {
        /// The job.
        job: JobId,
        /// What the algorithm said.
        reason: String,
    },
    /// A configuration that is not valid; the last good one stays.
    #[error("configuration {key} revision {revision} is refused, revision {in_force} stays: {reason}")]
    Config {
        /// Its key.
        key: ConfigKey,
        /// Its revision.
        revision: u64,
        /// What is wrong.
        reason: String,
        /// The revision in force, 0 for none.
        in_force: u64,
    },
    /// A throttle order with a value out of its range.
    #[error("throttle order for {target} is refused: {reason}; who sent it must correct it")]
    Throttle {
        /// Its target.
        target: String,
        /// What is wrong.
        reason: InvalidThrottle,
    },
    /// A configuration older than the one in force.
    #[error(
        "configuration {key} revision {revision} is older than revision {in_force}; nothing is to be done"
    )]
    ConfigOutdated {
        /// Its key.
        key: ConfigKey,
        /// Its revision.
        revision: u64,
        /// The revision in force.
        in_force: u64,
    },
}

impl Refusal {
    /// Every label that [`Refusal::label`] gives.
    pub const LABELS: [&'static str; 13] = [
        "role-not-ours",
        "role-of-other-session",
        "role-outdated",
        "job-not-ours",
        "job-outdated",
        "job-invalid",
        "algorithm-not-offered",
        "algorithm-denied",
        "digest-differs",
        "no-work-for-slot",
        "config-invalid",
        "config-outdated",
        "throttle-invalid",
    ];

    /// The label in metrics: closed.
    pub fn label(&self) -> &'static str {
        match self {
            Self::RoleNotOurs { .. } => "role-not-ours",
            Self::RoleOfOtherSession(_) => "role-of-other-session",
            Self::RoleOutdated { .. } => "role-outdated",
            Self::JobNotOurs { .. } => "job-not-ours",
            Self::JobOutdated { .. } => "job-outdated",
            Self::JobInvalid(_) | Self::SearchRefused { .. } => "job-invalid",
            Self::AlgorithmNotOffered { .. } => "algorithm-not-offered",
            Self::AlgorithmDenied { .. } => "algorithm-denied",
            Self::DigestDiffers { .. } => "digest-differs",
            Self::NoWorkForSlot { .. } => "no-work-for-slot",
            Self::Config { .. } => "config-invalid",
            Self::ConfigOutdated { .. } => "config-outdated",
            Self::Throttle { .. } => "throttle-invalid",
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
