//! Throttle orders: live caps with a time to live, from any authorised load monitor or person.
//!
//! JSON on `dcmf.v1.throttle.farm`, `.pool.<pool>`, `.worker.<worker>` or `.label.<key>.<value>`. The lowest live cap of
//! all orders that concern a worker wins; several sources may order for the same target, each replaces only its own.
//!
//! A stream keeps the latest messages of a subject, whoever sent them, so that one source may push the order of another out
//! of it. Therefore coordinators keep the last order of each source in [`KeptOrders`], a document for each target, from which
//! whoever starts or comes back recovers.

mod known;

pub use known::Throttles;

use crate::{
    codec::message,
    id::{InvalidId, PoolId, WorkerId},
    units::TimestampMs,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Longest life of an order in seconds.
pub const MAX_TTL_SECONDS: u32 = 7 * 86_400;
/// Longest free text of an order in bytes.
pub const MAX_TEXT_LEN: usize = 256;
/// Most orders that are kept; when there are more, the one that binds least is forgotten.
pub const MAX_LIVE: usize = 4_096;
/// Most sources of one target; when there are more, the order that binds least is forgotten.
pub const MAX_SOURCES: usize = 512;
/// By so much may a receiver misjudge how old an order is, milliseconds: orders of one source that seem to be closer to each
/// other are told apart by when the stream stored them.
pub const AGE_ERROR_MS: u64 = 10_000;
/// What ends within this time need not be kept, milliseconds: whoever keeps the orders need not agree on the moment.
pub const KEEP_SLACK_MS: u64 = 1_000;
/// First token of the keys of [`KeptOrders`] in the bucket `dcmf_in_force`; the target follows.
pub const KEPT_KEY: &str = "throttle";

/// Whom an order concerns.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ThrottleTarget {
    /// Every worker.
    Farm,
    /// The workers of a pool.
    Pool(PoolId),
    /// One worker.
    Worker(WorkerId),
    /// The workers that carry a label.
    Label(WorkerId, WorkerId),
}

impl fmt::Display for ThrottleTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Farm => f.write_str("farm"),
            Self::Pool(pool) => write!(f, "pool.{pool}"),
            Self::Worker(worker) => write!(f, "worker.{worker}"),
            Self::Label(key, value) => write!(f, "label.{key}.{value}"),
        }
    }
}

/// Why a text is no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidThrottleTarget {
    /// None of the four forms.
    #[error("{0:?} is no target; use farm, pool.<pool>, worker.<worker> or label.<key>.<value>")]
    Unknown(String),
    /// A part that is no id.
    #[error("{0:?} is no target: {1}")]
    Id(String, InvalidId),
}

impl FromStr for ThrottleTarget {
    type Err = InvalidThrottleTarget;

    fn from_str(text: &str) -> Result<Self, InvalidThrottleTarget> {
        let invalid = |e| InvalidThrottleTarget::Id(text.to_owned(), e);
        let worker = |id: &str| WorkerId::new(id).map_err(invalid);
        match text.split_once('.') {
            None if text == "farm" => Ok(Self::Farm),
            Some(("pool", id)) => PoolId::new(id).map(Self::Pool).map_err(invalid),
            Some(("worker", id)) => worker(id).map(Self::Worker),
            Some(("label", rest)) => {
                let (key, value) =
                    rest.split_once('.').ok_or_else(|| InvalidThrottleTarget::Unknown(text.to_owned()))?;
                Ok(Self::Label(worker(key)?, worker(value)?))
            }
            _ => Err(InvalidThrottleTarget::Unknown(text.to_owned())),
        }
    }
}

/// An order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Throttle {
    /// The most of their time that search threads may use, 0 to 100 percent: 0 stops, 100 lifts this source's order. The lowest
    /// cap of all rules holds.
    pub cap_percent: u8,
    /// Most threads, whatever the percentage says.
    #[serde(default)]
    pub threads: Option<u16>,
    /// How long it lives, 1 to 604800 seconds.
    pub ttl_seconds: u32,
    /// Why, for people.
    #[serde(default)]
    pub reason: String,
    /// Who; orders of different sources for one target live side by side.
    #[serde(default)]
    pub source: String,
}

