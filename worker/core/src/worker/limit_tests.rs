//! Schedules, throttle orders, load, veto and kill switch on the stage.

use super::stage::{Stage, in_force, node, pool};
use crate::{effect::Effect, input::Snapshot};
use crate::{
    governor::LoadSample,
    input::{GroupReport, Input, ThrottleOrder},
    limits::UNGENTLE_PERCENT,
    moment::{MonotonicMs, Now},
    notice::Refusal,
};
use bus_schemas::{
    TimestampMs,
    config::{NodeConfig, PoolConfig},
    event::EventData,
    policy::{FarmConfig, Priority},
    schedule::{Schedule, Window},
    set_point::{LoadReason, Reason},
    throttle::Throttle,
};

fn events(effects: &[Effect]) -> Vec<EventData> {
    let event =
        |e: &Effect| if let Effect::PublishEvent(event) = e { Some(event.what.clone()) } else { None };
    effects.iter().filter_map(event).collect()
}

fn throttle(_: &Stage, target: &str, cap_percent: u8, ttl_seconds: u32) -> Input {
    let (reason, source) = ("busy".to_owned(), "monitor".to_owned());
    let order = Throttle { cap_percent, threads: None, ttl_seconds, reason, source };
    let target = target.parse().unwrap();
    Input::Throttle(ThrottleOrder { target, order, stored_at: None, age_ms: 0, keep_ms: 0 })
}

fn state(stage: &Stage) -> (u16, Reason) {
    let set_point = stage.core.status().set_point;
    (set_point.threads, set_point.reason)
}

/// Begins 60 seconds after the stage does, at 2026-01-01T00:01:00Z, and lasts two minutes; free after that.
fn closing() -> Schedule {
    let window = Window {
        name: "closed".to_owned(),
        start: "2026-01-01T00:01".to_owned(),
        end: "2026-01-01T00:03".to_owned(),
        cap_percent: Some(0),
        ..Window::default()
    };
    Schedule { windows: vec![window], ..Schedule::default() }
}

#[test]
fn windows_open_and_close_on_time_while_every_coordinator_and_the_bus_are_gone() {
    let config = PoolConfig { schedule: Some(closing()), ..PoolConfig::default() };
    let (mut stage, started) = Stage::mining(config);
    stage.give(Input::Disconnected);
    assert_eq!((started.len(), state(&stage)), (4, (4, Reason::HostThreads)));
    stage.live(58_999);
    assert_eq!(state(&stage), (4, Reason::HostThreads), "one millisecond before");
    let seen = stage.live(1);
    assert_eq!((seen.stopped().len(), state(&stage)), (4, (0, Reason::Schedule)));
    for order in &started {
        stage.end(order, 500);
    }
    stage.live(119_999);
    assert_eq!(state(&stage), (0, Reason::Schedule));
    assert_eq!(stage.live(1).started().len(), 4);
}

#[test]
fn the_lowest_live_throttle_holds_and_its_end_lifts_it() {
    let (mut stage, _) = Stage::mining(PoolConfig::default());
    stage.give(throttle(&stage, "farm", 75, 30));
    stage.give(throttle(&stage, "worker.w1", 50, 10));
    stage.give(throttle(&stage, "worker.w2", 0, 10));
    assert_eq!(state(&stage), (2, Reason::Throttle));
    stage.live(10_000);
    assert_eq!(state(&stage), (3, Reason::Throttle));
    stage.live(20_000);
    assert_eq!(state(&stage), (4, Reason::HostThreads));
}

#[test]
fn a_throttle_for_a_label_concerns_the_nodes_that_carry_it() {
    let (mut stage, _) = Stage::mining(PoolConfig::default());
    stage.give(throttle(&stage, "label.rack.b2", 0, 60));
    assert_eq!(state(&stage), (4, Reason::HostThreads));
    let labels = [("rack".to_owned(), "b2".to_owned())].into();
    stage.give(Input::NodeConfig(node(2, NodeConfig { labels, ..NodeConfig::default() })));
    assert_eq!(state(&stage), (0, Reason::Throttle));
}

