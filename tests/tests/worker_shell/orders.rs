//! Throttle orders that were given before a worker starts.

use crate::stage::{Stage, one_thread};
use bus_schemas::{
    TimestampMs,
    set_point::Reason,
    subject::Subject,
    throttle::{KeptOrder, KeptOrders, Throttle, ThrottleTarget, kept_key},
};
use nats_adapter::{Expect, streams};

fn order(cap_percent: u8, ttl_seconds: u32, source: &str) -> Throttle {
    Throttle { cap_percent, threads: None, ttl_seconds, reason: String::new(), source: source.to_owned() }
}

async fn publish(stage: &Stage, order: &Throttle) {
    let subject = Subject::Throttle(ThrottleTarget::Farm);
    stage.bus.publish_stored(subject, order, None, Expect::None).await.unwrap();
}

#[tokio::test]
async fn every_source_binds_a_worker_that_starts_while_no_coordinator_is_there() {
    let (mut stage, worker) = Stage::mining(40, "sha256d").await;
    stage.heartbeat("mining", |h| h.set_point.enabled()).await;
    worker.end().await;
    publish(&stage, &order(0, 3_600, "ops")).await;
    publish(&stage, &order(80, 1_800, "backup")).await;
    stage.bus.publish_bytes(Subject::Throttle(ThrottleTarget::Farm), "oops".into()).await.unwrap();
    stage.put_pool(one_thread()).await;
    let worker = stage.worker().await;
    stage.admit(bus_schemas::member::Role::Active).await;
    stage.heartbeat("the stop", |h| h.set_point.reason == Reason::Throttle && h.set_point.threads == 0).await;
    worker.end().await;
}

#[tokio::test]
async fn what_was_kept_binds_although_the_stream_lost_it_and_a_lifting_that_was_kept_lifts() {
    let mut stage = Stage::start(40).await;
    let now = stage.bus.stream_moment(streams::THROTTLE).await.unwrap().now;
    let kept = |order: Throttle, age_s: u64, keep_s: u64| {
        let stored_at_ms = TimestampMs(now.0 - age_s * 1_000);
        KeptOrder { order, stored_at_ms, keep_until_ms: stored_at_ms.plus_ms(keep_s * 1_000) }
    };
    // Of the source `ops` the stream still holds the stop that was lifted since.
    publish(&stage, &order(0, 3_600, "ops")).await;
    let lifted = KeptOrder {
        stored_at_ms: now.plus_ms(60_000),
        keep_until_ms: now.plus_ms(3_600_000),
        order: order(100, 1, "ops"),
    };
    let orders = vec![kept(order(50, 600, "lb"), 30, 600), lifted];
    let moment = stage.bus.stream_moment(streams::THROTTLE).await.unwrap();
    let kept = KeptOrders { stream: moment.created, sequence: moment.last, orders };
    stage.bus.kv(streams::IN_FORCE).put_as(kept_key(&ThrottleTarget::Farm), &kept).await.unwrap();
    stage.put_pool(one_thread()).await;
    stage.publish_job(&crate::stage::job(1, 1, "sha256d")).await;
    let worker = stage.worker().await;
    stage.admit(bus_schemas::member::Role::Active).await;
    let limited = stage.heartbeat("the cap", |h| h.set_point.reason == Reason::Throttle).await;
    assert_eq!((limited.set_point.threads, limited.set_point.cap_percent), (1, 50));
    worker.end().await;
}
