//! Throttle orders: live caps with a time to live, from any authorised load monitor or person.
//!
//! JSON on `dcmf.v1.throttle.farm`, `.pool.<pool>`, `.worker.<worker>` or `.label.<key>.<value>`. The lowest live cap of
//! all orders that concern a worker wins; several sources may order for the same target, each replaces only its own.
//!
//! A stream keeps the latest messages of a subject, whoever sent them, so that one source may push the order of another out
//! of it. Therefore coordinators keep the last order of each source in [`KeptOrders`], a document for each target, from which
//! whoever starts or comes back recovers.

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

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    live: LiveThrottle,
    stored_at: Option<TimestampMs>,
    keep_until: TimestampMs,
}

impl Entry {
    fn as_kept(&self) -> Option<KeptOrder> {
        let stored_at_ms = self.stored_at?;
        let keep_until_ms = stored_at_ms.plus_ms(self.keep_until.since(self.live.given_at_ms));
        Some(KeptOrder { order: self.live.order.clone(), stored_at_ms, keep_until_ms })
    }

    /// Another order of the same source for the same target comes, or the same once more.
    fn meet(&mut self, other: Self) {
        let stamps = self.stored_at.zip(other.stored_at);
        if stamps.is_some_and(|(known, stamp)| known == stamp) && self.live.order == other.live.order {
            // What a second reading gives differs by as long as it took: only the duration is compared.
            let keep_ms = other.keep_until.since(other.live.given_at_ms);
            self.keep_until = self.keep_until.max(self.live.given_at_ms.plus_ms(keep_ms));
            return;
        }
        let (known, given) = (self.live.given_at_ms, other.live.given_at_ms);
        let close = known.since(given).max(given.since(known)) <= AGE_ERROR_MS;
        let is_older = match stamps.filter(|_| close) {
            Some((known, stamp)) => stamp < known,
            None => given < known,
        };
        let keep_until = self.keep_until.max(other.keep_until);
        if !is_older {
            *self = other;
        }
        self.keep_until = keep_until;
    }
}

/// The last order of each source, as a receiver keeps them. All its times are of one clock, the receiver's own: one that
/// never goes back, so that a step of the wall clock neither ends nor prolongs an order. [`Throttles::on`] turns them into
/// those of another clock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Throttles {
    kept: BTreeMap<(ThrottleTarget, String), Entry>,
}

impl Throttles {
    /// Takes an order. An older one than that source's last for the target binds nobody, and has the last one remembered as
    /// long as it would bind.
    pub fn take(&mut self, arrived: ArrivedOrder) -> Result<(), InvalidThrottle> {
        let ArrivedOrder { target, order, given_at, stored_at, keep_ms } = arrived;
        order.check()?;
        let key = (target.clone(), order.source.clone());
        let until_ms = given_at.plus_ms(u64::from(order.ttl_seconds) * 1_000);
        let keep_until = until_ms.max(given_at.plus_ms(keep_ms));
        let live = LiveThrottle { target: target.clone(), order, given_at_ms: given_at, until_ms };
        let entry = Entry { live, stored_at, keep_until };
        match self.kept.get_mut(&key) {
            Some(known) => known.meet(entry),
            None => drop(self.kept.insert(key, entry)),
        }
        let of_target = self.kept.keys().filter(|(t, _)| *t == target).count();
        if of_target > MAX_SOURCES {
            self.forget_mildest(|t| *t == target);
        } else if self.kept.len() > MAX_LIVE {
            self.forget_mildest(|_| true);
        }
        Ok(())
    }

    fn forget_mildest(&mut self, of: impl Fn(&ThrottleTarget) -> bool) {
        let binds_least = |(_, e): &(&(ThrottleTarget, String), &Entry)| {
            let order = &e.live.order;
            (order.cap_percent, order.threads.unwrap_or(u16::MAX), std::cmp::Reverse(e.keep_until))
        };
        let candidates = self.kept.iter().filter(|((target, _), _)| of(target));
        if let Some(key) = candidates.max_by_key(binds_least).map(|(key, _)| key.clone()) {
            self.kept.remove(&key);
        }
    }

    /// Forgets what has ended, and gives the targets of what it forgot.
    pub fn expire(&mut self, now: TimestampMs) -> Vec<ThrottleTarget> {
        let mut ended: Vec<_> =
            self.kept.extract_if(.., |_, e| e.keep_until <= now).map(|((t, _), _)| t).collect();
        ended.dedup();
        ended
    }

    /// When the next order ends.
    pub fn next_end(&self, now: TimestampMs) -> Option<TimestampMs> {
        self.live(now).map(|l| l.until_ms).min()
    }

