//! Members that are gone, and very many that are not: how long who is remembered, and that nobody is passed over.

use crate::{
    model::{Farm, HARD_BITS, template, worker},
    says::{Says, loaded},
};
use bus_schemas::{
    event::EventData,
    member::{Role, Standing},
    set_point::{Reason, SetPoint},
};
use coordinator_core::{
    PoolInput,
    pool::{FORGET_AFTER_MS, LOOKS_AT_ONCE, MAX_FORGOTTEN_AT_ONCE},
};

/// A day, in which the tests below let nobody say anything.
const DAY_MS: u64 = 86_400_000;

fn farm() -> Farm {
    let mut farm = Farm::new(r#"{"slot_bits":16}"#);
    farm.pool_input(PoolInput::Template(template(1, HARD_BITS, 100)));
    farm
}

fn has_record(farm: &Farm, n: u32) -> bool {
    farm.kept.members.iter().any(|(m, _)| m.worker == worker(n))
}

/// Lets the time pass while nobody owns the pool; then another owner takes it.
fn sleep(farm: &mut Farm, ms: u64) {
    farm.at += ms;
    farm.crash();
    farm.pool_input(PoolInput::Template(template(1, HARD_BITS, 100)));
    farm.pass(5_000);
}

/// Lets the time pass in one step, and the same owner goes on.
fn doze(farm: &mut Farm, ms: u64) {
    let held_until = coordinator_core::MonoMs(farm.at + 2 * ms);
    farm.input(coordinator_core::Input::Lease(
        crate::model::pool(),
        coordinator_core::LeaseInput::Renewed { held_until },
    ));
    farm.at += ms;
    farm.pass(2_000);
}

#[test]
fn a_record_is_deleted_two_weeks_after_its_member_went_and_not_before_whoever_owns_the_pool() {
    for rest in [sleep, doze] {
        let mut farm = farm();
        (1..=2).for_each(|n| drop(farm.join(n, "s").unwrap()));
        farm.leave(1, "s");
        rest(&mut farm, FORGET_AFTER_MS - DAY_MS);
        assert!(has_record(&farm, 1), "not yet");
        assert_eq!(farm.member(2).standing, Standing::Lost);
        rest(&mut farm, DAY_MS);
        assert!(!has_record(&farm, 1), "it is long gone");
        assert!(has_record(&farm, 2), "it was lost later");
    }
}

#[test]
fn how_long_a_member_is_away_is_told_by_the_clock_of_the_server_and_by_no_other() {
    let mut farm = farm();
    farm.join(1, "s").unwrap();
    farm.leave(1, "s");
    farm.coordinator_ahead_ms = 3 * i64::try_from(FORGET_AFTER_MS).unwrap();
    sleep(&mut farm, DAY_MS);
    assert!(has_record(&farm, 1));
}

#[test]
fn who_comes_back_after_it_was_forgotten_has_a_higher_generation_than_ever() {
    let mut farm = farm();
    farm.join(1, "s").unwrap();
    farm.leave(1, "s");
    let before = farm.member(1).generation;
    doze(&mut farm, FORGET_AFTER_MS);
    assert!(!has_record(&farm, 1));
    let place = farm.join(1, "t").unwrap();
    assert!(place.generation > before, "its host may remember generation {before} of this epoch");
    assert_eq!(place.standing, Standing::Present);
}

#[test]
fn the_former_holder_of_a_slot_is_known_until_there_is_a_job_under_which_others_may_have_it() {
    let mut farm = farm();
    farm.join(1, "s").unwrap();
    farm.configure("pool.main", r#"{"slot_bits":16,"source":{"embedded":{"reward":7}}}"#);
    assert_eq!(farm.withdrawn, 1);
    farm.leave(1, "s");
    doze(&mut farm, FORGET_AFTER_MS + DAY_MS);
    assert!(has_record(&farm, 1), "its slot is not free yet");
    farm.pool_input(PoolInput::Template(template(2, HARD_BITS, 101)));
    farm.pass(2_000);
    assert!(!has_record(&farm, 1));
}

#[test]
fn a_full_bucket_makes_room_by_those_who_are_gone_for_longest_and_no_present_member_goes() {
    let mut farm = farm();
    let most = u32::try_from(MAX_FORGOTTEN_AT_ONCE).unwrap();
    (1..=most + 10).for_each(|n| drop(farm.join(n, "s").unwrap()));
    for n in 1..=most + 5 {
        farm.at += 1;
        farm.leave(n, "s");
    }
    farm.pool_input(PoolInput::MembersFull);
    assert!((1..=most + 10).all(|n| has_record(&farm, n)), "their slots are not free before the next job");
    (most + 6..=most + 10).for_each(|n| farm.heartbeat(n, "s"));
    farm.pool_input(PoolInput::Template(template(2, HARD_BITS, 101)));
    farm.pool_input(PoolInput::MembersFull);
    assert_eq!(
        (1..=most + 10).filter(|n| !has_record(&farm, *n)).collect::<Vec<_>>(),
        (1..=most).collect::<Vec<_>>()
    );
    farm.pool_input(PoolInput::MembersFull);
    farm.pool_input(PoolInput::MembersFull);
    assert_eq!(farm.kept.members.iter().filter(|(m, _)| m.standing == Standing::Left).count(), 0);
    assert!((most + 6..=most + 10).all(|n| farm.member(n).standing == Standing::Present));
}

#[test]
fn a_round_in_several_steps_passes_nobody_over() {
    let count = u32::try_from(2 * LOOKS_AT_ONCE).unwrap() + 7;
    let mut farm = farm();
    (1..=count).for_each(|n| drop(farm.join(n, "s").unwrap()));
    let silent = [1, count / 2, count];
    for _ in 0..5 {
        (1..=count).filter(|n| !silent.contains(n)).for_each(|n| farm.heartbeat(n, "s"));
        farm.pass(1_000);
    }
    let lost: Vec<_> = (1..=count).filter(|n| farm.member(*n).standing == Standing::Lost).collect();
    assert_eq!(lost, silent);
}

#[test]
fn a_pool_has_stopped_when_the_last_of_its_members_has_said_so_or_is_gone() {
    let mut farm = farm();
    (1..=3).for_each(|n| drop(farm.join(n, "s").unwrap()));
    (1..=3).for_each(|n| farm.heartbeat(n, "s"));
    farm.configure("pool.main", r#"{"slot_bits":16,"paused":true}"#);
    let stopped =
        |farm: &Farm| farm.events.iter().any(|e| matches!(e, EventData::PoolStopped { workers: 3, .. }));
    let rests = |farm: &mut Farm, n| {
        farm.says(n, "s", Says { rate: 0, set_point: SetPoint::stopped(Reason::PoolPaused), host: None });
    };
    rests(&mut farm, 1);
    // One that goes on after it said that it stopped is awaited no more.
    farm.says(1, "s", Says { rate: 1, set_point: loaded(100), host: None });
    farm.leave(2, "s");
    assert!(!stopped(&farm));
    rests(&mut farm, 3);
    assert!(stopped(&farm));
    assert_eq!(farm.member(1).role, Role::Active);
}
