//! Whatever is sent: a typed refusal, an event, a count, and the next good share is credited.

use crate::Farm;
use bus_schemas::{
    JobId, PoolId, ShareBits, WorkerId,
    event::EventData,
    ledger::RefusedShares,
    member::JoinReply,
    share::{CryptoNoteFinding, Finding, HeaderFinding, Share, ShareRefusal},
    subject::{Subject, dead_letter},
};
use nats_adapter::{Expect, HeaderMap, RequestError, streams};
use system_tests::{
    coordinator::{every_hash_is_a_share, job, ledger},
    hand_worker::join_request,
};

async fn refused(farm: &Farm) -> Vec<RefusedShares> {
    ledger(&farm.bus, &farm.pool).await.unwrap().into_iter().flat_map(|r| r.refused).collect()
}

#[tokio::test]
async fn bytes_that_are_no_share_are_put_aside_counted_and_told() {
    let mut farm = Farm::start(&every_hash_is_a_share()).await;
    let worker = farm.worker("w1").await;
    let job = job(&farm.bus, &farm.pool).await.unwrap();
    for rubbish in [b"\xc1".to_vec(), b"{}".to_vec(), vec![0x91; 3_000], vec![0; 5_000]] {
        let subject = worker.subject();
        farm.bus
            .publish_bytes_stored(&subject, rubbish.into(), HeaderMap::new(), Expect::None)
            .await
            .unwrap();
    }
    worker.send(&worker.share(&job, 1).unwrap()).await.unwrap();
    farm.credited(1).await;
    let count = refused(&farm)
        .await
        .iter()
        .filter(|r| r.refusal == ShareRefusal::Malformed)
        .map(|r| r.shares)
        .sum::<u64>();
    assert_eq!(count, 4);
    farm.event("an unreadable message", |e| matches!(e, EventData::MessageUndecodable { .. })).await;
    let letters = farm.bus.read_all(streams::DEAD, dead_letter(&worker.subject()).to_string()).await.unwrap();
    assert_eq!(letters.len(), 4);
}

type Change = fn(&mut Share);

fn header(share: &mut Share) -> &mut HeaderFinding {
    let Finding::Header(finding) = &mut share.finding else { panic!("a header") };
    finding
}

#[tokio::test]
async fn every_false_claim_is_refused_for_its_own_reason_and_harms_nothing() {
    let mut farm = Farm::start(&every_hash_is_a_share()).await;
    let (worker, other) = (farm.worker("w1").await, farm.worker("w2").await);
    assert_ne!(worker.member.slot, other.member.slot);
    let job = job(&farm.bus, &farm.pool).await.unwrap();
    let cases: [(ShareRefusal, Change); 8] = [
        (ShareRefusal::UnknownJob, |s| s.job = JobId::new("deadbeef").unwrap()),
        (ShareRefusal::WrongSlot, |s| s.slot ^= 1),
        (ShareRefusal::WrongSlot, |s| s.generation += 7),
        (ShareRefusal::TimeOutOfRange, |s| header(s).time = u32::MAX),
        (ShareRefusal::OtherWork, |s| {
            s.finding = Finding::CryptoNote(CryptoNoteFinding { roll: 0, nonce: 3 })
        }),
        (ShareRefusal::VersionOutOfRange, |s| header(s).version ^= 0x8000_0000),
        (ShareRefusal::WrongDifficulty, |s| s.bits = ShareBits::new(9)),
        // The same finding, said with another time of finding: another message, no other work.
        (ShareRefusal::Duplicate, |s| s.found_at_ms.0 += 1),
    ];
    let mut good = 0;
    for (n, (refusal, change)) in cases.into_iter().enumerate() {
        let share = worker.share(&job, n as u32).unwrap();
        worker.send(&share).await.unwrap();
        good += 1;
        let mut bad = share.clone();
        change(&mut bad);
        let id = format!("bad-{n}");
        farm.bus.publish_stored(worker.subject(), &bad, Some(&id), Expect::None).await.unwrap();
        farm.credited(good).await;
        let told = |e: &EventData| matches!(e, EventData::ShareRefused { refusal: r, .. } if *r == refusal);
        farm.event(refusal.as_str(), told).await;
    }
    let sum: u64 = refused(&farm).await.iter().map(|r| r.shares).sum();
    assert_eq!(sum, 8);
}

#[tokio::test]
async fn a_pool_that_nobody_owns_answers_no_join() {
    let farm = Farm::start(&every_hash_is_a_share()).await;
    let subject = Subject::Join(PoolId::new("nowhere").unwrap(), WorkerId::new("w1").unwrap()).to_string();
    let request = join_request("s").unwrap();
    let asked = farm.bus.request::<_, JoinReply>(&subject, &request);
    assert!(matches!(asked.await, Err(RequestError::NoResponders { .. })));
}
