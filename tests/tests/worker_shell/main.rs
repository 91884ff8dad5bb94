//! The worker against a real server and a coordinator that the test plays by hand.
#![allow(clippy::unwrap_used, clippy::panic, reason = "the functions beside the tests are tests too")]

mod certified;
mod hybrid;
mod orders;
mod stage;

use bus_schemas::{
    ShareBits, Target, config::ConfigKey, config::InForce, config::NodeConfig, config::PoolConfig,
    job::WorkUnit, member::Member, member::Role, set_point::Reason, share::Share, subject::Subject,
    subject::filter,
};
use nats_adapter::streams;
use stage::*;
use std::collections::BTreeSet;
use system_tests::wait;

#[tokio::test]
async fn a_worker_joins_and_its_shares_verify_with_both_algorithms() {
    for (algorithm, bits) in [("sha256d", 16), ("scrypt-1024-1-1", 6)] {
        let (stage, worker) = Stage::mining(bits, algorithm).await;
        let shares = stage.stored_at_least(20).await;
        let (job, member) = (job(1, 1, algorithm), stage.member.clone().unwrap());
        shares.iter().for_each(|share| assert_valid(share, &job, &member));
        let different: BTreeSet<_> = shares.iter().map(Share::message_id).collect();
        assert_eq!(different.len(), shares.len());
        assert_eq!(worker.ready().await, (200, "ready\n".to_owned()));
        worker.end().await;
    }
}

#[tokio::test]
async fn a_worker_without_a_pool_or_a_place_says_what_it_waits_for() {
    let mut stage = Stage::start(16).await;
    let worker = stage.worker().await;
    worker.until("dcmf_worker_connected", |connected| connected == 1).await;
    assert_eq!(worker.ready().await, (503, "not ready: no configuration of the pool\n".to_owned()));
    stage.put_pool(one_thread()).await;
    worker.until("dcmf_worker_pool_config_revision", |revision| revision == 1).await;
    assert_eq!(worker.ready().await, (503, "not ready: no role in the pool\n".to_owned()));
    stage.admit(Role::Active).await;
    worker.until("dcmf_worker_ready", |ready| ready == 1).await;
    worker.end().await;
}

#[tokio::test]
async fn no_share_is_lost_or_doubled_when_the_server_is_killed_and_comes_back() {
    let (mut stage, worker) = Stage::mining(17, "sha256d").await;
    stage.stored_at_least(5).await;
    stage.server.kill9().unwrap();
    worker.until("dcmf_worker_outbox_shares", |waiting| waiting >= 20).await;
    stage.server.start_again().await.unwrap();
    worker.until("dcmf_worker_reconnects_total", |times| times == 1).await;
    let mut link = stage.bus.link();
    soon("our own connection", link.wait_for(|link| link.connects > 1)).await.unwrap();
    stage.put_pool(PoolConfig { paused: true, ..one_thread() }).await;
    stage
        .heartbeat("an empty outbox", |h| !h.set_point.enabled() && h.job.is_none() && h.outbox_len == 0)
        .await;
    worker.until("dcmf_worker_search_threads", |threads| threads == 0).await;
    worker.until("dcmf_worker_outbox_shares", |waiting| waiting == 0).await;
    let found = worker.metric("dcmf_worker_shares_found_total").await;
    let stored: Vec<_> = stage.stored().await.iter().map(Share::message_id).collect();
    assert_eq!(stored.len() as u64, found);
    assert_eq!(stored.iter().collect::<BTreeSet<_>>().len(), stored.len());
    assert_eq!(worker.metric("dcmf_worker_shares_published_total{lane=\"share\"}").await, found);
    worker.end().await;
}

#[tokio::test]
async fn a_new_job_replaces_the_old_one_and_the_time_to_stop_is_measured() {
    const JOBS: u64 = 40;
    let (mut stage, worker) = Stage::mining(16, "sha256d").await;
    stage.heartbeat("the first job", |h| h.job.is_some()).await;
    for sequence in 2..=JOBS {
        let job = job(sequence, 1, "sha256d");
        stage.publish_job(&job).await;
        stage.heartbeat("the new job", |h| h.job.as_ref() == Some(&job.id)).await;
    }
    let stops = "dcmf_worker_search_stop_seconds";
    worker.until(&format!("{stops}_count"), |count| count >= JOBS - 1).await;
    let within = worker.metric(&format!("{stops}_bucket{{le=\"0.01\"}}")).await;
    let all = worker.metric(&format!("{stops}_count")).await;
    println!("{within} of {all} searches of an old job ended within 10 ms of the order to stop");
    let last = stage.stored().await.len();
    let newest = job(JOBS, 1, "sha256d").id;
    let later = stage.stored_at_least(last + 5).await;
    assert!(later.iter().skip(last + 1).all(|share| share.job == newest));
    worker.end().await;
}

