//! A whole farm of real processes, from the first join to what the node itself says about the blocks.
#![allow(clippy::unwrap_used, clippy::panic, reason = "the functions beside the tests are tests too")]

use bus_schemas::command::PoolStatus;
use bus_schemas::config::PoolConfig;
use bus_schemas::event::{Event, EventData};
use bus_schemas::heartbeat::Heartbeat;
use bus_schemas::ledger::LedgerRecord;
use bus_schemas::set_point::Reason;
use bus_schemas::subject::{Subject, command_on, filter};
use bus_schemas::{Message, PoolId, ShareBits};
use nats_adapter::{Bus, BusOptions, streams};
use std::collections::BTreeSet;
use std::time::Duration;
use system_tests::audit::{Audit, audit};
use system_tests::farm::chain::ChainKind;
use system_tests::farm::screen::Screen;
use system_tests::farm::{ACTIVE_MEMBERS, Farm, FarmPlan, POOL, WORKERS, session};
use system_tests::folder::RunFolder;
use system_tests::parts::Part;
use system_tests::ports::free_ports;
use system_tests::wait;
use system_tests::witness::Witness;

/// Longest wait for anything that mining should bring on a busy machine.
const MINED: Duration = Duration::from_secs(150);
/// How often the coordinator is killed.
const KILLS: u64 = 5;
/// Shares that must be credited between two kills.
const SHARES_BETWEEN_KILLS: u64 = 40;
/// Longest time over which the hashes of a mining worker may stand still: heartbeats come every second.
const LONGEST_IDLE_MS: u64 = 10_000;

async fn farm(adjust: fn(&mut PoolConfig)) -> Farm {
    let plan = FarmPlan { adjust, ..FarmPlan::new(ChainKind::Embedded) };
    Farm::start(RunFolder::temporary().unwrap(), plan).await.unwrap()
}

/// Many easy shares: about one in thirty thousand hashes.
fn many_shares(config: &mut PoolConfig) {
    config.initial_share_bits = ShareBits::new(15);
    config.max_share_bits = ShareBits::new(15);
    config.share_rate_limit = 100_000;
}

async fn last_ledger_record(bus: &Bus, pool: &PoolId) -> Option<LedgerRecord> {
    let subject = Subject::Ledger(pool.clone());
    Some(bus.last::<LedgerRecord>(streams::LEDGER, subject).await.ok()??.message)
}

async fn credited_shares(farm: &Farm) -> u64 {
    last_ledger_record(&farm.bus, &farm.pool).await.map_or(0, |record| record.total_shares)
}

/// Stops the workers, lets the coordinator account what they sent, and audits everything.
async fn stop_and_audit(mut farm: Farm, witness: Witness) -> Audit {
    farm.stop_workers().await.unwrap();
    let last = farm.bus.stream_bounds(streams::SHARE).await.unwrap().last;
    let (bus, pool) = (farm.bus.clone(), farm.pool.clone());
    let accounted = async || last_ledger_record(&bus, &pool).await.filter(|record| record.shares_to >= last);
    wait::until(MINED, "every share to be accounted", accounted).await.unwrap();
    let record = witness.finish().await.unwrap();
    farm.stop().await.unwrap();
    audit(&record)
}

#[tokio::test]
async fn a_farm_mines_blocks_and_credits_every_share_once() {
    let mut farm = farm(|_| ()).await;
    let witness = Witness::start(&farm.bus, &farm.pool).await.unwrap();
    let mined = |status: &PoolStatus| status.blocks_accepted >= 3 && status.shares >= 20;
    let status = farm.until_status(MINED, "three blocks and twenty shares", mined).await.unwrap();
    assert_eq!((status.active, status.lost), (u32::from(ACTIVE_MEMBERS), 0));
    let audit = stop_and_audit(farm, witness).await;
    assert_eq!(audit.faults, Vec::<String>::new(), "{audit:?}");
    assert!(audit.valid >= status.shares, "{audit:?}");
    assert_eq!(audit.epochs.len(), 1, "{audit:?}");
}

#[tokio::test]
async fn a_coordinator_that_is_killed_again_and_again_loses_no_share_and_counts_none_twice() {
    let mut farm = farm(many_shares).await;
    let witness = Witness::start(&farm.bus, &farm.pool).await.unwrap();
    let (mut epoch, mut shares) = (0, 0);
    for kill in 0..=KILLS {
        // Another number each time, so that it dies at another moment between two records.
        let wanted = credited_shares(&farm).await + SHARES_BETWEEN_KILLS + 7 * kill;
        let credited = |status: &PoolStatus| status.epoch > epoch && status.shares >= wanted;
        let what = format!("credit by the owner after kill {kill}");
        let status = farm.until_status(MINED, &what, credited).await.unwrap();
        (epoch, shares) = (status.epoch, status.shares);
        if kill < KILLS {
            farm.kill_coordinator().unwrap();
            farm.start_coordinator().unwrap();
        }
    }
    let audit = stop_and_audit(farm, witness).await;
    assert_eq!(audit.faults, Vec::<String>::new(), "{audit:?}");
    assert!(audit.epochs.len() as u64 > KILLS, "{audit:?}");
    assert!(audit.valid >= shares, "{audit:?}");
    assert_eq!(audit.longest_idle_ms.len(), usize::from(ACTIVE_MEMBERS), "{audit:?}");
    for (worker, idle_ms) in &audit.longest_idle_ms {
        assert!(*idle_ms <= LONGEST_IDLE_MS, "{worker} stood still for {idle_ms} ms: {audit:?}");
    }
}

/// What the workers say of themselves.
struct Pulse(nats_adapter::Subscription<Heartbeat>);

