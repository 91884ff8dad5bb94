//! What is said when nothing can be said: a full store, a dead owner, a server that will not do.

use crate::Farm;
use bus_schemas::{
    Message,
    command::{FarmStatus, NodeView, Source, ViewOf},
    event::EventData,
    member::Standing,
    subject::{command, command_on},
};
use coordinator::tasks::Faults;
use system_tests::{
    coordinator::{COORDINATOR_DEADLINE, InProcess, every_hash_is_a_share, job},
    folder::RunFolder,
    nats_server::{NatsOptions, NatsServer},
    ports::free_ports,
    wait,
};

/// A server with a file of its own.
async fn server(config: &str) -> NatsServer {
    let folder = RunFolder::temporary().unwrap();
    let path = folder.path().join("server.conf");
    std::fs::write(&path, config).unwrap();
    NatsServer::start_in(folder, NatsOptions { config: Some(path), port: None }).await.unwrap()
}

#[tokio::test]
async fn a_server_with_too_small_messages_is_named_at_the_start_with_what_to_set() {
    let server = server("max_payload: 65536\njetstream {}\n").await;
    let error = InProcess::start(server.url(), "c1", "").unwrap().ended().await.unwrap().unwrap_err();
    let said = error.to_string();
    assert!(said.contains("max-payload-too-small") && said.contains("max_payload: 8MiB"), "{said}");
}

#[tokio::test]
async fn leases_that_cannot_end_are_named_at_the_start_with_what_to_set() {
    let farm = Farm::start(&every_hash_is_a_share()).await;
    farm.coordinator.unwrap().stop().await.unwrap();
    let name = nats_adapter::streams::KV_LEASES;
    farm.bus.jetstream().delete_stream(name).await.unwrap();
    let declared = nats_adapter::streams::declared(1).unwrap().into_iter().find(|s| s.name == name).unwrap();
    let without = async_nats_config(declared);
    farm.bus.jetstream().create_stream(without).await.unwrap();
    let error = InProcess::start(farm.server.url(), "c2", "").unwrap().ended().await.unwrap().unwrap_err();
    assert!(error.to_string().contains("message-ttl-off"), "{error}");
}

/// The same stream as servers before 2.11 keep it.
fn async_nats_config<C>(config: C) -> C
where
    C: serde::Serialize + serde::de::DeserializeOwned,
{
    let mut value = serde_json::to_value(config).unwrap();
    let fields = value.as_object_mut().unwrap();
    fields.remove("allow_msg_ttl");
    fields.remove("subject_delete_marker_ttl");
    serde_json::from_value(value).unwrap()
}

async fn status(farm: &Farm) -> Option<FarmStatus> {
    let body = farm.bus.request_bytes(&command("farm", "status"), Default::default()).await.ok()?;
    FarmStatus::decode(&body).ok()
}

#[tokio::test]
async fn a_coordinator_that_does_not_own_the_pool_answers_with_what_the_owner_knows() {
    let farm = Farm::start(&every_hash_is_a_share()).await;
    let worker = farm.worker("w1").await;
    let _second = InProcess::start(farm.server.url(), "c2", "").unwrap();
    let subject = command_on("node", "get", &worker.member.worker);
    // Both answer in turn, so each is asked soon.
    for wanted in ["c1", "c2"] {
        let found = wait::until(COORDINATOR_DEADLINE, wanted, async || {
            status(&farm).await.filter(|s| s.coordinator.as_str() == wanted)
        });
        let pool = found.await.unwrap().pools.remove(0);
        assert_eq!((pool.known.source, pool.known.stale), (Source::Owner, false), "{wanted}");
        assert_eq!(pool.status.unwrap().owner.as_str(), "c1");
    }
    for _ in 0..20 {
        let view: NodeView = farm.bus.request(&subject, &ViewOf {}).await.unwrap();
        let place = view.membership.unwrap();
        assert_eq!((place.known.source, place.standing), (Source::Owner, Standing::Present));
        assert_eq!(place.threads, None, "it never said how many");
    }
}

