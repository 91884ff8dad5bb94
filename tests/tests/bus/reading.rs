//! Replays, watches and consumers, over restarts of the server.

use crate::{Farm, pool, share, shares, soon};
use bus_schemas::{
    Blob, JobId, Message, WorkerId,
    blob::MAX_BLOB_LEN,
    block::TemplateRecord,
    config::{ConfigKey, InForce, PoolConfig},
    examples,
    share::Share,
    subject::{Subject, dead_letter, filter},
};
use nats_adapter::{
    Bus, ConsumeOptions, Delivered, Exhausted, Expect, HeaderMap, KvError, MAX_DELIVERIES, PublishError,
    Replay, ReplayError, WatchEvent, header, streams,
};
use std::time::Duration;

async fn publish(bus: &Bus, numbers: std::ops::Range<u32>) {
    for number in numbers {
        bus.publish_stored(shares(), &share(number), None, Expect::None).await.unwrap();
    }
}

async fn read(replay: &mut Replay, count: usize) -> Vec<Delivered> {
    let mut all = Vec::new();
    while all.len() < count {
        all.extend(soon("a share", replay.next_batch(count - all.len())).await.unwrap());
    }
    all
}

fn numbers(delivered: &[Delivered]) -> Vec<(u64, Share)> {
    let entry = |d: &Delivered| d.decode::<Share>().unwrap();
    delivered.iter().map(entry).map(|entry| (entry.sequence, entry.message)).collect()
}

#[tokio::test]
async fn readers_that_follow_one_another_leave_no_consumer_behind() {
    let farm = Farm::start().await;
    publish(&farm.bus, 0..3).await;
    // More than the stream has room for at a time.
    for _ in 0..300 {
        assert_eq!(farm.bus.read_all(streams::SHARE, filter::shares(&pool())).await.unwrap().len(), 3);
    }
    let client = async_nats::connect(farm.server.url()).await.unwrap();
    let mut stream = async_nats::jetstream::new(client).get_stream(streams::SHARE).await.unwrap();
    let none = async || (stream.info().await.ok()?.state.consumer_count == 0).then_some(());
    system_tests::wait::until(crate::SOON, "the last consumer to be gone", none).await.unwrap();
}

#[tokio::test]
async fn a_replay_gives_each_message_once_and_in_order_over_a_kill_of_the_server() {
    let mut farm = Farm::start().await;
    publish(&farm.bus, 0..100).await;
    let mut replay = farm.bus.replay(streams::SHARE, filter::shares(&pool()), 1).await.unwrap();
    let mut all = read(&mut replay, 100).await;
    assert!(replay.is_caught_up());
    farm.kill_and_restart().await;
    publish(&farm.bus, 100..200).await;
    all.extend(read(&mut replay, 100).await);
    farm.kill_and_restart().await;
    publish(&farm.bus, 200..300).await;
    all.extend(read(&mut replay, 100).await);
    let expected: Vec<_> = (0..300).map(|n| (u64::from(n) + 1, share(n))).collect();
    assert_eq!(numbers(&all), expected);
    assert!(farm.bus.counters().reopened >= 2);
}

#[tokio::test]
async fn a_replay_begins_where_it_is_told_and_skips_other_pools() {
    let farm = Farm::start().await;
    publish(&farm.bus, 0..10).await;
    let other = Subject::Share(bus_schemas::PoolId::new("other").unwrap(), WorkerId::new("w2").unwrap());
    farm.bus.publish_stored(&other, &share(10), None, Expect::None).await.unwrap();
    publish(&farm.bus, 11..12).await;
    let mut replay = farm.bus.replay(streams::SHARE, filter::shares(&pool()), 8).await.unwrap();
    let sequences: Vec<_> = read(&mut replay, 4).await.iter().map(|d| d.sequence).collect();
    assert_eq!(sequences, [8, 9, 10, 12]);
}

