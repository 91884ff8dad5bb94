//! The coordinator on a real bus: what it refuses, how it hands over, and what it counts.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bad_input;
mod configuration;
mod failing_tasks;
mod in_force;
mod orders;
mod replaced;
mod rubbish;
mod silence;
mod takeover;

use bus_schemas::{
    PoolId,
    config::PoolConfig,
    event::{Event, EventData},
    subject::filter,
};
use coordinator::tasks::Faults;
use nats_adapter::{Bus, BusOptions, RawSubscription};
use std::time::Duration;
use system_tests::{
    coordinator::{COORDINATOR_DEADLINE, InProcess, credited, job, ledger, owned, put_pool},
    hand_worker::HandWorker,
    nats_server::NatsServer,
    parts::Part,
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
        Self::start_with(config, "", Faults::default()).await
    }

    /// With further lines of the coordinator's host file, and what is to break.
    pub async fn start_with(config: &PoolConfig, more: &str, faults: Faults) -> Self {
        Self::start_on(NatsServer::start().await.unwrap(), config, more, faults).await
    }

    pub async fn start_on(server: NatsServer, config: &PoolConfig, more: &str, faults: Faults) -> Self {
        let coordinator = InProcess::start_with(server.url(), "c1", more, faults).unwrap();
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

    /// Waits until an owner with an epoch other than `before` has made a job: it is returned.
    pub async fn goes_on(&self, before: u64) -> bus_schemas::job::Job {
        let next = wait::until(COORDINATOR_DEADLINE, "a job of another term", async || {
            job(&self.bus, &self.pool).await.ok().filter(|job| job.epoch != before)
        });
        next.await.unwrap()
    }

    /// Sends a share of the current job again and again until at least `wanted` are credited, one more than before. Each
    /// job that comes meanwhile may earn one, so a few more are right as well; a forged total is not.
    pub async fn earns(&self, worker: &HandWorker, nonce: u32, wanted: u64) {
        const MORE: u64 = 16;
        let total = async || credited(&self.bus, &self.pool).await.unwrap_or(0);
        let before = Some(total().await).filter(|before| *before < wanted + MORE).unwrap_or(0);
        wait::until(COORDINATOR_DEADLINE, format!("{wanted} credited shares"), async || {
            let job = job(&self.bus, &self.pool).await.ok()?;
            worker.send(&worker.share(&job, nonce).ok()?).await.ok()?;
            let now = total().await;
            (now > before && (wanted..wanted + MORE).contains(&now)).then_some(())
        })
        .await
        .unwrap();
    }

    /// Types a command of the `nats` program; what it wrote.
    /// `@.` at the beginning of an argument stands for the prefix of every subject.
    pub fn nats(&self, arguments: &[&str]) -> String {
        let program = Part::NatsCli.locate().unwrap();
        let whole = |word: &&str| match word.strip_prefix("@.") {
            Some(rest) => format!("{}.{rest}", bus_schemas::subject::PREFIX),
            None => (*word).to_owned(),
        };
        let arguments: Vec<String> = arguments.iter().map(whole).collect();
        let output = std::process::Command::new(program)
            .args(["--server", self.server.url()])
            .args(&arguments)
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let shown = text(&output.stdout) + &text(&output.stderr);
        assert!(output.status.success(), "nats {arguments:?}: {shown}");
        shown
    }

    /// Types a line as an event tells it; the words of `nats` have no blanks inside.
    pub fn types(&self, line: &str) -> String {
        let words: Vec<_> = line.split_whitespace().collect();
        assert_eq!(words[0], "nats", "{line}");
        self.nats(&words[1..])
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
        let in_time = tokio::time::timeout(Duration::from_secs(60), next).await;
        in_time.unwrap_or_else(|_| panic!("no event in time: {what}"))
    }
}
