//! What an owner of a pool decides, told as tables.

use crate::model::{EASY_BITS, Farm, HARD_BITS, template, worker};
use bus_schemas::{
    JobId, SessionId, ShareBits,
    block::BlockState,
    command::ErrorCode,
    event::EventData,
    member::{Role, Standing},
    share::{Finding, HeaderFinding, Share, ShareRefusal},
};
use coordinator_core::{
    Input, PoolInput,
    pool::{MAX_SIBLINGS, MAX_STRANGERS_TOLD, STALE_GRACE_MS},
};

pub const EVERY_HASH: &str =
    r#"{"initial_share_bits":0,"min_share_bits":0,"active_members":2,"share_rate_limit":1000}"#;

fn mining() -> Farm {
    let mut farm = Farm::new(EVERY_HASH);
    farm.pool_input(PoolInput::Template(template(1, HARD_BITS, 100)));
    farm.join(1, "s1").unwrap();
    farm
}

fn header(share: &mut Share, change: impl FnOnce(&mut HeaderFinding)) {
    let Finding::Header(finding) = &mut share.finding else { panic!("a header") };
    change(finding);
}

#[test]
fn a_coordinator_takes_the_lease_recovers_and_publishes_the_first_job() {
    let farm = mining();
    assert!(farm.events.iter().any(|e| matches!(e, EventData::PoolOwned { epoch: 1, .. })));
    assert_eq!((farm.job().epoch, farm.job().sequence, farm.job().clean), (1, 1, true));
    assert!(farm.events.iter().any(|e| matches!(e, EventData::JobPublished { height: 100, .. })));
}

#[test]
fn every_reason_to_refuse_a_share_is_told_apart_counted_and_told() {
    type Change = fn(&Farm, &mut Share);
    let cases: [(ShareRefusal, Change); 9] = [
        (ShareRefusal::UnknownJob, |_, s| s.job = JobId::new("00ff").unwrap()),
        (ShareRefusal::WrongSlot, |_, s| s.slot += 1),
        (ShareRefusal::WrongSlot, |_, s| s.generation += 1),
        (ShareRefusal::WrongSlot, |_, s| s.session = SessionId::new("other").unwrap()),
        (ShareRefusal::VersionOutOfRange, |_, s| header(s, |f| f.version ^= 1)),
        (ShareRefusal::TimeOutOfRange, |_, s| header(s, |f| f.time = 1_011)),
        (ShareRefusal::TimeOutOfRange, |_, s| header(s, |f| f.time = 989)),
        (ShareRefusal::WrongDifficulty, |_, s| s.bits = ShareBits::new(3)),
        (ShareRefusal::Duplicate, |f, s| *s = f.share(1, &f.job(), 7)),
    ];
    for (refusal, change) in cases {
        let mut farm = mining();
        let job = farm.job();
        farm.store(1, Some(farm.share(1, &job, 7)));
        let mut share = farm.share(1, &job, 8);
        change(&farm, &mut share);
        farm.store(1, Some(share));
        assert_eq!(farm.credited(), 1, "{refusal:?}");
        assert_eq!(farm.refused(refusal), 1, "{refusal:?}");
        farm.pass(2_000);
        let told = |e: &EventData| matches!(e, EventData::ShareRefused { refusal: r, count: 1, .. } if *r == refusal);
        assert!(farm.events.iter().any(told), "{refusal:?}");
    }
}

#[test]
fn unreadable_bytes_and_strangers_are_refused_without_harm() {
    let mut farm = mining();
    farm.store(1, None);
    let share = farm.share(1, &farm.job(), 7);
    farm.store(2, Some(share));
    assert_eq!(farm.credited(), 0);
    assert_eq!(farm.refused(ShareRefusal::Malformed), 1);
    assert_eq!(farm.refused(ShareRefusal::NotAMember), 1);
}