#[tokio::test]
async fn a_replay_that_is_dropped_in_a_select_loses_nothing() {
    let farm = Farm::start().await;
    publish(&farm.bus, 0..200).await;
    let mut replay = farm.bus.replay(streams::SHARE, filter::shares(&pool()), 1).await.unwrap();
    let mut all = Vec::new();
    while all.len() < 200 {
        tokio::select! {
            biased;
            batch = replay.next_batch(3) => all.extend(batch.unwrap()),
            () = tokio::task::yield_now() => {}
        }
    }
    assert_eq!(numbers(&all), (0..200).map(|n| (u64::from(n) + 1, share(n))).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_replay_of_a_stream_that_was_made_anew_says_so() {
    let farm = Farm::start().await;
    publish(&farm.bus, 0..10).await;
    let mut replay = farm.bus.replay(streams::SHARE, filter::shares(&pool()), 1).await.unwrap();
    read(&mut replay, 10).await;
    farm.bus.jetstream().delete_stream(streams::SHARE).await.unwrap();
    nats_adapter::ensure(&farm.bus, 1, nats_adapter::Action::Create).await.unwrap();
    publish(&farm.bus, 0..20).await;
    let error = soon("the end", replay.next_batch(1)).await.unwrap_err();
    assert!(matches!(error, ReplayError::Rewound { wanted: 11, .. }), "{error}");
    let ahead = farm.bus.replay(streams::SHARE, filter::shares(&pool()), 22).await.unwrap_err();
    assert!(matches!(ahead, ReplayError::Rewound { wanted: 22, last: 20, .. }), "{ahead}");
    let missing = farm.bus.replay("NONE", filter::shares(&pool()), 1).await.unwrap_err();
    assert_eq!(missing, ReplayError::NoStream("NONE".to_owned()));
}

#[tokio::test]
async fn everything_that_is_there_is_read_to_the_end_and_nothing_is_nothing() {
    let farm = Farm::start().await;
    let all = async || farm.bus.read_all(streams::SHARE, filter::shares(&pool())).await.unwrap();
    assert!(soon("the end", all()).await.is_empty());
    publish(&farm.bus, 0..2_500).await;
    assert_eq!(soon("the end", all()).await.len(), 2_500);
    let last = farm.bus.last::<Share>(streams::SHARE, shares()).await.unwrap().unwrap();
    assert_eq!((last.sequence, last.message, last.subject), (2_500, share(2_499), shares()));
    assert_eq!(
        farm.bus.last_direct::<Share>(streams::SHARE, shares()).await.unwrap().unwrap().sequence,
        2_500
    );
    let none = Subject::Share(pool(), WorkerId::new("nobody").unwrap());
    assert_eq!(farm.bus.last::<Share>(streams::SHARE, &none).await.unwrap(), None);
    assert_eq!(farm.bus.last_direct::<Share>(streams::SHARE, &none).await.unwrap(), None);
}

#[tokio::test]
async fn the_largest_messages_pass_through_a_stream() {
    let farm = Farm::start().await;
    let mut template =
        TemplateRecord { assembly: Blob(vec![7; MAX_BLOB_LEN]), job: JobId::new("0").unwrap(), source: None };
    for number in 0..6 {
        template.job = JobId::new(number.to_string()).unwrap();
        let subject = Subject::Template(pool(), template.job.clone());
        farm.bus.publish_stored(subject, &template, None, Expect::None).await.unwrap();
    }
    let all = farm.bus.read_all(streams::TEMPLATE, ">").await.unwrap();
    assert_eq!(all.len(), 6);
    let read = |d: &Delivered| d.decode::<TemplateRecord>().unwrap().message.assembly == template.assembly;
    assert!(all.iter().all(read));
}

#[tokio::test]
async fn a_watch_goes_on_over_a_kill_of_the_server() {
    let mut farm = Farm::start().await;
    let kv = farm.bus.kv(streams::CONFIG);
    let first = kv.put("pool.a", "1".into()).await.unwrap();
    let mut watch = kv.watch_all().await.unwrap();
    let put = |key: &str, revision, value: &'static str| WatchEvent::Put {
        key: key.to_owned(),
        revision,
        value: value.into(),
    };
    assert_eq!(soon("the value", watch.next()).await, put("pool.a", first, "1"));
    assert_eq!(soon("the end of the start", watch.next()).await, WatchEvent::Initialised);
    farm.kill_and_restart().await;
    let second = kv.put("pool.b", "2".into()).await.unwrap();
    let third = kv.delete("pool.a").await.unwrap();
    assert_eq!(soon("the change", watch.next()).await, put("pool.b", second, "2"));
    let gone = WatchEvent::Delete { key: "pool.a".to_owned(), revision: third };
    assert_eq!(soon("the deletion", watch.next()).await, gone);
}

#[tokio::test]
async fn a_watch_of_a_bucket_that_was_made_anew_starts_over() {
    let farm = Farm::start().await;
    let kv = farm.bus.kv(streams::CONFIG);
    let mut watch = kv.watch_all().await.unwrap();
    assert_eq!(soon("the start", watch.next()).await, WatchEvent::Initialised);
    kv.put("pool.a", "1".into()).await.unwrap();
    soon("the value", watch.next()).await;
    farm.bus.jetstream().delete_stream(streams::KV_CONFIG).await.unwrap();
    nats_adapter::ensure(&farm.bus, 1, nats_adapter::Action::Create).await.unwrap();
    let revision = kv.put("pool.b", "2".into()).await.unwrap();
    assert_eq!(soon("the restart", watch.next()).await, WatchEvent::Restarted);
    let put = WatchEvent::Put { key: "pool.b".to_owned(), revision, value: "2".into() };
    assert_eq!(soon("the value", watch.next()).await, put);
    assert_eq!(soon("the end of the start", watch.next()).await, WatchEvent::Initialised);
}

#[tokio::test]
async fn a_full_bucket_gives_up_what_it_holds_of_a_key_up_to_a_revision_and_nothing_written_since() {
    let farm = Farm::start().await;
    let mut members = farm.bus.jetstream().get_stream(streams::KV_MEMBERS).await.unwrap();
    let mut config = members.info().await.unwrap().config.clone();
    config.max_bytes = 4_096;
    farm.bus.jetstream().update_stream(config).await.unwrap();
    let kv = farm.bus.kv(streams::MEMBERS);
    let long = || "x".repeat(850).into();
    let first = kv.update("main.a", long(), 0).await.unwrap();
    let second = kv.update("main.a", long(), first).await.unwrap();
    let other = kv.update("main.b", long(), 0).await.unwrap();
    let third = kv.update("main.a", long(), second).await.unwrap();
    let full = kv.update("main.c", long(), 0).await.unwrap_err();
    assert!(
        matches!(&full, KvError::Publish(PublishError::Refused { reason, .. }) if reason.contains("maximum bytes")),
        "{full}"
    );
    kv.purge_to("main.a", second).await.unwrap();
    assert_eq!(kv.history("main.a").await.unwrap().len(), 1);
    assert_eq!(kv.get("main.a").await.unwrap().unwrap().revision, third);
    kv.purge_to("main.b", other).await.unwrap();
    assert_eq!(kv.get("main.b").await.unwrap(), None);
    // As if the key had never been there.
    kv.update("main.b", long(), 0).await.unwrap();
    kv.update("main.c", long(), 0).await.unwrap();
}

#[tokio::test]
async fn a_bucket_guards_its_revisions_and_keeps_its_history() {
    let farm = Farm::start().await;
    let kv = farm.bus.kv(streams::CONFIG);
    let first = kv.create("pool.a", "1".into()).await.unwrap();
    let again = kv.create("pool.a", "1".into()).await.unwrap_err();
    assert!(matches!(again, KvError::RevisionMismatch { expected: 0, .. }), "{again}");
    let second = kv.update("pool.a", "2".into(), first).await.unwrap();
    let late = kv.update("pool.a", "3".into(), first).await.unwrap_err();
    assert!(matches!(late, KvError::RevisionMismatch { .. }), "{late}");
    assert!(matches!(kv.delete_at("pool.a", first).await, Err(KvError::RevisionMismatch { .. })));
    assert_eq!(kv.get("pool.a").await.unwrap().unwrap().revision, second);
    kv.put("node.b", "x".into()).await.unwrap();
    kv.delete("pool.a").await.unwrap();
    assert_eq!(kv.get("pool.a").await.unwrap(), None);
    assert_eq!(kv.get_direct("pool.a").await.unwrap(), None);
    assert_eq!(kv.keys().await.unwrap(), ["node.b"]);
    assert_eq!(kv.history("pool.a").await.unwrap().len(), 3);
    kv.create("pool.a", "4".into()).await.unwrap();
    for key in ["", ".a", "a.", "a..b", "a b", "*", "a.>"] {
        assert_eq!(kv.put(key, "".into()).await, Err(KvError::InvalidKey(key.to_owned())), "{key}");
    }
}

#[tokio::test]
async fn a_bucket_republishes_changes_with_their_revision() {
    let farm = Farm::start().await;
    let subject = Subject::InForce(ConfigKey::Pool(pool()));
    let mut changes = farm.bus.subscribe_republished::<InForce<PoolConfig>>(&subject).await.unwrap();
    let kv = farm.bus.kv(streams::IN_FORCE);
    let config = InForce { revision: 7, config: PoolConfig::default() };
    let revision = kv.put_as(ConfigKey::Pool(pool()), &config).await.unwrap();
    let change = soon("the change", changes.next()).await.unwrap().unwrap();
    assert_eq!((change.subject, change.revision, change.value), (subject, revision, Some(config)));
    let revision = kv.delete(ConfigKey::Pool(pool())).await.unwrap();
    let change = soon("the deletion", changes.next()).await.unwrap().unwrap();
    assert_eq!((change.revision, change.value), (revision, None));
}

fn found() -> (Subject, ConsumeOptions) {
    let subject = Subject::Found(pool(), WorkerId::new("w1").unwrap());
    (subject, ConsumeOptions::new(streams::FOUND, "test", filter::found(&pool())))
}

#[tokio::test]
async fn a_consumer_goes_on_over_a_kill_of_the_server() {
    let mut farm = Farm::start().await;
    let (subject, options) = found();
    let mut consume = farm.bus.consume::<Share>(options).await.unwrap();
    for number in 0..3 {
        farm.bus.publish_stored(&subject, &share(number), None, Expect::None).await.unwrap();
        // A killed server may forget the last acknowledgements: then a message comes once more.
        loop {
            let consumed = soon("the share", consume.next()).await.unwrap();
            let message = consumed.entry.message;
            consumed.acker.ack().await;
            if message == share(number) {
                break;
            }
            assert!((0..number).any(|earlier| message == share(earlier)));
        }
        farm.bus.client().flush().await.unwrap();
        farm.kill_and_restart().await;
    }
}

#[tokio::test]
async fn a_message_that_is_put_back_comes_again_and_a_rejected_one_becomes_a_dead_letter() {
    let farm = Farm::start().await;
    let (subject, options) = found();
    let mut consume = farm.bus.consume::<Share>(options).await.unwrap();
    farm.bus.publish_stored(&subject, &share(1), None, Expect::None).await.unwrap();
    let first = soon("the share", consume.next()).await.unwrap();
    first.acker.retry(Duration::from_millis(10)).await;
    let second = soon("the share again", consume.next()).await.unwrap();
    assert_eq!((second.entry.sequence, second.deliveries), (1, 2));
    second.acker.reject("no such job").await;
    let dead = farm.bus.last_bytes(streams::DEAD, dead_letter(&subject.to_string())).await.unwrap().unwrap();
    assert_eq!(dead.payload, share(1).encode().unwrap());
    assert_eq!(told(&dead, header::REASON), "no such job");
    assert_eq!(farm.bus.counters().rejected, 1);
}

#[tokio::test]
async fn a_message_that_is_never_acknowledged_is_a_dead_letter_or_comes_again_slowly() {
    let farm = Farm::start().await;
    let (subject, options) = found();
    let pause = Duration::from_millis(50);
    let redelivery_after = Duration::from_millis(20);
    let slowed = ConsumeOptions {
        durable: "slowed".to_owned(),
        exhausted: Exhausted::Slowed(pause),
        redelivery_after,
        ..options.clone()
    };
    let mut slowed = farm.bus.consume::<Share>(slowed).await.unwrap();
    farm.bus.publish_stored(&subject, &share(1), None, Expect::None).await.unwrap();
    let mut deliveries = Vec::new();
    while deliveries.last().is_none_or(|last| *last < MAX_DELIVERIES + 4) {
        let consumed = soon("the share, again and again", slowed.next()).await.unwrap();
        deliveries.push(consumed.deliveries);
    }
    let exhausted: Vec<_> = deliveries.into_iter().filter(|number| *number > MAX_DELIVERIES).collect();
    assert_eq!(exhausted, [MAX_DELIVERIES + 2, MAX_DELIVERIES + 4], "every second one waits");
    assert_eq!(farm.bus.counters().rejected, 0);

    let options = ConsumeOptions { redelivery_after, ..options };
    let mut consume = farm.bus.consume::<Share>(options).await.unwrap();
    let rejected = async {
        while farm.bus.counters().rejected == 0 {
            let _ = tokio::time::timeout(pause, consume.next()).await;
        }
    };
    soon("the dead letter", rejected).await;
}

#[tokio::test]
async fn a_message_that_cannot_be_read_becomes_a_dead_letter_and_the_next_is_handed_on() {
    let farm = Farm::start().await;
    let (subject, options) = found();
    let garbage = || vec![0xc1; 70_000].into();
    let mut config =
        farm.bus.jetstream().get_stream(streams::FOUND).await.unwrap().cached_info().config.clone();
    config.max_message_size = -1;
    farm.bus.jetstream().update_stream(&config).await.unwrap();
    farm.bus.publish_bytes_stored(&subject, garbage(), HeaderMap::new(), Expect::None).await.unwrap();
    farm.bus.publish_stored(&subject, &share(2), None, Expect::None).await.unwrap();
    let mut consume = farm.bus.consume::<Share>(options).await.unwrap();
    let consumed = soon("the share", consume.next()).await.unwrap();
    assert_eq!(consumed.entry.message, share(2));
    consumed.acker.ack().await;
    let dead = farm.bus.last_bytes(streams::DEAD, dead_letter(&subject.to_string())).await.unwrap().unwrap();
    assert_eq!(dead.payload.len(), nats_adapter::MAX_DEAD_LETTER_LEN);
    assert_eq!(told(&dead, header::SUBJECT), subject.to_string());
    assert_eq!(told(&dead, header::STREAM), streams::FOUND);
    assert_eq!(told(&dead, header::SEQUENCE), "1");
    assert_eq!(told(&dead, header::WHOLE_LENGTH), "70000");
    let counters = farm.bus.counters();
    assert_eq!((counters.undecodable, counters.dead_letters_lost), (1, 0));
}

#[tokio::test]
async fn a_subscription_hands_on_what_cannot_be_read_as_such() {
    let farm = Farm::start().await;
    let mut subscription = farm.bus.subscribe::<Share>(filter::shares(&pool())).await.unwrap();
    farm.bus.publish_bytes(shares(), "no share".into()).await.unwrap();
    farm.bus.publish(shares(), &examples::share().unwrap()).await.unwrap();
    let bad = soon("the bad one", subscription.next()).await.unwrap().unwrap_err();
    assert_eq!((bad.subject, &bad.payload[..]), (shares().to_string(), &b"no share"[..]));
    let good = soon("the good one", subscription.next()).await.unwrap().unwrap();
    assert_eq!((good.subject, good.message), (shares(), examples::share().unwrap()));
}

fn told<'a>(dead: &'a Delivered, name: &'static str) -> &'a str {
    dead.headers.as_ref().unwrap().get(name).unwrap().as_str()
}
