//! Who mines: backups step in for members that are lost, drained or throttled away, and step back.

use crate::{
    model::{Farm, HARD_BITS, template, worker},
    says::{Says, loaded},
};
use bus_schemas::{
    event::EventData,
    member::{Role, Standing},
    set_point::{Reason, SetPoint},
};
use coordinator_core::PoolInput;
use proptest::prelude::*;

/// Two mine of four; a heartbeat every second, activation after 5 and stand-down after 10 seconds.
const TWO: &str = r#"{"active_members":2,"backup":{"activate_after_ms":5000,"stand_down_after_ms":10000}}"#;

/// A farm with members 1 to 4, of which the first two mine.
fn farm(config: &str) -> Farm {
    let mut farm = Farm::new(config);
    farm.pool_input(PoolInput::Template(template(1, HARD_BITS, 100)));
    (1..=4).for_each(|n| drop(farm.join(n, "s").unwrap()));
    farm
}

/// Everybody says, for so many seconds, what is left to it in percent; the rate is its number.
fn live(farm: &mut Farm, seconds: u64, left: [u8; 4]) {
    for _ in 0..seconds {
        for (n, percent) in (1..=4).zip(left) {
            let active = farm.member(n).role == Role::Active;
            let set_point = if active { loaded(percent) } else { SetPoint::stopped(Reason::Backup) };
            let rate = if active { u64::from(n) * u64::from(percent) } else { 0 };
            farm.says(n, "s", Says { rate, set_point, host: Some((1, percent)) });
        }
        farm.pass(1_000);
    }
}

fn active(farm: &Farm) -> Vec<u32> {
    let mines = |n: &u32| {
        let member = farm.member(*n);
        member.standing == Standing::Present && member.role == Role::Active
    };
    (1..=4).filter(mines).collect()
}

fn told(farm: &Farm) -> Vec<(u32, u32, bool)> {
    let capacity = |e: &EventData| match e {
        EventData::PoolCapacityChanged { capacity_percent, wanted_percent, enough } => {
            Some((*capacity_percent, *wanted_percent, *enough))
        }
        _ => None,
    };
    farm.events.iter().filter_map(capacity).collect()
}

#[test]
fn a_throttled_member_counts_by_what_is_left_and_a_backup_steps_in_and_back() {
    let mut farm = farm(TWO);
    live(&mut farm, 3, [100; 4]);
    live(&mut farm, 4, [100, 40, 100, 100]);
    assert_eq!(active(&farm), [1, 2], "not for a moment's sake");
    live(&mut farm, 3, [100, 40, 100, 100]);
    assert_eq!(active(&farm), [1, 2, 3]);
    let reason = farm.member(3).reason;
    assert!(reason.contains("140 % of the 200 %") && reason.contains("add 100 %"), "{reason}");
    live(&mut farm, 8, [100; 4]);
    assert_eq!(active(&farm), [1, 2, 3], "not yet");
    live(&mut farm, 5, [100; 4]);
    assert_eq!(active(&farm), [1, 2]);
    assert!(
        farm.member(3).reason.contains("without it they have 200 % of the 200 %"),
        "{:?}",
        farm.member(3)
    );
    let told = told(&farm);
    assert_eq!(told.first(), Some(&(140, 200, false)), "{told:?}");
    assert!(told.len() == 2 && told[1].2, "{told:?}");
}

#[test]
fn a_member_whose_host_does_not_permit_the_algorithm_is_replaced_by_a_backup_whose_host_does() {
    let mut farm = farm(TWO);
    live(&mut farm, 3, [100; 4]);
    for _ in 0..8 {
        let set_point = |active| if active { loaded(100) } else { SetPoint::stopped(Reason::Backup) };
        for n in [1, 4] {
            let active = farm.member(n).role == Role::Active;
            farm.says(n, "s", Says { rate: 100, set_point: set_point(active), host: Some((1, 100)) });
        }
        [2, 3].into_iter().for_each(|n| farm.is_uncertified(n, "s"));
        farm.pass(1_000);
    }
    assert_eq!(active(&farm), [1, 2, 4], "the third could not run it either");
}

