//! Backup hosts and the kill switch, with real workers that are killed: who mines when, and how long it takes.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use bus_schemas::{
    Message, PoolId, ShareBits, WorkerId,
    command::{FarmDuty, NodeDuty, NodeList, PoolStatus, Revision},
    config::{EmbeddedSource, PoolConfig, SourceConfig},
    event::{Event, EventData},
    heartbeat::Heartbeat,
    ledger::LedgerRecord,
    member::{Member, Role, Standing},
    policy::LoadPolicy,
    subject::{Subject, command, command_on, filter},
};
use nats_adapter::{Bus, BusOptions, RawSubscription, Subscription, streams};
use nix::sys::signal::Signal;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};
use system_tests::{
    audit::audit,
    authority::Authority,
    coordinator::{InProcess, owned, put_pool},
    farm::programs::Program,
    folder::RunFolder,
    nats_server::NatsServer,
    process::{Launch, Process},
    wait,
    witness::Witness,
};

/// Longest wait for anything on a busy machine.
const LONG: Duration = Duration::from_secs(90);
/// Time between heartbeats, as the pool says.
const HEARTBEAT: Duration = Duration::from_millis(1_000);
/// That a backup mines is known from its heartbeats: the next one tells of it, and the one after where the machine is busy.
const TOLD_LATER: Duration = Duration::from_millis(2_000);
/// What the kill switch may take.
const STOPPED_WITHIN: Duration = Duration::from_secs(1);
/// Workers that mine.
const ACTIVE: u16 = 3;

fn config() -> PoolConfig {
    PoolConfig {
        active_members: ACTIVE,
        // Shares enough for an audit, and no block.
        initial_share_bits: ShareBits::new(18),
        min_share_bits: ShareBits::new(18),
        max_share_bits: ShareBits::new(18),
        share_rate_limit: 10_000,
        source: SourceConfig::Embedded(EmbeddedSource {
            initial_bits: 0x1d00_ffff,
            ..EmbeddedSource::default()
        }),
        heartbeat_interval_ms: 1_000,
        // All workers share one machine, and each would make room for the others.
        load: LoadPolicy::never(),
        ..PoolConfig::default()
    }
}

/// A coordinator in this process and workers as processes of their own.
struct Stage {
    workers: BTreeMap<&'static str, Process>,
    _coordinator: InProcess,
    bus: Bus,
    server: NatsServer,
    authority: Authority,
    pool: PoolId,
    folder: RunFolder,
}

impl Stage {
    async fn start() -> Self {
        let server = NatsServer::start().await.unwrap();
        let coordinator = InProcess::start(server.url(), "c1", "").unwrap();
        let bus = Bus::connect(BusOptions::new("test", [server.url()])).await.unwrap();
        let pool = PoolId::new("main").unwrap();
        put_pool(&bus, &pool, &config()).await.unwrap();
        owned(&bus, &pool, 0).await.unwrap();
        let folder = RunFolder::temporary().unwrap();
        let authority = Authority::new().unwrap();
        authority.permit_all(&bus, None).await.unwrap();
        Self { workers: BTreeMap::new(), _coordinator: coordinator, bus, server, authority, pool, folder }
    }

    fn worker(&mut self, name: &'static str) {
        let path = self.folder.path().join(format!("{name}.toml"));
        let text = format!(
            "worker = \"{name}\"\npool = \"main\"\nservers = [\"{}\"]\nmax_threads = 1\nstate_folder = \"{}\"\n{}",
            self.server.url(),
            self.folder.path().display(),
            self.authority.trust("")
        );
        std::fs::write(&path, text).unwrap();
        let launch = Launch::new(name, Program::Worker.locate().unwrap(), self.folder.path());
        let process = launch.args(["--config".as_ref(), path.as_os_str()]).start().unwrap();
        self.workers.insert(name, process);
    }

    /// Waits until so many mine and so many stand by.
    async fn members(&self, active: u32, backup: u32) {
        let what = format!("{active} active members and {backup} backups");
        let look = async || {
            let entry = self.bus.kv(streams::STATUS).get(&self.pool).await.ok()??;
            let status: PoolStatus = serde_json::from_slice(&entry.value).ok()?;
            ((status.active, status.backup) == (active, backup)).then_some(())
        };
        wait::until(LONG, what, look).await.unwrap();
    }