#[tokio::test]
async fn of_a_pool_that_nobody_owns_what_is_stored_is_told_as_old_and_readiness_says_so() {
    let [port] = free_ports().unwrap();
    let mut farm = Farm::start(&every_hash_is_a_share()).await;
    let worker = farm.worker("w1").await;
    drop(farm.coordinator.take());
    // Who comes next can read nothing of the pool.
    let faults = Faults::default().in_tasks(|name| {
        let mine = name == "recovery";
        Box::pin(async move {
            assert!(!mine, "broken on purpose");
            std::future::pending::<()>().await;
        })
    });
    let http = format!("http = \"127.0.0.1:{port}\"\n");
    farm.coordinator = Some(InProcess::start_with(farm.server.url(), "c2", &http, faults).unwrap());
    let stale = wait::until(COORDINATOR_DEADLINE, "a stale status", async || {
        let mut pools = status(&farm).await?.pools;
        (!pools.is_empty()).then(|| pools.remove(0)).filter(|pool| pool.known.stale)
    });
    let pool = stale.await.unwrap();
    assert_eq!(pool.known.source, Source::StoredStatus);
    assert!(pool.known.age_ms.unwrap() > 1_000);
    assert!(pool.known.note.contains("nobody owns it"), "{:?}", pool.known);
    assert_eq!(pool.status.unwrap().owner.as_str(), "c1");

    let subject = command_on("node", "get", "w1");
    let view: NodeView = farm.bus.request(&subject, &ViewOf {}).await.unwrap();
    let place = view.membership.unwrap();
    assert_eq!((place.known.source, place.known.stale), (Source::MemberRecord, true));
    assert_eq!((place.threads, place.hash_rate, place.slot), (None, None, worker.member.slot));

    let said = wait::until(COORDINATOR_DEADLINE, "readiness to tell it", async || {
        let answer = reqwest::get(format!("http://127.0.0.1:{port}/readyz")).await.ok()?;
        let (status, text) = (answer.status(), answer.text().await.ok()?);
        (status == 503 && text.contains("nobody owns pool main")).then_some(())
    });
    said.await.unwrap();
    farm.event("the pool to be stuck", |e| matches!(e, EventData::PoolStuck { stream: None, .. })).await;
}

#[tokio::test]
async fn a_store_that_is_full_is_told_by_both_and_everything_goes_on_when_there_is_space() {
    let ports: [u16; 2] = free_ports().unwrap();
    let http = ports.map(|port| format!("http = \"127.0.0.1:{port}\"\n"));
    let server = server("jetstream { max_file_store: 8GiB, max_memory_store: 64MiB }\n").await;
    let mut farm = Farm::start_on(server, &every_hash_is_a_share(), &http[0], Faults::default()).await;
    let worker = farm.worker("w1").await;
    let _second = InProcess::start(farm.server.url(), "c2", &http[1]).unwrap();
    let first = job(&farm.bus, &farm.pool).await.unwrap();
    worker.send(&worker.share(&first, 1).unwrap()).await.unwrap();
    farm.credited(1).await;
    // The streams of the farm as they are leave no byte more: the next message of each is refused.
    let mut limited = Vec::new();
    for stream in nats_adapter::streams::declared(1).unwrap() {
        let state = farm.bus.jetstream().get_stream(&stream.name).await.unwrap().cached_info().state.clone();
        if stream.name == nats_adapter::streams::KV_STATUS || stream.name == nats_adapter::streams::LEDGER {
            let full = i64::try_from(state.bytes).unwrap().max(1);
            let mut config = stream.clone();
            config.max_bytes = full;
            farm.bus.jetstream().update_stream(&config).await.unwrap();
            limited.push(stream);
        }
    }
    worker.send(&worker.share(&first, 2).unwrap()).await.unwrap();
    let failing = |e: &EventData| matches!(e, EventData::StoreFailing { stream, repair, .. } if stream == nats_adapter::streams::LEDGER && repair.contains("nats stream edit"));
    farm.event("the full ledger", failing).await;
    let said = wait::until(COORDINATOR_DEADLINE, "readiness to tell it", async || {
        let answer = reqwest::get(format!("http://127.0.0.1:{}/readyz", ports[0])).await.ok()?;
        (answer.status() == 503).then_some(answer.text().await.ok()?).filter(|t| t.contains("DCMF_LEDGER"))
    });
    assert!(said.await.unwrap().contains("takes no messages"));
    for stream in limited {
        farm.bus.jetstream().update_stream(&stream).await.unwrap();
    }
    farm.credited(2).await;
    let recovered = |e: &EventData| matches!(e, EventData::StoreRecovered { .. });
    farm.event("the recovery", recovered).await;
    for port in ports {
        let ready = wait::until(COORDINATOR_DEADLINE, "readiness", async || {
            let answer = reqwest::get(format!("http://127.0.0.1:{port}/readyz")).await.ok()?;
            (answer.status() == 200).then_some(())
        });
        ready.await.unwrap();
    }
}