#[tokio::test]
async fn a_paused_worker_stops_and_goes_on_at_its_place() {
    let (mut stage, worker) = Stage::mining(14, "sha256d").await;
    stage.stored_at_least(10).await;
    for _ in 0..2 {
        stage.put_pool(PoolConfig { paused: true, ..one_thread() }).await;
        stage.heartbeat("the pause", |h| h.set_point.reason == Reason::PoolPaused).await;
        worker.until("dcmf_worker_search_threads", |threads| threads == 0).await;
        worker.until("dcmf_worker_outbox_shares", |waiting| waiting == 0).await;
        let (before, hashes) = (stage.stored().await.len(), worker.metric("dcmf_worker_hashes_total").await);
        stage.heartbeat("another sign of life", |h| h.hashes_total == hashes).await;
        assert_eq!(stage.stored().await.len(), before);
        stage.put_pool(one_thread()).await;
        stage.stored_at_least(before + 10).await;
    }
    let nonces: Vec<_> =
        stage.stored().await.iter().map(header_finding).map(|f| (f.version, f.nonce)).collect();
    assert!(nonces.is_sorted() && nonces.windows(2).all(|w| w[0] != w[1]), "{nonces:?}");
    worker.end().await;
}

#[tokio::test]
async fn threads_change_while_the_worker_runs_and_a_backup_does_not_search() {
    let (mut stage, worker) = Stage::mining(18, "sha256d").await;
    stage.heartbeat("one thread", |h| h.set_point.threads == 1).await;
    let node = NodeConfig { threads: Some(9), ..NodeConfig::default() };
    let node = InForce { revision: 1, config: node };
    stage.bus.kv(streams::IN_FORCE).put_as(ConfigKey::Node(name()), &node).await.unwrap();
    let limited = stage.heartbeat("the host's limit", |h| h.set_point.threads == 2).await;
    assert_eq!(limited.set_point.reason, Reason::LocalLimit);
    worker.until("dcmf_worker_search_threads", |threads| threads == 2).await;

    let backup = Member { role: Role::Backup, generation: 2, ..stage.member.clone().unwrap() };
    stage.put_member(backup).await;
    stage.heartbeat("the backup", |h| h.set_point.reason == Reason::Backup && h.generation == 2).await;
    worker.until("dcmf_worker_search_threads", |threads| threads == 0).await;
    let hashes = worker.metric("dcmf_worker_hashes_total").await;
    for _ in 0..3 {
        assert_eq!(stage.heartbeat("a backup's sign of life", |_| true).await.hashes_total, hashes);
    }
    worker.end().await;
}

#[tokio::test]
async fn bad_orders_are_refused_and_counted_and_mining_goes_on() {
    let (mut stage, worker) = Stage::mining(16, "sha256d").await;
    stage.stored_at_least(1).await;
    let mut forged = job(7, 9, "sha256d");
    forged.height += 1;
    forged.slot_bits = 3;
    stage.publish_job(&forged).await;
    stage.publish_job(&job(8, 9, "x11")).await;
    stage.bus.publish_bytes(Subject::Job(pool()), "rubbish".into()).await.unwrap();
    stage.put_member(Member { epoch: 0, ..stage.member.clone().unwrap() }).await;
    let config = stage.bus.kv(streams::IN_FORCE);
    let out_of_range = r#"{"revision":2,"config":{"slot_bits":99}}"#;
    config.put(ConfigKey::Pool(pool()), out_of_range.into()).await.unwrap();
    config.put(ConfigKey::Pool(pool()), "{".into()).await.unwrap();
    for reason in ["job-invalid", "algorithm-not-offered", "role-outdated"] {
        let series = format!("dcmf_worker_orders_refused_total{{reason=\"{reason}\"}}");
        worker.until(&series, |count| count == 1).await;
    }
    worker.until("dcmf_worker_orders_refused_total{reason=\"config-invalid\"}", |count| count == 2).await;
    worker.until("dcmf_worker_undecodable_total", |count| count == 1).await;
    stage.heartbeat("the job as before", |h| h.job == Some(job(1, 1, "sha256d").id)).await;
    let so_far = stage.stored().await.len();
    stage.stored_at_least(so_far + 3).await;
    worker.end().await;
}

#[tokio::test]
async fn a_worker_that_is_asked_to_end_sends_what_it_found_and_says_good_bye() {
    let (mut stage, worker) = Stage::mining(14, "sha256d").await;
    let stored = stage.stored_at_least(3).await;
    worker.end().await;
    let leave = soon("the good-bye", stage.leaves.next()).await.unwrap().unwrap();
    assert_eq!(leave.subject, Subject::Leave(pool(), name()));
    assert_eq!(leave.message.session, stage.member.clone().unwrap().session);
    assert!(stage.stored().await.len() >= stored.len());
}

#[tokio::test]
async fn a_block_is_on_the_lane_of_blocks_as_well() {
    let mut stage = Stage::start(16).await;
    stage.put_pool(one_thread()).await;
    let mut job = job(1, 1, "sha256d");
    let WorkUnit::Header(work) = &mut job.work else { panic!("a header") };
    work.bits = Target::from_share_bits(ShareBits::new(18)).to_compact();
    job.network_target = Target::from_compact(work.bits).unwrap();
    job.id = job.derive_id().unwrap();
    stage.publish_job(&job).await;
    let worker = stage.worker().await;
    stage.admit(Role::Active).await;
    let found = async || {
        let all = stage.bus.read_all(streams::FOUND, filter::found(&pool())).await.unwrap();
        Some(all).filter(|all| !all.is_empty())
    };
    let found = wait::until(SOON, "a block candidate", found).await.unwrap();
    let block = found[0].decode::<Share>().unwrap().message;
    assert_valid(&block, &job, &stage.member.clone().unwrap());
    let as_share = async || stage.stored().await.contains(&block).then_some(());
    wait::until(SOON, "the block among the shares", as_share).await.unwrap();
    worker.end().await;
}
