//! Which throttle orders a monitor gives and when it gives them again: pure.

use super::alerts::AlertOrder;
use bus_schemas::throttle::{MAX_TEXT_LEN, Throttle, ThrottleTarget};
use std::collections::BTreeMap;

/// How long an order lives unless it is given again, seconds: a monitor that is gone binds nobody for longer.
pub const TTL_SECONDS: u32 = 30;
/// How often a standing order is given again, milliseconds.
pub const REFRESH_MS: u64 = 10_000;
/// How long an order of an alert lives, seconds: longer than Alertmanager's usual `repeat_interval` of four hours, since it is
/// given once and nothing of it is remembered here.
pub const ALERT_TTL_SECONDS: u32 = 6 * 3_600;
/// A cap that means nothing is ordered, percent.
pub const LIFTED: u8 = 100;
/// Caps are whole multiples of this, percent, so that noise orders nothing new.
const STEP: u8 = 5;
/// How long a measure must be better before its cap rises, milliseconds.
const RELEASE_MS: u64 = 5_000;
/// A cap rises by so much at a time, percent.
const RISE: u8 = 20;

/// The cap for a measure: all at the limit, nothing at twice the limit, evenly between.
pub fn cap_over_limit(measured: u64, limit: u64) -> u8 {
    let limit = limit.max(1);
    stepped(limit.saturating_mul(2).saturating_sub(measured).saturating_mul(100) / limit)
}

/// The cap for a share: all at `engage`, nothing at the whole, evenly between; thousandths.
pub fn cap_of_share(permille: u64, engage: u64) -> u8 {
    let room = 1_000_u64.saturating_sub(engage).max(1);
    stepped(1_000_u64.saturating_sub(permille).saturating_mul(100) / room)
}

fn stepped(cap: u64) -> u8 {
    let cap = u8::try_from(cap.min(LIFTED.into())).unwrap_or(LIFTED);
    cap / STEP * STEP
}

/// Follows a measured cap: down at once, up slowly and only when it was better for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damped {
    cap: u8,
    better_since_ms: Option<u64>,
}

impl Default for Damped {
    fn default() -> Self {
        Self { cap: LIFTED, better_since_ms: None }
    }
}