    async fn member(&self, name: &str) -> Option<Member> {
        let key = format!("{}.{name}", self.pool);
        Some(self.bus.kv(streams::MEMBERS).get_as::<Member>(key).await.ok()??.value)
    }

    async fn has_role(&self, name: &str, role: Role) -> Member {
        let look =
            async || self.member(name).await.filter(|m| m.standing == Standing::Present && m.role == role);
        wait::until(LONG, format!("{name} to be {role:?}"), look).await.unwrap()
    }

    async fn eyes(&self) -> Eyes {
        Eyes {
            events: self.bus.subscribe_bytes(filter::events()).await.unwrap(),
            heartbeats: self.bus.subscribe(filter::heartbeats(&self.pool)).await.unwrap(),
        }
    }

    async fn three_and_two(&mut self) {
        ["w1", "w2", "w3"].into_iter().for_each(|name| self.worker(name));
        self.members(3, 0).await;
        ["w4", "w5"].into_iter().for_each(|name| self.worker(name));
        self.members(3, 2).await;
    }
}

enum Seen {
    Event(EventData),
    Alive(WorkerId, Box<Heartbeat>),
}

/// Events and signs of life as they come.
struct Eyes {
    events: RawSubscription,
    heartbeats: Subscription<Heartbeat>,
}

impl Eyes {
    async fn next(&mut self) -> Seen {
        loop {
            tokio::select! {
                event = self.events.next() => {
                    return Seen::Event(Event::decode(&event.unwrap().payload).unwrap().what);
                }
                heartbeat = self.heartbeats.next() => {
                    let incoming = heartbeat.unwrap().unwrap();
                    if let Subject::Heartbeat(_, worker) = incoming.subject {
                        return Seen::Alive(worker, Box::new(incoming.message));
                    }
                }
            }
        }
    }

    /// Looks until `enough` says so.
    async fn until(&mut self, what: &str, mut enough: impl FnMut(Seen) -> bool) {
        let look = async { while !enough(self.next().await) {} };
        assert!(tokio::time::timeout(LONG, look).await.is_ok(), "waited in vain for {what}");
    }
}

/// Ends the workers in order, waits until all is accounted, and looks for faults.
async fn audited(mut stage: Stage, witness: Witness) {
    for worker in stage.workers.values_mut() {
        worker.signal(Signal::SIGTERM).unwrap();
    }
    for worker in stage.workers.values_mut() {
        worker.stop(LONG).await.unwrap();
    }
    let last = stage.bus.stream_bounds(streams::SHARE).await.unwrap().last;
    assert!(last > 0, "nobody mined");
    let accounted = async || {
        let subject = Subject::Ledger(stage.pool.clone());
        let record = stage.bus.last::<LedgerRecord>(streams::LEDGER, subject).await.ok()??;
        (record.message.shares_to >= last).then_some(())
    };
    wait::until(LONG, "every share to be accounted", accounted).await.unwrap();
    let audit = audit(&witness.finish().await.unwrap());
    assert_eq!(audit.faults, Vec::<String>::new(), "{audit:?}");
}

#[tokio::test]
async fn of_three_active_workers_two_are_killed_and_both_backups_mine_and_the_returners_stand_by() {
    let mut stage = Stage::start().await;
    let witness = Witness::start(&stage.bus, &stage.pool).await.unwrap();
    stage.three_and_two().await;
    let mut eyes = stage.eyes().await;

    let killed = Instant::now();
    for name in ["w1", "w2"] {
        stage.workers.get_mut(name).unwrap().kill9().unwrap();
    }
    let (mut lost, mut mining) = (BTreeMap::new(), BTreeMap::new());
    eyes.until("both backups to mine", |seen| {
        match seen {
            Seen::Event(EventData::WorkerLost { worker, .. }) => {
                lost.entry(worker).or_insert_with(Instant::now);
            }
            Seen::Alive(worker, heartbeat)
                if ["w4", "w5"].contains(&worker.as_str())
                    && heartbeat.set_point.enabled()
                    && heartbeat.hashes_total > 0 =>
            {
                mining.entry(worker).or_insert_with(Instant::now);
            }
            _ => {}
        }
        (lost.len(), mining.len()) == (2, 2)
    })
    .await;
    let (noticed, both) = (*lost.values().min().unwrap(), *mining.values().max().unwrap());
    let took = both.duration_since(noticed);
    println!(
        "two of three killed: the first loss noticed after {} ms; both backups mine {} ms after that, {:.1} heartbeat intervals",
        noticed.duration_since(killed).as_millis(),
        took.as_millis(),
        took.as_secs_f64() / HEARTBEAT.as_secs_f64()
    );
    assert!(took <= 3 * HEARTBEAT + TOLD_LATER, "{took:?}");

    for name in ["w1", "w2"] {
        stage.worker(name);
        let member = stage.has_role(name, Role::Backup).await;
        assert!(member.reason.contains("3 of 3"), "{}", member.reason);
    }
    stage.members(3, 2).await;
    audited(stage, witness).await;
}

