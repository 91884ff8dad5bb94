//! What keeps a pool from going on: it is told once, tried again more and more slowly, and over by itself.

use crate::model::{Farm, HARD_BITS, pool, template};
use bus_schemas::{command::Stuck, event::EventData, share::ShareRefusal};
use coordinator_core::{Input, LeaseInput, PoolInput, ShareBasis, Trouble, UNATTENDED_AFTER_MS, ownership};

const EVERY_HASH: &str = r#"{"initial_share_bits":0,"min_share_bits":0,"share_rate_limit":1000}"#;

fn unreadable() -> Stuck {
    Stuck {
        reason: "record 9 cannot be read".to_owned(),
        stream: Some("DCMF_LEDGER".to_owned()),
        sequence: Some(9),
        repair: "nats pub".to_owned(),
    }
}

fn told(farm: &Farm) -> Vec<(Option<u64>, u32)> {
    let stuck = |e: &EventData| match e {
        EventData::PoolStuck { sequence, attempts, .. } => Some((*sequence, *attempts)),
        _ => None,
    };
    farm.events.iter().filter_map(stuck).collect()
}

fn freed(farm: &Farm) -> bool {
    farm.events.iter().any(|e| matches!(e, EventData::PoolUnstuck { .. }))
}

/// A farm whose pool is given up as soon as it is taken.
fn in_trouble(trouble: Trouble) -> Farm {
    let mut farm = Farm::new(EVERY_HASH);
    farm.trouble = Some(trouble.clone());
    farm.taken.clear();
    let epoch = farm.epoch.unwrap();
    farm.input(Input::Lease(pool(), LeaseInput::GivenUp { epoch, trouble }));
    farm
}

#[test]
fn what_must_be_mended_is_told_at_once_and_once_and_the_pool_goes_on_when_it_is() {
    let mut farm = in_trouble(Trouble::stuck(unreadable()));
    assert_eq!(told(&farm), [(Some(9), 1)]);
    assert_eq!(farm.core.stuck(&pool()), Some(&unreadable()));
    farm.pass(60_000);
    assert_eq!(told(&farm).len(), 1, "told again although nothing is new");
    let pauses: Vec<_> = farm.taken.windows(2).map(|t| t[1] - t[0]).collect();
    assert!(pauses.len() < 12 && pauses.is_sorted(), "{pauses:?}");
    assert_eq!(pauses.last(), Some(&ownership::RETAKE_DELAY_MAX_MS));
    assert_eq!(farm.core.unattended(farm.now().mono).len(), 1);

    farm.trouble = None;
    farm.pass(ownership::RETAKE_DELAY_MAX_MS);
    assert!(farm.epoch.is_some(), "it goes on by itself");
    assert!(farm.core.unattended(farm.now().mono).is_empty());
    assert!(!freed(&farm), "a term that has just begun has not lasted");
    farm.pass(ownership::STEADY_MS + 1_000);
    assert!(freed(&farm));
    assert_eq!(farm.core.stuck(&pool()), None);
}

#[test]
fn another_thing_that_is_in_the_way_is_told_as_well() {
    let mut farm = in_trouble(Trouble::stuck(unreadable()));
    farm.trouble = Some(Trouble::stuck(Stuck { sequence: Some(10), ..unreadable() }));
    farm.pass(5_000);
    assert_eq!(told(&farm).iter().map(|(s, _)| *s).collect::<Vec<_>>(), [Some(9), Some(10)]);
}

#[test]
fn a_pool_that_is_given_up_again_and_again_is_stuck_whatever_the_reason() {
    let mut farm = in_trouble(Trouble::of("its intake ended"));
    assert_eq!(told(&farm), []);
    farm.pass(60_000);
    assert_eq!(told(&farm), [(None, ownership::STUCK_AFTER)]);
}

