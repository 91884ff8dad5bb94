//! The disturbances and the operators' actions of a seed, with their times.

use crate::{link::Cut, options::Options, random::Random};

/// Something that happens from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A process is killed.
    Crash {
        /// Which.
        process: usize,
        /// How long it stays down, milliseconds.
        down_ms: u64,
    },
    /// A process is killed between two effects.
    Fuse {
        /// Which.
        process: usize,
        /// Before the effect after so many.
        effects: u32,
        /// How long it stays down, milliseconds.
        down_ms: u64,
    },
    /// A process is asked to end.
    Shutdown {
        /// Which.
        process: usize,
    },
    /// A process is cut off from the bus.
    Partition {
        /// Which.
        process: usize,
        /// Which ways.
        cut: Cut,
        /// For how long, milliseconds.
        ms: u64,
    },
    /// A link loses and delays messages.
    Disturb {
        /// Whose.
        process: usize,
        /// Lost of a thousand.
        loss_permille: u64,
        /// Longest additional delay, milliseconds.
        slow_ms: u64,
        /// For how long, milliseconds.
        ms: u64,
    },
    /// A wall clock is set.
    SetClock {
        /// Whose.
        process: usize,
        /// By so much, milliseconds.
        by_ms: i64,
    },
    /// Somebody else finds a block.
    Block {
        /// On the chain of this pool.
        pool: usize,
    },
    /// A document is put under a key of the configuration; `None` deletes it.
    Edit {
        /// The key.
        key: String,
        /// The document.
        json: Option<String>,
    },
    /// A throttle order is given; a cap of 100 lifts.
    Order {
        /// Whom it concerns.
        target: String,
        /// Who gives it.
        source: String,
        /// The cap, percent.
        cap_percent: u8,
        /// Most threads.
        threads: Option<u16>,
        /// How long it lives, seconds.
        ttl_s: u32,
        /// It is published by hand: the stream does not forget it by itself.
        by_hand: bool,
    },
    /// Something that nobody should put there is put on a stream.
    Rubbish {
        /// Which kind.
        kind: Rubbish,
        /// Of this pool.
        pool: usize,
        /// Of this worker.
        worker: usize,
        /// Makes it another one than others.
        salt: u64,
    },
    /// A stream or bucket is deleted, and made anew at once or by whoever finds it missing.
    Recreate {
        /// Its name.
        stream: String,
        /// It is made anew at once.
        at_once: bool,
    },
    /// A stream or bucket is backed up and set back to that later.
    Restore {
        /// Its name.
        stream: String,
        /// How much later, milliseconds.
        after_ms: u64,
    },
}

/// Kinds of rubbish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rubbish {
    /// Bytes that are no share, of a worker.
    UnreadableShare,
    /// A readable share that was never found.
    ForgedShare,
    /// A share of somebody unknown.
    StrangersShare,
    /// One of the latest shares once more, without its id.
    ReplayedShare,
    /// A foreign message on the ledger that nobody can read.
    UnreadableRecord,
    /// A foreign message on the ledger that looks like a record.
    ForgedRecord,
    /// A foreign message in a job's place.
    UnreadableJob,
    /// A foreign value in a member's place.
    UnreadableMember,
    /// A foreign value in place of what is in force.
    UnreadableInForce,
    /// A throttle order that cannot be read.
    UnreadableOrder,
    /// A block candidate that cannot be read.
    UnreadableFound,
}

const RUBBISH: [Rubbish; 13] = [
    Rubbish::ReplayedShare,
    Rubbish::ReplayedShare,
    Rubbish::ReplayedShare,
    Rubbish::UnreadableShare,
    Rubbish::ForgedShare,
    Rubbish::StrangersShare,
    Rubbish::UnreadableRecord,
    Rubbish::ForgedRecord,
    Rubbish::UnreadableJob,
    Rubbish::UnreadableMember,
    Rubbish::UnreadableInForce,
    Rubbish::UnreadableOrder,
    Rubbish::UnreadableFound,
];

const STORES: [&str; 9] = [
    "DCMF_SHARE",
    "DCMF_JOB",
    "DCMF_LEDGER",
    "DCMF_THROTTLE",
    "DCMF_FOUND",
    "KV_dcmf_config",
    "KV_dcmf_in_force",
    "KV_dcmf_leases",
    "KV_dcmf_members",
];

/// The source of a load monitor: its orders live for a fixed time, and the stream holds them no longer.
const MONITOR: &str = "lb1";
/// How long they live, seconds.
const MONITOR_TTL_S: u32 = 60;

/// An action and when it happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Microseconds after the begin.
    pub at_us: u64,
    /// What happens.
    pub action: Action,
}

/// Who and what there is.
#[derive(Debug, Clone)]
pub(crate) struct Cast {
    pub(crate) coordinators: usize,
    pub(crate) workers: usize,
    pub(crate) pools: usize,
}

