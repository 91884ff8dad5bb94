//! The shell of a coordinator, imitated: what the real one does with each effect, over the model of the bus.

mod blocks;
mod in_force;
mod lease;
mod ledger_chain;
mod persist;
mod pool;
mod recovery;
mod watches;

use crate::{
    bus::Bus,
    executor::Owner,
    queue::Queue,
    world::{Core, World},
};
use bus_schemas::{CoordinatorId, PoolId, TimestampMs};
use coordinator_core::{Coordinator, Effect, Input, LeaseInput, MonoMs, Now, Trouble};
use lease::LeaseRequest;
use pool::{Context, OwnedPool};
use recovery::Positions;
use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    rc::Rc,
};

/// The farm's number.
const FARM: u32 = 1;
/// Longest time in which a pool's state is read, microseconds.
const RECOVERY_DEADLINE_US: u64 = 30_000_000;
/// A process that cannot start is started again after this time, microseconds.
const RESTART_US: u64 = 1_000_000;
/// How long the last words may take, milliseconds.
const FAREWELL_MS: u64 = 1_000;

/// The moment as the core of a process is told it.
fn moment(world: &World, process: usize) -> Now {
    let (clock, now) = (world.with_process(process, |p| p.clock), world.now());
    Now { mono: MonoMs(clock.mono_ms(now)), wall: TimestampMs(clock.wall_ms(now)) }
}

struct Shell {
    world: Rc<World>,
    bus: Bus,
    core: Rc<RefCell<Coordinator>>,
    id: CoordinatorId,
    inputs: Queue<Input>,
    /// Inputs that come of an effect on the spot.
    at_once: VecDeque<Input>,
    in_force: in_force::Wanted,
    leases: BTreeMap<PoolId, Queue<LeaseRequest>>,
    pools: BTreeMap<PoolId, OwnedPool>,
    positions: Rc<RefCell<BTreeMap<(PoolId, u64), Positions>>>,
}

/// A life of a coordinator.
pub(crate) async fn run(world: Rc<World>, owner: Owner) {
    let bus = Bus { world: world.clone(), owner };
    bus.connected().await;
    let inputs = Queue::default();
    let ensured = bus.call(|w| w.ensure_streams()).await;
    let started = match ensured {
        Ok(()) => start(&bus, &inputs).await,
        Err(error) => Err(error),
    };
    let Ok(in_force) = started else {
        world.kill(owner.process, RESTART_US);
        return;
    };
    let (name, life) = world.with_process(owner.process, |p| (p.name.clone(), p.life));
    let Ok(id) = CoordinatorId::new(name.clone()) else { return };
    let core = Coordinator::new(id.clone(), FARM, format!("{name}-{life}"));
    let core = Rc::new(RefCell::new(core));
    let shutdown = Queue::default();
    world.with_process(owner.process, |p| {
        p.core = Core::Coordinator(core.clone());
        p.shutdown = Some(shutdown.clone());
    });
    let inputs_of_shutdown = inputs.clone();
    world.executor.spawn(owner, async move {
        shutdown.next().await;
        inputs_of_shutdown.push(Input::Shutdown);
    });
    let shell = Shell {
        world,
        bus,
        core,
        id,
        inputs,
        at_once: VecDeque::new(),
        in_force,
        leases: BTreeMap::new(),
        pools: BTreeMap::new(),
        positions: Rc::default(),
    };
    shell.work().await;
}

async fn start(bus: &Bus, inputs: &Queue<Input>) -> Result<in_force::Wanted, crate::bus::BusError> {
    let spawn = |task| bus.world.executor.spawn(bus.owner, task);
    bus.world.executor.spawn(bus.owner, watches::streams(bus.clone(), inputs.clone()));
    watches::configuration(bus, inputs).await?;
    let wanted = in_force::Wanted::default();
    spawn(in_force::publish(bus.clone(), wanted.clone(), inputs.clone()));
    watches::throttles(bus, inputs).await?;
    Ok(wanted)
}

impl Shell {
    async fn work(mut self) {
        let process = self.bus.owner.process;
        loop {
            loop {
                let effect = self.core.borrow_mut().next_effect();
                let Some(effect) = effect else {
                    let Some(input) = self.at_once.pop_front() else { break };
                    self.handle(input);
                    continue;
                };
                if self.world.burns_out(process) {
                    return;
                }
                if matches!(effect, Effect::Exit) {
                    self.bus.sleep_ms(FAREWELL_MS).await;
                    self.world.kill(process, RESTART_US);
                    return;
                }
                self.perform(effect);
            }
            let deadline = self.core.borrow().next_deadline();
            let at = deadline.map(|at| self.world.with_process(process, |p| p.clock.at_us(at.0)));
            let input = self.inputs.next_until(&self.world, at).await.unwrap_or(Input::Tick);
            if matches!(input, Input::Tick) && self.world.ticks(process) {
                return;
            }
            self.handle(input);
        }
    }