#[test]
fn a_load_that_comes_and_goes_changes_no_role() {
    let mut farm = farm(TWO);
    for _ in 0..20 {
        live(&mut farm, 3, [100, 0, 100, 100]);
        live(&mut farm, 1, [100; 4]);
    }
    assert_eq!(active(&farm), [1, 2]);
    assert!(!farm.events.iter().any(|e| matches!(e, EventData::WorkerRoleChanged { .. })));
    assert_eq!(told(&farm), []);
}

#[test]
fn a_backup_that_would_add_nothing_is_left_alone_and_the_fastest_comes_first() {
    let mut farm = farm(TWO);
    // Each has mined for a while, so that its rate is known.
    farm.configure("pool.main", r#"{"active_members":4,"backup":{"activate_after_ms":5000}}"#);
    live(&mut farm, 3, [100; 4]);
    farm.configure("pool.main", TWO);
    assert_eq!(active(&farm).len(), 2, "an operator's decision holds at once");
    for n in 1..=4 {
        farm.configure(
            &format!("node.w{n}"),
            if n <= 2 { r#"{"role":"active"}"# } else { r#"{"role":"backup"}"# },
        );
    }
    (1..=4).for_each(|n| farm.configure(&format!("node.w{n}"), "{}"));
    assert_eq!(active(&farm), [1, 2]);
    live(&mut farm, 8, [100, 0, 100, 0]);
    assert_eq!(active(&farm), [1, 2, 3], "the fourth is throttled as well");
    live(&mut farm, 15, [100, 100, 100, 100]);
    live(&mut farm, 8, [100, 0, 100, 100]);
    assert_eq!(active(&farm), [1, 2, 4], "the fourth is faster");
}

#[test]
fn a_schedule_that_stops_the_whole_pool_or_a_pause_brings_no_backup() {
    let closed = r#"{"active_members":2,"schedule":{"weekly":{"mon":"........................","tue":"........................","wed":"........................","thu":"........................","fri":"........................","sat":"........................","sun":"........................"}},"backup":{"activate_after_ms":5000}}"#;
    let paused = r#"{"active_members":2,"paused":true,"backup":{"activate_after_ms":5000}}"#;
    for config in [closed, paused] {
        let mut farm = farm(config);
        live(&mut farm, 20, [0; 4]);
        assert_eq!(active(&farm), [1, 2], "{config}");
    }
}

#[test]
fn a_schedule_that_halves_the_whole_pool_brings_no_backup() {
    let half = "5".repeat(24);
    let days =
        ["mon", "tue", "wed", "thu", "fri", "sat", "sun"].map(|day| format!("{day:?}:{half:?}")).join(",");
    let config = format!(
        r#"{{"active_members":2,"schedule":{{"weekly":{{{days}}}}},"backup":{{"activate_after_ms":5000}}}}"#
    );
    let mut farm = farm(&config);
    live(&mut farm, 20, [50; 4]);
    assert_eq!(active(&farm), [1, 2]);
}

#[test]
fn a_throttle_order_for_one_worker_brings_a_backup_and_its_end_sends_it_back() {
    let mut farm = farm(TWO);
    farm.throttle("worker.w3", 0, 100);
    farm.throttle("worker.w3", 0, 100);
    let ordered = |e: &&EventData| matches!(e, EventData::ThrottleOrdered { .. });
    assert_eq!(farm.events.iter().filter(ordered).count(), 2);
    live(&mut farm, 8, [100, 0, 100, 100]);
    assert_eq!(active(&farm), [1, 2, 4], "the third is ordered to rest");
}

#[test]
fn a_drained_worker_stands_by_whatever_happens_and_is_replaced_at_once() {
    let mut farm = farm(TWO);
    live(&mut farm, 2, [100; 4]);
    farm.configure("node.w1", r#"{"drained":true,"role":"active"}"#);
    assert_eq!((farm.member(1).role, farm.member(1).reason.as_str()), (Role::Backup, "drained"));
    assert_eq!(active(&farm), [2, 3]);
    farm.leave(2, "s");
    farm.leave(3, "s");
    assert_eq!(active(&farm), [4]);
    farm.join(1, "other").unwrap();
    assert_eq!(farm.member(1).role, Role::Backup);
    farm.crash();
    assert_eq!(active(&farm), [4]);
    farm.configure("node.w1", "{}");
    assert_eq!(active(&farm), [1, 4]);
}

#[test]
fn two_that_are_lost_at_once_are_replaced_at_once_although_a_surplus_member_is_there() {
    let mut farm = farm(TWO);
    live(&mut farm, 8, [100, 0, 100, 100]);
    assert_eq!(active(&farm), [1, 2, 3]);
    farm.leave(1, "s");
    assert_eq!(active(&farm), [2, 3, 4]);
}

#[test]
fn a_halt_is_measured_until_the_last_worker_says_that_it_stopped() {
    let mut farm = farm(TWO);
    live(&mut farm, 2, [100; 4]);
    farm.configure("farm", r#"{"halted":true,"reason":"fire"}"#);
    let stopped = |farm: &Farm| {
        let event = |e: &EventData| match e {
            EventData::PoolStopped { after_ms, workers } => Some((*after_ms, *workers)),
            _ => None,
        };
        farm.events.iter().filter_map(event).collect::<Vec<_>>()
    };
    let halted = Says { rate: 0, set_point: SetPoint::stopped(Reason::FarmHalted), host: None };
    farm.pass(300);
    farm.says(1, "s", halted);
    assert_eq!(stopped(&farm), []);
    farm.pass(400);
    farm.says(2, "s", halted);
    assert_eq!(stopped(&farm), [(700, 2)]);
    farm.configure("pool.main", r#"{"active_members":2,"paused":true}"#);
    farm.pass(3_000);
    assert_eq!(stopped(&farm), [(700, 2)], "it was stopped already");
}

#[test]
fn whoever_is_lost_while_all_are_to_stop_is_not_waited_for() {
    let mut farm = farm(TWO);
    live(&mut farm, 2, [100; 4]);
    farm.configure("pool.main", r#"{"active_members":2,"paused":true}"#);
    farm.pass(5_000);
    assert!(farm.events.iter().any(|e| matches!(e, EventData::PoolStopped { workers: 2, .. })));
}

#[derive(Debug, Clone)]
enum Step {
    Join(u32),
    Restart(u32),
    Leave(u32),
    /// Everybody but one lives, each with what is left to it.
    Live(Option<u32>, [u8; 6]),
    /// The last heartbeat again.
    Again,
    Pass(u64),
    Drain(u32, bool),
    Pin(u32, u8),
    Wanted(u16),
    Halt(bool),
    Pause(bool),
    Throttle(u32, u8),
    NewBlock(u8),
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let left = || prop_oneof![Just(0_u8), Just(30), Just(100), Just(100)];
    let who = || 0..6_u32;
    prop_oneof![
        4 => who().prop_map(Step::Join),
        1 => who().prop_map(Step::Restart),
        1 => who().prop_map(Step::Leave),
        9 => (proptest::option::of(who()), proptest::array::uniform6(left())).prop_map(|(w, l)| Step::Live(w, l)),
        1 => Just(Step::Again),
        6 => (1..4_000_u64).prop_map(Step::Pass),
        2 => (who(), any::<bool>()).prop_map(|(w, d)| Step::Drain(w, d)),
        1 => (who(), 0..3_u8).prop_map(|(w, p)| Step::Pin(w, p)),
        1 => (0..5_u16).prop_map(Step::Wanted),
        1 => any::<bool>().prop_map(Step::Halt),
        1 => any::<bool>().prop_map(Step::Pause),
        2 => (0..8_u32, left()).prop_map(|(w, c)| Step::Throttle(w, c)),
        1 => any::<u8>().prop_map(Step::NewBlock),
        1 => Just(Step::Crash),
    ]
}

/// Plays the steps. The core's invariants are checked after every input, and the farm's own about slots and
/// generations at every record.
struct Play {
    farm: Farm,
    lives: [u32; 6],
    wanted: u16,
    paused: bool,
    height: u64,
    last: (Option<u32>, [u8; 6]),
}

impl Play {
    fn new() -> Self {
        let mut play = Self {
            farm: Farm::new("{}"),
            lives: [0; 6],
            wanted: 2,
            paused: false,
            height: 1,
            last: (None, [100; 6]),
        };
        play.pool();
        play.farm.pool_input(PoolInput::Template(template(1, HARD_BITS, 1)));
        play
    }

    fn pool(&mut self) {
        let json = format!(
            r#"{{"active_members":{},"paused":{},"slot_bits":8,"backup":{{"activate_after_ms":2000,"stand_down_after_ms":4000}}}}"#,
            self.wanted, self.paused
        );
        self.farm.configure("pool.main", &json);
    }

    fn session(&self, n: u32) -> String {
        format!("s{n}-{}", self.lives[n as usize])
    }

    fn live(&mut self, (silent, left): (Option<u32>, [u8; 6])) {
        for (n, percent) in (0..6).zip(left).filter(|(n, _)| Some(*n) != silent) {
            let is = |m: &&bus_schemas::member::Member| m.worker == worker(n);
            let known = self.farm.kept.members.iter().map(|(m, _)| m).rev().find(is);
            let active = known.is_some_and(|m| m.role == Role::Active);
            let set_point = if active { loaded(percent) } else { SetPoint::stopped(Reason::Backup) };
            let says = Says { rate: u64::from(n * u32::from(percent)), set_point, host: Some((1, percent)) };
            self.farm.says(n, &self.session(n), says);
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Join(n) => drop(self.farm.join(n, &self.session(n))),
            Step::Restart(n) => {
                self.lives[n as usize] += 1;
                drop(self.farm.join(n, &self.session(n)));
            }
            Step::Leave(n) => self.farm.leave(n, &self.session(n)),
            Step::Live(silent, left) => {
                self.last = (silent, left);
                self.live(self.last);
            }
            Step::Again => self.live(self.last),
            Step::Pass(ms) => self.farm.pass(ms),
            Step::Drain(n, drained) => {
                self.farm.configure(&format!("node.w{n}"), &format!(r#"{{"drained":{drained}}}"#));
            }
            Step::Pin(n, role) => {
                let json = ["{}", r#"{"role":"active"}"#, r#"{"role":"backup"}"#][usize::from(role)];
                self.farm.configure(&format!("node.w{n}"), json);
            }
            Step::Wanted(wanted) => {
                self.wanted = wanted;
                self.pool();
            }
            Step::Halt(halted) => self.farm.configure("farm", &format!(r#"{{"halted":{halted}}}"#)),
            Step::Pause(paused) => {
                self.paused = paused;
                self.pool();
            }
            Step::Throttle(n, cap) => {
                let target = match n {
                    6 => "farm".to_owned(),
                    7 => "pool.main".to_owned(),
                    n => format!("worker.w{n}"),
                };
                self.farm.throttle(&target, cap, 5);
            }
            Step::NewBlock(prev) => {
                self.height += 1;
                self.farm.pool_input(PoolInput::Template(template(prev, HARD_BITS, self.height)));
            }
            Step::Crash => {
                self.farm.crash();
                self.farm.pool_input(PoolInput::Template(template(1, HARD_BITS, self.height)));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_happens_the_named_invariants_of_roles_hold(steps in proptest::collection::vec(step(), 1..100)) {
        let mut play = Play::new();
        for step in steps {
            play.step(step);
        }
        // Left alone, everybody alive and nothing throttled, the pool has exactly as many as are wanted.
        play.farm.configure("farm", "{}");
        (play.wanted, play.paused) = (3, false);
        play.pool();
        for n in 0..6 {
            play.farm.configure(&format!("node.w{n}"), "{}");
            drop(play.farm.join(n, &play.session(n)));
        }
        for _ in 0..20 {
            play.live((None, [100; 6]));
            play.farm.pass(1_000);
        }
        let mines = |n: &u32| play.farm.member(*n).role == Role::Active;
        prop_assert_eq!((0..6).filter(mines).count(), 3);
    }
}
