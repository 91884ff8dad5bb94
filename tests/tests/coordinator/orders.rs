//! Throttle orders outlive the stream's room, restarts of coordinators and a stream that is made anew.

use crate::Farm;
use bus_schemas::{
    command::ThrottleList,
    subject::{Subject, command, command_on},
    throttle::{KeptOrders, Throttle, ThrottleTarget, kept_key},
};
use nats_adapter::{Action, ensure, streams};
use system_tests::{
    coordinator::{COORDINATOR_DEADLINE, InProcess, every_hash_is_a_share, owned},
    wait,
};

impl Farm {
    async fn order(&self, source: &str, cap_percent: u8, ttl_seconds: u32) {
        let (reason, source) = (String::new(), source.to_owned());
        let order = Throttle { cap_percent, threads: None, ttl_seconds, reason, source };
        let subject = Subject::Throttle(ThrottleTarget::Farm);
        self.bus.publish_stored(subject, &order, None, nats_adapter::Expect::None).await.unwrap();
    }

    /// Waits until the sources of the kept orders and their caps are these.
    async fn kept(&self, wanted: &[(&str, u8)]) -> KeptOrders {
        wait::until(COORDINATOR_DEADLINE, format!("kept orders {wanted:?}"), async || {
            let key = kept_key(&ThrottleTarget::Farm);
            let kept = self.bus.kv(streams::IN_FORCE).get_as::<KeptOrders>(key).await.ok()??.value;
            let caps = kept.orders.iter().map(|k| (k.order.source.as_str(), k.order.cap_percent));
            caps.eq(wanted.iter().copied()).then_some(kept)
        })
        .await
        .unwrap()
    }

    async fn live(&self) -> Vec<(String, u8)> {
        let list = self.bus.request_bytes(&command("throttle", "list"), Default::default()).await.unwrap();
        let list: ThrottleList = bus_schemas::Message::decode(&list).unwrap();
        list.throttles.into_iter().map(|l| (l.order.source, l.order.cap_percent)).collect()
    }
}

#[tokio::test]
async fn an_order_that_was_given_once_is_kept_however_often_another_source_orders() {
    let mut farm = Farm::start(&every_hash_is_a_share()).await;
    let epoch = owned(&farm.bus, &farm.pool, 0).await.unwrap().epoch;
    farm.order("ops", 0, 3_600).await;
    farm.bus.publish_bytes(Subject::Throttle(ThrottleTarget::Farm), "oops".into()).await.unwrap();
    for _ in 0..300 {
        farm.order("lb", 80, 1_800).await;
    }
    farm.bus.publish_bytes(Subject::Throttle(ThrottleTarget::Farm), "[]".into()).await.unwrap();
    farm.kept(&[("lb", 80), ("ops", 0)]).await;
    farm.coordinator.take().unwrap().stop().await.unwrap();
    farm.coordinator = Some(InProcess::start(farm.server.url(), "c2", "").unwrap());
    owned(&farm.bus, &farm.pool, epoch).await.unwrap();
    assert_eq!(farm.live().await, [("lb".to_owned(), 80), ("ops".to_owned(), 0)]);
    farm.order("ops", 100, 1).await;
    farm.kept(&[("lb", 80), ("ops", 100)]).await;
}

#[tokio::test]
async fn orders_outlive_a_stream_that_is_made_anew() {
    let farm = Farm::start(&every_hash_is_a_share()).await;
    farm.order("ops", 0, 3_600).await;
    let before = farm.kept(&[("ops", 0)]).await;
    farm.bus.jetstream().delete_stream(streams::THROTTLE).await.unwrap();
    ensure(&farm.bus, 1, Action::Create).await.unwrap();
    farm.order("lb", 50, 600).await;
    let after = farm.kept(&[("lb", 50), ("ops", 0)]).await;
    assert_ne!(after.stream, before.stream);
}

#[tokio::test]
async fn what_another_coordinator_kept_is_learnt_and_what_it_did_not_hear_is_added() {
    let farm = Farm::start(&every_hash_is_a_share()).await;
    farm.order("ops", 0, 3_600).await;
    farm.order("lb", 50, 3_600).await;
    let both = farm.kept(&[("lb", 50), ("ops", 0)]).await;
    // It heard a lifting of which the stream holds nothing any more, and was cut off when the other source ordered.
    let mut lifted = both.clone();
    lifted.orders.retain(|kept| kept.order.source == "ops");
    lifted.orders[0].order.cap_percent = 100;
    lifted.orders[0].stored_at_ms.0 += 1;
    let bucket = farm.bus.kv(streams::IN_FORCE);
    bucket.put_as(kept_key(&ThrottleTarget::Farm), &lifted).await.unwrap();
    farm.kept(&[("lb", 50), ("ops", 100)]).await;
    assert_eq!(farm.live().await, [("lb".to_owned(), 50), ("ops".to_owned(), 100)]);
}

#[tokio::test]
async fn kept_orders_that_somebody_spoils_or_deletes_are_kept_again() {
    let farm = Farm::start(&every_hash_is_a_share()).await;
    farm.order("ops", 0, 3_600).await;
    let (bucket, key) = (farm.bus.kv(streams::IN_FORCE), kept_key(&ThrottleTarget::Farm));
    farm.kept(&[("ops", 0)]).await;
    bucket.put(&key, "oops".into()).await.unwrap();
    farm.kept(&[("ops", 0)]).await;
    bucket.delete(&key).await.unwrap();
    farm.kept(&[("ops", 0)]).await;
    farm.bus.jetstream().delete_key_value(streams::IN_FORCE).await.unwrap();
    ensure(&farm.bus, 1, Action::Create).await.unwrap();
    farm.kept(&[("ops", 0)]).await;
}

#[tokio::test]
async fn the_stream_holds_an_order_by_command_longer_than_it_lives_for_whoever_is_cut_off_now() {
    let farm = Farm::start(&every_hash_is_a_share()).await;
    let put = r#"{"cap_percent":100,"ttl_seconds":1,"source":"ops"}"#;
    farm.bus.request_bytes(&command_on("throttle", "put", "farm"), put.into()).await.unwrap();
    let ended = async || farm.live().await.is_empty().then_some(());
    wait::until(COORDINATOR_DEADLINE, "the end of the order", ended).await.unwrap();
    let subject = Subject::Throttle(ThrottleTarget::Farm);
    let held = farm.bus.last::<Throttle>(streams::THROTTLE, subject).await.unwrap().unwrap();
    assert_eq!(held.message.cap_percent, 100);
}