    fn handle(&self, input: Input) {
        let now = moment(&self.world, self.bus.owner.process);
        let mut core = self.core.borrow_mut();
        core.handle(input, now);
        self.world.counts.borrow_mut().steps += 1;
        if self.world.checks_now()
            && let Err(broken) = core.check_invariants()
        {
            self.world.fail(|| format!("{}: an invariant of its core: {broken}", self.id));
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::AcquireLease(pool) => self.lease(pool, LeaseRequest::Acquire),
            Effect::RenewLease(pool, epoch) => self.lease(pool, LeaseRequest::Renew(epoch)),
            Effect::ReleaseLease(pool, epoch) => self.lease(pool, LeaseRequest::Release(epoch)),
            Effect::Recover(pool, epoch) => self.recover(pool, epoch),
            Effect::StartPool { pool, epoch, shares_after, config } => {
                let positions = self.positions.borrow_mut().remove(&(pool.clone(), epoch));
                let Some(positions) = positions else {
                    let trouble = Trouble::of("it was to start although its state was not read");
                    self.at_once.push_back(Input::Lease(pool, LeaseInput::GivenUp { epoch, trouble }));
                    return;
                };
                self.world.tell(|| format!("{} owns {pool} under {epoch}", self.id));
                self.world.counts.borrow_mut().terms += 1;
                let context = self.context(&pool, epoch);
                let owned = OwnedPool::start(&context, *config, shares_after, positions);
                if let Some(before) = self.pools.insert(pool, owned) {
                    self.world.end_group(before.group);
                }
            }
            Effect::RestartSource(pool, epoch, config) => {
                if let Some(owned) = self.pools.get(&pool).filter(|p| p.epoch == epoch) {
                    owned.configure(*config);
                }
            }
            Effect::StopPool(pool, epoch) => {
                if let Some(owned) = self.pools.get(&pool).filter(|p| p.epoch == epoch) {
                    self.world.end_group(owned.group);
                    self.pools.remove(&pool);
                }
            }
            Effect::PublishInForce(ours) => self.in_force.put(*ours),
            Effect::KeepOrders(target, kept) => self.in_force.keep(target, *kept),
            Effect::PublishEvent(event) => {
                self.world.counts.borrow_mut().events += 1;
                self.world.tell(|| format!("{} tells {:?}", self.id, event.what));
            }
            Effect::PublishStatus(..) => {}
            Effect::Pool(pool, epoch, effect) => {
                if let Some(owned) = self.pools.get(&pool).filter(|p| p.epoch == epoch) {
                    owned.perform(effect);
                }
            }
            Effect::Exit => {}
        }
    }

    fn context(&self, pool: &PoolId, epoch: u64) -> Context {
        let group = self.world.executor.new_group();
        let owner = Owner { process: self.bus.owner.process, group };
        let bus = Bus { world: self.world.clone(), owner };
        Context { bus, pool: pool.clone(), epoch, inputs: self.inputs.clone() }
    }

    fn lease(&mut self, pool: PoolId, request: LeaseRequest) {
        let queue = self.leases.entry(pool.clone()).or_insert_with(|| {
            let queue = Queue::default();
            let task =
                lease::serve(self.bus.clone(), pool, self.id.clone(), queue.clone(), self.inputs.clone());
            self.world.executor.spawn(self.bus.owner, task);
            queue
        });
        queue.push(request);
    }

    fn recover(&self, pool: PoolId, epoch: u64) {
        let (bus, inputs, positions) = (self.bus.clone(), self.inputs.clone(), self.positions.clone());
        let (world, owner) = (self.world.clone(), self.bus.owner);
        let answer: Queue<Result<recovery::Found, Trouble>> = Queue::default();
        let read = answer.clone();
        let (of, bus) = (pool.clone(), bus);
        self.world.executor.spawn(owner, async move { read.push(recovery::read(&bus, &of).await) });
        self.world.executor.spawn(owner, async move {
            let until = world.now() + RECOVERY_DEADLINE_US;
            let found = answer.next_until(&world, Some(until)).await;
            let trouble = match found {
                Some(Ok(found)) => {
                    {
                        let mut kept = positions.borrow_mut();
                        kept.retain(|(p, e), _| *p != pool || *e > epoch);
                        kept.insert((pool.clone(), epoch), found.positions);
                    }
                    inputs.push(Input::Recovered(pool, epoch, Box::new(found.recovered)));
                    return;
                }
                Some(Err(trouble)) => trouble,
                None => Trouble::of("its state could not be read in time"),
            };
            inputs.push(Input::Lease(pool, LeaseInput::GivenUp { epoch, trouble }));
        });
    }
}
