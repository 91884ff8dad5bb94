//! Buckets and streams that are made anew or restored: their numbers begin again, and what their leaders say holds.

use super::{
    LEADER_READ_INTERVAL_MS,
    stage::{Seen, Stage, in_force, job, member, pool},
};
use crate::{
    effect::Effect,
    input::{Authority, Input, Snapshot},
    notice::Notice,
};
use bus_schemas::{config::PoolConfig, policy::FarmConfig, set_point::Reason};

fn farm(revision: u64, halted: bool) -> Input {
    Input::FarmConfig(in_force(revision, FarmConfig { halted, reason: String::new() }))
}

fn read(authority: Authority, revision: u64, halted: bool) -> Input {
    let farm = Some(in_force(revision, FarmConfig { halted, reason: String::new() }));
    let pool = Some(pool(revision, PoolConfig::default()));
    let (role, job) = (Some(member(1, 1)), Some(job(1, 1, 1)));
    Input::ConfigurationRead(Box::new(Snapshot { authority, farm, pool, role, job, ..Snapshot::default() }))
}

fn asks(seen: &Seen, authority: Authority) -> usize {
    seen.count(|e| matches!(e, Effect::ReadConfiguration(asked) if *asked == authority))
}

fn halted(stage: &Stage) -> bool {
    stage.core.status().set_point.reason == Reason::FarmHalted
}

/// A worker that follows revision 50 of the bucket.
fn far() -> Stage {
    let (mut stage, _) = Stage::mining(PoolConfig::default());
    stage.give(read(Authority::Replica, 50, false));
    stage
}

#[test]
fn an_older_push_is_not_obeyed_but_has_the_leader_asked_within_seconds_and_the_leader_is_obeyed() {
    let mut stage = far();
    stage.give(farm(1, true));
    assert!(!halted(&stage));
    assert_eq!(asks(&stage.live(LEADER_READ_INTERVAL_MS), Authority::Leader), 1);
    let seen = stage.give(read(Authority::Leader, 1, true));
    assert!(halted(&stage));
    assert!(seen.notices().iter().any(|n| matches!(n, Notice::ConfigRewound { from: 50, to: 1, .. })));
    stage.give(farm(2, false));
    assert!(!halted(&stage));
    assert_eq!(asks(&stage.live(120_000), Authority::Leader), 0);
}

#[test]
fn a_replica_that_is_behind_is_not_obeyed() {
    let mut stage = far();
    stage.give(read(Authority::Replica, 49, true));
    assert!(!halted(&stage));
    assert_eq!(asks(&stage.live(LEADER_READ_INTERVAL_MS), Authority::Leader), 1);
    stage.give(read(Authority::Leader, 50, false));
    assert!(!halted(&stage));
}

#[test]
fn a_push_that_overtakes_the_answer_of_the_leader_is_not_undone_by_it() {
    let mut stage = far();
    stage.give(farm(1, true));
    stage.live(LEADER_READ_INTERVAL_MS);
    stage.give(farm(52, true));
    stage.give(read(Authority::Leader, 51, false));
    assert!(halted(&stage));
}

#[test]
fn a_bucket_that_holds_nothing_leaves_nothing_in_force_and_what_it_holds_next_is_followed() {
    let mut stage = far();
    let empty = |authority| {
        Input::ConfigurationRead(Box::new(Snapshot {
            authority,
            role: Some(member(1, 1)),
            job: Some(job(1, 1, 1)),
            ..Snapshot::default()
        }))
    };
    stage.give(empty(Authority::Replica));
    assert_eq!(stage.core.status().set_point.reason, Reason::NoConfiguration);
    assert_eq!(asks(&stage.live(LEADER_READ_INTERVAL_MS), Authority::Leader), 1);
    stage.give(empty(Authority::Leader));
    stage.give(Input::PoolConfig(pool(1, PoolConfig::default())));
    assert!(stage.core.status().set_point.enabled());
}