#[test]
fn a_hash_above_the_share_target_earns_nothing() {
    let mut farm = Farm::new(r#"{"initial_share_bits":40}"#);
    farm.pool_input(PoolInput::Template(template(1, HARD_BITS, 100)));
    farm.join(1, "s1").unwrap();
    // The network is easier than 2^40, so the difficulty was lowered to its own.
    assert_eq!(farm.member(1).difficulty.last().unwrap().bits, ShareBits::new(32));
    farm.store(1, Some(farm.share(1, &farm.job(), 7)));
    assert_eq!(farm.credited(), 0);
    assert_eq!(farm.refused(ShareRefusal::LowDifficulty), 1);
}

#[test]
fn a_share_of_a_shared_block_outside_the_slots_nonces_is_refused() {
    let mut farm =
        Farm::new(r#"{"initial_share_bits":0,"min_share_bits":0,"mode":"shared-block","slot_bits":4}"#);
    farm.pool_input(PoolInput::Template(template(1, HARD_BITS, 100)));
    farm.join(1, "s1").unwrap();
    let range = farm.job().nonce_range(farm.member(1).slot).unwrap();
    farm.store(1, Some(farm.share(1, &farm.job(), u32::try_from(range.end - 1).unwrap())));
    farm.store(1, Some(farm.share(1, &farm.job(), u32::try_from(range.end).unwrap())));
    assert_eq!(farm.credited(), 1);
    assert_eq!(farm.refused(ShareRefusal::NonceOutOfRange), 1);
}

#[test]
fn a_flood_is_refused_before_any_hashing() {
    let mut farm = Farm::new(r#"{"initial_share_bits":0,"min_share_bits":0,"share_rate_limit":1}"#);
    farm.pool_input(PoolInput::Template(template(1, HARD_BITS, 100)));
    farm.join(1, "s1").unwrap();
    let job = farm.job();
    (0..100).for_each(|n| farm.store(1, Some(farm.share(1, &job, n))));
    assert_eq!(farm.credited(), 60);
    assert_eq!(farm.refused(ShareRefusal::RateLimited), 40);
}

#[test]
fn stale_means_another_previous_block_and_an_older_template_earns_in_full() {
    let mut farm = mining();
    let first = farm.job();
    farm.pass(31_000);
    farm.heartbeat(1, "s1");
    farm.join(1, "s1").unwrap();
    let second = farm.job();
    assert!(second.sequence > first.sequence && !second.clean);
    farm.store(1, Some(farm.share(1, &second, 1)));
    farm.pool_input(PoolInput::Template(template(2, HARD_BITS, 101)));
    assert!(farm.job().clean);
    farm.pass(STALE_GRACE_MS);
    farm.store(1, Some(farm.share(1, &second, 2)));
    farm.pass(1);
    farm.store(1, Some(farm.share(1, &second, 3)));
    assert_eq!(farm.credited(), 2);
    assert_eq!(farm.refused(ShareRefusal::Stale), 1);
}

#[test]
fn a_worker_that_asks_twice_keeps_its_place_and_a_new_life_gets_a_new_slot() {
    let mut farm = mining();
    let first = farm.member(1);
    assert_eq!(farm.join(1, "s1").unwrap(), first);
    let second = farm.join(1, "s2").unwrap();
    assert_ne!(second.slot, first.slot);
    assert!(second.generation > first.generation);
    // Its former life's last shares still count.
    let mut share = farm.share(1, &farm.job(), 3);
    (share.slot, share.generation, share.session) = (first.slot, first.slot_generation, first.session);
    farm.store(1, Some(share));
    assert_eq!(farm.credited(), 1);
}

#[test]
fn the_third_worker_is_a_backup_and_steps_in_when_an_active_one_is_lost() {
    let mut farm = mining();
    farm.join(2, "s2").unwrap();
    assert_eq!(farm.join(3, "s3").unwrap().role, Role::Backup);
    for _ in 0..4 {
        farm.pass(1_000);
        farm.heartbeat(1, "s1");
        farm.heartbeat(3, "s3");
    }
    assert_eq!(farm.member(2).standing, Standing::Lost);
    assert_eq!(farm.member(3).role, Role::Active);
    assert!(farm.events.iter().any(|e| matches!(e, EventData::WorkerLost { .. })));
    assert!(farm.events.iter().any(|e| matches!(e, EventData::WorkerRoleChanged { role: Role::Active, .. })));
    // The lost one returns as a backup.
    assert_eq!(farm.join(2, "s2").unwrap().role, Role::Backup);
    assert!(farm.events.iter().any(|e| matches!(e, EventData::WorkerReturned { .. })));
}

#[test]
fn a_worker_whose_slot_is_no_more_joins_again_under_one_that_is() {
    let mut farm = mining();
    (2..=3).for_each(|n| drop(farm.join(n, "s").unwrap()));
    assert_eq!(farm.member(3).slot, 2);
    let value = Some(br#"{"initial_share_bits":0,"min_share_bits":0,"slot_bits":1}"#.to_vec());
    farm.input(Input::Config { key: "pool.main".into(), revision: 2, value });
    assert_eq!(farm.member(3).standing, Standing::Lost);
    assert_eq!(farm.job().slot_bits, 1);
    assert_eq!(farm.join(3, "s"), Err(ErrorCode::PoolFull));
    farm.leave(1, "s1");
    farm.pool_input(PoolInput::Template(template(2, HARD_BITS, 101)));
    assert_eq!(farm.join(3, "s").unwrap().slot, 0);
}

#[test]
fn fewer_slots_while_nobody_owned_the_pool_are_found_at_the_takeover() {
    let mut farm = mining();
    (2..=3).for_each(|n| drop(farm.join(n, "s").unwrap()));
    let fewer = br#"{"initial_share_bits":0,"min_share_bits":0,"slot_bits":1}"#.to_vec();
    farm.kept.configs.push(("pool.main".into(), 2, fewer));
    farm.crash();
    assert_eq!(farm.member(3).standing, Standing::Lost);
    assert_eq!(farm.member(1).standing, Standing::Present);
}

#[test]
fn a_restart_that_a_full_pool_refuses_leaves_the_place_as_it_is() {
    let mut farm = Farm::new(r#"{"initial_share_bits":0,"min_share_bits":0,"slot_bits":1}"#);
    farm.pool_input(PoolInput::Template(template(1, HARD_BITS, 100)));
    farm.join(1, "s1").unwrap();
    farm.join(2, "s2").unwrap();
    assert_eq!(farm.join(1, "another"), Err(ErrorCode::PoolFull));
    farm.pool_input(PoolInput::Template(template(2, HARD_BITS, 101)));
    assert_eq!(farm.join(3, "s3"), Err(ErrorCode::PoolFull));
    farm.crash();
    assert_eq!((farm.member(1).slot, farm.member(1).standing), (0, Standing::Present));
}

#[test]
fn of_two_that_hold_one_slot_after_a_recovery_one_joins_again() {
    let mut farm = mining();
    farm.join(2, "s2").unwrap();
    let mut wrong = farm.member(2);
    (wrong.slot, wrong.generation) = (farm.member(1).slot, wrong.generation + 1);
    farm.kept.members.push((wrong, farm.stream_time()));
    farm.holders.clear();
    farm.crash();
    let lost = [1, 2].into_iter().filter(|n| farm.member(*n).standing == Standing::Lost).count();
    assert_eq!(lost, 1);
}

#[test]
fn job_numbers_go_on_after_the_difficulties_although_no_job_is_kept() {
    let mut farm = mining();
    let mut member = farm.member(1);
    member.generation += 1;
    member.difficulty = vec![bus_schemas::member::DifficultyStep { from_job: 5_000, bits: ShareBits::MIN }];
    farm.kept.members.push((member, farm.stream_time()));
    farm.kept.jobs.clear();
    farm.crash();
    farm.pool_input(PoolInput::Template(template(1, HARD_BITS, 100)));
    assert_eq!(farm.job().sequence, 5_001);
    farm.store(1, Some(farm.share(1, &farm.job(), 7)));
    assert_eq!(farm.credited(), 1);
}

#[test]
fn shares_that_waited_for_an_owner_for_long_are_judged_by_their_job() {
    let mut farm = mining();
    let first = farm.job();
    farm.pool_input(PoolInput::Template(template(2, HARD_BITS, 101)));
    farm.pass(STALE_GRACE_MS / 2);
    // In time, but the coordinator dies before it reads them, and the next one comes an hour later.
    farm.store(1, Some(farm.share(1, &first, 7)));
    farm.crash();
    farm.pool_input(PoolInput::Template(template(3, HARD_BITS, 102)));
    farm.at += 3_600_000;
    farm.crash();
    farm.pass(10_000);
    assert_eq!(farm.credited(), 1);
}

#[test]
fn a_node_configuration_pins_the_role() {
    let mut farm = mining();
    let value = Some(br#"{"role":"backup"}"#.to_vec());
    farm.input(Input::Config { key: "node.w1".into(), revision: 2, value });
    assert_eq!(farm.member(1).role, Role::Backup);
    farm.input(Input::Config { key: "node.w1".into(), revision: 3, value: None });
    assert_eq!(farm.member(1).role, Role::Active);
}

#[test]
fn a_worker_that_leaves_frees_its_slot_for_the_next_job_only() {
    let mut farm = mining();
    let slot = farm.member(1).slot;
    farm.leave(1, "s1");
    assert_eq!(farm.member(1).standing, Standing::Left);
    assert_ne!(farm.join(2, "s2").unwrap().slot, slot);
    farm.pool_input(PoolInput::Template(template(2, HARD_BITS, 101)));
    assert_eq!(farm.join(3, "s3").unwrap().slot, slot);
}

#[test]
fn whoever_gets_a_freed_slot_has_no_difficulty_for_the_jobs_of_its_former_holder() {
    let mut farm = mining();
    let (first, slot) = (farm.job().sequence, farm.join(2, "s2").unwrap().slot);
    farm.leave(2, "s2");
    farm.pool_input(PoolInput::Template(template(2, HARD_BITS, 101)));
    let next = farm.join(3, "s3").unwrap();
    assert_eq!((next.slot, next.bits_for_job(first)), (slot, None));
    assert!(next.bits_for_job(farm.job().sequence).is_some());
}

#[test]
fn who_follows_a_record_that_the_owner_never_read_is_told_what_holds() {
    let mut farm = mining();
    let known = farm.member(1);
    // Told by a former owner after this one had read all records: another slot, and a member that nobody knows.
    farm.follows(1, "s1", known.generation + 3);
    let told = farm.member(1);
    assert_eq!(
        (told.standing, told.slot, told.generation),
        (Standing::Present, known.slot, known.generation + 4)
    );
    farm.follows(1, "s1", told.generation);
    assert_eq!(farm.member(1), told);
    farm.follows(2, "s2", 7);
    let told = farm.member(2);
    assert_eq!((told.standing, told.generation, told.session.as_str()), (Standing::Lost, 8, "s2"));
    assert!(farm.join(2, "s2").unwrap().generation > 8);
    farm.follows(3, "s3", u64::MAX);
    assert!(farm.kept.members.iter().all(|(m, _)| m.worker != worker(3)));
    // Nobody fills the pool by inventing names.
    let before = farm.kept.members.len();
    (10..10 + 2 * MAX_STRANGERS_TOLD as u32).for_each(|n| farm.follows(n, "s", 1));
    assert_eq!(farm.kept.members.len() - before, MAX_STRANGERS_TOLD - 1);
}

#[test]
fn a_pool_without_room_or_algorithm_refuses_a_join_with_its_code() {
    let mut farm = Farm::new(r#"{"slot_bits":1}"#);
    farm.pool_input(PoolInput::Template(template(1, HARD_BITS, 100)));
    farm.join(1, "s1").unwrap();
    farm.join(2, "s2").unwrap();
    assert_eq!(farm.join(3, "s3"), Err(ErrorCode::PoolFull));
    let mut farm = Farm::new(r#"{"algorithm":"another"}"#);
    assert_eq!(farm.join(1, "s1"), Err(ErrorCode::AlgorithmNotOffered));
    let component =
        format!(r#"{{"algorithm":"another","component":{{"version":1,"sha256":"{}"}}}}"#, "ab".repeat(32));
    let mut farm = Farm::new(&component);
    farm.join(1, "s1").unwrap();
}

/// A nonce whose hash meets the easy network target.
pub fn block_share(farm: &Farm) -> Share {
    let job = farm.job();
    let meets = |s: &Share| {
        let verdict = crate::judge::judge(&job, s.slot, &s.finding, job.network_target);
        matches!(verdict, coordinator_core::Verdict::Meets { .. })
    };
    (0..).map(|n| farm.share(1, &job, n)).find(meets).unwrap()
}

#[test]
fn a_block_is_kept_submitted_once_and_acknowledged_on_whichever_lane_it_comes() {
    let mut farm = Farm::new(EVERY_HASH);
    farm.pool_input(PoolInput::Template(template(1, EASY_BITS, 100)));
    farm.join(1, "s1").unwrap();
    let share = block_share(&farm);
    farm.found(1, 1, share.clone());
    farm.found(1, 2, share.clone());
    farm.store(1, Some(share));
    assert_eq!(farm.credited(), 1);
    assert_eq!(farm.submitted.len(), 1);
    assert_eq!(farm.acked, [1, 2]);
    let accepted = |e: &&EventData| matches!(e, EventData::BlockAccepted { .. });
    assert_eq!(farm.events.iter().filter(accepted).count(), 1);
    assert!(farm.kept.blocks.values().all(|(_, _, s)| *s == BlockState::Accepted));
}

#[test]
fn a_block_that_came_as_a_plain_share_is_a_block_too() {
    let mut farm = Farm::new(EVERY_HASH);
    farm.pool_input(PoolInput::Template(template(1, EASY_BITS, 100)));
    farm.join(1, "s1").unwrap();
    let share = block_share(&farm);
    farm.store(1, Some(share));
    farm.credited();
    assert_eq!(farm.submitted.len(), 1);
}

#[test]
fn of_very_many_blocks_of_one_job_a_few_are_submitted_and_all_are_credited() {
    let mut farm = Farm::new(EVERY_HASH);
    farm.pool_input(PoolInput::Template(template(1, EASY_BITS, 100)));
    farm.join(1, "s1").unwrap();
    let job = farm.job();
    let meets = |s: &Share| {
        let verdict = crate::judge::judge(&job, s.slot, &s.finding, job.network_target);
        matches!(verdict, coordinator_core::Verdict::Meets { .. })
    };
    let blocks: Vec<_> = (0..).map(|n| farm.share(1, &job, n)).filter(meets).take(2 * MAX_SIBLINGS).collect();
    for (token, share) in (1..).zip(&blocks) {
        farm.found(1, token, share.clone());
        farm.store(1, Some(share.clone()));
    }
    assert_eq!(farm.credited(), 2 * MAX_SIBLINGS as u64);
    assert_eq!(farm.submitted.len(), MAX_SIBLINGS);
    assert_eq!(farm.acked.len(), 2 * MAX_SIBLINGS, "none is delivered again");
    farm.pool_input(PoolInput::Template(template(2, EASY_BITS, 101)));
    let next = block_share(&farm);
    farm.found(1, 100, next);
    assert_eq!(farm.submitted.len(), MAX_SIBLINGS + 1, "the next height has its own");
}

#[test]
fn a_false_block_candidate_is_refused_and_acknowledged() {
    let mut farm = mining();
    let share = farm.share(1, &farm.job(), 7);
    farm.found(1, 1, share);
    farm.found(9, 2, farm.share(1, &farm.job(), 8));
    assert_eq!(farm.acked, [1, 2]);
    assert!(farm.submitted.is_empty());
}

#[test]
fn a_block_that_was_kept_but_not_answered_is_submitted_by_the_next_owner() {
    let mut farm = Farm::new(EVERY_HASH);
    farm.pool_input(PoolInput::Template(template(1, EASY_BITS, 100)));
    farm.join(1, "s1").unwrap();
    let hash = bus_schemas::Hash32([5; 32]);
    farm.kept.blocks.insert(hash, (100, worker(1), BlockState::Found));
    farm.crash();
    assert_eq!(farm.submitted, [hash]);
    assert_eq!(farm.kept.blocks[&hash].2, BlockState::Accepted);
}

#[test]
fn a_crash_after_the_ledger_was_written_and_before_the_word_came_back_counts_nothing_twice() {
    let mut farm = mining();
    let job = farm.job();
    (0..5).for_each(|n| farm.store(1, Some(farm.share(1, &job, n))));
    farm.mute_ledger = true;
    assert_eq!(farm.credited(), 5);
    farm.crash();
    // The same findings again, in other messages.
    (0..7).for_each(|n| farm.store(1, Some(farm.share(1, &job, n))));
    assert_eq!(farm.credited(), 7);
    assert_eq!(farm.refused(ShareRefusal::Duplicate), 5);
}

#[test]
fn a_deleted_pool_is_stopped_and_a_shut_down_releases_everything() {
    let mut farm = mining();
    farm.input(Input::Config { key: "pool.main".into(), revision: 2, value: None });
    assert_eq!(farm.epoch, None);
    let mut farm = mining();
    farm.input(Input::Shutdown);
    assert!(farm.exited && farm.epoch.is_none());
}
