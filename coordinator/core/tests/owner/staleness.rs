//! When a share is too late: by the times of the streams, whatever the coordinator's clock says.

use crate::model::{EASY_BITS, Farm, HARD_BITS, template};
use bus_schemas::{
    job::Job,
    share::{Finding, ShareRefusal},
};
use coordinator_core::{
    Input, PoolInput, Verdict,
    pool::{LEDGER_INTERVAL_MS, STALE_GRACE_MS},
};

const EVERY_HASH: &str = r#"{"initial_share_bits":0,"min_share_bits":0,"share_rate_limit":1000}"#;

fn mining(bits: u32) -> Farm {
    let mut farm = Farm::new(EVERY_HASH);
    farm.pool_input(PoolInput::Template(template(1, bits, 100)));
    farm.join(1, "s1").unwrap();
    farm
}

fn next_block(farm: &mut Farm, prev: u8, bits: u32) {
    farm.pool_input(PoolInput::Template(template(prev, bits, 100 + u64::from(prev))));
}

/// A nonce whose hash is a block of the job, or one whose hash is none.
fn nonce(farm: &Farm, job: &Job, block: bool) -> u32 {
    let is_block = |nonce: &u32| {
        let share = farm.share(1, job, *nonce);
        let Finding::Header(_) = share.finding else { panic!("a header") };
        let verdict = crate::judge::judge(job, share.slot, &share.finding, job.network_target);
        matches!(verdict, Verdict::Meets { block: true, .. }) == block
    };
    (0..1_000).find(is_block).expect("every second hash is a block")
}

#[test]
fn a_coordinator_whose_clock_is_wrong_judges_as_one_whose_clock_is_right() {
    for ahead_ms in [-3_600_000, -60_000, -5_000, 0, 5_000, 60_000, 3_600_000] {
        let mut farm = mining(HARD_BITS);
        farm.coordinator_ahead_ms = ahead_ms;
        let first = farm.job();
        next_block(&mut farm, 2, HARD_BITS);
        farm.pass(STALE_GRACE_MS);
        farm.store(1, Some(farm.share(1, &first, 1)));
        farm.pass(1);
        farm.store(1, Some(farm.share(1, &first, 2)));
        assert_eq!(farm.credited(), 1, "{ahead_ms} ms ahead");
        assert_eq!(farm.refused(ShareRefusal::Stale), 1, "{ahead_ms} ms ahead");
    }
}

#[test]
fn a_share_that_was_stored_before_its_job_was_superseded_is_never_stale_however_late_it_is_read() {
    let mut farm = mining(HARD_BITS);
    let first = farm.job();
    farm.store(1, Some(farm.share(1, &first, 1)));
    next_block(&mut farm, 2, HARD_BITS);
    farm.pass(20 * STALE_GRACE_MS);
    assert_eq!(farm.credited(), 1);
}

#[test]
fn the_finders_share_of_a_block_is_credited_whatever_jobs_came_meanwhile_and_counts_once() {
    let mut farm = mining(EASY_BITS);
    let first = farm.job();
    let (block, none) = (nonce(&farm, &first, true), nonce(&farm, &first, false));
    for prev in 2..=9 {
        next_block(&mut farm, prev, EASY_BITS);
        farm.pass(STALE_GRACE_MS);
    }
    farm.store(1, Some(farm.share(1, &first, block)));
    farm.store(1, Some(farm.share(1, &first, none)));
    farm.store(1, Some(farm.share(1, &first, block)));
    assert_eq!(farm.credited(), 1);
    assert_eq!(farm.refused(ShareRefusal::Stale), 1);
    assert_eq!(farm.refused(ShareRefusal::Duplicate), 1);
}

#[test]
fn a_previous_block_that_is_the_tip_again_makes_its_jobs_current_again() {
    let mut farm = mining(HARD_BITS);
    let first = farm.job();
    next_block(&mut farm, 2, HARD_BITS);
    farm.pass(STALE_GRACE_MS + 1);
    farm.store(1, Some(farm.share(1, &first, 1)));
    farm.pass(1);
    next_block(&mut farm, 1, HARD_BITS);
    farm.pass(1);
    farm.store(1, Some(farm.share(1, &first, 2)));
    assert_eq!(farm.credited(), 1);
    assert_eq!(farm.refused(ShareRefusal::Stale), 1);
}

#[test]
fn a_new_owner_judges_as_the_one_before_would_have() {
    let mut farm = mining(HARD_BITS);
    let first = farm.job();
    next_block(&mut farm, 2, HARD_BITS);
    farm.pass(STALE_GRACE_MS);
    farm.store(1, Some(farm.share(1, &first, 1)));
    farm.pass(1);
    farm.store(1, Some(farm.share(1, &first, 2)));
    farm.coordinator_ahead_ms = 3_600_000;
    farm.crash();
    farm.input(Input::Tick);
    farm.pass(LEDGER_INTERVAL_MS);
    assert_eq!(farm.credited(), 1);
    assert_eq!(farm.refused(ShareRefusal::Stale), 1);
}