impl Cast {
    pub(crate) fn of(options: &Options) -> Self {
        let mut random = Random::new(options.seed, 2);
        let drawn = usize::try_from(random.between(2, 3)).unwrap_or(2);
        let pools = if options.workers >= 4 && random.chance(300) { 2 } else { 1 };
        let coordinators = options.coordinators.unwrap_or(drawn);
        Self { coordinators, workers: options.workers, pools }
    }
}

pub(crate) fn pool_name(pool: usize) -> String {
    if pool == 0 { "main".to_owned() } else { format!("pool{pool}") }
}

pub(crate) fn worker_name(worker: usize) -> String {
    format!("w{worker}")
}

/// A good document of a pool; a plain one keeps nobody from searching.
pub(crate) fn pool_document(random: &mut Random, plain: bool) -> String {
    let pick = |random: &mut Random, of: &[u64]| random.pick(of).copied().unwrap_or_default();
    let mut parts = vec![
        format!("\"shares_per_minute\":{}", pick(random, &[20, 30, 60])),
        "\"initial_share_bits\":6,\"min_share_bits\":4".to_owned(),
        format!("\"config_lease_ms\":{}", pick(random, &[15_000, 20_000, 30_000])),
        format!("\"job_refresh_ms\":{}", pick(random, &[3_000, 5_000, 10_000])),
        format!("\"heartbeat_interval_ms\":{}", pick(random, &[1_000, 1_000, 2_000])),
        format!("\"lost_after_heartbeats\":{}", pick(random, &[5, 10])),
        "\"backup\":{\"activate_after_ms\":3000,\"stand_down_after_ms\":10000}".to_owned(),
    ];
    if random.chance(200) {
        parts.push("\"mode\":\"shared-block\"".to_owned());
    }
    if random.chance(200) {
        parts.push(format!("\"slot_bits\":{}", pick(random, &[10, 12, 14])));
    }
    if plain {
        return format!("{{{}}}", parts.join(","));
    }
    if random.chance(150) {
        parts.push(format!("\"threads\":{}", pick(random, &[0, 1, 2])));
    }
    if random.chance(100) {
        parts.push("\"paused\":true".to_owned());
    }
    if random.chance(200) {
        parts.push(format!("\"active_members\":{}", pick(random, &[1, 2, 3, 5])));
    }
    format!("{{{}}}", parts.join(","))
}

fn broken_document(random: &mut Random) -> String {
    let all = [
        "{\"thread\":1}",
        "not json",
        "{\"slot_bits\":99}",
        "[]",
        "",
        "{\"threads\":-1}",
        "{\"halted\":\"maybe\"}",
        "{\"paused\":true,\"halted\":true,\"enabled\":false,\"warp\":9}",
    ];
    random.pick(&all).copied().unwrap_or_default().to_owned()
}

/// A good document of a node; every second node has a label, whatever else it says.
pub(crate) fn node_document(worker: usize, random: &mut Random, plain: bool) -> String {
    let mut parts = Vec::new();
    if worker.is_multiple_of(2) {
        parts.push(format!("\"labels\":{{\"rack\":\"r{}\"}}", worker % 4));
    }
    if !plain {
        match random.below(6) {
            0 => parts.push("\"enabled\":false".to_owned()),
            1 => parts.push("\"drained\":true".to_owned()),
            2 => parts.push("\"role\":\"backup\"".to_owned()),
            3 => parts.push("\"role\":\"active\"".to_owned()),
            4 => parts.push(format!("\"threads\":{}", random.below(3))),
            _ => parts.push(format!("\"cap_percent\":{}", random.between(1, 100))),
        }
    }
    format!("{{{}}}", parts.join(","))
}

/// Which kinds of trouble a seed has: most have some of them, few have all.
struct Moods {
    crashes: bool,
    links: bool,
    clocks: bool,
    edits: bool,
    orders: bool,
    rubbish: bool,
    stores: bool,
}

/// Draws the steps of a seed.
pub(crate) fn draw(options: &Options) -> Vec<Step> {
    let cast = Cast::of(options);
    let mut random = Random::new(options.seed, 3);
    let moods = Moods {
        crashes: random.chance(850),
        links: random.chance(850),
        clocks: random.chance(500),
        edits: random.chance(600),
        orders: random.chance(600),
        rubbish: random.chance(400),
        stores: random.chance(350),
    };
    let length_us = options.minutes * 60_000_000;
    let busy = random.between(6, 30) + (cast.workers / 8) as u64;
    let mut steps: Vec<Step> = (0..options.minutes * busy)
        .filter_map(|_| {
            let at_us = random.between(2_000_000, length_us.max(2_000_001));
            Some(Step { at_us, action: action(&cast, &moods, &mut random)? })
        })
        .collect();
    steps.sort_by_key(|step| step.at_us);
    lift(&mut steps, &mut random);
    steps.sort_by_key(|step| step.at_us);
    steps
}