#[test]
fn what_failed_here_is_forgiven_when_another_coordinator_keeps_the_pool() {
    let mut farm = in_trouble(Trouble::stuck(unreadable()));
    farm.elsewhere = true;
    farm.pass(coordinator_core::ELSEWHERE_STEADY_MS);
    assert!(!freed(&farm), "the other may fail as well");
    farm.pass(coordinator_core::ELSEWHERE_STEADY_MS);
    assert!(freed(&farm));
    assert_eq!(farm.core.unattended(farm.now().mono), []);
}

#[test]
fn a_lease_that_nobody_renews_leaves_the_pool_unattended() {
    let mut farm = in_trouble(Trouble::of("test"));
    farm.input(Input::Lease(pool(), LeaseInput::HeldElsewhere { renewed: false }));
    farm.pass(UNATTENDED_AFTER_MS);
    let unattended = farm.core.unattended(farm.now().mono);
    assert_eq!(unattended[0].reason.as_deref(), Some("test"));
}

#[test]
fn a_job_that_cannot_be_stored_leaves_the_one_before_in_force_and_is_tried_again_slowly() {
    let mut farm = Farm::new(EVERY_HASH);
    farm.pool_input(PoolInput::Template(template(1, HARD_BITS, 100)));
    farm.join(1, "s1").unwrap();
    let first = farm.job();
    farm.unstorable = Some(Stuck { sequence: None, ..unreadable() });
    farm.pool_input(PoolInput::Template(template(2, HARD_BITS, 101)));
    farm.pass(20_000);
    assert_eq!(told(&farm), [(None, 1)]);
    assert_eq!(farm.job().id, first.id);
    // The job that never was superseded nothing.
    farm.store(1, Some(farm.share(1, &first, 7)));
    assert_eq!(farm.credited(), 1);

    farm.unstorable = None;
    farm.pass(coordinator_core::pool::UNSTORABLE_PAUSE_MS);
    assert_eq!(farm.job().height, 101);
    assert!(freed(&farm));
}

#[test]
fn a_share_whose_judgement_fails_is_refused_and_those_behind_it_are_credited() {
    let mut farm = Farm::new(EVERY_HASH);
    farm.pool_input(PoolInput::Template(template(1, HARD_BITS, 100)));
    farm.join(1, "s1").unwrap();
    farm.panics_at = Some(8);
    for nonce in [7, 8, 9] {
        farm.store(1, Some(farm.share(1, &farm.job(), nonce)));
    }
    farm.pass(2_000);
    assert_eq!((farm.credited(), farm.refused(ShareRefusal::NotJudged)), (2, 1));
}

#[test]
fn after_the_stream_of_shares_was_made_anew_everything_in_it_is_accounted() {
    let mut farm = Farm::new(EVERY_HASH);
    farm.basis = ShareBasis { stream: Some("first".to_owned()), accounted_to: None };
    farm.crash();
    farm.pool_input(PoolInput::Template(template(1, HARD_BITS, 100)));
    farm.join(1, "s1").unwrap();
    (0..5).for_each(|nonce| farm.store(1, Some(farm.share(1, &farm.job(), nonce))));
    assert_eq!(farm.credited(), 5);
    let before = farm.kept.ledger.last().unwrap().clone();
    assert_eq!((before.shares_to, before.shares_stream.as_deref()), (5, Some("first")));
    assert!(before.shares_at_ms.is_some());

    // Made anew: its sequences begin at one again.
    farm.kept.shares.clear();
    farm.kept.jobs.iter_mut().for_each(|(job, _)| job.shares_after = 0);
    farm.basis = ShareBasis { stream: Some("second".to_owned()), accounted_to: Some(0) };
    farm.crash();
    (5..8).for_each(|nonce| farm.store(1, Some(farm.share(1, &farm.job(), nonce))));
    assert_eq!(farm.credited(), 8);
    let after = farm.kept.ledger.last().unwrap();
    assert_eq!((after.shares_to, after.shares_stream.as_deref()), (3, Some("second")));
    assert_eq!(after.number, before.number + 1);
}
