//! The throttle orders as they were given, and whether the stores still tell of each.

use bus_schemas::{
    PoolId, WorkerId,
    throttle::{LiveThrottle, Throttle, ThrottleTarget},
};
use std::collections::BTreeMap;

/// The last order of one source for one target.
#[derive(Debug, Clone)]
pub(crate) struct Given {
    pub(crate) order: Throttle,
    pub(crate) uid: u64,
    /// When the stream stored it, microseconds of the simulation and milliseconds of the server's clock.
    pub(crate) at_us: u64,
    pub(crate) stored_at_ms: u64,
    pub(crate) until_us: u64,
    /// The stores tell of it: nobody may forget it.
    pub(crate) certain: bool,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    pub(crate) last: BTreeMap<(ThrottleTarget, String), Given>,
    /// Every order that was ever given, and until when it lives.
    all: Vec<(ThrottleTarget, String, u64, u64)>,
}

fn concerns(
    target: &ThrottleTarget,
    pool: &PoolId,
    worker: &WorkerId,
    labels: &BTreeMap<String, String>,
) -> bool {
    match target {
        ThrottleTarget::Farm => true,
        ThrottleTarget::Pool(p) => p == pool,
        ThrottleTarget::Worker(w) => w == worker,
        ThrottleTarget::Label(key, value) => labels.get(key.as_str()).is_some_and(|v| v == value.as_str()),
    }
}

impl Orders {
    /// An order was stored.
    pub(crate) fn given(&mut self, target: ThrottleTarget, given: Given) {
        let source = given.order.source.clone();
        self.all.push((target.clone(), source.clone(), given.at_us, given.until_us));
        self.last.insert((target, source), given);
    }

    /// The orders that live for a worker, other than lifts; `certain` ones only, or all that may live.
    pub(crate) fn live<'a>(
        &'a self,
        pool: &'a PoolId,
        worker: &'a WorkerId,
        labels: &'a BTreeMap<String, String>,
        now_us: u64,
    ) -> impl Iterator<Item = (&'a ThrottleTarget, &'a Given)> {
        let of = self.last.iter().map(|((target, _), given)| (target, given));
        of.filter(move |(target, given)| given.until_us > now_us && concerns(target, pool, worker, labels))
    }

    /// Whether some order of the past, that was never replaced or whose replacement was destroyed, may still bind a worker
    /// that last heard of anything at `heard_us`.
    pub(crate) fn may_bind(
        &self,
        pool: &PoolId,
        worker: &WorkerId,
        labels: Option<&BTreeMap<String, String>>,
        since_us: u64,
    ) -> bool {
        self.all.iter().any(|(target, source, at_us, until_us)| {
            let concerned = match (target, labels) {
                (ThrottleTarget::Label(..), None) => true,
                (target, Some(labels)) => concerns(target, pool, worker, labels),
                (target, None) => concerns(target, pool, worker, &BTreeMap::new()),
            };
            let last = self.last.get(&(target.clone(), source.clone()));
            let replaced = last.is_some_and(|l| l.at_us > *at_us && l.certain && l.at_us < since_us);
            concerned && *until_us > since_us && !replaced
        })
    }

    /// The order that binds a worker most.
    pub(crate) fn lowest(
        &self,
        pool: &PoolId,
        worker: &WorkerId,
        labels: &BTreeMap<String, String>,
        now_us: u64,
    ) -> Option<LiveThrottle> {
        let live = self.live(pool, worker, labels, now_us);
        let (target, given) =
            live.min_by_key(|(_, g)| (g.order.cap_percent, g.order.threads.unwrap_or(u16::MAX)))?;
        Some(LiveThrottle {
            target: target.clone(),
            order: given.order.clone(),
            given_at_ms: bus_schemas::TimestampMs(0),
            until_ms: bus_schemas::TimestampMs(0),
        })
    }

    /// Whether something about the orders for a worker cannot be known.
    pub(crate) fn unclear(&self, pool: &PoolId, worker: &WorkerId, now_us: u64, margin_us: u64) -> bool {
        let edge = |until: u64| until.abs_diff(now_us) < margin_us;
        self.last.iter().any(|((target, _), given)| {
            let concerned = matches!(target, ThrottleTarget::Label(..))
                || concerns(target, pool, worker, &BTreeMap::new());
            concerned && (edge(given.until_us) || !given.certain)
        })
    }
}
