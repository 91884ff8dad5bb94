use super::stage::{BITS, BLOCK, Stage, identity, job, member, node, pool, share_hash};
use crate::{
    effect::{Effect, Lane, SearchOrder},
    input::{Input, Snapshot, Stored},
    membership::{DISPLACED_MS, LATE_ROLE_MS},
    notice::{Notice, Refusal},
    outbox::{DropReason, HOLD_SEARCH_AT, MAX_IN_FLIGHT, OUTBOX_LIMIT, RELEASE_SEARCH_AT},
    search::BLOCKS_PER_JOB,
    worker::DRAIN_LIMIT_MS,
};
use bus_schemas::{
    SessionId, ShareBits, Target, WorkerId,
    command::ErrorCode,
    config::{NodeConfig, PoolConfig},
    job::WorkUnit,
    member::{DifficultyStep, JoinReply, Member, Role, Standing},
    set_point::Reason,
    share::Finding,
};

fn one_thread() -> PoolConfig {
    PoolConfig { threads: Some(1), ..PoolConfig::default() }
}

fn dropped(notices: &[Notice], wanted: DropReason) -> u64 {
    let count = |n: &Notice| match n {
        Notice::SharesDropped { reason, count } if *reason == wanted => *count,
        _ => 0,
    };
    notices.iter().map(count).sum()
}

#[test]
fn a_worker_that_connects_reads_everything_and_asks_to_join() {
    let mut stage = Stage::new();
    assert!(stage.core.next_deadline().is_none());
    let seen = stage.give(Input::Connected);
    assert_eq!((seen.count(|e| matches!(e, Effect::ReadConfiguration(_))), seen.joins()), (1, 1));
    assert_eq!(stage.give(Input::JoinReply(JoinReply::Accepted(Box::new(member(1, 1))))).joins(), 0);
    assert_eq!(stage.core.status().set_point.reason, Reason::NoConfiguration);
    let snapshot =
        Snapshot { pool: Some(pool(1, one_thread())), job: Some(job(1, 1, 1)), ..Snapshot::default() };
    assert_eq!(stage.give(Input::ConfigurationRead(Box::new(snapshot))).started().len(), 1);
}

#[test]
fn a_refused_join_is_repeated_with_growing_delays() {
    let mut stage = Stage::new();
    stage.give(Input::Connected);
    let refuse = || JoinReply::Refused { code: ErrorCode::NoJob, message: "no job".to_owned() };
    let mut delays = Vec::new();
    for _ in 0..8 {
        let seen = stage.give(Input::JoinReply(refuse()));
        let Some(Notice::JoinRefused { retry_ms, .. }) = seen.notices().pop() else { panic!("{seen:?}") };
        delays.push(retry_ms);
        assert_eq!(stage.after(retry_ms - 1).joins(), 0);
        assert_eq!(stage.after(1).joins(), 1);
    }
    assert!(delays[0] < 600 && delays[3] > 3_000 && delays[7] <= 16_500, "{delays:?}");
}

#[test]
fn a_join_that_is_never_answered_is_asked_again() {
    let mut stage = Stage::new();
    stage.give(Input::Connected);
    assert_eq!(stage.live(30_000).joins(), 3);
}

#[test]
fn a_role_that_says_lost_or_left_makes_the_worker_stop_and_join_again() {
    for standing in [Standing::Lost, Standing::Left] {
        let (mut stage, _) = Stage::mining(one_thread());
        let mut lost = member(1, 2);
        lost.standing = standing;
        let seen = stage.give(Input::Role(Box::new(lost)));
        assert_eq!((seen.joins(), seen.stopped().len()), (1, 1));
        assert_eq!(stage.core.status().set_point.reason, Reason::NoRole);
        stage.give(Input::JoinReply(JoinReply::Accepted(Box::new(member(1, 3)))));
        assert!(stage.core.status().set_point.enabled());
    }
}

#[test]
fn a_worker_whose_place_another_session_takes_stops_and_asks_again_only_later() {
    let (mut stage, _) = Stage::mining(one_thread());
    let mut other = member(1, 2);
    other.session = SessionId::new("other").unwrap();
    let seen = stage.give(Input::Role(Box::new(other.clone())));
    assert_eq!(seen.refusals(), [Refusal::RoleOfOtherSession(other.session)]);
    assert_eq!((seen.joins(), seen.stopped().len()), (0, 1));
    assert_eq!(stage.live(DISPLACED_MS * 8 / 10).joins(), 0);
    assert_eq!(stage.live(DISPLACED_MS * 4 / 10).joins(), 1);
}

