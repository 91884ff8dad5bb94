//! Throttle orders: live caps with a time to live, from any authorised load monitor or person.
//!
//! JSON on `dcmf.v1.throttle.farm`, `.pool.<pool>`, `.worker.<worker>` or `.label.<key>.<value>`. The lowest live cap of
//! all orders that concern a worker wins; several sources may order for the same target, each replaces only its own.

use crate::{
    codec::message,
    id::{InvalidId, PoolId, WorkerId},
    units::TimestampMs,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, str::FromStr};

/// Longest life of an order in seconds.
pub const MAX_TTL_SECONDS: u32 = 7 * 86_400;
/// Longest free text of an order in bytes.
pub const MAX_TEXT_LEN: usize = 256;
/// Most live orders that are kept; when there are more, the one that ends first is forgotten.
pub const MAX_LIVE: usize = 4_096;

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
    /// Share of what the policy allows, 0 to 100 percent; 0 stops, 100 lifts this source's order.
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

/// The orders that live, as a receiver keeps them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Throttles {
    live: BTreeMap<(ThrottleTarget, String), LiveThrottle>,
}

impl Throttles {
    /// Takes an order that was given at `given_at`. An older one than that source's last for the target changes
    /// nothing. Costs a logarithm of the live orders.
    pub fn take(
        &mut self,
        target: ThrottleTarget,
        order: Throttle,
        given_at: TimestampMs,
    ) -> Result<(), InvalidThrottle> {
        order.check()?;
        let key = (target.clone(), order.source.clone());
        if self.live.get(&key).is_some_and(|known| known.given_at_ms > given_at) {
            return Ok(());
        }
        let until_ms = TimestampMs(given_at.0.saturating_add(u64::from(order.ttl_seconds) * 1_000));
        self.live.insert(key, LiveThrottle { target, order, given_at_ms: given_at, until_ms });
        if self.live.len() > MAX_LIVE {
            let first = self.live.iter().min_by_key(|(_, l)| l.until_ms).map(|(key, _)| key.clone());
            if let Some(key) = first {
                self.live.remove(&key);
            }
        }
        Ok(())
    }

    /// Forgets what has ended.
    pub fn expire(&mut self, now: TimestampMs) {
        self.live.retain(|_, l| l.until_ms > now);
    }

    /// When the next order ends.
    pub fn next_end(&self) -> Option<TimestampMs> {
        self.live.values().map(|l| l.until_ms).min()
    }

    /// Every order that lives at `now`, in the order of targets and sources.
    pub fn live(&self, now: TimestampMs) -> impl Iterator<Item = &LiveThrottle> {
        self.live.values().filter(move |l| l.until_ms > now)
    }

    /// The order that binds a worker most at `now`: the lowest cap, then the fewest threads.
    pub fn lowest<'a>(
        &'a self,
        pool: &PoolId,
        worker: &WorkerId,
        labels: &BTreeMap<String, String>,
        now: TimestampMs,
    ) -> Option<&'a LiveThrottle> {
        let concerns = |l: &&LiveThrottle| match &l.target {
            ThrottleTarget::Farm => true,
            ThrottleTarget::Pool(p) => p == pool,
            ThrottleTarget::Worker(w) => w == worker,
            ThrottleTarget::Label(key, value) => {
                labels.get(key.as_str()).is_some_and(|v| v == value.as_str())
            }
        };
        self.live(now)
            .filter(concerns)
            .min_by_key(|l| (l.order.cap_percent, l.order.threads.unwrap_or(u16::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(cap_percent: u8, ttl_seconds: u32, source: &str) -> Throttle {
        Throttle { cap_percent, threads: None, ttl_seconds, reason: String::new(), source: source.to_owned() }
    }

    fn lowest(throttles: &Throttles, now: u64) -> Option<u8> {
        let labels = BTreeMap::from([("rack".to_owned(), "b2".to_owned())]);
        let (pool, worker) = (PoolId::new("main").unwrap(), WorkerId::new("w1").unwrap());
        throttles.lowest(&pool, &worker, &labels, TimestampMs(now)).map(|l| l.order.cap_percent)
    }

    #[test]
    fn the_lowest_live_cap_of_all_that_concern_a_worker_wins_and_expiry_lifts_it() {
        let mut throttles = Throttles::default();
        for (target, cap, ttl) in [
            ("farm", 80, 100),
            ("pool.main", 50, 50),
            ("worker.w1", 30, 30),
            ("label.rack.b2", 10, 10),
            ("pool.other", 0, 100),
            ("worker.w2", 0, 100),
            ("label.rack.b3", 0, 100),
        ] {
            throttles.take(target.parse().unwrap(), order(cap, ttl, ""), TimestampMs(0)).unwrap();
        }
        for (now, wanted) in [
            (0, Some(10)),
            (9_999, Some(10)),
            (10_000, Some(30)),
            (30_000, Some(50)),
            (50_000, Some(80)),
            (100_000, None),
        ] {
            assert_eq!(lowest(&throttles, now), wanted, "{now}");
        }
        assert_eq!(throttles.next_end(), Some(TimestampMs(10_000)));
        throttles.expire(TimestampMs(100_000));
        assert_eq!(throttles, Throttles::default());
    }

    #[test]
    fn a_source_replaces_its_own_order_and_no_other_and_an_older_one_changes_nothing() {
        let mut throttles = Throttles::default();
        let mut take = |cap, source, at| {
            throttles.take(ThrottleTarget::Farm, order(cap, 100, source), TimestampMs(at)).unwrap();
            lowest(&throttles, 1_000)
        };
        assert_eq!(take(40, "a", 100), Some(40));
        assert_eq!(take(60, "b", 100), Some(40));
        assert_eq!(take(100, "a", 200), Some(60));
        assert_eq!(take(10, "a", 150), Some(60));
    }

    #[test]
    fn an_order_out_of_range_is_refused() {
        assert_eq!(order(101, 1, "").check(), Err(InvalidThrottle::Cap(101)));
        assert_eq!(order(0, 0, "").check(), Err(InvalidThrottle::Ttl(0)));
        assert_eq!(order(0, MAX_TTL_SECONDS + 1, "").check(), Err(InvalidThrottle::Ttl(MAX_TTL_SECONDS + 1)));
        assert!(order(0, 1, &"x".repeat(300)).check().is_err());
    }

    #[test]
    fn targets_are_read_back_and_what_is_no_target_is_refused() {
        for text in ["farm", "pool.main", "worker.w-1", "label.rack.b2"] {
            assert_eq!(text.parse::<ThrottleTarget>().unwrap().to_string(), text);
        }
        for text in ["", "farm.x", "pools.main", "pool.a.b", "label.rack", "label.a.b.c"] {
            assert!(text.parse::<ThrottleTarget>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_orders_that_are_kept_are_bounded() {
        let mut throttles = Throttles::default();
        for n in 0..=u32::try_from(MAX_LIVE).unwrap() {
            throttles.take(ThrottleTarget::Farm, order(50, 10 + n, &n.to_string()), TimestampMs(0)).unwrap();
        }
        assert_eq!(throttles.live(TimestampMs(0)).count(), MAX_LIVE);
        assert!(throttles.live(TimestampMs(0)).all(|l| l.order.source != "0"));
    }
}
