//! A farm from its start to its orderly end, shown to a person: what `make run` does.

use super::chain::{Chain, ChainKind, Nodes};
use super::payout::{self, Reward};
use super::screen::{self, Screen};
use super::wallet;
use super::{Farm, FarmError, FarmPlan};
use crate::folder::RunFolder;
use bus_schemas::Message;
use bus_schemas::event::{Event, EventData};
use bus_schemas::subject::filter;
use nats_adapter::{Delivered, Replay, streams};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout_at};

/// Time between two status lines.
const STATUS_INTERVAL: Duration = Duration::from_secs(3);
/// How long blocks that were found may wait for the node's word after the workers have stopped.
const SETTLE: Duration = Duration::from_secs(5);
/// Events that are taken at once.
const BATCH: usize = 256;
/// Stands for the end of a run that has none.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3_600);

/// What became of a run.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Blocks that were accepted, by height and hash.
    pub accepted: BTreeMap<u64, BTreeSet<String>>,
    /// How the node's own word agrees; nothing for the embedded chain, which has no node.
    pub node: Option<Proof>,
}

impl Outcome {
    /// Blocks that were accepted.
    pub fn blocks(&self) -> usize {
        self.accepted.values().map(BTreeSet::len).sum()
    }
}

/// What the node said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    /// Its height before the farm began.
    pub height_before: u64,
    /// Its height after the workers had stopped.
    pub height_after: u64,
    /// Everything that our coinbases paid, in the smallest unit.
    pub paid: u128,
}

struct Events {
    replay: Replay,
    outcome: Outcome,
    undecided: BTreeSet<String>,
}

/// Starts a farm in `folder`, shows what it does until `stop` is done or `length` has passed, and stops it in order.
pub async fn run(
    folder: RunFolder,
    plan: FarmPlan,
    length: Option<Duration>,
    stop: impl Future<Output = ()>,
    screen: Screen,
) -> Result<Outcome, FarmError> {
    tokio::pin!(stop);
    screen.line(screen::starting(plan.chain));
    let mut farm = tokio::select! {
        farm = Farm::start(folder, plan) => farm?,
        () = &mut stop => return Ok(Outcome::default()),
    };
    screen.line(screen::welcome(&farm)?);
    let mut events = Events {
        replay: farm.bus.replay(streams::EVENT, filter::events(), 1).await?,
        outcome: Outcome::default(),
        undecided: BTreeSet::new(),
    };
    let end = Instant::now() + length.unwrap_or(FOR_EVER);
    tokio::select! {
        ended = events.show(&screen, &mut farm) => ended?,
        () = sleep_until(end) => screen.timed("the time is up"),
        () = &mut stop => screen.timed("asked to stop; once more ends at once"),
    }
    farm.stop_workers().await?;
    events.settle(&screen).await?;
    farm.stop_coordinator().await?;
    let mut outcome = events.outcome;
    if !matches!(farm.chain.nodes, Nodes::Embedded) {
        let proof = prove(&farm.chain, &outcome).await?;
        screen.line(told(&farm.chain, &proof));
        outcome.node = Some(proof);
    }
    farm.stop().await?;
    screen.line(format_args!("stopped; {} blocks were accepted", outcome.blocks()));
    Ok(outcome)
}

impl Events {
    /// Shows events and, now and then, the pool's state; ends only with an error.
    async fn show(&mut self, screen: &Screen, farm: &mut Farm) -> Result<(), FarmError> {
        let mut tick = tokio::time::interval(STATUS_INTERVAL);
        loop {
            tokio::select! {
                batch = self.replay.next_batch(BATCH) => self.take(screen, batch?),
                _ = tick.tick() => {
                    farm.check_alive()?;
                    if let Some(status) = farm.status().await? {
                        screen.timed(screen::status_line(&status, self.outcome.blocks()));
                    }
                }
            }
        }
    }

    /// Reads on until the node has spoken about every block that was found, for a bounded time.
    async fn settle(&mut self, screen: &Screen) -> Result<(), FarmError> {
        let end = Instant::now() + SETTLE;
        while !self.undecided.is_empty() {
            match timeout_at(end, self.replay.next_batch(BATCH)).await {
                Ok(batch) => self.take(screen, batch?),
                Err(_) => {
                    screen.timed(format_args!("no word came about {} blocks", self.undecided.len()));
                    break;
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, screen: &Screen, batch: Vec<Delivered>) {
        for delivered in batch {
            match Event::decode(&delivered.payload) {
                Ok(event) => {
                    if let Some(line) = screen::told(&event) {
                        screen.timed(line);
                    }
                    self.note(event.what);
                }
                Err(error) => screen.timed(format_args!("an event cannot be read: {error}")),
            }
        }
    }

    fn note(&mut self, what: EventData) {
        match what {
            EventData::BlockFound { hash, .. } => drop(self.undecided.insert(hash)),
            EventData::BlockRefused { hash, .. } => drop(self.undecided.remove(&hash)),
            EventData::BlockAccepted { hash, height, .. } => {
                self.undecided.remove(&hash);
                self.outcome.accepted.entry(height).or_default().insert(hash);
            }
            _ => {}
        }
    }
}

/// Asks the node whether its height rose by our blocks and whether each of them pays us exactly.
pub async fn prove(chain: &Chain, outcome: &Outcome) -> Result<Proof, FarmError> {
    let height_before = chain.first_height;
    let height_after = chain.height().await?.unwrap_or(height_before);
    let mut paid = 0;
    for height in height_before + 1..=height_after {
        let in_chain = chain.block_hash(height).await?;
        let ours = outcome.accepted.get(&height).is_some_and(|hashes| hashes.contains(&in_chain));
        if !ours {
            let ours = "none of them".to_owned();
            return Err(payout::PayoutFault::NotInChain { height, in_chain, ours }.into());
        }
        paid += u128::from(paid_by(chain, height, &in_chain).await?);
    }
    Ok(Proof { height_before, height_after, paid })
}

/// What a block pays us, after everything that the node says of it was checked.
async fn paid_by(chain: &Chain, height: u64, hash: &str) -> Result<u64, FarmError> {
    let reward = match chain.kind {
        ChainKind::Litecoin => Reward::LITECOIN_REGTEST,
        ChainKind::Bitcoin | ChainKind::Embedded | ChainKind::Monero => Reward::BITCOIN,
    };
    match &chain.nodes {
        Nodes::Embedded => Ok(0),
        Nodes::Pair(pair) => {
            let script = &chain.payout_script;
            Ok(payout::check(&pair.first.rpc, reward, height, hash, script).await?.amount)
        }
        Nodes::Monero(daemon) => Ok(wallet::check(daemon, height).await?),
    }
}

fn told(chain: &Chain, proof: &Proof) -> String {
    let Proof { height_before, height_after, paid } = proof;
    let payee = match &chain.nodes {
        Nodes::Monero(_) => format!("wallet {}", wallet::ADDRESS),
        Nodes::Embedded | Nodes::Pair(_) => format!("script {}", hex::encode(&chain.payout_script)),
    };
    format!(
        "the node's own word: its height rose from {height_before} to {height_after}; every one of these {} blocks is \
         ours, and their coinbases pay exactly subsidy and fees, {paid} units, to {payee}",
        height_after - height_before,
    )
}