message!(Throttle, Json, 4 * 1_024);

/// Why an order is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidThrottle {
    /// Not a percentage.
    #[error("cap_percent is {0}; it must be 0 to 100")]
    Cap(u8),
    /// Lives not at all, or too long.
    #[error("ttl_seconds is {0}; it must be 1 to {MAX_TTL_SECONDS}")]
    Ttl(u32),
    /// A text is too long.
    #[error("{field} has {len} bytes, the limit is {MAX_TEXT_LEN}")]
    Text {
        /// Which.
        field: &'static str,
        /// Its length.
        len: usize,
    },
}

impl Throttle {
    /// Checks every value.
    pub fn check(&self) -> Result<(), InvalidThrottle> {
        if self.cap_percent > 100 {
            return Err(InvalidThrottle::Cap(self.cap_percent));
        }
        if !(1..=MAX_TTL_SECONDS).contains(&self.ttl_seconds) {
            return Err(InvalidThrottle::Ttl(self.ttl_seconds));
        }
        for (field, text) in [("reason", &self.reason), ("source", &self.source)] {
            if text.len() > MAX_TEXT_LEN {
                return Err(InvalidThrottle::Text { field, len: text.len() });
            }
        }
        Ok(())
    }
}

/// An order that lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LiveThrottle {
    /// Whom it concerns.
    pub target: ThrottleTarget,
    /// What is ordered.
    pub order: Throttle,
    /// When it was given.
    pub given_at_ms: TimestampMs,
    /// When it ends.
    pub until_ms: TimestampMs,
}

/// The last order of each source for one target: JSON in the bucket `dcmf_in_force` under `throttle.<target>`, written by
/// coordinators. Its times are those at which the stream stored the orders.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeptOrders {
    /// What tells the stream of orders from an earlier one of its name: when it was created.
    pub stream: String,
    /// Every order for the target up to this sequence of that stream is taken into account.
    pub sequence: u64,
    /// In the order of the sources.
    pub orders: Vec<KeptOrder>,
}

message!(KeptOrders, Json, crate::config::MAX_IN_FORCE_LEN * 2);

/// One of [`KeptOrders`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeptOrder {
    /// The order.
    pub order: Throttle,
    /// When the stream stored it.
    pub stored_at_ms: TimestampMs,
    /// Until when it must not be forgotten: its own end, or that of the order that it replaced, which may still lie in the
    /// stream and would bind again.
    pub keep_until_ms: TimestampMs,
}

/// Key of [`KeptOrders`] of a target.
pub fn kept_key(target: &ThrottleTarget) -> String {
    format!("{KEPT_KEY}.{target}")
}

/// The target of a key of [`KeptOrders`], if it is one.
pub fn kept_target(key: &str) -> Option<ThrottleTarget> {
    key.strip_prefix(KEPT_KEY)?.strip_prefix('.')?.parse().ok()
}

/// An order as it reaches a receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArrivedOrder {
    /// Whom it concerns.
    pub target: ThrottleTarget,
    /// The order.
    pub order: Throttle,
    /// When it was given, on the receiver's own clock.
    pub given_at: TimestampMs,
    /// When the stream stored it, where that is known.
    pub stored_at: Option<TimestampMs>,
    /// How long it must not be forgotten after `given_at`, milliseconds, where that is longer than it lives.
    pub keep_ms: u64,
}

impl KeptOrder {
    /// The order as it reaches a receiver whose clock shows `here` when that of the stream shows `there`.
    pub fn arrive(&self, target: &ThrottleTarget, here: TimestampMs, there: TimestampMs) -> ArrivedOrder {
        ArrivedOrder {
            target: target.clone(),
            order: self.order.clone(),
            given_at: TimestampMs(here.0.saturating_sub(there.since(self.stored_at_ms))),
            stored_at: Some(self.stored_at_ms),
            keep_ms: self.keep_until_ms.since(self.stored_at_ms),
        }
    }
}
