//! The orders as a receiver knows them.

use super::{
    AGE_ERROR_MS, ArrivedOrder, InvalidThrottle, KEEP_SLACK_MS, KeptOrder, KeptOrders, LiveThrottle,
    MAX_LIVE, MAX_SOURCES, ThrottleTarget,
};
use crate::{
    id::{PoolId, WorkerId},
    units::TimestampMs,
};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

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
    kept: BTreeMap<ThrottleTarget, BTreeMap<String, Entry>>,
    /// Every order, by when it ends.
    ends: BTreeSet<Moment>,
    /// Every order, by when it may be forgotten.
    forgotten: BTreeSet<Moment>,
}

/// Something that comes to an order, named by its target and source.
type Moment = (TimestampMs, ThrottleTarget, String);

/// How little an order binds.
fn mildness(entry: &Entry) -> (u8, u16, Reverse<TimestampMs>) {
    let order = &entry.live.order;
    (order.cap_percent, order.threads.unwrap_or(u16::MAX), Reverse(entry.keep_until))
}

impl Throttles {
    /// Takes an order. An older one than that source's last for the target binds nobody, and has the last one remembered as
    /// long as it would bind. Costs a look at all orders only where there are too many.
    pub fn take(&mut self, arrived: ArrivedOrder) -> Result<(), InvalidThrottle> {
        let ArrivedOrder { target, order, given_at, stored_at, keep_ms } = arrived;
        order.check()?;
        let until_ms = given_at.plus_ms(u64::from(order.ttl_seconds) * 1_000);
        let keep_until = until_ms.max(given_at.plus_ms(keep_ms));
        let live = LiveThrottle { target: target.clone(), order, given_at_ms: given_at, until_ms };
        let entry = Entry { live, stored_at, keep_until };
        let source = entry.live.order.source.clone();
        let entry = match self.remove(&target, &source) {
            Some(mut known) => {
                known.meet(entry);
                known
            }
            None => entry,
        };
        self.insert(target.clone(), source, entry);
        if self.kept.get(&target).is_some_and(|orders| orders.len() > MAX_SOURCES) {
            self.forget_mildest(Some(&target));
        } else if self.ends.len() > MAX_LIVE {
            self.forget_mildest(None);
        }
        Ok(())
    }

    /// Forgets the order that binds least, of one target or of all.
    fn forget_mildest(&mut self, of: Option<&ThrottleTarget>) {
        let all = self.kept.iter().filter(|(target, _)| of.is_none_or(|of| of == *target));
        let orders = all.flat_map(|(target, orders)| orders.iter().map(move |(s, e)| (target, s, e)));
        let mildest = orders.max_by_key(|(_, _, entry)| mildness(entry));
        let Some((target, source)) = mildest.map(|(t, s, _)| (t.clone(), s.clone())) else { return };
        self.remove(&target, &source);
    }

    fn insert(&mut self, target: ThrottleTarget, source: String, entry: Entry) {
        self.ends.insert((entry.live.until_ms, target.clone(), source.clone()));
        self.forgotten.insert((entry.keep_until, target.clone(), source.clone()));
        self.kept.entry(target).or_default().insert(source, entry);
    }

    fn remove(&mut self, target: &ThrottleTarget, source: &str) -> Option<Entry> {
        let orders = self.kept.get_mut(target)?;
        let entry = orders.remove(source)?;
        if orders.is_empty() {
            self.kept.remove(target);
        }
        let moment = |at| (at, target.clone(), source.to_owned());
        self.ends.remove(&moment(entry.live.until_ms));
        self.forgotten.remove(&moment(entry.keep_until));
        Some(entry)
    }

    /// Forgets what has ended, and gives the targets of what it forgot. Costs as much as it forgets.
    pub fn expire(&mut self, now: TimestampMs) -> Vec<ThrottleTarget> {
        let mut ended = BTreeSet::new();
        while self.forgotten.first().is_some_and(|(at, ..)| *at <= now)
            && let Some((_, target, source)) = self.forgotten.first().cloned()
        {
            self.remove(&target, &source);
            ended.insert(target);
        }
        ended.into_iter().collect()
    }

    /// When the next order ends.
    pub fn next_end(&self, now: TimestampMs) -> Option<TimestampMs> {
        let after = (now.plus_ms(1), ThrottleTarget::Farm, String::new());
        self.ends.range(after..).next().map(|(at, ..)| *at)
    }

    /// Every order that lives at `now`, in the order of targets and sources.
    pub fn live(&self, now: TimestampMs) -> impl Iterator<Item = &LiveThrottle> {
        let all = self.kept.values().flat_map(BTreeMap::values);
        all.map(|e| &e.live).filter(move |l| l.until_ms > now)
    }

    /// The orders that live at `now` from those for `target` on, in the order of targets and sources.
    pub fn live_from(
        &self,
        target: &ThrottleTarget,
        now: TimestampMs,
    ) -> impl Iterator<Item = &LiveThrottle> {
        let orders = self.kept.range(target..).flat_map(|(_, orders)| orders.values());
        orders.map(|e| &e.live).filter(move |l| l.until_ms > now)
    }

    /// The order that binds a worker most at `now`: the lowest cap, then the fewest threads. Costs a look at the orders that
    /// concern it.
    pub fn lowest<'a>(
        &'a self,
        pool: &PoolId,
        worker: &WorkerId,
        labels: &BTreeMap<String, String>,
        now: TimestampMs,
    ) -> Option<&'a LiveThrottle> {
        if self.kept.is_empty() {
            return None;
        }
        let label = |(key, value): (&String, &String)| {
            let (key, value) = (WorkerId::new(key.as_str()).ok()?, WorkerId::new(value.as_str()).ok()?);
            self.kept.get(&ThrottleTarget::Label(key, value))
        };
        let targets = [
            ThrottleTarget::Farm,
            ThrottleTarget::Pool(pool.clone()),
            ThrottleTarget::Worker(worker.clone()),
        ];
        let orders = targets.iter().filter_map(|target| self.kept.get(target));
        let orders = orders.chain(labels.iter().filter_map(label)).flat_map(BTreeMap::values);
        let live = orders.map(|e| &e.live).filter(|l| l.until_ms > now);
        // Of two that bind alike, the first in the order of targets and sources.
        live.min_by_key(|l| {
            let order = &l.order;
            (order.cap_percent, order.threads.unwrap_or(u16::MAX), &l.target, order.source.as_str())
        })
    }

    /// The same on another clock, which shows `there` when the receiver's own shows `here`.
    pub fn on(&self, here: TimestampMs, there: TimestampMs) -> Self {
        let turned = |at: TimestampMs| TimestampMs(at.0.saturating_add(there.0).saturating_sub(here.0));
        let mut other = Self::default();
        for (target, orders) in &self.kept {
            for (source, entry) in orders {
                let mut entry = entry.clone();
                entry.live.given_at_ms = turned(entry.live.given_at_ms);
                entry.live.until_ms = turned(entry.live.until_ms);
                entry.keep_until = turned(entry.keep_until);
                other.insert(target.clone(), source.clone(), entry);
            }
        }
        other
    }

    /// What is to be kept at `now` of the orders for a target. An order of which the stream's time is not known is not kept: it
    /// will come from the stream.
    pub fn kept(&self, target: &ThrottleTarget, now: TimestampMs) -> Vec<KeptOrder> {
        let of_target = self.kept.get(target).into_iter().flat_map(BTreeMap::values);
        of_target.filter(|e| e.keep_until > now).filter_map(Entry::as_kept).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::throttle::{MAX_TTL_SECONDS, Throttle, kept_key, kept_target};

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