#[test]
fn a_withdrawn_job_is_searched_no_more_and_only_a_later_one_takes_its_place() {
    let (mut stage, started) = Stage::mining(one_thread());
    let withdrawn = stage.give(Input::JobWithdrawn);
    assert_eq!(withdrawn.stopped().len(), 1);
    assert_eq!(stage.end(&started[0], 300).started().len(), 0);
    assert_eq!(stage.give(Input::Job(Box::new(job(1, 1, 1)))).started().len(), 0);
    assert_eq!(stage.give(Input::Job(Box::new(job(1, 2, 1)))).started().len(), 1);
}

#[test]
fn an_older_or_foreign_order_is_refused_by_kind_and_changes_nothing() {
    let (mut stage, _) = Stage::mining(one_thread());
    stage.give(Input::Job(Box::new(job(2, 5, 1))));
    stage.give(Input::Role(Box::new(member(2, 5))));
    let before = stage.core.status();
    let mut foreign_pool = job(9, 9, 1);
    foreign_pool.pool = bus_schemas::PoolId::new("other").unwrap();
    let mut foreign_algorithm = job(9, 9, 1);
    foreign_algorithm.algorithm.version = 2;
    foreign_algorithm.id = foreign_algorithm.derive_id().unwrap();
    let mut forged = job(9, 9, 1);
    forged.slot_bits = 3;
    let mut foreign_worker = member(9, 9);
    foreign_worker.worker = WorkerId::new("w2").unwrap();
    let cases = [
        (Input::Job(Box::new(job(1, 99, 2))), "job-outdated"),
        (Input::Job(Box::new(job(2, 4, 2))), "job-outdated"),
        (Input::Job(Box::new(job(2, 5, 2))), "job-outdated"),
        (Input::Job(Box::new(foreign_pool)), "job-not-ours"),
        (Input::Job(Box::new(foreign_algorithm)), "algorithm-not-offered"),
        (Input::Job(Box::new(forged)), "job-invalid"),
        (Input::Role(Box::new(member(1, 99))), "role-outdated"),
        (Input::Role(Box::new(member(2, 4))), "role-outdated"),
        (Input::Role(Box::new(foreign_worker)), "role-not-ours"),
        (Input::PoolConfig(pool(0, PoolConfig::default())), "config-outdated"),
        (Input::PoolConfig(pool(2, PoolConfig { slot_bits: 17, ..one_thread() })), "config-invalid"),
        (Input::PoolConfig(Stored { revision: 3, value: Err("no JSON".to_owned()) }), "config-invalid"),
    ];
    for (input, label) in cases {
        let seen = stage.give(input);
        assert_eq!(seen.refusals().iter().map(Refusal::label).collect::<Vec<_>>(), [label]);
        assert!(Refusal::LABELS.contains(&label));
        assert_eq!((seen.started().len(), seen.stopped().len()), (0, 0), "{label}");
        assert_eq!(stage.core.status(), before, "{label}");
    }
}

#[test]
fn the_same_order_again_is_neither_refused_nor_news() {
    let (mut stage, _) = Stage::mining(one_thread());
    for input in [
        Input::Job(Box::new(job(1, 1, 1))),
        Input::Role(Box::new(member(1, 1))),
        Input::PoolConfig(pool(1, one_thread())),
    ] {
        assert!(stage.give(input).all.is_empty());
    }
}

#[test]
fn an_invalid_configuration_is_reported_once_and_the_last_good_one_stays() {
    let (mut stage, _) = Stage::mining(one_thread());
    let bad = || Stored { revision: 2, value: Err("no JSON".to_owned()) };
    assert_eq!(stage.give(Input::PoolConfig(bad())).refusals().len(), 1);
    assert_eq!(stage.give(Input::PoolConfig(bad())).refusals().len(), 0);
    assert_eq!(stage.core.status().pool_revision, 1);
    stage.give(Input::PoolConfig(pool(3, PoolConfig { threads: Some(2), ..one_thread() })));
    assert_eq!((stage.core.status().pool_revision, stage.core.status().set_point.threads), (3, 2));
}

