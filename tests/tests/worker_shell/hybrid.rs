//! Hybrid mode from the outside: schedules on the real clock, throttle orders, veto and kill switch.

use crate::stage::{SOON, Stage, one_thread, soon};
use bus_schemas::{
    Message, WorkerId,
    config::{ConfigKey, InForce, PoolConfig},
    event::{Event, EventData},
    policy::FarmConfig,
    schedule::{Schedule, Window},
    set_point::Reason,
    subject::{Subject, filter},
    throttle::{Throttle, ThrottleTarget},
};
use nats_adapter::{Expect, RawSubscription, streams};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The bound of the kill switch.
const KILL_WITHIN: Duration = Duration::from_secs(1);

fn unix_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// A whole second as a civil time in UTC.
fn civil(unix_seconds: u64) -> String {
    let at = bus_schemas::TimestampMs(unix_seconds * 1_000).to_rfc3339();
    at.split_once('.').unwrap().0.to_owned()
}

fn order(cap_percent: u8, ttl_seconds: u32) -> Throttle {
    let (reason, source) = ("busy".to_owned(), "test".to_owned());
    Throttle { cap_percent, threads: None, ttl_seconds, reason, source }
}

async fn event(events: &mut RawSubscription, what: &str, wanted: impl Fn(&EventData) -> bool) -> Event {
    let next = async {
        loop {
            let event = Event::decode(&events.next().await.unwrap().payload).unwrap();
            if wanted(&event.what) {
                return event;
            }
        }
    };
    soon(what, next).await
}

#[tokio::test]
async fn a_window_opens_and_closes_on_time_on_the_real_clock_without_a_coordinator() {
    let (mut stage, worker) = Stage::mining(40, "sha256d").await;
    stage.heartbeat("mining", |h| h.set_point.enabled()).await;
    let start = unix_ms() / 1_000 + 2;
    let window = Window {
        name: "closed".to_owned(),
        start: civil(start),
        end: civil(start + 2),
        cap_percent: Some(0),
        ..Window::default()
    };
    let schedule = Some(Schedule { windows: vec![window], ..Schedule::default() });
    stage.put_pool(PoolConfig { schedule, ..one_thread() }).await;
    // From here on nobody says anything any more.
    let closed = stage.heartbeat("the window", |h| h.set_point.reason == Reason::Schedule).await.sent_at_ms.0;
    let open = stage.heartbeat("its end", |h| h.set_point.enabled()).await.sent_at_ms.0;
    let late = [closed as i64 - start as i64 * 1_000, open as i64 - (start as i64 + 2) * 1_000];
    println!("a window closed {} ms and opened {} ms after its time", late[0], late[1]);
    assert!(late.iter().all(|ms| (0..1_000).contains(ms)), "{late:?}");
    worker.end().await;
}

#[tokio::test]
async fn a_throttle_order_that_anybody_publishes_holds_until_it_ends() {
    let (mut stage, worker) = Stage::mining(40, "sha256d").await;
    stage.heartbeat("mining", |h| h.set_point.enabled()).await;
    stage.bus.publish(Subject::Throttle(ThrottleTarget::Farm), &order(50, 600)).await.unwrap();
    let slowed = stage.heartbeat("half of it", |h| h.set_point.cap_percent == 50).await;
    assert_eq!(slowed.set_point.reason, Reason::Throttle);
    let target = ThrottleTarget::Worker(WorkerId::new("w1").unwrap());
    let given = Instant::now();
    stage.bus.publish(Subject::Throttle(target), &order(0, 1)).await.unwrap();
    stage.heartbeat("a stop", |h| !h.set_point.enabled()).await;
    let back = stage.heartbeat("its end", |h| h.set_point.cap_percent == 50 && h.set_point.enabled()).await;
    assert_eq!(back.set_point.reason, Reason::Throttle);
    // The core counts whole milliseconds.
    assert!(given.elapsed() >= Duration::from_millis(999), "it ended after {:?}", given.elapsed());
    worker.end().await;
}

