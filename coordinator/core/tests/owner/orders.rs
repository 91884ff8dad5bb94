//! Throttle orders over restarts of coordinators, and what is kept of them.

use crate::model::Farm;
use bus_schemas::throttle::{KeptOrders, ThrottleTarget};
use coordinator_core::{Input, KeptDocument};

impl Farm {
    /// Tells what is kept for a target.
    pub fn told_kept(&mut self, target: ThrottleTarget, orders: KeptOrders) {
        let (kept, at) = (Box::new(KeptDocument { revision: 1, orders }), self.stream_time());
        self.input(Input::ThrottlesKept { target, kept, at });
    }
}

fn live(farm: &Farm) -> Vec<(String, u8)> {
    let (throttles, now) = (farm.core.throttles(farm.now()), farm.now().wall);
    throttles.live(now).map(|l| (l.order.source.clone(), l.order.cap_percent)).collect()
}

#[test]
fn an_order_is_kept_for_whoever_starts_and_a_coordinator_that_starts_knows_it_although_the_stream_lost_it() {
    let mut farm = Farm::new("{}");
    farm.order("farm", 0, 3_600, "ops");
    farm.order("farm", 80, 1_800, "backup");
    assert_eq!(live(&farm), [("backup".to_owned(), 80), ("ops".to_owned(), 0)]);
    assert_eq!(farm.kept.orders[&ThrottleTarget::Farm].orders.len(), 2);
    farm.pass(600_000);
    farm.crash();
    assert_eq!(live(&farm), [("backup".to_owned(), 80), ("ops".to_owned(), 0)]);
    farm.pass(1_200_000);
    assert_eq!(live(&farm), [("ops".to_owned(), 0)]);
    farm.pass(1_800_001);
    assert_eq!(live(&farm), []);
    assert!(farm.kept.orders[&ThrottleTarget::Farm].orders.is_empty());
}

#[test]
fn a_lifting_holds_over_a_restart_although_it_lived_for_a_second() {
    let mut farm = Farm::new("{}");
    farm.order("farm", 0, 3_600, "ops");
    farm.order("farm", 100, 1, "ops");
    farm.pass(60_000);
    farm.crash();
    // The stream still holds the stop: it is read from the beginning.
    farm.order_stored("farm", 0, 3_600, "ops", 1, 60_000);
    assert_eq!(live(&farm), []);
}

#[test]
fn a_coordinator_that_was_cut_off_learns_a_lifting_that_it_never_heard_and_brings_what_only_it_heard() {
    let mut farm = Farm::new("{}");
    farm.order("farm", 0, 3_600, "ops");
    let before = farm.kept.orders[&ThrottleTarget::Farm].clone();
    farm.order("farm", 100, 1, "ops");
    let others = farm.kept.orders[&ThrottleTarget::Farm].clone();
    farm.kept.orders.clear();
    farm.crash();
    farm.told_kept(ThrottleTarget::Farm, before);
    farm.order("farm", 50, 600, "lb");
    farm.pass(60_000);
    assert_eq!(live(&farm), [("lb".to_owned(), 50), ("ops".to_owned(), 0)]);
    farm.told_kept(ThrottleTarget::Farm, others);
    assert_eq!(live(&farm), [("lb".to_owned(), 50)]);
    farm.kept.orders.clear();
    farm.pass(coordinator_core::KEEP_AGAIN_MS);
    let kept = &farm.kept.orders[&ThrottleTarget::Farm].orders;
    let kept: Vec<_> = kept.iter().map(|k| (k.order.source.as_str(), k.order.cap_percent)).collect();
    assert_eq!(kept, [("lb", 50), ("ops", 100)]);
}

#[test]
fn what_is_kept_as_it_is_known_is_not_kept_again() {
    let mut farm = Farm::new("{}");
    farm.order("farm", 0, 3_600, "ops");
    let same = farm.kept.orders.remove(&ThrottleTarget::Farm).unwrap();
    farm.told_kept(ThrottleTarget::Farm, same);
    farm.pass(5_000);
    assert!(farm.kept.orders.is_empty());
}

#[test]
fn the_messages_of_a_stream_that_was_restored_from_a_backup_are_news() {
    let mut farm = Farm::new("{}");
    (0..9).for_each(|n| farm.order("farm", 80, 60, &format!("lb{n}")));
    farm.lose_orders_after(2);
    farm.crash();
    farm.order("farm", 0, 600, "ops");
    assert!(live(&farm).contains(&("ops".to_owned(), 0)));
}

#[test]
fn a_step_of_the_wall_clock_neither_ends_nor_prolongs_an_order() {
    for step in [-3_600_000, 3_600_000] {
        let mut farm = Farm::new("{}");
        farm.order("farm", 0, 600, "ops");
        farm.coordinator_ahead_ms = step;
        farm.pass(599_000);
        assert_eq!(live(&farm).len(), 1, "step {step}");
        farm.order("farm", 50, 600, "ops");
        assert_eq!(live(&farm), [("ops".to_owned(), 50)], "step {step}");
        farm.pass(600_000);
        assert_eq!(live(&farm), [], "step {step}");
    }
}
