//! One stored message stops nothing: whatever somebody publishes by hand beside what owners wrote.

use crate::Farm;
use bus_schemas::{
    Message, TimestampMs,
    command::{PoolView, Source, ViewOf},
    event::EventData,
    ledger::LedgerRecord,
    member::Member,
    subject::{Subject, command_on},
};
use coordinator::tasks::Faults;
use nats_adapter::streams;
use system_tests::{
    coordinator::{COORDINATOR_DEADLINE, InProcess, every_hash_is_a_share, job, owned},
    ports::free_ports,
    wait,
};

/// What is put by hand, each into its stream or bucket; `@` stands for the prefix of every subject.
const RUBBISH: [(&str, &[&str]); 12] = [
    ("ledger", &["pub", "@.ledger.main", "{\"a\":1}"]),
    ("ledger, empty", &["pub", "@.ledger.main", ""]),
    ("job", &["pub", "@.job.main", "oops"]),
    ("template", &["pub", "@.template.main.00ff", "oops"]),
    ("block", &["pub", "@.block.main.00ff", "oops"]),
    ("chain", &["pub", "@.chain.main", "oops"]),
    ("share", &["pub", "@.share.main.w1", "oops"]),
    ("found", &["pub", "@.found.main.w1", "oops"]),
    ("throttle", &["pub", "@.throttle.farm", "oops"]),
    ("member", &["kv", "put", "dcmf_members", "main.w1", "oops"]),
    ("status", &["kv", "put", "dcmf_status", "main", "oops"]),
    ("lease", &["kv", "put", "dcmf_leases", "main", "oops"]),
];

/// Sends a share of the current job and waits until at least `wanted` are credited, one more than before, under whatever
/// owner.
async fn earns(farm: &Farm, worker: &system_tests::hand_worker::HandWorker, nonce: u32, wanted: u64) {
    farm.earns(worker, nonce, wanted).await;
}

#[tokio::test]
async fn rubbish_in_any_stream_or_bucket_while_the_pool_is_owned_stops_nothing() {
    let farm = Farm::start(&every_hash_is_a_share()).await;
    let worker = farm.worker("w1").await;
    earns(&farm, &worker, 0, 1).await;
    for (nonce, (what, words)) in (1_u32..).zip(RUBBISH) {
        farm.nats(words);
        let second = farm.worker(&format!("w-{nonce}")).await;
        assert_eq!(second.member.pool, farm.pool, "{what}: nobody can join");
        earns(&farm, &worker, nonce, u64::from(nonce) + 1).await;
    }
}

#[tokio::test]
async fn rubbish_in_any_stream_or_bucket_before_a_takeover_stops_nothing() {
    let mut farm = Farm::start(&every_hash_is_a_share()).await;
    let worker = farm.worker("w1").await;
    earns(&farm, &worker, 0, 1).await;
    for (nonce, (what, words)) in (1_u32..).zip(RUBBISH) {
        let before = job(&farm.bus, &farm.pool).await.unwrap();
        farm.coordinator.take().unwrap().stop().await.unwrap();
        farm.nats(words);
        farm.coordinator = Some(InProcess::start(farm.server.url(), &format!("c{nonce}"), "").unwrap());
        let next = farm.goes_on(before.epoch).await;
        assert!(next.sequence > before.sequence, "{what}");
        earns(&farm, &worker, nonce, u64::from(nonce) + 1).await;
    }
}

#[tokio::test]
async fn a_forged_ledger_record_accounts_nothing_and_no_share_is_lost() {
    let mut farm = Farm::start(&every_hash_is_a_share()).await;
    let worker = farm.worker("w1").await;
    earns(&farm, &worker, 0, 1).await;
    let subject = Subject::Ledger(farm.pool.clone());
    let last = farm.bus.last::<LedgerRecord>(streams::LEDGER, &subject).await.unwrap().unwrap().message;
    let forged = LedgerRecord {
        number: last.number + 1,
        shares_to: 1_000_000,
        total_shares: 77,
        credits: Vec::new(),
        refused: Vec::new(),
        at_ms: TimestampMs(0),
        ..last
    };
    farm.coordinator.take().unwrap().stop().await.unwrap();
    let before = job(&farm.bus, &farm.pool).await.unwrap();
    let text = String::from_utf8(forged.encode().unwrap()).unwrap();
    farm.nats(&["pub", &subject.to_string(), &text]);
    // Shares that arrive while nobody owns the pool have sequences below the forged end.
    worker.send(&worker.share(&before, 1).unwrap()).await.unwrap();
    farm.coordinator = Some(InProcess::start(farm.server.url(), "c2", "").unwrap());
    let told = |e: &EventData| matches!(e, EventData::MessageUndecodable { subject, .. } if subject.contains("ledger"));
    farm.event("what was passed over", told).await;
    earns(&farm, &worker, 2, 3).await;
}