#[test]
fn a_replica_that_has_not_heard_of_a_halt_lifts_it_for_nobody() {
    let mut stage = far();
    stage.give(farm(51, true));
    stage.give(Input::Connected);
    let lagging = |authority, farm| {
        let (pool, role, job) = (pool(50, PoolConfig::default()), member(1, 1), job(1, 1, 1));
        let (pool, role, job) = (Some(pool), Some(role), Some(job));
        let snapshot = Snapshot { authority, farm, pool, role, job, ..Snapshot::default() };
        Input::ConfigurationRead(Box::new(snapshot))
    };
    stage.give(lagging(Authority::Replica, None));
    assert!(halted(&stage));
    assert_eq!(asks(&stage.live(LEADER_READ_INTERVAL_MS), Authority::Leader), 1);
    let halt = in_force(51, FarmConfig { halted: true, reason: String::new() });
    stage.give(lagging(Authority::Leader, Some(halt)));
    assert!(halted(&stage));
    stage.give(farm(52, false));
    assert!(!halted(&stage));
}

#[test]
fn a_pool_that_a_replica_did_not_hold_yet_is_followed_again_when_the_leader_holds_it() {
    let mut stage = far();
    let snapshot = |authority, pool| {
        let (role, job) = (Some(member(1, 1)), Some(job(1, 1, 1)));
        Input::ConfigurationRead(Box::new(Snapshot { authority, pool, role, job, ..Snapshot::default() }))
    };
    stage.give(snapshot(Authority::Replica, None));
    assert_eq!(stage.core.status().set_point.reason, Reason::NoConfiguration);
    assert_eq!(asks(&stage.live(LEADER_READ_INTERVAL_MS), Authority::Leader), 1);
    stage.give(snapshot(Authority::Leader, Some(pool(50, PoolConfig::default()))));
    assert!(stage.core.status().set_point.enabled());
}

#[test]
fn whoever_sends_what_is_old_again_and_again_has_the_leaders_asked_seldom() {
    let mut stage = far();
    let mut asked = 0;
    for _ in 0..100 {
        stage.give(farm(1, true));
        asked += asks(&stage.live(100), Authority::Leader);
        if asked > 0 {
            stage.give(read(Authority::Leader, 50, false));
        }
    }
    assert!((1..=6).contains(&asked), "asked {asked} times in ten seconds");
    assert!(!halted(&stage));
}

#[test]
fn a_job_and_a_role_of_an_older_epoch_are_followed_once_the_leaders_hold_them() {
    let (mut stage, _) = Stage::mining(PoolConfig::default());
    stage.give(Input::Role(Box::new(member(9, 5))));
    stage.give(Input::Job(Box::new(job(9, 5, 2))));
    stage.give(Input::Job(Box::new(job(3, 1, 3))));
    stage.give(Input::Role(Box::new(member(3, 1))));
    assert_eq!(stage.core.status().job_sequence, Some(5));
    assert_eq!(asks(&stage.live(LEADER_READ_INTERVAL_MS), Authority::Leader), 1);
    let snapshot = Snapshot {
        authority: Authority::Leader,
        pool: Some(pool(1, PoolConfig::default())),
        role: Some(member(3, 1)),
        job: Some(job(3, 1, 3)),
        ..Snapshot::default()
    };
    let seen = stage.give(Input::ConfigurationRead(Box::new(snapshot)));
    let status = stage.core.status();
    assert_eq!((status.job_sequence, status.generation), (Some(1), 1));
    let rewound = |n: &Notice| matches!(n, Notice::OrderRewound { .. });
    assert_eq!(seen.notices().iter().filter(|n| rewound(n)).count(), 2);
}

#[test]
fn a_worker_whose_record_is_gone_asks_for_a_place_again() {
    let mut stage = far();
    let snapshot = |authority| {
        let (pool, job) = (Some(pool(50, PoolConfig::default())), Some(job(1, 1, 1)));
        Input::ConfigurationRead(Box::new(Snapshot { authority, pool, job, ..Snapshot::default() }))
    };
    assert_eq!(stage.give(snapshot(Authority::Replica)).joins(), 0);
    assert_eq!(asks(&stage.live(LEADER_READ_INTERVAL_MS), Authority::Leader), 1);
    assert_eq!(stage.give(snapshot(Authority::Leader)).joins(), 1);
}