#[test]
fn a_deleted_pool_stops_the_search_but_an_absence_older_than_a_push_does_not() {
    let (mut stage, _) = Stage::mining(one_thread());
    stage.live(70_000);
    stage.give(Input::PoolConfig(pool(2, one_thread())));
    stage.give(Input::ConfigurationRead(Box::default()));
    assert!(stage.core.status().set_point.enabled());
    stage.live(70_000);
    stage.give(Input::ConfigurationRead(Box::default()));
    assert_eq!(stage.core.status().set_point.reason, Reason::NoConfiguration);
    stage.give(Input::PoolConfig(pool(3, one_thread())));
    assert!(stage.core.status().set_point.enabled());
    stage.give(Input::PoolConfig(Stored { revision: 4, value: Ok(None) }));
    assert_eq!(stage.core.status().set_point.reason, Reason::NoConfiguration);
}

#[test]
fn a_worker_that_hears_no_configuration_for_the_lease_stops_and_goes_on_when_it_hears_one() {
    let (mut stage, started) = Stage::mining(PoolConfig { config_lease_ms: 30_000, ..one_thread() });
    stage.give(Input::Disconnected);
    assert!(stage.live(29_999).stopped().is_empty());
    assert_eq!(stage.live(1).stopped().len(), 1);
    assert_eq!(stage.core.status().set_point.reason, Reason::ConfigurationLease);
    assert!(stage.end(&started[0], started[0].unit.nonces.start + 7).started().is_empty());
    stage.give(Input::Connected);
    let snapshot = Snapshot { pool: Some(pool(1, one_thread())), ..Snapshot::default() };
    let resumed = stage.give(Input::ConfigurationRead(Box::new(snapshot))).started();
    assert_eq!(resumed[0].unit.nonces.start, started[0].unit.nonces.start + 7);
}

#[test]
fn configuration_is_read_often_enough_for_one_read_within_a_lease_to_fail() {
    let config = PoolConfig { config_lease_ms: 30_000, ..one_thread() };
    let (mut stage, _) = Stage::mining(config);
    let seen = stage.live(11_500);
    assert_eq!(seen.count(|e| matches!(e, Effect::ReadConfiguration(_))), 1);
    let failed = stage.give(Input::ReadFailed { reason: "no answer".to_owned() });
    assert!(matches!(failed.notices()[..], [Notice::ReadFailed { retry_ms, .. }] if retry_ms < 300));
    assert_eq!(stage.live(300).count(|e| matches!(e, Effect::ReadConfiguration(_))), 1);
}

#[test]
fn a_pause_keeps_the_place_in_the_search() {
    let (mut stage, started) = Stage::mining(one_thread());
    let unit = started[0].unit;
    let paused = PoolConfig { paused: true, ..one_thread() };
    assert_eq!(stage.give(Input::PoolConfig(pool(2, paused))).stopped(), [(0, started[0].order)]);
    assert!(stage.end(&started[0], unit.nonces.start + 100).started().is_empty());
    assert_eq!(stage.core.status().hashes_total, 100);
    let resumed = stage.give(Input::PoolConfig(pool(3, one_thread()))).started();
    assert_eq!((resumed[0].unit.row, resumed[0].unit.nonces.start), (unit.row, unit.nonces.start + 100));
    assert_eq!(resumed[0].unit.nonces.end, unit.nonces.end);
    assert_eq!(resumed[0].assignment.job.id, started[0].assignment.job.id);
}

#[test]
fn a_new_job_stops_every_thread_and_begins_at_the_start_of_the_slot() {
    let (mut stage, started) = Stage::mining(PoolConfig { threads: Some(3), ..PoolConfig::default() });
    assert_eq!(started.len(), 3);
    let seen = stage.give(Input::Job(Box::new(job(1, 2, 1))));
    assert_eq!(seen.stopped().len(), 3);
    let next = stage.end(&started[1], started[1].unit.nonces.start).started();
    assert_eq!((next.len(), next[0].thread, next[0].unit.nonces.start), (1, 1, 0));
    assert_eq!(next[0].assignment.job.sequence, 2);
}