#[test]
fn a_throttle_out_of_range_is_refused() {
    let (mut stage, _) = Stage::mining(PoolConfig::default());
    let seen = stage.give(throttle(&stage, "farm", 101, 60));
    assert!(matches!(seen.refusals()[..], [Refusal::Throttle { .. }]));
    stage.give(throttle(&stage, "farm", 0, 60));
    stage.live(60_000);
    assert_eq!(state(&stage), (4, Reason::HostThreads));
}

#[test]
fn an_order_lives_as_long_as_was_said_whatever_is_done_to_the_wall_clock() {
    for step_ms in [-3_600_000_i64, 3_600_000] {
        let (mut stage, _) = Stage::mining(PoolConfig::default());
        stage.give(throttle(&stage, "farm", 0, 600));
        let at = |ms: u64| Now {
            monotonic: MonotonicMs(stage.now + ms),
            wall: TimestampMs((stage.moment().wall.0 + ms).wrapping_add_signed(step_ms)),
        };
        let (early, later, late) = (at(10_000), at(20_000), at(621_000));
        stage.core.handle(Input::Tick, early);
        assert_eq!(state(&stage).1, Reason::Throttle, "after ten seconds, step {step_ms}");
        stage.core.handle(throttle(&stage, "farm", 25, 600), later);
        assert_eq!(state(&stage), (1, Reason::Throttle), "a newer order, step {step_ms}");
        stage.core.handle(Input::Tick, late);
        assert_ne!(state(&stage).1, Reason::Throttle, "after 601 seconds, step {step_ms}");
    }
}

#[test]
fn an_order_that_is_read_counts_from_when_it_was_given_by_the_clock_of_the_bus() {
    let (mut stage, _) = Stage::mining(PoolConfig::default());
    let Input::Throttle(order) = throttle(&stage, "farm", 0, 600) else { return };
    let read = ThrottleOrder { stored_at: Some(TimestampMs(5)), age_ms: 590_000, ..order };
    stage.give(Input::Throttle(read));
    assert_eq!(state(&stage).1, Reason::Throttle);
    stage.live(9_999);
    assert_eq!(state(&stage).1, Reason::Throttle);
    stage.live(1);
    assert_ne!(state(&stage).1, Reason::Throttle);
}

#[test]
fn what_is_read_neither_brings_back_what_was_lifted_nor_undoes_what_was_heard_since() {
    let (mut stage, _) = Stage::mining(PoolConfig::default());
    stage.now += 60_000;
    let read = |cap, ttl, age_ms| {
        let Input::Throttle(order) = throttle(&stage, "farm", cap, ttl) else { panic!("an order") };
        Input::Throttle(ThrottleOrder { age_ms, stored_at: Some(TimestampMs(1_000_000 - age_ms)), ..order })
    };
    let (old_stop, lifting) = (read(0, 3_600, 50_000), read(100, 1, 40_000));
    let Input::Throttle(lifting) = lifting else { return };
    stage.give(Input::Throttle(ThrottleOrder { keep_ms: 3_600_000, ..lifting }));
    stage.give(old_stop.clone());
    assert_ne!(state(&stage).1, Reason::Throttle);
    stage.give(throttle(&stage, "farm", 25, 60));
    stage.live(5_000);
    stage.give(old_stop);
    assert_eq!(state(&stage), (1, Reason::Throttle));
}

#[test]
fn another_label_has_everything_read_again() {
    let (mut stage, _) = Stage::mining(PoolConfig::default());
    stage.live(2_000);
    let labels = [("rack".to_owned(), "b2".to_owned())].into();
    let seen = stage.give(Input::NodeConfig(node(2, NodeConfig { labels, ..NodeConfig::default() })));
    assert_eq!(seen.count(|e| matches!(e, Effect::ReadConfiguration(_))), 1);
}

#[test]
fn throttles_that_the_bus_keeps_hold_for_a_worker_that_starts() {
    let (mut stage, _) = Stage::mining(PoolConfig::default());
    let Input::Throttle(order) = throttle(&stage, "pool.main", 25, 60) else { return };
    let snapshot = Snapshot {
        pool: Some(pool(1, PoolConfig::default())),
        throttles: vec![order],
        ..Snapshot::default()
    };
    stage.give(Input::ConfigurationRead(Box::new(snapshot)));
    assert_eq!(state(&stage), (1, Reason::Throttle));
}

