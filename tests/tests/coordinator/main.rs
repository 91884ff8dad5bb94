//! The coordinator on a real bus: what it refuses, how it hands over, and what it counts.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bad_input;
mod configuration;
mod in_force;
mod orders;
mod takeover;

use bus_schemas::{
    PoolId,
    config::PoolConfig,
    event::{Event, EventData},
    subject::filter,
};
use nats_adapter::{Bus, BusOptions, RawSubscription};
use std::time::Duration;
use system_tests::{
    coordinator::{COORDINATOR_DEADLINE, InProcess, credited, ledger, owned, put_pool},
    hand_worker::HandWorker,
    nats_server::NatsServer,
    wait,
};

/// A farm with one pool in which every hash is a share and none a block.
pub struct Farm {
    pub server: NatsServer,
    pub bus: Bus,
    pub pool: PoolId,
    pub coordinator: Option<InProcess>,
    events: RawSubscription,
}

impl Farm {
    pub async fn start(config: &PoolConfig) -> Self {
        let server = NatsServer::start().await.unwrap();
        let coordinator = InProcess::start(server.url(), "c1", "").unwrap();
        let bus = Bus::connect(BusOptions::new("test", [server.url()])).await.unwrap();
        let events = bus.subscribe_bytes(filter::events()).await.unwrap();
        let pool = PoolId::new("main").unwrap();
        put_pool(&bus, &pool, config).await.unwrap();
        owned(&bus, &pool, 0).await.unwrap();
        Self { server, bus, pool, coordinator: Some(coordinator), events }
    }

    pub async fn worker(&self, name: &str) -> HandWorker {
        HandWorker::join(&self.bus, &self.pool, name, &format!("{name}-s")).await.unwrap()
    }

    /// Waits until the ledger has credited `wanted` shares and checks that it is no more.
    pub async fn credited(&self, wanted: u64) {
        let reached = wait::until(COORDINATOR_DEADLINE, format!("{wanted} credited shares"), async || {
            credited(&self.bus, &self.pool).await.ok().filter(|c| *c >= wanted)
        });
        assert_eq!(reached.await.unwrap(), wanted);
        let in_records: u64 = ledger(&self.bus, &self.pool)
            .await
            .unwrap()
            .iter()
            .flat_map(|r| &r.credits)
            .map(|c| c.shares)
            .sum();
        assert_eq!(in_records, wanted);
    }

    /// Waits for an event that `wanted` accepts.
    pub async fn event(&mut self, what: &str, wanted: impl Fn(&EventData) -> bool) -> EventData {
        let next = async {
            loop {
                let message = self.events.next().await.expect("the connection lives");
                let event: Event =
                    bus_schemas::Message::decode(&message.payload).expect("an event can be read");
                assert_eq!(event.bus_subject(), message.subject.as_str());
                if wanted(&event.what) {
                    return event.what;
                }
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(30), next).await;
        in_time.unwrap_or_else(|_| panic!("no event in time: {what}"))
    }
}