#[tokio::test]
async fn a_throttle_order_that_the_bus_keeps_holds_for_a_worker_that_starts() {
    let mut stage = Stage::start(40).await;
    stage.put_pool(one_thread()).await;
    stage.publish_job(&crate::stage::job(1, 1, "sha256d")).await;
    let subject = Subject::Throttle(ThrottleTarget::Farm);
    stage.bus.publish_stored(subject, &order(25, 600), None, Expect::None).await.unwrap();
    let worker = stage.worker().await;
    stage.admit(bus_schemas::member::Role::Active).await;
    let first = stage.heartbeat("mining", |h| h.set_point.enabled()).await;
    assert_eq!((first.set_point.cap_percent, first.set_point.reason), (25, Reason::Throttle));
    worker.end().await;
}

#[tokio::test]
async fn the_veto_file_stops_the_search_and_nothing_but_its_removal_lifts_that() {
    let (mut stage, worker) = Stage::mining(40, "sha256d").await;
    let mut events = stage.bus.subscribe_bytes(filter::events()).await.unwrap();
    stage.heartbeat("mining", |h| h.set_point.enabled()).await;
    worker::veto::put(&stage.veto, "backup runs").unwrap();
    stage.heartbeat("the veto", |h| h.set_point.reason == Reason::LocalVeto && !h.set_point.enabled()).await;
    let told = event(&mut events, "the event", |e| matches!(e, EventData::WorkerVetoed { .. })).await;
    assert!(matches!(told.what, EventData::WorkerVetoed { reason, .. } if reason == "backup runs"));
    stage.put_pool(PoolConfig { threads: Some(2), ..one_thread() }).await;
    let revision = stage.heartbeat("another configuration", |h| h.sequence > 0).await;
    assert!(!revision.set_point.enabled());
    assert!(worker::veto::lift(&stage.veto).unwrap());
    stage.heartbeat("mining again", |h| h.set_point.threads == 2).await;
    event(&mut events, "its end", |e| matches!(e, EventData::WorkerVetoLifted { .. })).await;
    worker.end().await;
}

#[tokio::test]
async fn the_kill_switch_leaves_no_hashes_after_a_second_and_holds_over_a_restart() {
    let (mut stage, worker) = Stage::mining(40, "sha256d").await;
    stage.heartbeat("mining", |h| h.set_point.enabled()).await;
    let farm = FarmConfig { halted: true, reason: "drill".to_owned() };
    let asked = Instant::now();
    let farm = InForce { revision: 1, config: farm };
    stage.bus.kv(streams::IN_FORCE).put_as(ConfigKey::Farm, &farm).await.unwrap();
    stage.heartbeat("the stop", |h| h.set_point.reason == Reason::FarmHalted).await;
    worker.until("dcmf_worker_search_threads", |threads| threads == 0).await;
    println!("the kill switch took {:?}", asked.elapsed());
    assert!(asked.elapsed() < KILL_WITHIN, "{:?}", asked.elapsed());
    worker.end().await;
    let worker = stage.worker().await;
    stage.admit(bus_schemas::member::Role::Active).await;
    let first = stage.heartbeat("the first words", |h| h.set_point.reason != Reason::NoConfiguration).await;
    assert_eq!(first.set_point.reason, Reason::FarmHalted);
    assert_eq!(worker.metric("dcmf_worker_hashes_total").await, 0, "within {SOON:?}");
    worker.end().await;
}

#[tokio::test]
async fn a_worker_that_no_order_can_reach_stops_when_its_lease_ends_and_goes_on_when_it_is_heard_again() {
    const LEASE: Duration = Duration::from_secs(5);
    let (mut stage, worker) = Stage::mining(40, "sha256d").await;
    stage.put_pool(PoolConfig { config_lease_ms: 5_000, threads: Some(2), ..one_thread() }).await;
    stage.heartbeat("the new configuration", |h| h.set_point.threads == 2).await;
    stage.server.kill9().unwrap();
    let silent = Instant::now();
    worker.until("dcmf_worker_search_threads", |threads| threads == 0).await;
    println!("stopped {:?} after the last word", silent.elapsed());
    assert!(silent.elapsed() < LEASE + KILL_WITHIN, "{:?}", silent.elapsed());
    stage.server.start_again().await.unwrap();
    worker.until("dcmf_worker_search_threads", |threads| threads > 0).await;
    worker.end().await;
}