#[tokio::test]
async fn a_record_that_only_an_owner_can_have_written_stops_the_pool_until_it_is_declared_void() {
    let [port] = free_ports().unwrap();
    let http = format!("http = \"127.0.0.1:{port}\"\n");
    let mut farm = Farm::start_with(&every_hash_is_a_share(), &http, Faults::default()).await;
    let worker = farm.worker("w1").await;
    earns(&farm, &worker, 0, 1).await;
    let end =
        farm.bus.last_bytes(streams::LEDGER, Subject::Ledger(farm.pool.clone())).await.unwrap().unwrap();
    let header = format!("Nats-Expected-Last-Subject-Sequence:{}", end.sequence);
    farm.nats(&["pub", "@.ledger.main", "{\"tomorrow\":1}", "-H", &header]);
    // The owner writes on, is overtaken and finds what it cannot read.
    worker.send(&worker.share(&job(&farm.bus, &farm.pool).await.unwrap(), 1).unwrap()).await.unwrap();
    let stuck = farm.event("the pool to be stuck", |e| matches!(e, EventData::PoolStuck { .. })).await;
    let EventData::PoolStuck { stream, sequence, repair, .. } = stuck else { panic!("{stuck:?}") };
    assert_eq!((stream.as_deref(), sequence), (Some(streams::LEDGER), Some(end.sequence + 1)));

    let ready =
        async || reqwest::get(format!("http://127.0.0.1:{port}/readyz")).await.ok()?.text().await.ok();
    let said = wait::until(COORDINATOR_DEADLINE, "readiness to tell it", async || {
        ready().await.filter(|text| text.contains("is stuck"))
    });
    assert!(said.await.unwrap().contains("Dcmf-Void"));
    let view: PoolView = farm.bus.request(command_on("pool", "get", &farm.pool), &ViewOf {}).await.unwrap();
    assert_eq!(view.stuck.unwrap().sequence, sequence);
    assert!(view.known.source != Source::Owner, "{:?}", view.known);

    // What the event tells is typed as it stands.
    let line = &repair[repair.find("nats pub").unwrap()..];
    farm.types(line);
    earns(&farm, &worker, 2, 3).await;
    farm.event("the pool to go on", |e| matches!(e, EventData::PoolUnstuck { .. })).await;
    let said =
        wait::until(COORDINATOR_DEADLINE, "readiness", async || ready().await.filter(|t| t == "ready\n"));
    said.await.unwrap();
}

#[tokio::test]
async fn a_member_that_somebody_put_by_hand_is_not_believed() {
    let mut farm = Farm::start(&every_hash_is_a_share()).await;
    let worker = farm.worker("w1").await;
    let epoch = job(&farm.bus, &farm.pool).await.unwrap().epoch;
    farm.coordinator.take().unwrap().stop().await.unwrap();
    let forged = Member { slot: 99, ..worker.member.clone() };
    let json = serde_json::to_string(&forged).unwrap();
    farm.nats(&["kv", "put", "dcmf_members", "main.w1", &json]);
    farm.coordinator = Some(InProcess::start(farm.server.url(), "c2", "").unwrap());
    farm.goes_on(epoch).await;
    earns(&farm, &worker, 5, 1).await;
}

#[tokio::test]
async fn a_garbage_lease_holds_a_pool_that_nobody_owns_for_seconds_only() {
    let mut farm = Farm::start(&every_hash_is_a_share()).await;
    let epoch = job(&farm.bus, &farm.pool).await.unwrap().epoch;
    farm.coordinator.take().unwrap().stop().await.unwrap();
    farm.nats(&["kv", "put", "dcmf_leases", "main", "mine for ever"]);
    farm.coordinator = Some(InProcess::start(farm.server.url(), "c2", "").unwrap());
    let status = owned(&farm.bus, &farm.pool, epoch).await.unwrap();
    assert_eq!(status.owner.as_str(), "c2");
}
