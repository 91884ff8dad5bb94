//! What an operator can be told went wrong.

use crate::codec::message;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What an operator can be told went wrong. Each has an entry in `docs/codes.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorCode {
    /// The request is no JSON of the expected shape.
    MalformedRequest,
    /// The subject does not say what the command is about.
    TargetMissing,
    /// The configuration is refused.
    InvalidConfig,
    /// There is no such pool.
    UnknownPool,
    /// There is no such node.
    UnknownNode,
    /// The pool exists already and the request did not name its revision.
    RevisionMismatch,
    /// The pool has no job yet.
    NoJob,
    /// The pool has no room for another worker.
    PoolFull,
    /// The worker cannot run the pool's algorithm.
    AlgorithmNotOffered,
    /// This coordinator does not own the pool and cannot answer for it.
    NotOwner,
    /// The bus did not take or give what was needed.
    BusUnavailable,
    /// The pool still has members.
    PoolInUse,
    /// A throttle order is refused.
    InvalidThrottle,
    /// A time is not one, or too far away.
    InvalidTime,
    /// The worker is no member of any pool.
    NotAMember,
    /// A code that this version does not know: a newer one refused.
    #[serde(other)]
    Unknown,
}

impl ErrorCode {
    /// Every code.
    pub const ALL: [Self; 16] = [
        Self::MalformedRequest,
        Self::TargetMissing,
        Self::InvalidConfig,
        Self::UnknownPool,
        Self::UnknownNode,
        Self::RevisionMismatch,
        Self::NoJob,
        Self::PoolFull,
        Self::AlgorithmNotOffered,
        Self::NotOwner,
        Self::BusUnavailable,
        Self::PoolInUse,
        Self::InvalidThrottle,
        Self::InvalidTime,
        Self::NotAMember,
        Self::Unknown,
    ];

    /// The code's name, as it stands in JSON and in the documentation.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MalformedRequest => "malformed-request",
            Self::TargetMissing => "target-missing",
            Self::InvalidConfig => "invalid-config",
            Self::UnknownPool => "unknown-pool",
            Self::UnknownNode => "unknown-node",
            Self::RevisionMismatch => "revision-mismatch",
            Self::NoJob => "no-job",
            Self::PoolFull => "pool-full",
            Self::AlgorithmNotOffered => "algorithm-not-offered",
            Self::NotOwner => "not-owner",
            Self::BusUnavailable => "bus-unavailable",
            Self::PoolInUse => "pool-in-use",
            Self::InvalidThrottle => "invalid-throttle",
            Self::InvalidTime => "invalid-time",
            Self::NotAMember => "not-a-member",
            Self::Unknown => "unknown",
        }
    }

    /// The number in `Nats-Service-Error-Code`, in the manner of HTTP.
    pub fn number(self) -> usize {
        match self {
            Self::MalformedRequest
            | Self::TargetMissing
            | Self::InvalidConfig
            | Self::InvalidThrottle
            | Self::InvalidTime => 400,
            Self::UnknownPool | Self::UnknownNode | Self::NoJob | Self::NotAMember => 404,
            Self::RevisionMismatch | Self::PoolFull | Self::AlgorithmNotOffered | Self::PoolInUse => 409,
            Self::NotOwner | Self::BusUnavailable => 503,
            Self::Unknown => 500,
        }
    }

    /// What to do about it.
    pub fn hint(self) -> &'static str {
        match self {
            Self::MalformedRequest => "send JSON as docs/commands.md shows for this command",
            Self::TargetMissing => "name the target at the end of the subject, and no longer in the request",
            Self::InvalidConfig => {
                "correct the named field; bus-schemas/schemas has every field and its range"
            }
            Self::UnknownPool => "list the pools with: nats request dcmf.v1.cmd.pool.list ''",
            Self::UnknownNode => "list the nodes with: nats request dcmf.v1.cmd.node.list ''",
            Self::RevisionMismatch => "get the configuration again and put it with its revision",
            Self::NoJob => {
                "wait for the job source; events under dcmf.v1.evt.*.*.source say whether it fails"
            }
            Self::PoolFull => "raise slot_bits of the pool",
            Self::AlgorithmNotOffered => "update the agent or choose another pool for this worker",
            Self::NotOwner => "try again: another coordinator is taking the pool over",
            Self::BusUnavailable => "look at the NATS server and try again",
            Self::PoolInUse => "stop or move its workers, or delete it with force",
            Self::InvalidThrottle => "correct the named value; docs/commands.md shows an order",
            Self::InvalidTime => "give a time as RFC 3339 has it, for instance 2026-12-24T18:00:00Z",
            Self::NotAMember => "start the worker, or look at its log: it joins its pool by itself",
            Self::Unknown => "read the message; a newer version of this program knows the code",
        }
    }
}

/// A refused command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[error("{}: {message}", code.as_str())]
pub struct CommandError {
    /// Closed code.
    pub code: ErrorCode,
    /// What happened, to what.
    pub message: String,
    /// What to do.
    pub hint: String,
}

impl CommandError {
    /// An error with its code's hint.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: code.hint().to_owned() }
    }
}

message!(CommandError, Json);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_code_is_its_json_form() {
        for code in ErrorCode::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
            assert!((400..600).contains(&code.number()));
        }
    }
}
