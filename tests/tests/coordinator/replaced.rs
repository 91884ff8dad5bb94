//! Streams and buckets that are lost, made anew or restored under a running farm: nothing is lost, nothing counts twice,
//! and the pool goes on within seconds.

use crate::Farm;
use bus_schemas::event::EventData;
use nats_adapter::streams;
use std::path::PathBuf;
use system_tests::{
    coordinator::{COORDINATOR_DEADLINE, InProcess, credited, every_hash_is_a_share, job},
    hand_worker::HandWorker,
    wait,
};

/// Sends a share again and again, as a worker does that gets no acknowledgement, until `wanted` are credited.
async fn earns(farm: &Farm, worker: &HandWorker, nonce: u32, wanted: u64) {
    farm.earns(worker, nonce, wanted).await;
}

#[tokio::test]
async fn each_stream_that_is_deleted_under_a_running_farm_is_made_again_and_the_pool_goes_on() {
    // The configuration has its own tests; events and dead letters hold nothing that the pool needs.
    let all = [
        streams::JOB,
        streams::SHARE,
        streams::FOUND,
        streams::BLOCK,
        streams::TEMPLATE,
        streams::CHAIN,
        streams::EVENT,
        streams::THROTTLE,
        streams::DEAD,
        streams::KV_STATUS,
        streams::KV_MEMBERS,
    ];
    let mut farm = Farm::start(&every_hash_is_a_share()).await;
    let worker = farm.worker("w1").await;
    earns(&farm, &worker, 0, 1).await;
    for (nonce, stream) in (1_u32..).zip(all) {
        farm.bus.jetstream().delete_stream(stream).await.unwrap();
        let made = |e: &EventData| matches!(e, EventData::StreamMade { stream: made } if made == stream);
        farm.event(stream, made).await;
        earns(&farm, &worker, nonce, u64::from(nonce) + 1).await;
    }
}

#[tokio::test]
async fn members_outlive_their_bucket_also_over_a_takeover() {
    let mut farm = Farm::start(&every_hash_is_a_share()).await;
    let worker = farm.worker("w1").await;
    earns(&farm, &worker, 0, 1).await;
    farm.bus.jetstream().delete_stream(streams::KV_MEMBERS).await.unwrap();
    let kept = wait::until(COORDINATOR_DEADLINE, "the record again", async || {
        farm.bus.kv(streams::MEMBERS).get("main.w1").await.ok()?
    });
    kept.await.unwrap();
    let epoch = job(&farm.bus, &farm.pool).await.unwrap().epoch;
    farm.coordinator.take().unwrap().stop().await.unwrap();
    farm.coordinator = Some(InProcess::start(farm.server.url(), "c2", "").unwrap());
    farm.goes_on(epoch).await;
    earns(&farm, &worker, 1, 2).await;
}

#[tokio::test]
async fn shares_in_a_stream_that_was_made_anew_are_credited_each_once() {
    let mut farm = Farm::start(&every_hash_is_a_share()).await;
    let worker = farm.worker("w1").await;
    let job = job(&farm.bus, &farm.pool).await.unwrap();
    for nonce in 0..20 {
        worker.send(&worker.share(&job, nonce).unwrap()).await.unwrap();
    }
    farm.credited(20).await;
    farm.bus.jetstream().delete_stream(streams::SHARE).await.unwrap();
    // At once, and with fewer messages than are accounted, then with more.
    nats_adapter::ensure(&farm.bus, 1, nats_adapter::Action::Create).await.unwrap();
    for nonce in 20..23 {
        worker.send(&worker.share(&job, nonce).unwrap()).await.unwrap();
    }
    let replaced =
        |e: &EventData| matches!(e, EventData::StreamReplaced { known_to: 20, goes_on_after: 0, .. });
    farm.event("the replaced stream", replaced).await;
    farm.credited(23).await;
    for nonce in 23..60 {
        worker.send(&worker.share(&job, nonce).unwrap()).await.unwrap();
    }
    farm.credited(60).await;
}

#[tokio::test]
async fn an_old_backup_of_the_shares_credits_nothing_twice_and_loses_nothing_that_comes() {
    let mut farm = Farm::start(&every_hash_is_a_share()).await;
    let worker = farm.worker("w1").await;
    let job = job(&farm.bus, &farm.pool).await.unwrap();
    for nonce in 0..10 {
        worker.send(&worker.share(&job, nonce).unwrap()).await.unwrap();
    }
    farm.credited(10).await;
    let backup = tempfile::tempdir().unwrap();
    let folder: PathBuf = backup.path().join("shares");
    farm.nats(&["stream", "backup", streams::SHARE, folder.to_str().unwrap()]);
    for nonce in 10..30 {
        worker.send(&worker.share(&job, nonce).unwrap()).await.unwrap();
    }
    farm.credited(30).await;
    farm.nats(&["stream", "rm", streams::SHARE, "-f"]);
    farm.nats(&["stream", "restore", folder.to_str().unwrap()]);
    // Sequences 11 and later are used a second time, and soon reach beyond what is accounted.
    for nonce in 30..70 {
        worker.send(&worker.share(&job, nonce).unwrap()).await.unwrap();
    }
    let replaced =
        |e: &EventData| matches!(e, EventData::StreamReplaced { known_to: 30, goes_on_after: 10, .. });
    farm.event("the restored stream", replaced).await;
    farm.credited(70).await;
}

#[tokio::test]
async fn an_old_backup_of_any_stream_does_not_stop_the_pool() {
    let all = [
        streams::JOB,
        streams::FOUND,
        streams::BLOCK,
        streams::TEMPLATE,
        streams::CHAIN,
        streams::EVENT,
        streams::THROTTLE,
        streams::KV_STATUS,
        streams::KV_MEMBERS,
        streams::KV_LEASES,
        streams::LEDGER,
    ];
    let farm = Farm::start(&every_hash_is_a_share()).await;
    let worker = farm.worker("w1").await;
    earns(&farm, &worker, 0, 1).await;
    let backup = tempfile::tempdir().unwrap();
    let folder = |stream: &str| backup.path().join(stream).to_str().unwrap().to_owned();
    for stream in all {
        farm.nats(&["stream", "backup", stream, &folder(stream)]);
    }
    earns(&farm, &worker, 1, 2).await;
    let mut wanted = 2;
    for (nonce, stream) in (2_u32..).zip(all) {
        farm.nats(&["stream", "rm", stream, "-f"]);
        farm.nats(&["stream", "restore", &folder(stream)]);
        if stream == streams::LEDGER {
            // What the ledger lost is accounted again from the stream of shares: no more and no less.
            wanted = credited(&farm.bus, &farm.pool).await.unwrap_or(0).max(wanted);
        }
        wanted += 1;
        earns(&farm, &worker, nonce, wanted).await;
    }
}