/// Lets the server write no byte, as on a full disk, or again as much as it wants.
fn disk(farm: &mut Farm, full: bool) {
    let id = farm.server.process().id().to_string();
    let limit = if full { "--fsize=0:" } else { "--fsize=unlimited:" };
    let done = std::process::Command::new("prlimit").args(["--pid", &id, limit]).status().unwrap();
    assert!(done.success());
}

#[tokio::test]
async fn after_a_full_disk_the_pool_has_an_owner_again_and_the_events_hold_what_mends_the_rest() {
    let ports: [u16; 2] = free_ports().unwrap();
    let http = ports.map(|port| format!("http = \"127.0.0.1:{port}\"\n"));
    let mut farm = Farm::start_with(&every_hash_is_a_share(), &http[0], Faults::default()).await;
    let worker = farm.worker("w1").await;
    let _second = InProcess::start(farm.server.url(), "c2", &http[1]).unwrap();
    let first = job(&farm.bus, &farm.pool).await.unwrap();
    worker.send(&worker.share(&first, 1).unwrap()).await.unwrap();
    farm.credited(1).await;
    disk(&mut farm, true);
    for port in ports {
        let said = wait::until(COORDINATOR_DEADLINE, "readiness to tell it", async || {
            let answer = reqwest::get(format!("http://127.0.0.1:{port}/readyz")).await.ok()?;
            (answer.status() == 503)
                .then_some(answer.text().await.ok()?)
                .filter(|t| t.contains("takes no messages"))
        });
        said.await.unwrap();
    }
    farm.event("a failing store", |e| matches!(e, EventData::StoreFailing { .. })).await;
    disk(&mut farm, false);

    // What is only kept for a moment is made anew by the coordinators, so there is an owner; what must not be lost is not.
    let mut mended = std::collections::BTreeSet::new();
    let deadline = std::time::Instant::now() + 4 * COORDINATOR_DEADLINE;
    loop {
        assert!(std::time::Instant::now() < deadline, "mended {mended:?}");
        let failing = tokio::time::timeout(
            COORDINATOR_DEADLINE,
            farm.event("what fails", |e| {
                matches!(e, EventData::StoreFailing { .. } | EventData::PoolUnstuck { .. })
            }),
        );
        if let Ok(EventData::StoreFailing { stream, repair, .. }) = failing.await {
            let own = stream.starts_with("KV_dcmf_leases") || stream.starts_with("KV_dcmf_status");
            if !own && mended.insert(stream.clone()) {
                mend(&farm, &stream, &repair);
            }
        }
        let share = worker.share(&first, 2).unwrap();
        let sent = tokio::time::timeout(std::time::Duration::from_secs(2), worker.send(&share)).await;
        if sent.is_ok() && system_tests::coordinator::credited(&farm.bus, &farm.pool).await.ok() == Some(2) {
            break;
        }
    }
    farm.goes_on(first.epoch).await;
}

/// Types what the event tells, into a folder of the test's own.
fn mend(farm: &Farm, stream: &str, repair: &str) {
    let backup = tempfile::tempdir().unwrap();
    let folder = backup.path().join(stream);
    let line = &repair[repair.find("nats stream backup").unwrap()..].trim_end_matches(')');
    let line = line.replace(&format!("/var/tmp/{stream}"), folder.to_str().unwrap());
    for command in line.split("&&") {
        farm.types(command.trim());
    }
}
