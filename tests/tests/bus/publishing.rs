//! What a publisher is told.

use crate::{Farm, SOON, pool, share, shares, soon};
use bus_schemas::{WorkerId, subject::Subject};
use nats_adapter::{Expect, MAX_ACKS_IN_FLIGHT, PublishError, Stored, streams};
use std::time::Instant;

#[tokio::test]
async fn a_message_with_a_known_id_is_stored_once() {
    let farm = Farm::start().await;
    let (share, id) = (share(1), share(1).message_id());
    let publish = async || farm.bus.publish_stored(shares(), &share, Some(&id), Expect::None).await.unwrap();
    assert_eq!(publish().await, Stored { sequence: 1, duplicate: false });
    assert_eq!(publish().await, Stored { sequence: 1, duplicate: true });
    assert_eq!(farm.bus.stream_bounds(streams::SHARE).await.unwrap().messages, 1);
}

#[tokio::test]
async fn of_two_writers_that_expect_the_same_sequence_one_is_refused() {
    let farm = Farm::start().await;
    let other = crate::connect(&farm.server).await;
    let at = Expect::LastSubjectSequence;
    let first = farm.bus.publish_stored(shares(), &share(1), None, at(0)).await.unwrap();
    let late = other.publish_stored(shares(), &share(2), None, at(0)).await.unwrap_err();
    assert!(matches!(late, PublishError::WrongLastSequence { .. }), "{late}");
    other.publish_stored(shares(), &share(2), None, at(first.sequence)).await.unwrap();
}

#[tokio::test]
async fn thousands_of_messages_are_under_way_at_once_and_keep_their_order() {
    let farm = Farm::start().await;
    let mut pending = Vec::new();
    for number in 0..u32::try_from(MAX_ACKS_IN_FLIGHT).unwrap() {
        pending.push(farm.bus.publish_pipelined(shares(), &share(number), None, Expect::None).await.unwrap());
    }
    let beyond = farm.bus.publish_pipelined(shares(), &share(0), None, Expect::None).await.unwrap_err();
    assert!(matches!(beyond, PublishError::Busy { .. }), "{beyond}");
    for (number, ack) in pending.into_iter().enumerate() {
        assert_eq!(ack.stored().await.unwrap().sequence, number as u64 + 1);
    }
}

#[tokio::test]
async fn publishing_without_a_server_fails_in_bounded_time_and_works_again_with_one() {
    let mut farm = Farm::start().await;
    let under_way = farm.bus.publish_pipelined(shares(), &share(1), None, Expect::None).await.unwrap();
    farm.server.kill9().unwrap();
    let begin = Instant::now();
    // The acknowledgement may have been faster than the kill.
    if let Err(error) = under_way.stored().await {
        assert!(matches!(error, PublishError::Timeout { .. }), "{error}");
    }
    let error = farm.bus.publish_stored(shares(), &share(2), None, Expect::None).await.unwrap_err();
    assert!(matches!(error, PublishError::Disconnected { .. } | PublishError::Timeout { .. }), "{error}");
    let mut link = farm.bus.link();
    soon("the loss to be noticed", link.wait_for(|l| l.state == nats_adapter::LinkState::Disconnected))
        .await
        .unwrap();
    let error = farm.bus.publish(shares(), &share(2)).await.unwrap_err();
    assert!(matches!(error, PublishError::Disconnected { .. }), "{error}");
    assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());

    farm.server.start_again().await.unwrap();
    soon("the connection", link.wait_for(|l| l.connects == 2)).await.unwrap();
    farm.bus.publish_stored(shares(), &share(3), None, Expect::None).await.unwrap();
}

#[tokio::test]
async fn a_subject_without_a_stream_is_told() {
    let farm = Farm::start().await;
    let heartbeat = Subject::Heartbeat(pool(), WorkerId::new("w1").unwrap());
    let error = farm.bus.publish_stored(&heartbeat, &share(1), None, Expect::None).await.unwrap_err();
    assert_eq!(error, PublishError::NoStream { subject: heartbeat.to_string() });
}

#[tokio::test]
async fn a_full_ledger_refuses_instead_of_forgetting() {
    let farm = Farm::start().await;
    let mut config =
        farm.bus.jetstream().get_stream(streams::LEDGER).await.unwrap().cached_info().config.clone();
    config.max_bytes = 4_096;
    farm.bus.jetstream().update_stream(&config).await.unwrap();
    let subject = Subject::Ledger(pool());

    let store = async || {
        farm.bus
            .publish_bytes_stored(
                &subject,
                vec![0; 3_000].into(),
                nats_adapter::HeaderMap::new(),
                Expect::None,
            )
            .await
    };
    store().await.unwrap();
    let error = store().await.unwrap_err();
    assert!(matches!(error, PublishError::Refused { .. }), "{error}");
    assert_eq!(farm.bus.stream_bounds(streams::LEDGER).await.unwrap().messages, 1);
}

#[tokio::test]
async fn a_message_above_the_servers_limit_is_refused_before_it_is_sent() {
    let farm = Farm::start().await;
    let payload = vec![0; 9 * 1024 * 1024].into();
    let error = farm.bus.publish_bytes(shares(), payload).await.unwrap_err();
    assert_eq!(error, PublishError::TooLarge { subject: shares().to_string() });
}