#[test]
fn threads_come_and_go_while_the_others_search_on() {
    let (mut stage, started) = Stage::mining(one_thread());
    let two = NodeConfig { threads: Some(2), ..NodeConfig::default() };
    let more = stage.give(Input::NodeConfig(node(1, two)));
    assert_eq!((more.started().len(), more.stopped().len()), (1, 0));
    let fewer = stage.give(Input::NodeConfig(node(2, NodeConfig::default())));
    assert_eq!(fewer.stopped(), [(1, more.started()[0].order)]);
    let host = stage.give(Input::HostThreads(0));
    assert_eq!(host.stopped(), [(0, started[0].order)]);
    assert_eq!(stage.core.status().set_point.reason, Reason::LocalLimit);
}

#[test]
fn a_backup_sends_signs_of_life_but_never_searches() {
    let (mut stage, _) = Stage::mining(one_thread());
    let mut backup = member(1, 2);
    backup.role = Role::Backup;
    assert_eq!(stage.give(Input::Role(Box::new(backup))).stopped().len(), 1);
    let seen = stage.live(10_000);
    assert!(seen.started().is_empty() && (8..=12).contains(&seen.heartbeats()), "{}", seen.heartbeats());
    assert_eq!(stage.core.status().set_point.reason, Reason::Backup);
}

#[test]
fn a_changed_set_point_is_told_at_once() {
    let (mut stage, _) = Stage::mining(one_thread());
    stage.after(1);
    let seen = stage.give(Input::PoolConfig(pool(2, PoolConfig { paused: true, ..one_thread() })));
    let told =
        |e: &Effect| matches!(e, Effect::PublishHeartbeat(h) if h.set_point.reason == Reason::PoolPaused);
    assert_eq!(seen.count(told), 1);
}

#[test]
fn heartbeats_tell_the_rate_of_the_time_between_them() {
    let (mut stage, mut started) = Stage::mining(one_thread());
    let mut rates = Vec::new();
    for _ in 0..40 {
        stage.now += 100;
        let start = started[0].unit.nonces.start;
        let seen = stage.end(&started[0], start + 50);
        started = seen.started();
        rates.extend(seen.all.iter().filter_map(|e| match e {
            Effect::PublishHeartbeat(h) => Some(h.hash_rate.0),
            _ => None,
        }));
    }
    assert!(rates.len() >= 3 && rates.iter().skip(1).all(|rate| (450..=550).contains(rate)), "{rates:?}");
}

#[test]
fn units_grow_until_one_takes_about_a_quarter_of_a_second() {
    let (mut stage, mut started) = Stage::mining(one_thread());
    for _ in 0..20 {
        let unit = started[0].unit;
        stage.now += unit.len() / 1_000;
        started = stage.end(&started[0], unit.nonces.end).started();
    }
    assert!((200_000..=300_000).contains(&started[0].unit.len()), "{}", started[0].unit.len());
}

#[test]
fn a_share_says_what_rebuilds_its_header_and_waits_until_it_is_stored() {
    let (mut stage, started) = Stage::mining(one_thread());
    let seen = stage.find(&started[0], 77, share_hash());
    let [publication] = &seen.published()[..] else { panic!("{seen:?}") };
    let Finding::Header(finding) = publication.share.finding else { panic!("a header") };
    let WorkUnit::Header(work) = &started[0].assignment.job.work else { panic!("a header") };
    assert_eq!(
        (finding.roll, finding.version, finding.time, finding.nonce),
        (0, work.version, work.time, 77)
    );
    assert_eq!(publication.share.generation, member(1, 1).slot_generation);
    assert_eq!((publication.lane, publication.share.bits.get()), (Lane::Share, BITS));
    assert_eq!(publication.share.session, identity().session);
    assert_eq!(stage.core.status().outbox_len, 1);
    stage.give(Input::Acked { id: publication.id });
    assert_eq!(stage.core.status().outbox_len, 0);
}

#[test]
fn a_block_goes_out_on_both_lanes_and_first_on_that_of_blocks() {
    let (mut stage, started) = Stage::mining(one_thread());
    let published = stage.find(&started[0], 1, BLOCK).published();
    assert_eq!(published.iter().map(|p| p.lane).collect::<Vec<_>>(), [Lane::Found, Lane::Share]);
}

#[test]
fn a_difficulty_that_begins_with_a_later_job_leaves_this_one_alone() {
    let (mut stage, started) = Stage::mining(one_thread());
    let mut harder = member(1, 2);
    harder.difficulty.push(DifficultyStep { from_job: 2, bits: ShareBits::new(10) });
    assert!(stage.give(Input::Role(Box::new(harder))).stopped().is_empty());
    stage.give(Input::Job(Box::new(job(1, 2, 1))));
    let next = stage.end(&started[0], 0).started();
    assert_eq!(next[0].assignment.bits, ShareBits::new(10));
    assert_eq!(next[0].assignment.target, Target::from_share_bits(ShareBits::new(10)));
}