#[test]
fn the_kill_switch_of_the_farm_stops_at_once_and_its_lifting_goes_on_where_the_search_was() {
    let (mut stage, started) = Stage::mining(PoolConfig { threads: Some(1), ..PoolConfig::default() });
    let farm = |revision, halted| {
        Input::FarmConfig(in_force(revision, FarmConfig { halted, reason: "drill".to_owned() }))
    };
    let seen = stage.give(farm(1, true));
    assert_eq!((seen.stopped().len(), seen.heartbeats(), state(&stage)), (1, 1, (0, Reason::FarmHalted)));
    stage.end(&started[0], 300);
    let again = stage.give(farm(2, false)).started();
    assert_eq!(again[0].unit.nonces.start, 300);
}

#[test]
fn nothing_remote_lifts_the_veto_of_the_hosts_administrator() {
    let (mut stage, _) = Stage::mining(PoolConfig::default());
    let seen = stage.give(Input::Veto(Some("backup runs".to_owned())));
    assert!(
        matches!(&events(&seen.all)[..], [EventData::WorkerVetoed { reason, .. }] if reason == "backup runs")
    );
    stage.give(Input::PoolConfig(pool(9, PoolConfig { threads: Some(4), ..PoolConfig::default() })));
    stage.give(throttle(&stage, "worker.w1", 100, 60));
    assert_eq!(state(&stage), (0, Reason::LocalVeto));
    let seen = stage.give(Input::Veto(None));
    assert!(matches!(events(&seen.all)[..], [EventData::WorkerVetoLifted { .. }]));
    assert_eq!(state(&stage), (4, Reason::PoolThreads));
}

#[test]
fn the_load_of_the_host_throttles_in_proportion_and_both_ends_are_told() {
    let (mut stage, _) = Stage::mining(PoolConfig::default());
    let mut told = Vec::new();
    let mut load = |stage: &mut Stage, demand_permille, samples| {
        for _ in 0..samples {
            stage.now += 20;
            let sample = LoadSample { elapsed_us: 20_000, demand_permille, ..LoadSample::default() };
            told.extend(events(&stage.give(Input::Load(sample)).all));
        }
    };
    load(&mut stage, 300, 50);
    assert_eq!(state(&stage), (4, Reason::HostThreads));
    load(&mut stage, 910, 50);
    assert_eq!(state(&stage), (2, Reason::Load));
    load(&mut stage, 100, 200);
    assert_eq!(state(&stage), (4, Reason::HostThreads));
    assert!(matches!(
        told[..],
        [EventData::ThrottleEngaged { reason: LoadReason::Demand, .. }, EventData::ThrottleReleased { .. }]
    ));
}

#[test]
fn a_load_monitor_that_falls_silent_stops_the_search() {
    let (mut stage, _) = Stage::mining(PoolConfig::default());
    stage.give(Input::Load(LoadSample { elapsed_us: 20_000, ..LoadSample::default() }));
    stage.live(1_999);
    assert_eq!(state(&stage), (4, Reason::HostThreads));
    stage.live(1);
    assert_eq!(state(&stage), (0, Reason::Load));
}

#[test]
fn a_search_that_could_not_be_lowered_stays_small_and_says_so_once() {
    let (mut stage, _) = Stage::mining(PoolConfig::default());
    let report = |gentle| GroupReport {
        gentle,
        idle: false,
        share_permille: 500,
        detail: "own session of default weight".to_owned(),
    };
    let seen = stage.give(Input::Group(report(false)));
    assert!(matches!(events(&seen.all)[..], [EventData::WorkerGroupChecked { gentle: false, .. }]));
    let set_point = stage.core.status().set_point;
    assert_eq!(set_point.capacity(), 4 * u32::from(UNGENTLE_PERCENT));
    assert_eq!(set_point.reason, Reason::SchedulingGroup);
    assert!(events(&stage.give(Input::Group(report(false))).all).is_empty());
    stage.give(Input::Group(report(true)));
    assert_eq!(state(&stage), (4, Reason::HostThreads));
}