#[tokio::test]
async fn a_drained_worker_is_replaced_at_once_and_comes_back_as_a_backup() {
    let mut stage = Stage::start().await;
    let witness = Witness::start(&stage.bus, &stage.pool).await.unwrap();
    stage.three_and_two().await;
    let duty = NodeDuty { reason: "new memory".into() };
    let _: Revision = stage.bus.request(&command_on("node", "drain", "w2"), &duty).await.unwrap();
    let drained = stage.has_role("w2", Role::Backup).await;
    assert_eq!(drained.reason, "drained");
    stage.members(3, 2).await;
    // Another one goes: the last backup that is not drained steps in, and the drained one does not.
    stage.workers.get_mut("w1").unwrap().kill9().unwrap();
    stage.members(3, 1).await;
    assert_eq!(stage.member("w2").await.unwrap().role, Role::Backup);
    let _: Revision = stage.bus.request(&command_on("node", "undrain", "w2"), &duty).await.unwrap();
    let look = async || {
        let list = stage.bus.request_bytes(&command("node", "list"), Vec::new().into()).await.ok()?;
        let list = NodeList::decode(&list).ok()?;
        list.nodes.into_iter().find(|n| n.node.as_str() == "w2" && !n.config.drained)
    };
    let node = wait::until(LONG, "w2 not to be drained", look).await.unwrap();
    assert_eq!(node.membership.unwrap().role, Role::Backup, "its place is taken");
    stage.workers.remove("w1");
    audited(stage, witness).await;
}

#[tokio::test]
async fn the_kill_switch_stops_every_worker_within_a_second_and_the_event_says_how_long_it_took() {
    let mut stage = Stage::start().await;
    ["w1", "w2", "w3"].into_iter().for_each(|name| stage.worker(name));
    stage.members(3, 0).await;
    let mut eyes = stage.eyes().await;
    let mut mining = BTreeSet::new();
    eyes.until("all three to mine", |seen| {
        if let Seen::Alive(worker, heartbeat) = seen
            && heartbeat.set_point.enabled()
            && heartbeat.hash_rate.0 > 0
        {
            mining.insert(worker);
        }
        mining.len() == 3
    })
    .await;
    let halted = Instant::now();
    let duty = FarmDuty { reason: "fire drill".into() };
    let _: Revision = stage.bus.request(&command("farm", "halt"), &duty).await.unwrap();
    let (mut stopped, mut told) = (BTreeMap::new(), None);
    eyes.until("all three to have stopped", |seen| {
        match seen {
            Seen::Alive(worker, heartbeat) if !heartbeat.set_point.enabled() => {
                stopped.entry(worker).or_insert_with(|| halted.elapsed());
            }
            Seen::Event(EventData::PoolStopped { after_ms, workers }) => told = Some((after_ms, workers)),
            _ => {}
        }
        stopped.len() == 3 && told.is_some()
    })
    .await;
    let last = *stopped.values().max().unwrap();
    let (after_ms, workers) = told.unwrap();
    println!(
        "kill switch: the last of {workers} workers said that it stopped after {} ms; dcmf.pool.stopped says {after_ms} ms",
        last.as_millis()
    );
    assert_eq!(workers, 3);
    assert!(last <= STOPPED_WITHIN, "{last:?}");
    let _: Revision = stage.bus.request(&command("farm", "resume"), &duty).await.unwrap();
    let mut again = BTreeSet::new();
    eyes.until("all three to mine again", |seen| {
        if let Seen::Alive(worker, heartbeat) = seen
            && heartbeat.set_point.enabled()
        {
            again.insert(worker);
        }
        again.len() == 3
    })
    .await;
}