#[test]
fn blocks_that_are_easier_than_shares_are_reported_until_there_are_enough() {
    let (mut stage, _) = Stage::mining(one_thread());
    let mut hard = member(1, 2);
    hard.difficulty = vec![DifficultyStep { from_job: 0, bits: ShareBits::new(200) }];
    let stopped = stage.give(Input::Role(Box::new(hard))).stopped();
    let (thread, order) = stopped[0];
    let mut order = stage.give(Input::UnitEnded { thread, order, next: 0 }).started().remove(0);
    assert_eq!(order.assignment.target, order.assignment.job.network_target);
    let mut hash = [0; 32];
    hash[15] = 1;
    for n in 0..BLOCKS_PER_JOB {
        let seen = stage.find(&order, n, hash);
        assert_eq!(seen.published().iter().map(|p| p.lane).collect::<Vec<_>>(), [Lane::Found]);
        assert_eq!(seen.stopped().len(), usize::from(n + 1 == BLOCKS_PER_JOB));
    }
    let surplus = stage.find(&order, 99, hash);
    assert_eq!((surplus.published().len(), dropped(&surplus.notices(), DropReason::SurplusBlock)), (0, 1));
    order = stage.end(&order, 0).started().remove(0);
    assert_eq!(order.assignment.target, Target::from_share_bits(ShareBits::new(200)));
}

#[test]
fn shares_that_no_one_confirmed_are_sent_again_when_the_bus_is_back() {
    let (mut stage, started) = Stage::mining(one_thread());
    let first = stage.find(&started[0], 1, share_hash()).published();
    stage.give(Input::Disconnected);
    assert!(stage.find(&started[0], 2, share_hash()).published().is_empty());
    assert!(stage.find(&started[0], 3, BLOCK).published().is_empty());
    let again = stage.give(Input::Connected).published();
    assert_eq!(
        again.iter().map(|p| (p.lane, p.id)).collect::<Vec<_>>(),
        [(Lane::Found, 2), (Lane::Share, 0), (Lane::Share, 1), (Lane::Share, 3)]
    );
    assert_eq!((first[0].share.message_id(), 2), (again[1].share.message_id(), again[1].attempt));
    // The failure of an attempt that was given up says nothing about the present one.
    let outdated = Input::PublishFailed { id: 0, attempt: 1, reason: "late".to_owned() };
    stage.give(outdated);
    assert!(stage.live(10_000).published().is_empty());
}

#[test]
fn a_worker_that_is_back_takes_up_another_job_only_when_it_has_heard_of_its_place() {
    let read = |role| {
        let pool = Some(pool(1, one_thread()));
        Input::ConfigurationRead(Box::new(Snapshot { pool, role, ..Snapshot::default() }))
    };
    let moved = Member { slot: 5, ..member(1, 2) };
    for (heard, slot) in [
        (read(Some(member(1, 1))), member(1, 1).slot),
        (read(Some(moved.clone())), 5),
        (Input::Role(Box::new(moved.clone())), 5),
        (Input::JoinReply(JoinReply::Accepted(Box::new(moved))), 5),
    ] {
        let (mut stage, started) = Stage::mining(one_thread());
        stage.give(Input::Disconnected);
        stage.give(Input::Connected);
        stage.give(Input::Job(Box::new(job(1, 2, 1))));
        let searched = |order: &SearchOrder| (order.assignment.job.sequence, order.assignment.slot);
        let before = stage.end(&started[0], 0).started().remove(0);
        assert_eq!(searched(&before), (1, member(1, 1).slot), "{heard:?}");
        let mut next = stage.give(heard.clone()).started();
        next.extend(stage.end(&before, 0).started());
        assert_eq!(next.iter().map(searched).collect::<Vec<_>>(), [(2, slot)], "{heard:?}");
    }
}