#[test]
fn a_search_that_could_not_be_lowered_stops_before_the_host_is_full() {
    let (mut stage, _) = Stage::mining(PoolConfig::default());
    let report =
        |gentle| GroupReport { gentle, idle: false, share_permille: 500, detail: "container".to_owned() };
    let mut left_under_load = |gentle| {
        stage.give(Input::Group(report(gentle)));
        for _ in 0..100 {
            stage.now += 20;
            let sample = LoadSample { elapsed_us: 20_000, demand_permille: 880, ..LoadSample::default() };
            stage.give(Input::Load(sample));
        }
        stage.core.status().set_point.capacity()
    };
    assert!(left_under_load(true) > 0);
    assert_eq!(left_under_load(false), 0);
}

#[test]
fn wide_vectors_are_given_up_while_the_application_works_and_nothing_is_stopped() {
    let (mut stage, _) = Stage::mining(PoolConfig::default());
    let mut wide = |demand_permille| {
        let mut last = None;
        for _ in 0..300 {
            stage.now += 20;
            let sample = LoadSample { elapsed_us: 20_000, demand_permille, ..LoadSample::default() };
            let seen = stage.give(Input::Load(sample));
            assert_eq!(seen.stopped(), []);
            let mut paces =
                seen.all.iter().filter_map(|e| if let Effect::SetPace(p) = e { Some(p) } else { None });
            last = paces.next_back().map(|pace| pace.wide_vectors).or(last);
        }
        last
    };
    assert_eq!(wide(10), Some(true));
    assert_eq!(wide(330), Some(false));
    assert_eq!(wide(10), Some(true));
}

#[test]
fn threads_in_an_idle_group_of_their_own_do_not_rest() {
    let (mut stage, _) = Stage::mining(PoolConfig::default());
    let mut rest = |idle| {
        let report = GroupReport { gentle: true, idle, share_permille: 3, detail: "own group".to_owned() };
        let seen = stage.give(Input::Group(report));
        seen.all.iter().find_map(|e| if let Effect::SetPace(p) = e { Some(p.rhythm.rest_us) } else { None })
    };
    assert_eq!(rest(true), Some(0));
    assert_eq!(rest(true), None, "nothing new");
    assert!(rest(false) > Some(0));
}

#[test]
fn another_priority_or_cap_changes_the_pace_and_stops_nothing() {
    let (mut stage, started) = Stage::mining(PoolConfig { threads: Some(4), ..PoolConfig::default() });
    let config = PoolConfig {
        threads: Some(4),
        cap_percent: Some(90),
        priority: Some(Priority::Background),
        ..PoolConfig::default()
    };
    let seen = stage.give(Input::PoolConfig(pool(2, config)));
    let paces: Vec<_> =
        seen.all.iter().filter_map(|e| if let Effect::SetPace(p) = e { Some(*p) } else { None }).collect();
    assert_eq!(paces.len(), 1);
    assert_eq!((paces[0].cap_percent, paces[0].priority), (90, Priority::Background));
    assert_eq!((seen.stopped().len(), started.len()), (0, 4));
}

fn question(seen: &[Effect]) -> Option<crate::AgendaQuestion> {
    seen.iter().find_map(|e| if let Effect::MakeAgenda(question) = e { Some(question.clone()) } else { None })
}

