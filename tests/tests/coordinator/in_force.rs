//! What is in force, apart from what is wished for; and buckets that are made anew under a running farm.

use crate::Farm;
use bus_schemas::{
    WorkerId,
    command::{
        CommandError, ErrorCode, FarmDuty, FarmStatus, NodeDuty, PoolRequest, PoolView, Revision, ViewOf,
    },
    config::{ConfigKey, InForce, NodeConfig, PoolConfig},
    event::EventData,
    policy::FarmConfig,
    subject::{command, command_on},
};
use nats_adapter::{Action, RequestError, ensure, streams};
use system_tests::{
    coordinator::{COORDINATOR_DEADLINE, InProcess, every_hash_is_a_share, job, owned},
    wait,
};

impl Farm {
    async fn wish(&self, key: &str, json: &str) -> u64 {
        self.bus.kv(streams::CONFIG).put(key, json.to_owned().into()).await.unwrap()
    }

    /// Waits until the bucket holds what is wanted.
    async fn in_force<M: bus_schemas::Message>(
        &self,
        key: &ConfigKey,
        what: &str,
        wanted: impl Fn(&M) -> bool,
    ) -> M {
        wait::until(COORDINATOR_DEADLINE, what, async || {
            let entry = self.bus.kv(streams::IN_FORCE).get_as::<M>(key).await.ok()??;
            wanted(&entry.value).then_some(entry.value)
        })
        .await
        .unwrap()
    }

    async fn make_anew(&self, stream: &str) {
        self.bus.jetstream().delete_stream(stream).await.unwrap();
        ensure(&self.bus, 1, Action::Create).await.unwrap();
    }

    fn key(&self) -> ConfigKey {
        ConfigKey::Pool(self.pool.clone())
    }

    /// The subject of a command for the farm's pool.
    fn of_pool(&self, verb: &str) -> String {
        command_on("pool", verb, &self.pool)
    }
}

