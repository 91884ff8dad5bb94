//! Coordinators are replaceable: one is gone at any moment, another goes on, and every share counts once.

use crate::Farm;
use bus_schemas::event::EventData;
use system_tests::coordinator::{InProcess, every_hash_is_a_share, job, owned};

#[tokio::test]
async fn another_coordinator_takes_over_under_a_higher_epoch_and_judges_the_old_jobs_shares() {
    let mut farm = Farm::start(&every_hash_is_a_share()).await;
    let worker = farm.worker("w1").await;
    let first = job(&farm.bus, &farm.pool).await.unwrap();
    worker.send(&worker.share(&first, 1).unwrap()).await.unwrap();
    farm.credited(1).await;
    let _second = InProcess::start(farm.server.url(), "c2", "").unwrap();
    drop(farm.coordinator.take());
    // Nobody owns the pool now; the share waits in the stream.
    worker.send(&worker.share(&first, 2).unwrap()).await.unwrap();
    let status = owned(&farm.bus, &farm.pool, first.epoch).await.unwrap();
    assert_eq!(status.owner.as_str(), "c2");
    assert_eq!(status.active, 1, "the worker keeps its place");
    // Again the first one and another of the old job.
    worker.send(&worker.share(&first, 1).unwrap()).await.unwrap();
    worker.send(&worker.share(&first, 3).unwrap()).await.unwrap();
    farm.credited(3).await;
    farm.event("the new owner", |e| matches!(e, EventData::PoolOwned { epoch, .. } if *epoch > first.epoch))
        .await;
}

#[tokio::test]
async fn a_coordinator_that_ends_in_order_hands_over_at_once() {
    let mut farm = Farm::start(&every_hash_is_a_share()).await;
    let first = job(&farm.bus, &farm.pool).await.unwrap();
    let second = InProcess::start(farm.server.url(), "c2", "").unwrap();
    farm.coordinator.take().unwrap().stop().await.unwrap();
    farm.event("the good-bye", |e| matches!(e, EventData::PoolDisowned { .. })).await;
    owned(&farm.bus, &farm.pool, first.epoch).await.unwrap();
    second.stop().await.unwrap();
}

#[tokio::test]
async fn every_share_counts_once_however_often_the_coordinator_dies_in_the_middle() {
    const KILLS: u32 = 4;
    const SHARES_BETWEEN: u32 = 2_000;
    let mut farm = Farm::start(&every_hash_is_a_share()).await;
    let worker = farm.worker("w1").await;
    let mut epoch = 0;
    for round in 0..KILLS {
        epoch = owned(&farm.bus, &farm.pool, epoch).await.unwrap().epoch;
        let job = job(&farm.bus, &farm.pool).await.unwrap();
        let mut acks = Vec::new();
        for nonce in 0..SHARES_BETWEEN {
            let nonce = round * SHARES_BETWEEN + nonce;
            acks.push(worker.begin(&worker.share(&job, nonce).unwrap()).await.unwrap());
            if nonce % SHARES_BETWEEN == SHARES_BETWEEN / 2 {
                // Killed while shares are under way, some judged, some in a ledger record that is being written.
                drop(farm.coordinator.take());
            }
        }
        for ack in acks {
            ack.stored().await.unwrap();
        }
        farm.coordinator = Some(InProcess::start(farm.server.url(), &format!("c{round}"), "").unwrap());
    }
    farm.credited(u64::from(KILLS * SHARES_BETWEEN)).await;
}

#[tokio::test]
async fn a_server_that_restarts_loses_no_share_and_no_ownership_for_long() {
    let mut farm = Farm::start(&every_hash_is_a_share()).await;
    let worker = farm.worker("w1").await;
    let first = job(&farm.bus, &farm.pool).await.unwrap();
    worker.send(&worker.share(&first, 1).unwrap()).await.unwrap();
    farm.credited(1).await;
    farm.server.kill9().unwrap();
    farm.server.start_again().await.unwrap();
    let share = worker.share(&first, 2).unwrap();
    system_tests::wait::until(system_tests::coordinator::COORDINATOR_DEADLINE, "the bus again", async || {
        worker.send(&share).await.ok()
    })
    .await
    .unwrap();
    farm.credited(2).await;
}
