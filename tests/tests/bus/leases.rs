//! Leases: of two that want one, one has it; a holder's silence gives it to the other.

use crate::{Farm, connect, soon};
use futures_util::FutureExt;
use nats_adapter::{Acquired, Kv, Lease, LeaseError, WatchEvent, streams};
use std::time::{Duration, Instant};

const TTL: Duration = Duration::from_secs(2);
const LONG: Duration = Duration::from_secs(60);

async fn take(kv: &Kv, ttl: Duration) -> Lease {
    match Lease::acquire(kv, "main", "c1".into(), ttl).await.unwrap() {
        Acquired::Taken(lease) => lease,
        held => panic!("{held:?}"),
    }
}

async fn assert_held(kv: &Kv) {
    let other = Lease::acquire(kv, "main", "c2".into(), TTL).await.unwrap();
    assert!(matches!(&other, Acquired::Held { value, .. } if value == "c1"), "{other:?}");
}

/// Waits until the bucket tells that the lease has ended.
async fn ended(kv: &Kv) {
    let mut watch = kv.watch("main").await.unwrap();
    soon("the end of the lease", async { while !matches!(watch.next().await, WatchEvent::Delete { .. }) {} })
        .await;
}

#[tokio::test]
async fn a_silent_holder_loses_its_lease_only_after_it_knows() {
    let farm = Farm::start().await;
    let kv = farm.bus.kv(streams::LEASES);
    let other = connect(&farm.server).await.kv(streams::LEASES);
    let mut first = take(&kv, TTL).await;
    assert_held(&other).await;
    ended(&other).await;
    assert!(Instant::now() >= first.held_until(), "the lease ended before its holder's deadline");
    let second = take(&other, TTL).await;
    assert!(second.epoch() > first.epoch());
    let lost = first.renew("c1".into()).await.unwrap_err();
    assert!(matches!(lost, LeaseError::Lost { .. }), "{lost}");
    assert!(matches!(first.release().await, Err(LeaseError::Lost { .. })));
    assert_held(&kv).await;
}

#[tokio::test]
async fn a_lease_that_is_renewed_outlives_its_time_and_ends_without_renewal() {
    let farm = Farm::start().await;
    let kv = farm.bus.kv(streams::LEASES);
    let mut lease = take(&kv, TTL).await;
    let (begin, epoch) = (Instant::now(), lease.epoch());
    while begin.elapsed() < 2 * TTL {
        let due = lease.held_until() - Duration::from_secs(1);
        tokio::time::sleep_until(due.into()).await;
        assert!(lease.renew("c1".into()).await.unwrap() > due);
    }
    assert_held(&kv).await;
    assert_eq!(lease.epoch(), epoch);
    ended(&kv).await;
}

#[tokio::test]
async fn a_lease_that_was_given_back_can_be_taken_at_once_and_ends_by_itself_again() {
    let farm = Farm::start().await;
    let kv = farm.bus.kv(streams::LEASES);
    let first = take(&kv, LONG).await;
    let epoch = first.epoch();
    first.release().await.unwrap();
    let second = take(&kv, TTL).await;
    assert!(second.epoch() > epoch);
    ended(&kv).await;
}

#[tokio::test]
async fn a_renewal_whose_acknowledgement_was_lost_is_known_again() {
    let farm = Farm::start().await;
    let kv = farm.bus.kv(streams::LEASES);
    let mut lease = take(&kv, LONG).await;
    let unheard = lease.renew("c1".into()).now_or_never();
    assert!(unheard.is_none(), "the acknowledgement came before it was waited for");
    let moved = async { while kv.get("main").await.unwrap().unwrap().revision == lease.epoch() {} };
    soon("the renewal to be stored", moved).await;
    lease.renew("c1".into()).await.unwrap();
    lease.release().await.unwrap();
}

#[tokio::test]
async fn a_lease_is_kept_over_a_kill_of_the_server() {
    let mut farm = Farm::start().await;
    let kv = farm.bus.kv(streams::LEASES);
    let mut lease = take(&kv, LONG).await;
    farm.kill_and_restart().await;
    assert_held(&kv).await;
    lease.renew("c1".into()).await.unwrap();
}

#[tokio::test]
async fn a_lease_of_less_than_a_second_is_refused() {
    let farm = Farm::start().await;
    let kv = farm.bus.kv(streams::LEASES);
    for ttl in [Duration::ZERO, Duration::from_millis(999), Duration::from_millis(1_500)] {
        let error = Lease::acquire(&kv, "main", "c1".into(), ttl).await.unwrap_err();
        assert_eq!(error, LeaseError::InvalidTtl(ttl));
    }
}