#[tokio::test]
async fn what_is_in_force_is_published_in_full_with_the_revision_that_it_comes_from() {
    let farm = Farm::start(&every_hash_is_a_share()).await;
    let revision = farm.wish("pool.main", r#"{"threads":1}"#).await;
    let first = |c: &InForce<PoolConfig>| c.revision == revision;
    let published = farm.in_force(&farm.key(), "the edit", first).await;
    assert_eq!(published.config, PoolConfig { threads: Some(1), ..PoolConfig::default() });
    let again = farm.wish("pool.main", "{\n \"threads\" : 1 }").await;
    let second = |c: &InForce<PoolConfig>| c.revision == again;
    assert_eq!(farm.in_force(&farm.key(), "the same once more", second).await.config, published.config);
    farm.bus.kv(streams::CONFIG).delete("pool.main").await.unwrap();
    wait::until(COORDINATOR_DEADLINE, "the deletion", async || {
        farm.bus.kv(streams::IN_FORCE).get("pool.main").await.ok()?.is_none().then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn an_order_does_not_wait_until_somebody_elses_mistake_is_mended() {
    let mut farm = Farm::start(&every_hash_is_a_share()).await;
    for mistake in [r#"{"thread":1}"#, "no JSON", "[]", r#"{"load":[]}"#, ""] {
        let revision = farm.wish("pool.main", mistake).await;
        let refused =
            |e: &EventData| matches!(e, EventData::ConfigRefused { revision: r, .. } if *r == revision);
        farm.event(mistake, refused).await;
        let view: PoolView = farm.bus.request(farm.of_pool("get"), &ViewOf {}).await.unwrap();
        assert_eq!(view.refused.map(|refused| refused.revision), Some(revision));
        let paused: Revision =
            farm.bus.request(farm.of_pool("pause"), &PoolRequest::default()).await.unwrap();
        let is_paused = |c: &InForce<PoolConfig>| c.revision == paused.revision && c.config.paused;
        let config = farm.in_force(&farm.key(), "the pause", is_paused).await.config;
        assert_eq!(config, PoolConfig { paused: true, ..every_hash_is_a_share() });
        let _: Revision = farm.bus.request(farm.of_pool("resume"), &PoolRequest::default()).await.unwrap();
        farm.in_force(&farm.key(), "the end of the pause", |c: &InForce<PoolConfig>| !c.config.paused).await;
    }
    let node = WorkerId::new("w1").unwrap();
    farm.wish("node.w1", r#"{"threads":1}"#).await;
    let key = ConfigKey::Node(node.clone());
    farm.in_force(&key, "the node", |c: &InForce<NodeConfig>| c.config.threads == Some(1)).await;
    farm.wish("node.w1", r#"{"thread":2}"#).await;
    let _: Revision =
        farm.bus.request(command_on("node", "drain", &node), &NodeDuty::default()).await.unwrap();
    let drained = farm.in_force(&key, "the drain", |c: &InForce<NodeConfig>| c.config.drained).await;
    assert_eq!(drained.config.threads, Some(1));
}

#[tokio::test]
async fn an_order_as_an_array_is_refused() {
    let farm = Farm::start(&every_hash_is_a_share()).await;
    for (name, body) in [
        (command("farm", "halt"), "[]"),
        (command("farm", "halt"), r#"["drill"]"#),
        (farm.of_pool("put"), r#"{"config":[]}"#),
        (farm.of_pool("put"), r#"[{}]"#),
        (command_on("throttle", "put", "farm"), "[0,null,60]"),
    ] {
        let answer = farm.bus.request_bytes(&name, body.as_bytes().to_vec().into()).await;
        let Err(RequestError::Refused(CommandError { code, .. })) = answer else {
            panic!("{body}: {answer:?}")
        };
        assert!(matches!(code, ErrorCode::MalformedRequest | ErrorCode::InvalidConfig), "{body}: {code:?}");
    }
}

#[tokio::test]
async fn the_kill_switch_works_after_the_bucket_of_wishes_was_made_anew() {
    let mut farm = Farm::start(&every_hash_is_a_share()).await;
    for _ in 0..5 {
        farm.wish("farm", r#"{"halted":true}"#).await;
        farm.wish("farm", "{}").await;
    }
    farm.in_force(&ConfigKey::Farm, "the farm", |c: &InForce<FarmConfig>| c.revision > 5).await;
    farm.make_anew(streams::KV_CONFIG).await;
    let replaced = |e: &EventData| matches!(e, EventData::ConfigBucketReplaced { kept: 2 });
    let _: Revision =
        farm.bus.request(&command("farm", "halt"), &FarmDuty { reason: "drill".into() }).await.unwrap();
    let halted = |c: &InForce<FarmConfig>| c.config.halted && c.revision == 1;
    farm.in_force(&ConfigKey::Farm, "the halt", halted).await;
    let status = farm.bus.request_bytes(&command("farm", "status"), Default::default()).await.unwrap();
    let status: FarmStatus = bus_schemas::Message::decode(&status).unwrap();
    assert!(status.farm.config.halted);
    assert_eq!(status.pools.len(), 1, "what was in force stays");
    farm.event("the bucket", |e| replaced(e) || matches!(e, EventData::ConfigBucketReplaced { kept: 1 }))
        .await;
}

#[tokio::test]
async fn what_somebody_puts_among_what_is_in_force_is_put_right_and_a_bucket_that_is_gone_is_filled_again() {
    let farm = Farm::start(&every_hash_is_a_share()).await;
    let own = |c: &InForce<PoolConfig>| c.config == every_hash_is_a_share();
    farm.in_force(&farm.key(), "the configuration", own).await;
    let forged = serde_json::to_vec(&InForce { revision: 900, config: PoolConfig::default() }).unwrap();
    for rubbish in [b"rubbish".to_vec(), b"[]".to_vec(), forged] {
        farm.bus.kv(streams::IN_FORCE).put("pool.main", rubbish.into()).await.unwrap();
        farm.in_force(&farm.key(), "the configuration again", own).await;
    }
    farm.bus.kv(streams::IN_FORCE).put("pool.stranger", "{}".into()).await.unwrap();
    farm.make_anew(streams::KV_IN_FORCE).await;
    farm.in_force(&farm.key(), "the configuration in the new bucket", own).await;
}

#[tokio::test]
async fn what_is_in_force_outlives_a_bucket_of_wishes_that_is_lost_while_no_coordinator_runs() {
    let mut farm = Farm::start(&every_hash_is_a_share()).await;
    farm.in_force(&farm.key(), "the configuration", |c: &InForce<PoolConfig>| {
        c.config == every_hash_is_a_share()
    })
    .await;
    let epoch = job(&farm.bus, &farm.pool).await.unwrap().epoch;
    farm.coordinator.take().unwrap().stop().await.unwrap();
    farm.make_anew(streams::KV_CONFIG).await;
    farm.coordinator = Some(InProcess::start(farm.server.url(), "c2", "").unwrap());
    owned(&farm.bus, &farm.pool, epoch).await.unwrap();
    let paused: Revision = farm.bus.request(farm.of_pool("pause"), &PoolRequest::default()).await.unwrap();
    assert_eq!(paused.revision, 1);
    farm.in_force(&farm.key(), "the pause", |c: &InForce<PoolConfig>| c.config.paused).await;
}

#[tokio::test]
async fn epochs_rise_although_the_bucket_of_leases_was_made_anew() {
    let farm = Farm::start(&every_hash_is_a_share()).await;
    let first = owned(&farm.bus, &farm.pool, 0).await.unwrap().epoch;
    farm.make_anew(streams::KV_LEASES).await;
    let second = owned(&farm.bus, &farm.pool, first).await.unwrap().epoch;
    assert!(second > first);
}
