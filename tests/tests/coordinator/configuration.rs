//! Configuration as operators write it, by bucket and by command.

use crate::Farm;
use bus_schemas::{
    command::{
        CommandError, ErrorCode, FarmStatus, NodeList, NodePut, PoolPut, PoolRequest, PoolView, Revision,
        ViewOf,
    },
    config::ConfigKey,
    event::EventData,
    member::Role,
    subject::{command, command_on},
};
use nats_adapter::{RequestError, streams};
use system_tests::{
    coordinator::{COORDINATOR_DEADLINE, every_hash_is_a_share, job},
    wait,
};

#[tokio::test]
async fn a_bad_edit_in_the_bucket_is_refused_with_its_reason_and_the_last_good_one_stays() {
    let mut farm = Farm::start(&every_hash_is_a_share()).await;
    let key = ConfigKey::Pool(farm.pool.clone());
    let kv = farm.bus.kv(streams::CONFIG);
    for (edit, why) in [
        ("{\"thread\":1}", "unknown key thread"),
        ("nonsense", "not readable"),
        ("{\"slot_bits\":0}", "slot_bits"),
    ] {
        kv.put(&key, edit.as_bytes().to_vec().into()).await.unwrap();
        let refused = |e: &EventData| matches!(e, EventData::ConfigRefused { reason, in_force: 1, .. } if reason.contains(why));
        farm.event(why, refused).await;
    }
    let view: PoolView = farm.bus.request(command_on("pool", "get", &farm.pool), &ViewOf {}).await.unwrap();
    assert_eq!((view.revision, view.config), (1, every_hash_is_a_share()));
}

#[tokio::test]
async fn the_last_good_edit_is_in_force_after_a_restart_although_a_later_one_is_refused() {
    let mut farm = Farm::start(&every_hash_is_a_share()).await;
    let key = ConfigKey::Pool(farm.pool.clone());
    farm.bus.kv(streams::CONFIG).put(&key, b"{bad".to_vec().into()).await.unwrap();
    let refused = |e: &EventData| matches!(e, EventData::ConfigRefused { .. });
    farm.event("the refusal", refused).await;
    let epoch = job(&farm.bus, &farm.pool).await.unwrap().epoch;
    farm.coordinator.take().unwrap().stop().await.unwrap();
    farm.coordinator =
        Some(system_tests::coordinator::InProcess::start(farm.server.url(), "c2", "").unwrap());
    system_tests::coordinator::owned(&farm.bus, &farm.pool, epoch).await.unwrap();
}

#[tokio::test]
async fn an_algorithm_that_does_not_fit_the_source_is_said_so_and_nothing_is_published_for_it() {
    let mut farm = Farm::start(&every_hash_is_a_share()).await;
    let mut config = every_hash_is_a_share();
    config.algorithm = bus_schemas::AlgorithmId::new("randomx-v1").unwrap();
    system_tests::coordinator::put_pool(&farm.bus, &farm.pool, &config).await.unwrap();
    let told = |e: &EventData| matches!(e, EventData::SourceFailed { reason } if reason.contains("randomx-v1 goes with the source monero"));
    farm.event("the trouble", told).await;
    // The job of the source before was withdrawn, and there is no other.
    assert!(job(&farm.bus, &farm.pool).await.is_err());
}

#[tokio::test]
async fn a_change_of_the_division_is_published_as_a_new_job() {
    let farm = Farm::start(&every_hash_is_a_share()).await;
    let before = job(&farm.bus, &farm.pool).await.unwrap();
    let mut config = every_hash_is_a_share();
    config.mode = bus_schemas::work::SearchMode::SharedBlock;
    system_tests::coordinator::put_pool(&farm.bus, &farm.pool, &config).await.unwrap();
    let after = wait::until(COORDINATOR_DEADLINE, "a job of the new division", async || {
        job(&farm.bus, &farm.pool).await.ok().filter(|j| j.mode == config.mode)
    });
    assert!(after.await.unwrap().sequence > before.sequence);
}

#[tokio::test]
async fn commands_do_what_they_say_and_refuse_with_code_and_hint() {
    let farm = Farm::start(&every_hash_is_a_share()).await;
    farm.worker("w1").await;
    let bus = &farm.bus;
    let (main, node) = (|verb| command_on("pool", verb, "main"), |verb| command_on("node", verb, "w1"));
    let request = PoolRequest::default();
    let paused: Revision = bus.request(main("pause"), &request).await.unwrap();
    wait::until(COORDINATOR_DEADLINE, "the pause", async || {
        let view: PoolView = bus.request(main("get"), &ViewOf {}).await.ok()?;
        (view.config.paused && view.revision == paused.revision).then_some(())
    })
    .await
    .unwrap();

    let put = |revision| PoolPut { config: serde_json::json!({}), revision: Some(revision) };
    let code = async |verb, error: Result<Revision, RequestError>| match error {
        Err(RequestError::Refused(CommandError { code, hint, .. })) if !hint.is_empty() => code,
        other => panic!("{verb}: {other:?}"),
    };
    assert_eq!(code("put", bus.request(main("put"), &put(1)).await).await, ErrorCode::RevisionMismatch);
    assert_eq!(code("delete", bus.request(main("delete"), &request).await).await, ErrorCode::PoolInUse);
    assert_eq!(
        code("pause", bus.request(command_on("pool", "pause", "other"), &request).await).await,
        ErrorCode::UnknownPool
    );
    let bad = NodePut { config: serde_json::json!({ "threads": 5_000 }), revision: None };
    assert_eq!(code("node", bus.request(node("put"), &bad).await).await, ErrorCode::InvalidConfig);
    for (subject, body, wanted) in [
        (main("get"), "rubbish", ErrorCode::MalformedRequest),
        (main("get"), r#"{"pool":"main"}"#, ErrorCode::MalformedRequest),
        (command_on("pool", "get", "a$b"), "", ErrorCode::MalformedRequest),
        (command("pool", "get"), r#"{"pool":"main"}"#, ErrorCode::TargetMissing),
        (command("node", "drain"), r#"{"node":"w1"}"#, ErrorCode::TargetMissing),
        (command("throttle", "put"), "{}", ErrorCode::TargetMissing),
        (command_on("throttle", "put", "pool.a.b"), "{}", ErrorCode::InvalidThrottle),
    ] {
        let answer = bus.request_bytes(&subject, body.into()).await;
        let refused = matches!(&answer, Err(RequestError::Refused(error)) if error.code == wanted);
        assert!(refused, "{subject} {body}: {answer:?}");
    }

    let pin = NodePut { config: serde_json::json!({ "role": "backup" }), ..bad };
    let _: Revision = bus.request(node("put"), &pin).await.unwrap();
    wait::until(COORDINATOR_DEADLINE, "the pinned role", async || {
        let list = bus.request_bytes(&command("node", "list"), Default::default()).await.ok()?;
        let list: NodeList = bus_schemas::Message::decode(&list).ok()?;
        list.nodes.iter().any(|n| n.membership.as_ref().is_some_and(|m| m.role == Role::Backup)).then_some(())
    })
    .await
    .unwrap();
    let status = bus.request_bytes(&command("farm", "status"), Default::default()).await.unwrap();
    let status: FarmStatus = bus_schemas::Message::decode(&status).unwrap();
    assert_eq!(status.pools.len(), 1);
}