#[test]
fn a_place_that_a_former_owner_gave_late_is_searched_only_when_a_later_read_still_tells_it() {
    let stored = |role| {
        let pool = Some(pool(1, one_thread()));
        Input::ConfigurationRead(Box::new(Snapshot { pool, role, ..Snapshot::default() }))
    };
    let late = || Input::JoinReply(JoinReply::Accepted(Box::new(member(1, 1))));
    let taken_back = Member { slot: 5, ..member(2, 2) };
    for (told, slot) in [(stored(Some(member(1, 1))), 3), (Input::Role(Box::new(taken_back)), 5)] {
        let mut stage = Stage::new();
        stage.give(Input::Connected);
        stage.give(stored(None));
        stage.give(Input::Job(Box::new(job(2, 1, 1))));
        assert!(stage.give(late()).started().is_empty());
        assert!(stage.give(stored(Some(member(1, 1)))).started().is_empty(), "it began too early");
        let asked = stage.live(LATE_ROLE_MS);
        assert_eq!(asked.count(|e| matches!(e, Effect::ReadConfiguration(_))), 1);
        assert!(asked.started().is_empty());
        let started = stage.give(told).started();
        assert_eq!(started.iter().map(|s| s.assignment.slot).collect::<Vec<_>>(), [slot]);
    }
}

#[test]
fn a_publication_that_fails_is_repeated_until_it_is_stored() {
    let (mut stage, started) = Stage::mining(one_thread());
    let mut sent = stage.find(&started[0], 1, share_hash()).published();
    for attempt in 1..=10 {
        assert_eq!((sent.len(), sent[0].attempt), (1, attempt));
        let id = sent[0].id;
        stage.give(Input::PublishFailed { id, attempt, reason: "no stream".to_owned() });
        sent = stage.live(5_500).published();
    }
    stage.give(Input::Acked { id: sent[0].id });
    assert!(stage.live(60_000).published().is_empty());
}

#[test]
fn waiting_shares_of_an_older_tip_are_dropped_and_counted_but_blocks_are_not() {
    let (mut stage, started) = Stage::mining(one_thread());
    stage.give(Input::Disconnected);
    for nonce in 0..3 {
        stage.find(&started[0], nonce, share_hash());
    }
    stage.find(&started[0], 3, BLOCK);
    let renewed = stage.give(Input::Job(Box::new(job(1, 2, 1))));
    assert_eq!(dropped(&renewed.notices(), DropReason::Stale), 0);
    let moved = stage.give(Input::Job(Box::new(job(1, 3, 2))));
    assert_eq!(dropped(&moved.notices(), DropReason::Stale), 3);
    // What the old search still finds is stale at once, unless it is a block.
    assert_eq!(dropped(&stage.find(&started[0], 4, share_hash()).notices(), DropReason::Stale), 1);
    stage.find(&started[0], 5, BLOCK);
    let again = stage.give(Input::Connected).published();
    let lanes: Vec<_> = again.iter().map(|p| p.lane).collect();
    assert_eq!(lanes, [Lane::Found, Lane::Found, Lane::Share, Lane::Share]);
}

#[test]
fn a_share_on_its_way_when_its_job_ages_is_dropped_only_when_it_fails() {
    let (mut stage, started) = Stage::mining(one_thread());
    let sent = stage.find(&started[0], 1, share_hash()).published();
    assert_eq!(dropped(&stage.give(Input::Job(Box::new(job(1, 2, 2)))).notices(), DropReason::Stale), 0);
    let failed = Input::PublishFailed { id: sent[0].id, attempt: 1, reason: "no answer".to_owned() };
    assert_eq!(dropped(&stage.give(failed).notices(), DropReason::Stale), 1);
    assert_eq!(stage.core.status().outbox_len, 0);
}

#[test]
fn a_long_outage_holds_the_search_before_the_outbox_is_full() {
    let (mut stage, started) = Stage::mining(one_thread());
    stage.give(Input::Disconnected);
    let mut stopped = 0;
    for nonce in 0..HOLD_SEARCH_AT as u32 {
        stopped += stage.find(&started[0], nonce, share_hash()).stopped().len();
    }
    assert_eq!(stopped, 1);
    assert!(stage.end(&started[0], 500).started().is_empty());
    let sent = stage.give(Input::Connected).published();
    assert_eq!(sent.len(), MAX_IN_FLIGHT);
    let mut resumed = Vec::new();
    for id in 0..(HOLD_SEARCH_AT - RELEASE_SEARCH_AT) as u64 {
        assert!(resumed.is_empty(), "too early, at {id}");
        resumed = stage.give(Input::Acked { id }).started();
    }
    assert_eq!(resumed[0].unit.nonces.start, 500);
}