impl Pulse {
    async fn of(farm: &Farm) -> Self {
        Self(farm.bus.subscribe(filter::heartbeats(&farm.pool)).await.unwrap())
    }

    /// Waits for two heartbeats in a row of `worker`, both as wanted, and gives how many hashes lie between them.
    async fn between(&mut self, worker: &str, wanted: impl Fn(&Heartbeat) -> bool) -> u64 {
        let mut last: Option<Heartbeat> = None;
        let pair = async {
            loop {
                let incoming = self.0.next().await.unwrap().unwrap();
                let of_worker = matches!(&incoming.subject,
                    Subject::Heartbeat(_, name) if name.as_str() == worker);
                if !of_worker {
                    continue;
                }
                let now = Some(incoming.message).filter(&wanted);
                if let (Some(before), Some(now)) = (&last, &now) {
                    return now.hashes_total - before.hashes_total;
                }
                last = now;
            }
        };
        match tokio::time::timeout(MINED, pair).await {
            Ok(hashes) => hashes,
            Err(_) => panic!("{worker} never was as wanted"),
        }
    }
}

/// Waits until the hashes of a worker that is to rest stand still: those of its last moments are still counted.
async fn rests(pulse: &mut Pulse, worker: &str, reason: Reason) {
    let still = async || {
        let hashes = pulse.between(worker, |h| !h.set_point.enabled() && h.set_point.reason == reason).await;
        (hashes == 0).then_some(())
    };
    wait::until(MINED, format!("{worker} to rest for {reason:?}"), still).await.unwrap();
}

async fn nats(farm: &Farm, (entity, verb, target): (&str, &str, &str), body: &str) -> String {
    let output = tokio::process::Command::new(Part::NatsCli.locate().unwrap())
        .args(["req", "--raw", &command_on(entity, verb, target), body])
        .env("HOME", farm.folder.path())
        .env("NATS_URL", farm.server.url())
        .output()
        .await
        .unwrap();
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{shown}{}", String::from_utf8_lossy(&output.stderr));
    shown
}

#[tokio::test]
async fn a_person_with_the_nats_cli_pauses_a_pool_changes_a_workers_threads_and_resumes() {
    let farm = farm(|_| ()).await;
    let mut pulse = Pulse::of(&farm).await;
    assert!(pulse.between("w1", |h| h.set_point.enabled()).await > 0, "it mines");

    let paused = nats(&farm, ("pool", "pause", POOL), r#"{"reason":"release day"}"#).await;
    assert!(paused.contains("revision"));
    for worker in ["w1", "w2"] {
        rests(&mut pulse, worker, Reason::PoolPaused).await;
    }
    assert!(nats(&farm, ("node", "put", "w1"), r#"{"config":{"threads":0}}"#).await.contains("revision"));
    assert!(nats(&farm, ("pool", "resume", POOL), "").await.contains("revision"));
    assert!(pulse.between("w2", |h| h.set_point.enabled()).await > 0, "w2 mines again");
    rests(&mut pulse, "w1", Reason::NodeThreads).await;

    assert!(nats(&farm, ("node", "put", "w1"), r#"{"config":{"threads":1}}"#).await.contains("revision"));
    let alone = |h: &Heartbeat| h.set_point.threads == 1 && h.set_point.reason == Reason::NodeThreads;
    assert!(pulse.between("w1", alone).await > 0, "w1 has a thread again");
    farm.stop().await.unwrap();
}

/// Ends when, after the last worker joined, so many blocks were accepted on the bus at `port`.
async fn accepted(port: u16, wanted: usize) {
    let url = format!("nats://127.0.0.1:{port}");
    let connect = async || Bus::connect(BusOptions::new("test", [url.as_str()])).await.ok();
    let bus = wait::until(MINED, "the bus", connect).await.unwrap();
    let follow = async || bus.replay(streams::EVENT, filter::events(), 1).await.ok();
    let mut events = wait::until(MINED, "the stream of events", follow).await.unwrap();
    let (mut everyone, mut heights) = (false, BTreeSet::new());
    while heights.len() < wanted {
        for delivered in events.next_batch(64).await.unwrap() {
            match Event::decode(&delivered.payload).unwrap().what {
                EventData::WorkerJoined { worker, .. } => everyone |= worker.as_str() == WORKERS[2],
                EventData::BlockAccepted { height, .. } if everyone => drop(heights.insert(height)),
                _ => {}
            }
        }
    }
}

/// What `make run` does, until three heights were mined; its own proof by the node's word is what is tested.
async fn mine_on_a_real_node(chain: ChainKind) {
    let [port] = free_ports().unwrap();
    let plan = FarmPlan { nats_port: Some(port), ..FarmPlan::new(chain) };
    let enough = async {
        tokio::time::timeout(MINED, accepted(port, 3)).await.unwrap();
    };
    let outcome =
        session::run(RunFolder::temporary().unwrap(), plan, None, enough, Screen::dark()).await.unwrap();
    let proof = outcome.node.unwrap();
    assert_eq!(proof.height_before, 0);
    assert!(proof.height_after >= 3, "{proof:?}");
    assert!(outcome.blocks() as u64 >= proof.height_after, "{outcome:?}");
    assert!(proof.paid > 0, "{proof:?}");
}

#[tokio::test]
async fn the_height_of_btcd_rises_by_blocks_that_pay_exactly() {
    mine_on_a_real_node(ChainKind::Bitcoin).await;
}

#[tokio::test]
async fn the_height_of_litecoind_rises_by_blocks_that_pay_exactly() {
    mine_on_a_real_node(ChainKind::Litecoin).await;
}

#[tokio::test]
async fn the_height_of_monerod_rises_by_blocks_that_pay_exactly() {
    mine_on_a_real_node(ChainKind::Monero).await;
}
