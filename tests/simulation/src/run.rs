//! One simulation from its seed to its quiet end.

use crate::{
    clock::Clock,
    counts::Counts,
    link::Link,
    options::Options,
    plan::{self, Cast, Step, pool_name, worker_name},
    random::Random,
    server::{
        declared::{CONFIG, key_subject},
        stream::{Headers, Publish},
    },
    world::{Core, Kind, Process, World},
};
use bus_schemas::{PoolId, WorkerId};
use std::rc::Rc;

/// Between the last disturbance and the first look at what holds when all is quiet; then everybody is restarted, microseconds.
const CALM_US: u64 = 75_000_000;
/// How long it is quiet before the last look, microseconds.
const QUIET_US: u64 = 90_000_000;
/// Between two looks at every worker, microseconds.
const LOOK_US: u64 = 1_000_000;

/// What came of a simulation.
#[derive(Debug, Clone)]
pub struct Report {
    /// What was simulated.
    pub options: Options,
    /// What did not hold, if anything.
    pub failure: Option<String>,
    /// How much happened.
    pub counts: Counts,
    /// The steps that happened, with their places in the seed's list.
    pub steps: Vec<(usize, Step)>,
    /// What happened, line by line, if it was to be written down.
    pub story: Vec<String>,
}

/// The seed's steps that are to happen.
fn steps(options: &Options) -> Vec<(usize, Step)> {
    let all = plan::draw(options).into_iter().enumerate();
    all.filter(|(place, _)| options.only.as_ref().is_none_or(|only| only.contains(place))).collect()
}

/// Simulates a farm.
pub fn run(options: &Options) -> Report {
    let steps = steps(options);
    let report = |failure, counts, story| Report {
        options: options.clone(),
        failure,
        counts,
        steps: steps.clone(),
        story,
    };
    let world = match prepare(options) {
        Ok(world) => world,
        Err(error) => return report(Some(error), Counts::default(), Vec::new()),
    };
    let planned: Vec<_> = steps.iter().map(|(_, step)| step.clone()).collect();
    world.plan(&planned);
    let end_us = options.minutes * 60_000_000;
    let calm_us = end_us + CALM_US;
    world.run_until(end_us);
    heal(&world);
    world.run_until(calm_us);
    if world.failure().is_none() {
        world.check_quiet();
    }
    restart(&world);
    world.run_until(world.now() + QUIET_US);
    if world.failure().is_none() {
        world.check_quiet();
    }
    world.counts.borrow_mut().closed_books = world.truth.borrow().shares.closed();
    let counts = world.counts.borrow().clone();
    let result = report(world.failure(), counts, world.story());
    // Tasks hold the world that holds them.
    world.executor.end(|_| true);
    result
}

fn prepare(options: &Options) -> Result<Rc<World>, String> {
    let cast = Cast::of(options);
    let pools: Result<Vec<_>, _> = (0..cast.pools).map(|pool| PoolId::new(pool_name(pool))).collect();
    let pools = pools.map_err(|error| error.to_string())?;
    let world = World::new(options.clone(), pools.clone()).map_err(|error| error.to_string())?;
    let mut random = Random::new(options.seed, 4);
    for coordinator in 0..cast.coordinators {
        hire(&world, format!("c{coordinator}"), Kind::Coordinator, &mut random);
    }
    for worker in 0..cast.workers {
        let name = worker_name(worker);
        let id = WorkerId::new(&name).map_err(|error| error.to_string())?;
        let pool = pools.get(worker % pools.len()).cloned().ok_or("no pool")?;
        let threads = u16::try_from(random.between(1, 2)).unwrap_or(1);
        let kind = Kind::Worker { id, pool, threads, rate: random.between(16, 48) };
        hire(&world, name, kind, &mut random);
    }
    world.ensure_streams();
    for (key, json) in world.first_documents(&mut random) {
        let (subject, payload) = (key_subject(CONFIG, key), json.into_bytes());
        let publish =
            Publish { subject: subject.into(), payload: payload.into(), headers: Headers::default() };
        world.publish(publish).map_err(|refused| format!("{refused:?}"))?;
    }
    look(&world);
    Ok(world)
}

/// A machine; its process starts within the first second.
fn hire(world: &Rc<World>, name: String, kind: Kind, random: &mut Random) {
    let number = world.processes.borrow().len();
    let seed = world.options.seed;
    let of = |purpose: u64| Random::new(seed, 1_000 + purpose * 100_000 + number as u64);
    let signed = |drawn: u64, limit: u64| {
        i64::try_from(drawn).unwrap_or_default() - i64::try_from(limit).unwrap_or_default()
    };
    let off = if random.chance(500) { 200 } else { 86_400_000 };
    let clock = Clock {
        wall_offset_ms: signed(random.below(2 * off), off),
        rate_ppm: signed(random.below(401), 200),
        began_us: 0,
    };
    world.processes.borrow_mut().push(Process {
        name,
        kind,
        clock,
        link: Link::new(of(1)),
        alive: false,
        life: 0,
        fuse: None,
        down_us: 0,
        random: of(2),
        core: Core::None,
        up_since_us: 0,
        ticks: (0, 0),
        shutdown: None,
    });
    world.schedule(random.below(1_000_000), move |world| world.start(number));
}

/// Looks at every worker again and again.
fn look(world: &Rc<World>) {
    world.check_workers();
    world.schedule(world.now() + LOOK_US, look);
}

/// Nothing disturbs any more.
fn heal(world: &Rc<World>) {
    world.tell(|| "--- all is healed".to_owned());
    let count = world.processes.borrow().len();
    for process in 0..count {
        world.with_process(process, |p| p.fuse = None);
        world.heal(process);
        world.disturb(process, 0, 0);
    }
}

/// Everybody is restarted once, one after another.
fn restart(world: &Rc<World>) {
    world.tell(|| "--- everybody is restarted".to_owned());
    let count = world.processes.borrow().len();
    for process in 0..count {
        let pause_us = world.with_process(process, |p| p.random.below(5_000_000));
        world.schedule(world.now() + pause_us, move |world| world.kill(process, 500_000));
    }
}