impl Damped {
    /// Takes what a measurement at `now_ms` says; gives what is to be ordered.
    pub fn follow(&mut self, measured_cap: u8, now_ms: u64) -> u8 {
        if measured_cap <= self.cap {
            *self = Self { cap: measured_cap, better_since_ms: None };
        } else {
            let since = *self.better_since_ms.get_or_insert(now_ms);
            if now_ms.saturating_sub(since) >= RELEASE_MS {
                let cap = measured_cap.min(self.cap.saturating_add(RISE));
                *self = Self { cap, better_since_ms: None };
            }
        }
        self.cap
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Standing {
    cap: u8,
    reason: String,
    /// When it was given last.
    given_ms: Option<u64>,
}

/// The orders that stand.
#[derive(Debug, Default)]
pub struct Orders {
    standing: BTreeMap<(ThrottleTarget, String), Standing>,
}

impl Orders {
    /// Lets an order of `source` for `target` stand; a cap of 100 lifts it.
    pub fn set(&mut self, target: &ThrottleTarget, source: &str, cap: u8, reason: &str) {
        let key = (target.clone(), bounded(source));
        let (cap, reason) = (cap.min(LIFTED), bounded(reason));
        match self.standing.get_mut(&key) {
            Some(known) => {
                if known.cap != cap {
                    known.given_ms = None;
                }
                (known.cap, known.reason) = (cap, reason);
            }
            None if cap == LIFTED => {}
            None => drop(self.standing.insert(key, Standing { cap, reason, given_ms: None })),
        }
    }

    /// Lifts everything.
    pub fn lift_all(&mut self) {
        for order in self.standing.values_mut() {
            (order.cap, order.given_ms) = (LIFTED, None);
            order.reason = "the monitor ends".to_owned();
        }
    }

    /// What is to be given now: what changed, and what stands and was not given for a while.
    pub fn due(&self, now_ms: u64) -> Vec<(ThrottleTarget, Throttle)> {
        let due =
            |order: &Standing| order.given_ms.is_none_or(|given| now_ms.saturating_sub(given) >= REFRESH_MS);
        let orders = self.standing.iter().filter(|(_, order)| due(order));
        orders
            .map(|((target, source), order)| {
                let order = Throttle {
                    cap_percent: order.cap,
                    threads: None,
                    ttl_seconds: TTL_SECONDS,
                    reason: order.reason.clone(),
                    source: source.clone(),
                };
                (target.clone(), order)
            })
            .collect()
    }

    /// An order was given; one that lifts is then forgotten.
    pub fn given(&mut self, target: &ThrottleTarget, order: &Throttle, now_ms: u64) {
        let key = (target.clone(), order.source.clone());
        if let Some(standing) = self.standing.get_mut(&key).filter(|s| s.cap == order.cap_percent) {
            standing.given_ms = Some(now_ms);
            if standing.cap == LIFTED {
                self.standing.remove(&key);
            }
        }
    }

    /// How many stand.
    pub fn len(&self) -> usize {
        self.standing.len()
    }

    /// None stands.
    pub fn is_empty(&self) -> bool {
        self.standing.is_empty()
    }
}

/// The order of a group of alerts, which stands until it ends or another request about the group takes its place.
pub fn of_alerts(name: &str, alert: &AlertOrder) -> Throttle {
    Throttle {
        cap_percent: alert.cap,
        threads: None,
        ttl_seconds: ALERT_TTL_SECONDS,
        reason: bounded(&alert.reason),
        source: bounded(&format!("{name}-alert-{}", alert.group)),
    }
}

fn bounded(text: &str) -> String {
    text.get(..text.floor_char_boundary(MAX_TEXT_LEN)).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cap_falls_evenly_with_the_excess() {
        for (measured, limit, wanted) in [
            (0, 100, 100),
            (100, 100, 100),
            (101, 100, 95),
            (150, 100, 50),
            (199, 100, 0),
            (500, 100, 0),
            (1, 0, 100),
        ] {
            assert_eq!(cap_over_limit(measured, limit), wanted, "{measured} of {limit}");
        }
        for (permille, engage, wanted) in [
            (0, 800, 100),
            (800, 800, 100),
            (900, 800, 50),
            (1_000, 800, 0),
            (2_000, 800, 0),
            (1_000, 1_000, 0),
        ] {
            assert_eq!(cap_of_share(permille, engage), wanted, "{permille} from {engage}");
        }
        assert_eq!(cap_over_limit(u64::MAX, 1), 0);
    }

    #[test]
    fn a_cap_falls_at_once_and_rises_slowly_when_it_was_better_for_a_while() {
        let mut damped = Damped::default();
        for (now_ms, measured, wanted) in [
            (0, 100, 100),
            (1_000, 30, 30),
            (2_000, 100, 30),
            (6_900, 100, 30),
            (7_000, 100, 50),
            (8_000, 40, 40),
            (9_000, 100, 40),
            (14_000, 100, 60),
            (15_000, 100, 60),
            (20_000, 100, 80),
            (21_000, 100, 80),
            (26_000, 100, 100),
        ] {
            assert_eq!(damped.follow(measured, now_ms), wanted, "{now_ms}");
        }
    }

    fn caps(orders: &mut Orders, now_ms: u64) -> Vec<(String, u8)> {
        let due = orders.due(now_ms);
        for (target, order) in &due {
            order.check().unwrap();
            orders.given(target, order, now_ms);
        }
        due.into_iter()
            .map(|(target, order)| (format!("{target} {}", order.source), order.cap_percent))
            .collect()
    }

    #[test]
    fn a_standing_order_is_given_again_before_it_ends_and_lifted_once() {
        let mut orders = Orders::default();
        let farm = ThrottleTarget::Farm;
        let order = |cap| vec![("farm m".to_owned(), cap)];
        orders.set(&farm, "m", 100, "");
        assert_eq!(caps(&mut orders, 0), [], "nothing stands that could be lifted");
        orders.set(&farm, "m", 40, "slow");
        assert_eq!(caps(&mut orders, 0), order(40));
        orders.set(&farm, "m", 40, "slow");
        assert_eq!(caps(&mut orders, 1_000), [], "the same again is nothing new");
        assert_eq!(caps(&mut orders, REFRESH_MS), order(40));
        assert!(REFRESH_MS * 2 < u64::from(TTL_SECONDS) * 1_000, "one may be lost");
        orders.set(&farm, "m", 20, "slower");
        assert_eq!(caps(&mut orders, REFRESH_MS + 1), order(20));
        orders.set(&farm, "m", 100, "fine");
        assert_eq!(caps(&mut orders, REFRESH_MS + 2), order(100));
        assert!(orders.is_empty() && caps(&mut orders, 100_000).is_empty());
    }

    #[test]
    fn what_could_not_be_given_stays_due() {
        let mut orders = Orders::default();
        orders.set(&ThrottleTarget::Farm, "m", 40, "");
        assert_eq!(orders.due(0).len(), 1);
        assert_eq!(orders.due(1).len(), 1);
        orders.set(&ThrottleTarget::Farm, "m", 100, "");
        assert_eq!((orders.due(2).len(), orders.len()), (1, 1));
    }

    #[test]
    fn an_order_that_changed_while_it_was_sent_is_given_again() {
        let mut orders = Orders::default();
        orders.set(&ThrottleTarget::Farm, "m", 40, "");
        let sent = orders.due(0).remove(0);
        orders.set(&ThrottleTarget::Farm, "m", 10, "");
        orders.given(&sent.0, &sent.1, 0);
        assert_eq!(caps(&mut orders, 1), [("farm m".to_owned(), 10)]);
    }

    #[test]
    fn sources_stand_side_by_side_and_all_are_lifted_at_the_end() {
        let mut orders = Orders::default();
        let farm = ThrottleTarget::Farm;
        orders.set(&farm, "latency", 0, &"x".repeat(1_000));
        orders.set(&farm, "demand", 40, "");
        assert_eq!(caps(&mut orders, 0).len(), 2);
        orders.lift_all();
        assert_eq!(caps(&mut orders, 1).len(), 2);
        assert!(orders.is_empty());
    }
}