/// A lift lifts what was ordered before, sometimes a moment before.
fn lift(steps: &mut [Step], random: &mut Random) {
    let mut given: Vec<(u64, String, String)> = Vec::new();
    for step in steps {
        let Action::Order { target, source, cap_percent, .. } = &mut step.action else { continue };
        if *cap_percent < 100 {
            given.push((step.at_us, target.clone(), source.clone()));
        } else if let Some((at_us, of, by)) = random.pick(&given).cloned() {
            (*target, *source) = (of, by);
            if random.chance(250) {
                step.at_us = at_us + random.between(20_000, 400_000);
            }
        }
    }
}

fn process(cast: &Cast, random: &mut Random) -> usize {
    // Coordinators are few, and most goes wrong with them.
    let (coordinators, all) = (cast.coordinators as u64, (cast.coordinators + cast.workers) as u64);
    let drawn =
        if random.chance(600) { random.below(coordinators) } else { random.between(coordinators, all - 1) };
    usize::try_from(drawn).unwrap_or_default()
}

fn action(cast: &Cast, moods: &Moods, random: &mut Random) -> Option<Action> {
    let process = process(cast, random);
    let below =
        |random: &mut Random, limit: usize| usize::try_from(random.below(limit as u64)).unwrap_or_default();
    let (pool, worker) = (below(random, cast.pools), below(random, cast.workers));
    let down_ms = random.between(200, 8_000);
    Some(match random.below(100) {
        0..10 if moods.crashes => Action::Crash { process, down_ms },
        10..24 if moods.crashes => {
            let effects = u32::try_from(random.below(30)).unwrap_or_default();
            Action::Fuse { process, effects, down_ms }
        }
        24..28 if moods.crashes => Action::Shutdown { process },
        28..40 if moods.links => {
            let cut = *random.pick(&[Cut::Both, Cut::Both, Cut::Out, Cut::In])?;
            let most = *random.pick(&[1_500, 1_500, 6_000, 6_000, 45_000, 150_000])?;
            Action::Partition { process, cut, ms: random.between(100, most) }
        }
        40..50 if moods.links => Action::Disturb {
            process,
            loss_permille: *random.pick(&[0, 50, 300])?,
            slow_ms: *random.pick(&[0, 50, 800, 3_000])?,
            ms: random.between(500, 20_000),
        },
        50..54 if moods.clocks => {
            let by = random.between(1, 7_200_000);
            let by = i64::try_from(by).ok()?;
            Action::SetClock { process, by_ms: if random.chance(500) { by } else { -by } }
        }
        54..62 => Action::Block { pool },
        62..74 if moods.edits => edit(pool, worker, random),
        74..86 if moods.orders => order(pool, worker, random)?,
        86..94 if moods.rubbish => {
            Action::Rubbish { kind: *random.pick(&RUBBISH)?, pool, worker, salt: random.draw() }
        }
        94..97 if moods.stores => {
            let stream = (*random.pick(&STORES)?).to_owned();
            Action::Recreate { stream, at_once: random.chance(600) }
        }
        97..100 if moods.stores => {
            let stream = (*random.pick(&STORES)?).to_owned();
            Action::Restore { stream, after_ms: random.between(500, 60_000) }
        }
        _ => return None,
    })
}

fn edit(pool: usize, worker: usize, random: &mut Random) -> Action {
    let (pool_key, node_key) = (format!("pool.{}", pool_name(pool)), format!("node.{}", worker_name(worker)));
    let broken = random.chance(300);
    let (key, good) = match random.below(10) {
        0..4 => (pool_key, pool_document(random, false)),
        4..8 => (node_key.clone(), node_document(worker, random, false)),
        _ => {
            let halted = random.chance(400);
            ("farm".to_owned(), format!("{{\"halted\":{halted}}}"))
        }
    };
    if !broken && key == node_key && random.chance(150) {
        return Action::Edit { key, json: None };
    }
    let json = if broken { broken_document(random) } else { good };
    Action::Edit { key, json: Some(json) }
}

fn order(pool: usize, worker: usize, random: &mut Random) -> Option<Action> {
    let target = match random.below(5) {
        0 => "farm".to_owned(),
        1 => format!("pool.{}", pool_name(pool)),
        2 => format!("label.rack.r{}", random.below(4)),
        _ => format!("worker.{}", worker_name(worker)),
    };
    let lifts = random.chance(350);
    let source = (*random.pick(&["ops", MONITOR, "backup"])?).to_owned();
    let by_hand = source != MONITOR;
    let ttl_s = *random.pick(&[1, 5, 60, 300, 3_600])?;
    Some(Action::Order {
        target,
        source,
        cap_percent: if lifts {
            100
        } else {
            u8::try_from(random.pick(&[0, 0, 10, 50, 90])?.to_owned()).ok()?
        },
        threads: if lifts || random.chance(700) { None } else { Some(1) },
        ttl_s: if by_hand { ttl_s } else { MONITOR_TTL_S },
        by_hand,
    })
}