#[test]
fn a_full_outbox_gives_up_its_oldest_share_and_no_block() {
    let (mut stage, started) = Stage::mining(one_thread());
    stage.give(Input::Disconnected);
    stage.find(&started[0], 0, BLOCK);
    for nonce in 1..=OUTBOX_LIMIT as u32 {
        assert_eq!(
            dropped(&stage.find(&started[0], nonce, share_hash()).notices(), DropReason::OutboxFull),
            0
        );
    }
    let seen = stage.find(&started[0], 9_999, share_hash());
    assert_eq!(dropped(&seen.notices(), DropReason::OutboxFull), 1);
    stage.find(&started[0], 10_000, BLOCK);
    let first: Vec<_> = stage.give(Input::Connected).published().iter().take(5).map(|p| p.id).collect();
    let blocks = OUTBOX_LIMIT as u64 + 3;
    assert_eq!(first, [0, blocks, 1, 3, 4], "share 2 was the oldest that may go");
}

#[test]
fn a_job_without_a_place_for_our_slot_is_reported_once_and_not_searched() {
    let (mut stage, started) = Stage::mining(one_thread());
    let mut far = member(1, 2);
    far.slot = 1 << 13;
    let seen = stage.give(Input::Role(Box::new(far)));
    assert_eq!(seen.refusals().iter().map(Refusal::label).collect::<Vec<_>>(), ["no-work-for-slot"]);
    assert_eq!(seen.stopped().len(), 1);
    let ended = stage.end(&started[0], 0);
    assert!(ended.started().is_empty() && ended.refusals().is_empty());
}

#[test]
fn a_job_that_the_algorithm_refuses_is_not_tried_again() {
    let (mut stage, started) = Stage::mining(one_thread());
    let refused = Input::SearchRefused { thread: 0, order: started[0].order, reason: "length".to_owned() };
    let seen = stage.give(refused);
    assert_eq!((seen.started().len(), seen.refusals().len()), (0, 1));
    assert_eq!(stage.give(Input::Job(Box::new(job(1, 2, 1)))).started().len(), 1);
}

#[test]
fn a_thread_that_is_gone_is_not_used_again() {
    let (mut stage, started) = Stage::mining(PoolConfig { threads: Some(2), ..PoolConfig::default() });
    stage.give(Input::ThreadFailed { thread: 0, reason: "no memory".to_owned() });
    stage.give(Input::Job(Box::new(job(1, 2, 1))));
    let next = stage.end(&started[1], started[1].unit.nonces.end).started();
    assert_eq!(next.iter().map(|o| o.thread).collect::<Vec<_>>(), [1]);
}

#[test]
fn a_worker_that_is_asked_to_end_stops_sends_what_waits_says_good_bye_and_goes() {
    let (mut stage, started) = Stage::mining(one_thread());
    let sent = stage.find(&started[0], 1, share_hash()).published();
    let asked = stage.give(Input::ShutdownRequested { reason: "test".to_owned() });
    assert_eq!(asked.stopped().len(), 1);
    assert!(stage.end(&started[0], 10).started().is_empty());
    let seen = stage.give(Input::Acked { id: sent[0].id });
    // The share is told as stored, and nothing but the good-bye follows.
    let [Effect::Notice(_), Effect::PublishLeave(leave), Effect::Exit] = &seen.all[..] else {
        panic!("{:?}", seen.all);
    };
    assert_eq!(leave.reason, "test");
    assert!(stage.give(Input::Connected).all.is_empty());
    assert!(stage.core.next_deadline().is_none());
}

#[test]
fn a_worker_that_is_asked_to_end_without_a_bus_waits_no_longer_than_its_limit() {
    let (mut stage, started) = Stage::mining(one_thread());
    stage.give(Input::Disconnected);
    stage.find(&started[0], 1, share_hash());
    stage.give(Input::ShutdownRequested { reason: "test".to_owned() });
    stage.end(&started[0], 10);
    assert_eq!(stage.live(DRAIN_LIMIT_MS - 1).count(|e| matches!(e, Effect::Exit)), 0);
    let seen = stage.live(1);
    assert_eq!(dropped(&seen.notices(), DropReason::Shutdown), 1);
    assert_eq!(seen.count(|e| matches!(e, Effect::Exit)), 1);
    assert_eq!(seen.count(|e| matches!(e, Effect::PublishLeave(_))), 0);
}