#[test]
fn nothing_is_searched_before_a_first_schedule_is_evaluated_and_everything_else_goes_on() {
    let mut stage = Stage::new();
    stage.makes_agendas = false;
    stage.give(Input::Connected);
    let config = PoolConfig { schedule: Some(closing()), ..PoolConfig::default() };
    let snapshot = Snapshot {
        pool: Some(pool(1, config)),
        role: Some(super::stage::member(1, 1)),
        job: Some(super::stage::job(1, 1, 1)),
        ..Snapshot::default()
    };
    let seen = stage.give(Input::ConfigurationRead(Box::new(snapshot)));
    let asked = question(&seen.all).unwrap();
    assert_eq!((state(&stage), seen.heartbeats() > 0), ((0, Reason::Schedule), true));
    // Heartbeats go on and the question is put again, however long it takes.
    let waited = stage.live(60_000);
    assert!(waited.heartbeats() > 30, "{}", waited.heartbeats());
    let again: Vec<_> = waited.all.iter().filter(|e| matches!(e, Effect::MakeAgenda(_))).collect();
    assert_eq!(again.len(), 6);
    let late = Input::Agenda { number: asked.number, agenda: Box::new(asked.answer()) };
    stage.give(late);
    assert_eq!(state(&stage), (0, Reason::Schedule), "the answer to a question that was given up");
    let last = question(&[again.last().copied().unwrap().clone()]).unwrap();
    stage.give(Input::Agenda { number: last.number, agenda: Box::new(last.answer()) });
    assert_eq!(state(&stage), (0, Reason::Schedule), "the window is on by now");
    stage.live(120_000);
    assert_eq!(state(&stage), (4, Reason::HostThreads));
}

#[test]
fn while_another_schedule_is_evaluated_the_last_word_holds_for_two_seconds_and_then_nothing_is_searched() {
    let (mut stage, _) = Stage::mining(PoolConfig::default());
    stage.makes_agendas = false;
    let config = PoolConfig { schedule: Some(closing()), ..PoolConfig::default() };
    let asked = question(&stage.give(Input::PoolConfig(pool(2, config.clone()))).all).unwrap();
    stage.live(1_999);
    assert_eq!(state(&stage), (4, Reason::HostThreads));
    stage.live(1);
    assert_eq!(state(&stage), (0, Reason::Schedule));
    stage.give(Input::Agenda { number: asked.number, agenda: Box::new(asked.answer()) });
    assert_eq!(state(&stage), (4, Reason::HostThreads));
    // The same schedule in another configuration is not evaluated again.
    let same = PoolConfig { threads: Some(4), ..config };
    assert!(question(&stage.give(Input::PoolConfig(pool(3, same))).all).is_none());
    assert_eq!(state(&stage), (4, Reason::PoolThreads));
    let none = PoolConfig::default();
    assert!(question(&stage.give(Input::PoolConfig(pool(4, none))).all).is_none());
    assert_eq!(state(&stage), (4, Reason::HostThreads));
}

#[test]
fn a_schedule_that_cannot_be_evaluated_stops_and_stopping_orders_are_obeyed_meanwhile() {
    let (mut stage, _) = Stage::mining(PoolConfig::default());
    stage.makes_agendas = false;
    let config = PoolConfig { schedule: Some(closing()), ..PoolConfig::default() };
    let asked = question(&stage.give(Input::PoolConfig(pool(2, config))).all).unwrap();
    stage.give(throttle(&stage, "farm", 0, 1));
    assert_eq!(state(&stage), (0, Reason::Throttle));
    stage.live(1_001);
    let agenda = bus_schemas::schedule::Agenda::unreadable("it panicked");
    stage.give(Input::Agenda { number: asked.number, agenda: Box::new(agenda) });
    assert_eq!(state(&stage), (0, Reason::Schedule));
}

#[test]
fn a_wall_clock_that_is_set_is_followed_at_the_next_look_and_asks_anew_beyond_the_agenda() {
    let config = PoolConfig { schedule: Some(closing()), ..PoolConfig::default() };
    let (mut stage, _) = Stage::mining(config);
    assert_eq!(state(&stage), (4, Reason::HostThreads));
    stage.wall_step = 90_000;
    let seen = stage.after(1);
    assert_eq!((state(&stage), question(&seen.all).is_none()), ((0, Reason::Schedule), true));
    stage.wall_step = 0;
    stage.after(1);
    assert_eq!(state(&stage), (4, Reason::HostThreads));
    stage.after(1_000);
    stage.wall_step = -30 * 86_400_000;
    let seen = stage.after(1);
    assert!(question(&seen.all).is_some());
    assert_eq!(state(&stage), (4, Reason::HostThreads));
    // A day passes, and the times of the next are known before they are needed.
    stage.wall_step = 0;
    stage.live(2 * 86_400_000);
    assert_eq!(state(&stage).1, Reason::ConfigurationLease);
}