    /// Every order that lives at `now`, in the order of targets and sources.
    pub fn live(&self, now: TimestampMs) -> impl Iterator<Item = &LiveThrottle> {
        self.kept.values().map(|e| &e.live).filter(move |l| l.until_ms > now)
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

    /// The same on another clock, which shows `there` when the receiver's own shows `here`.
    pub fn on(&self, here: TimestampMs, there: TimestampMs) -> Self {
        let turned = |at: TimestampMs| TimestampMs(at.0.saturating_add(there.0).saturating_sub(here.0));
        let mut other = self.clone();
        for entry in other.kept.values_mut() {
            entry.live.given_at_ms = turned(entry.live.given_at_ms);
            entry.live.until_ms = turned(entry.live.until_ms);
            entry.keep_until = turned(entry.keep_until);
        }
        other
    }

    /// What is to be kept at `now` of the orders for a target. An order of which the stream's time is not known is not kept: it
    /// will come from the stream.
    pub fn kept(&self, target: &ThrottleTarget, now: TimestampMs) -> Vec<KeptOrder> {
        let of_target = self.kept.iter().filter(|((t, _), e)| t == target && e.keep_until > now);
        of_target.filter_map(|(_, entry)| entry.as_kept()).collect()
    }

    /// Whether `kept`, which was taken, lacks something of the orders for its target that is known here.
    pub fn lacks(&self, target: &ThrottleTarget, kept: &KeptOrders, now: TimestampMs) -> bool {
        let same = |ours: &KeptOrder, theirs: &KeptOrder| {
            (&ours.order, ours.stored_at_ms) == (&theirs.order, theirs.stored_at_ms)
                && theirs.keep_until_ms >= ours.keep_until_ms
        };
        let ours = self.kept(target, now.plus_ms(KEEP_SLACK_MS));
        ours.iter().any(|ours| !kept.orders.iter().any(|theirs| same(ours, theirs)))
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn order(cap_percent: u8, ttl_seconds: u32, source: &str) -> Throttle {
        Throttle { cap_percent, threads: None, ttl_seconds, reason: String::new(), source: source.to_owned() }
    }

    fn arrived(target: &str, order: Throttle, at: u64) -> ArrivedOrder {
        let target = target.parse().unwrap();
        ArrivedOrder { target, order, given_at: TimestampMs(at), stored_at: None, keep_ms: 0 }
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
            throttles.take(arrived(target, order(cap, ttl, ""), 0)).unwrap();
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
        assert_eq!(throttles.next_end(TimestampMs(0)), Some(TimestampMs(10_000)));
        throttles.expire(TimestampMs(100_000));
        assert_eq!(throttles, Throttles::default());
    }

    #[test]
    fn a_source_replaces_its_own_order_and_no_other_and_an_older_one_changes_nothing() {
        let mut throttles = Throttles::default();
        let mut take = |cap, source, at| {
            throttles.take(arrived("farm", order(cap, 100, source), at)).unwrap();
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
    fn the_orders_that_are_kept_are_bounded_and_what_binds_least_gives_way() {
        let mut throttles = Throttles::default();
        throttles.take(arrived("farm", order(0, 60, "strict"), 0)).unwrap();
        for n in 0..u32::try_from(MAX_SOURCES).unwrap() {
            throttles.take(arrived("farm", order(50, 100 + n, &n.to_string()), 0)).unwrap();
        }
        assert_eq!(throttles.live(TimestampMs(0)).count(), MAX_SOURCES);
        assert_eq!(lowest(&throttles, 0), Some(0));
        for n in 0..MAX_LIVE {
            throttles
                .take(arrived(&format!("worker.w{}", n % 64), order(50, 60, &n.to_string()), 0))
                .unwrap();
        }
        assert_eq!(throttles.live(TimestampMs(0)).count(), MAX_LIVE);
        assert_eq!(lowest(&throttles, 0), Some(0));
    }

    #[test]
    fn an_order_that_was_lifted_does_not_bind_again_when_the_lifting_has_ended() {
        let mut throttles = Throttles::default();
        let stop = order(0, 3_600, "ops");
        throttles.take(arrived("farm", stop.clone(), 0)).unwrap();
        throttles.take(arrived("farm", order(100, 1, "ops"), 10_000)).unwrap();
        assert!(throttles.expire(TimestampMs(20_000)).is_empty());
        // The stream still holds the stop, which somebody reads now.
        throttles.take(arrived("farm", stop, 0)).unwrap();
        assert_eq!(lowest(&throttles, 20_000), None);
        assert_eq!(throttles.expire(TimestampMs(3_600_000)), [ThrottleTarget::Farm]);
        assert_eq!(throttles, Throttles::default());
    }

    #[test]
    fn what_is_kept_recovers_the_same_on_another_clock() {
        let (mut throttles, farm) = (Throttles::default(), ThrottleTarget::Farm);
        let stored = |at| Some(TimestampMs(1_700_000_000_000 + at));
        for (cap, ttl, source, at) in [(0, 600, "ops", 1_000), (80, 60, "lb", 2_000), (100, 1, "ops", 3_000)]
        {
            let order =
                ArrivedOrder { stored_at: stored(at), ..arrived("farm", order(cap, ttl, source), at) };
            throttles.take(order).unwrap();
        }
        let (mut recovered, here, there) =
            (Throttles::default(), TimestampMs(900_000_000), stored(5_000).unwrap());
        let at = TimestampMs(5_000);
        for kept in throttles.kept(&farm, at) {
            recovered.take(kept.arrive(&farm, here, there)).unwrap();
        }
        assert_eq!(recovered, throttles.on(at, here));
        assert_eq!(recovered.kept(&farm, here), throttles.kept(&farm, at));
    }

    /// An order of `ops` for the farm that the stream stored at `stored`, and that a receiver takes for given at `at`.
    fn stamped(cap: u8, ttl: u32, stored: u64, at: u64) -> ArrivedOrder {
        let stored_at = Some(TimestampMs(1_700_000_000_000 + stored));
        ArrivedOrder { stored_at, ..arrived("farm", order(cap, ttl, "ops"), at) }
    }

    #[test]
    fn an_older_order_that_is_heard_later_lengthens_the_memory_of_the_newer_one() {
        let mut throttles = Throttles::default();
        throttles.take(stamped(100, 1, 10_000, 10_000)).unwrap();
        throttles.take(stamped(0, 3_600, 0, 0)).unwrap();
        assert_eq!(lowest(&throttles, 10_500), Some(100));
        assert!(throttles.expire(TimestampMs(20_000)).is_empty());
        throttles.take(stamped(0, 3_600, 0, 0)).unwrap();
        assert_eq!(lowest(&throttles, 20_000), None);
    }

    #[test]
    fn orders_of_one_source_that_are_close_are_told_apart_by_the_stream_and_distant_ones_by_their_age() {
        // Stored at, and given at as each was misjudged; the second is the one that holds if `wanted` says so.
        for (first, second, wanted) in [
            ((0, 3_000), (1, 0), Some(20)),
            ((1, 0), (0, 3_000), Some(10)),
            // The server's clock was set back by an hour in between.
            ((3_600_000, 0), (20_000, 20_000), Some(20)),
        ] {
            let mut throttles = Throttles::default();
            throttles.take(stamped(10, 600, first.0, first.1)).unwrap();
            throttles.take(stamped(20, 600, second.0, second.1)).unwrap();
            assert_eq!(lowest(&throttles, 20_000), wanted, "{first:?} {second:?}");
        }
    }

    #[test]
    fn an_order_that_is_read_again_later_by_a_slow_bus_ends_when_it_did() {
        let mut throttles = Throttles::default();
        throttles.take(stamped(0, 60, 5, 0)).unwrap();
        let before = throttles.clone();
        throttles.take(stamped(0, 60, 5, 900)).unwrap();
        assert_eq!(throttles, before);
    }

    #[test]
    fn what_is_kept_lacks_what_is_newer_here_or_is_to_be_remembered_longer() {
        let (farm, now) = (ThrottleTarget::Farm, TimestampMs(5_000));
        let of = |orders: Vec<ArrivedOrder>| {
            let mut throttles = Throttles::default();
            orders.into_iter().for_each(|order| throttles.take(order).unwrap());
            throttles
        };
        let stop = || stamped(0, 600, 1_000, 1_000);
        let lift = || stamped(100, 1, 4_000, 4_000);
        for (ours, theirs, wanted) in [
            (vec![], vec![stop()], false),
            (vec![stop()], vec![], true),
            (vec![stop()], vec![stop()], false),
            (vec![stop(), lift()], vec![stop()], true),
            (vec![stop()], vec![stop(), lift()], false),
            (vec![stop(), lift()], vec![lift()], true),
            (vec![stop(), lift()], vec![stop(), lift()], false),
            // It ends at once.
            (vec![lift()], vec![], false),
        ] {
            let kept = KeptOrders { orders: of(theirs.clone()).kept(&farm, now), ..KeptOrders::default() };
            let mut known = of(ours.clone());
            for order in &kept.orders {
                known.take(order.arrive(&farm, now, TimestampMs(1_700_000_005_000))).unwrap();
            }
            assert_eq!(known.lacks(&farm, &kept, now), wanted, "{ours:?} {theirs:?}");
        }
    }

    #[test]
    fn keys_of_kept_orders_are_read_back() {
        for target in ["farm", "pool.main", "label.rack.b2"] {
            let target: ThrottleTarget = target.parse().unwrap();
            assert_eq!(kept_target(&kept_key(&target)), Some(target));
        }
        for key in ["farm", "throttle", "throttle.x", "pool.main"] {
            assert_eq!(kept_target(key), None);
        }
    }
}
