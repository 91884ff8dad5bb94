//! Components that come over the bus, from a real bucket into the worker's sandbox.
#![allow(clippy::unwrap_used, clippy::panic, reason = "the functions beside the tests are tests too")]
#![cfg(test)]

#[path = "../../algorithms/component/tests/component/guests.rs"]
#[allow(missing_docs)]
mod guests;
#[path = "../../algorithms/component/tests/component/toy.rs"]
#[allow(dead_code, missing_docs)]
mod toy;

use algorithm_api::{Algorithm, Range, Target};
use algorithm_component::{Limits, NotWanted, Wanted, digest};
use async_nats::jetstream::object_store::ObjectMetadata;
use bus_schemas::{
    AlgorithmId, Hash32, Message, PoolId, ShareBits, WorkerId,
    config::{ComponentRef, EmbeddedSource, PoolConfig, SourceConfig},
    event::{Event, EventData},
    policy::LoadPolicy,
    subject::filter,
};
use nats_adapter::{Action, Bus, BusOptions, ObjectError, RawSubscription, ensure, streams};
use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};
use system_tests::{
    authority::{Authority, publish, statement},
    coordinator::{InProcess, credited, put_pool},
    folder::RunFolder,
    nats_server::{NatsOptions, NatsServer},
    parts::repository,
    wait,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use toy::{ID, Toy};
use worker::{
    Config, RunError, Worker, certificates,
    components::{ComponentError, Components, subject},
    group::Choice,
};
use worker_core::Denied;

/// Longest wait for anything that should happen soon.
const SOON: Duration = Duration::from_secs(60);
/// Compact bits of a target that one of 65,536 hashes meets.
const BLOCK_BITS: u32 = 0x1f00_ffff;

fn denied() -> Denied {
    Denied { code: "not-certified", reason: "no certificate".to_owned() }
}

struct Stage {
    _server: NatsServer,
    bus: Bus,
    /// The digests that may run.
    permitted: Arc<Mutex<Vec<[u8; 32]>>>,
    components: Components,
}

impl Stage {
    async fn start() -> Self {
        let config = Some(repository().join("nats/server/one.conf"));
        let options = NatsOptions { config, ..NatsOptions::default() };
        let server = NatsServer::start_in(RunFolder::temporary().unwrap(), options).await.unwrap();
        let bus = Bus::connect(BusOptions::new("test", [server.url()])).await.unwrap();
        ensure(&bus, 1, Action::Create).await.unwrap();
        let permitted = Arc::<Mutex<Vec<[u8; 32]>>>::default();
        let list = Arc::clone(&permitted);
        let is_permitted = move |wanted: &Wanted| {
            let found = list.lock().unwrap().contains(&wanted.digest);
            if found { Ok(()) } else { Err(denied()) }
        };
        let limits = Limits { component_len: 64 << 10, ..Limits::default() };
        let components = Components::new(bus.clone(), limits, Arc::new(is_permitted));
        Self { _server: server, bus, permitted, components }
    }

    async fn put(&self, name: &str, bytes: &[u8]) {
        put(&self.bus, name, bytes).await;
    }

    fn permit(&self, wanted: &Wanted) {
        self.permitted.lock().unwrap().push(wanted.digest);
    }

    async fn obtain(
        &self,
        wanted: &Wanted,
    ) -> Result<algorithm_component::ComponentAlgorithm, ComponentError> {
        tokio::time::timeout(SOON, self.components.obtain(wanted)).await.expect("in time")
    }
}

/// What `nats object put` does.
async fn put(bus: &Bus, name: &str, bytes: &[u8]) {
    let store = bus.jetstream().get_object_store(streams::COMPONENTS).await.unwrap();
    let object = ObjectMetadata { name: name.to_owned(), ..ObjectMetadata::default() };
    store.put(object, &mut &*bytes).await.unwrap();
}

fn wanted(bytes: &[u8]) -> Wanted {
    Wanted { id: ID.to_owned(), version: 2, digest: digest(bytes) }
}

#[tokio::test]
async fn a_permitted_component_comes_from_the_bucket_and_searches() {
    let stage = Stage::start().await;
    let bytes = Toy::default().component();
    let wanted = wanted(&bytes);
    stage.put(&wanted.object_name(), &bytes).await;
    stage.permit(&wanted);
    assert!(stage.components.loaded(&wanted).is_none(), "nobody asked for it yet");
    let component = stage.obtain(&wanted).await.unwrap();
    let mut range = Range { next: 0, end: 50 };
    let mut search = component.prepare(&[1]).unwrap();
    assert_eq!(search.search(&mut range, u64::MAX, &Target::MAX, &mut |_| {}), 50);
    assert!(stage.components.loaded(&wanted).is_some());

    stage.permitted.lock().unwrap().clear();
    assert!(stage.components.loaded(&wanted).is_none(), "it is revoked");
    assert_eq!(stage.obtain(&wanted).await.unwrap_err(), ComponentError::NotPermitted(denied()));
}

#[tokio::test]
async fn what_is_not_permitted_missing_too_big_or_another_is_refused_by_name() {
    let stage = Stage::start().await;
    let bytes = Toy::default().component();
    let right = wanted(&bytes);
    let refused = stage.obtain(&right).await.unwrap_err();
    assert_eq!(refused, ComponentError::NotPermitted(denied()));

    stage.permit(&right);
    let (bucket, object) = (streams::COMPONENTS.to_owned(), right.object_name());
    let none = ObjectError::NoObject { bucket, object: object.clone() };
    assert_eq!(stage.obtain(&right).await.unwrap_err(), ComponentError::Fetch(none));

    let too_big = vec![0; (64 << 10) + 1];
    stage.put(&object, &too_big).await;
    let refusal = ObjectError::TooBig { object: object.clone(), len: too_big.len(), most: 64 << 10 };
    assert_eq!(stage.obtain(&right).await.unwrap_err(), ComponentError::Fetch(refusal));

    let other = Toy { positions: 9, ..Toy::default() }.component();
    stage.put(&object, &other).await;
    let tampered = NotWanted::Digest { found: digest(&other), wanted: right.digest };
    assert_eq!(stage.obtain(&right).await.unwrap_err(), ComponentError::NotWanted(tampered));

    stage.put(&object, &bytes).await;
    let misnamed = Wanted { version: 3, ..right.clone() };
    let refused = stage.obtain(&misnamed).await.unwrap_err();
    assert!(matches!(refused, ComponentError::NotWanted(NotWanted::Identity { .. })), "{refused}");
    stage.obtain(&right).await.unwrap();
}

/// A bus, a coordinator, a worker, and people who certify.
struct Farm {
    server: NatsServer,
    bus: Bus,
    pool: PoolId,
    events: RawSubscription,
    authority: Authority,
    serial: u64,
    state: PathBuf,
    coordinator: InProcess,
}

/// A worker of this process.
struct Running {
    shutdown: CancellationToken,
    ended: JoinHandle<Result<(), RunError>>,
    http: String,
}

impl Farm {
    /// Its pool is to run `component`, which lies in the bucket; only what is compiled in is certified.
    async fn start(component: &[u8], wanted: &Wanted) -> Self {
        let folder = RunFolder::temporary().unwrap();
        let state = folder.path().join("state");
        let config = Some(repository().join("nats/server/one.conf"));
        let server =
            NatsServer::start_in(folder, NatsOptions { config, ..NatsOptions::default() }).await.unwrap();
        let bus = Bus::connect(BusOptions::new("test", [server.url()])).await.unwrap();
        ensure(&bus, 1, Action::Create).await.unwrap();
        let events = bus.subscribe_bytes(filter::events()).await.unwrap();
        let coordinator = InProcess::start(server.url(), "c1", "").unwrap();
        let (authority, pool) = (Authority::new().unwrap(), PoolId::new("main").unwrap());
        let serial = certificates::now().get();
        let mut farm = Self { server, bus, pool, events, authority, serial, state, coordinator };
        farm.certify(&[]).await;
        farm.offer(component, wanted).await;
        farm
    }

    /// Publishes certificates of everything that is compiled in, and of `components`.
    async fn certify(&mut self, components: &[&Wanted]) {
        let mut all = self.authority.certify_all(None).unwrap();
        let signed = |wanted: &&Wanted| self.authority.certificate(&statement(subject(wanted))).unwrap();
        all.extend(components.iter().map(signed));
        self.serial += 1;
        publish(&self.bus, self.authority.catalogue(self.serial, &all, None).unwrap()).await.unwrap();
    }

    /// Stores a component and names it in the pool's configuration.
    async fn offer(&self, component: &[u8], wanted: &Wanted) {
        put(&self.bus, &wanted.object_name(), component).await;
        let source = EmbeddedSource { initial_bits: BLOCK_BITS, ..EmbeddedSource::default() };
        let config = PoolConfig {
            algorithm: AlgorithmId::new(&*wanted.id).unwrap(),
            component: Some(ComponentRef { version: wanted.version, sha256: Hash32(wanted.digest) }),
            source: SourceConfig::Embedded(source),
            threads: Some(1),
            load: LoadPolicy::never(),
            initial_share_bits: ShareBits::new(12),
            share_rate_limit: 10_000,
            heartbeat_interval_ms: 100,
            job_refresh_ms: 1_000,
            ..PoolConfig::default()
        };
        put_pool(&self.bus, &self.pool, &config).await.unwrap();
    }

    async fn worker(&self) -> Running {
        let config = Config {
            trust: self.authority.roots().unwrap(),
            state_folder: self.state.clone(),
            servers: vec![self.server.url().to_owned()],
            max_threads: 1,
            http: Some("127.0.0.1:0".parse().unwrap()),
            veto_file: self.state.join("veto"),
            ungentle_percent: 100,
            pin: false,
            // Beside other tests and their programs an idle group would search next to nothing.
            group: Choice::None,
            ..Config::new(WorkerId::new("w1").unwrap(), self.pool.clone())
        };
        let worker = Worker::bind(config).await.unwrap();
        let http = format!("http://{}", worker.http_address().unwrap());
        let shutdown = CancellationToken::new();
        let ended = tokio::spawn(worker.run(shutdown.clone()));
        Running { shutdown, ended, http }
    }

    async fn event(&mut self, what: &str, wanted: impl Fn(&EventData) -> bool) -> EventData {
        let next = async {
            loop {
                let told = Event::decode(&self.events.next().await.unwrap().payload).unwrap().what;
                if wanted(&told) {
                    return told;
                }
            }
        };
        tokio::time::timeout(SOON, next).await.unwrap_or_else(|_| panic!("no event in time: {what}"))
    }

    /// Shares are credited and a block is accepted.
    async fn mines(&mut self) {
        self.event("an accepted block", |e| matches!(e, EventData::BlockAccepted { .. })).await;
        let enough = async || credited(&self.bus, &self.pool).await.ok().filter(|shares| *shares >= 5);
        wait::until(SOON, "credited shares", enough).await.unwrap();
    }

    /// The code with which the worker refuses the component.
    async fn refused(&mut self) -> String {
        let refused = |e: &EventData| matches!(e, EventData::WorkerAlgorithmRefused { .. });
        match self.event("a refused algorithm", refused).await {
            EventData::WorkerAlgorithmRefused { code, .. } => code,
            other => panic!("{other:?}"),
        }
    }

    async fn end(self, worker: Running) {
        worker.shutdown.cancel();
        tokio::time::timeout(SOON, worker.ended).await.unwrap().unwrap().unwrap();
        self.coordinator.stop().await.unwrap();
    }
}

impl Running {
    async fn metric(&self, series: &str) -> u64 {
        let text = reqwest::get(format!("{}/metrics", self.http)).await.unwrap().text().await.unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in {text}")).parse().unwrap()
    }
}

/// The example guest of this name, built from its sources.
fn guest(name: &str) -> (Vec<u8>, Wanted) {
    let bytes = guests::build(&repository().join("algorithms/component/guests"), name);
    let wanted = Wanted { id: name.to_owned(), version: 1, digest: digest(&bytes) };
    (bytes, wanted)
}

#[tokio::test]
async fn a_component_mines_blocks_once_it_is_certified_and_nothing_before_on_wasm32_target() {
    let (bytes, wanted) = guest("sha256d-wasm");
    let mut farm = Farm::start(&bytes, &wanted).await;
    let worker = farm.worker().await;
    assert_eq!(farm.refused().await, "not-certified");
    assert_eq!(worker.metric("dcmf_worker_hashes_total").await, 0);
    farm.certify(&[&wanted]).await;
    farm.mines().await;
    farm.certify(&[]).await;
    assert_eq!(farm.refused().await, "not-certified");
    farm.end(worker).await;
}

#[tokio::test]
async fn a_component_that_calls_a_native_kernel_mines_blocks_on_wasm32_target() {
    let (bytes, wanted) = guest("sha256d-kernel");
    let mut farm = Farm::start(&bytes, &wanted).await;
    farm.certify(&[&wanted]).await;
    let worker = farm.worker().await;
    farm.mines().await;
    farm.end(worker).await;
}

#[tokio::test]
async fn a_certified_component_that_never_comes_back_is_given_up_and_the_next_one_mines_on_wasm32_target() {
    let endless = Toy {
        scan: "(loop $again (br $again))",
        input: (80, 80),
        finding: (4, 4),
        positions: 1 << 32,
        ..Toy::default()
    };
    let (bytes, (good, better)) = (endless.component(), guest("sha256d-wasm"));
    let hostile = wanted(&bytes);
    let mut farm = Farm::start(&bytes, &hostile).await;
    farm.certify(&[&hostile, &better]).await;
    let worker = farm.worker().await;
    let given_up = async || {
        let refused = worker.metric("dcmf_worker_orders_refused_total{reason=\"job-invalid\"}").await;
        (refused >= 2).then_some(())
    };
    wait::until(SOON, "the search to be given up, job after job", given_up).await.unwrap();
    assert_eq!(worker.metric("dcmf_worker_hashes_total").await, 0);
    farm.offer(&good, &better).await;
    farm.mines().await;
    farm.end(worker).await;
}
