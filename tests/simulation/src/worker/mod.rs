//! The shell of a worker, imitated: subscriptions, reads, publications and search threads over the model of the bus.

mod reads;
mod search;

use crate::{
    bus::Bus,
    executor::Owner,
    hashing,
    queue::Queue,
    server::{stream::Headers, subscriptions::Heard},
    world::{Core, Kind, World},
};
use bus_schemas::{
    AlgorithmId, Blob, Message, PoolId, SessionId, TimestampMs, WorkerId,
    config::{ConfigKey, InForce},
    job::Job,
    member::{Capability, JoinReply, JoinRequest, Member},
    subject::{Subject, filter},
    throttle::{Throttle, ThrottleTarget},
};
use search::Threads;
use std::{cell::RefCell, collections::VecDeque, rc::Rc};
use worker_core::{
    Clearance, Effect, HostLimits, Identity, Input, Lane, MonotonicMs, Now, Offered, Publication, Stored,
    ThrottleOrder, WorkerCore,
};

/// Messages that wait for their acknowledgement, at most, as in the real publisher.
const OUTGOING_LIMIT: usize = 2 * worker_core::MAX_IN_FLIGHT + 64;
/// A process that ended is started again after this time, microseconds.
const RESTART_US: u64 = 1_500_000;
/// Threads of the local safe profile.
pub(crate) const SAFE_THREADS: u16 = 0;

/// Whose traffic it is.
#[derive(Debug, Clone)]
struct Address {
    pool: PoolId,
    worker: WorkerId,
}

fn moment(world: &World, process: usize) -> Now {
    let (clock, now) = (world.with_process(process, |p| p.clock), world.now());
    Now { monotonic: MonotonicMs(clock.mono_ms(now)), wall: TimestampMs(clock.wall_ms(now)) }
}

struct Shell {
    world: Rc<World>,
    bus: Bus,
    core: Rc<RefCell<WorkerCore>>,
    address: Address,
    inputs: Queue<Input>,
    threads: Threads,
    under_way: Rc<RefCell<usize>>,
}

fn identity(address: &Address, threads: u16, session: SessionId, jitter_seed: u64) -> Identity {
    let capability = Capability {
        threads,
        memory_mib: 1_024,
        processor: "simulated".to_owned(),
        algorithms: vec![AlgorithmId::sha256d()],
        agent_version: "0".to_owned(),
    };
    let limits = HostLimits { safe_threads: SAFE_THREADS, ..HostLimits::open(threads) };
    let algorithms = vec![Offered {
        id: AlgorithmId::sha256d(),
        version: 1,
        digest: Blob(vec![7; 32]),
        memory_hard: false,
    }];
    let (pool, worker) = (address.pool.clone(), address.worker.clone());
    Identity { pool, worker, session, capability, limits, algorithms, jitter_seed }
}

/// A life of a worker.
pub(crate) async fn run(world: Rc<World>, owner: Owner) {
    let Kind::Worker { id, pool, threads, rate } = world.with_process(owner.process, |p| p.kind.clone())
    else {
        return;
    };
    let bus = Bus { world: world.clone(), owner };
    bus.connected().await;
    let address = Address { pool, worker: id };
    let (seed, life) = world.with_process(owner.process, |p| (p.random.draw(), p.life));
    let Ok(session) = SessionId::new(format!("{}-{life}-{:08x}", address.worker, seed >> 32)) else { return };
    let core = Rc::new(RefCell::new(WorkerCore::new(identity(&address, threads, session, seed))));
    let (inputs, shutdown) = (Queue::default(), Queue::default());
    world.with_process(owner.process, |p| {
        p.core = Core::Worker(core.clone());
        p.shutdown = Some(shutdown.clone());
    });
    subscribe(&bus, &address, &inputs);
    inputs.push(Input::Clearances(vec![Clearance {
        algorithm: AlgorithmId::sha256d(),
        version: 1,
        digest: Blob(vec![7; 32]),
        verdict: Ok(TimestampMs(u64::MAX)),
    }]));
    inputs.push(Input::Veto(None));
    inputs.push(Input::Connected);
    world.executor.spawn(owner, follow_link(bus.clone(), inputs.clone()));
    let asked = inputs.clone();
    world.executor.spawn(owner, async move {
        shutdown.next().await;
        asked.push(Input::ShutdownRequested { reason: "asked to".to_owned() });
    });
    let threads = Threads::new(bus.clone(), inputs.clone(), rate);
    Shell { world, bus, core, address, inputs, threads, under_way: Rc::default() }.work().await;
}

async fn follow_link(bus: Bus, inputs: Queue<Input>) {
    let process = bus.owner.process;
    let state = || bus.world.with_link(process, |link| (link.connected, link.connects));
    let mut known = state();
    loop {
        bus.link_changed().await;
        let now = state();
        match now {
            (true, connects) if connects > known.1 => inputs.push(Input::Connected),
            (false, _) if known.0 => inputs.push(Input::Disconnected),
            _ => {}
        }
        known = now;
    }
}

/// Everything that a worker is told, before anything is read.
fn subscribe(bus: &Bus, address: &Address, inputs: &Queue<Input>) {
    let heard = Queue::default();
    let (pool, worker) = (address.pool.clone(), address.worker.clone());
    for subject in [
        Subject::Job(pool.clone()),
        Subject::Role(pool.clone(), worker.clone()),
        Subject::InForce(ConfigKey::Farm),
        Subject::InForce(ConfigKey::Pool(pool.clone())),
        Subject::InForce(ConfigKey::Node(worker.clone())),
        Subject::Throttle(ThrottleTarget::Farm),
        Subject::Throttle(ThrottleTarget::Pool(pool)),
        Subject::Throttle(ThrottleTarget::Worker(worker)),
    ] {
        bus.subscribe_into(&subject.to_string(), &heard);
    }
    bus.subscribe_into(&filter::label_throttles(), &heard);
    let inputs = inputs.clone();
    bus.world.executor.spawn(bus.owner, async move {
        loop {
            let heard = heard.next().await;
            inputs.push(told(&heard));
        }
    });
}

fn told(heard: &Heard) -> Input {
    let unreadable = |reason: String| Input::Undecodable { subject: heard.subject.to_string(), reason };
    let (revision, deleted) = heard.republished.unwrap_or_default();
    match heard.subject.parse::<Subject>() {
        Ok(Subject::Job(_)) if heard.payload.is_empty() => Input::JobWithdrawn,
        Ok(Subject::Job(_)) => match Job::decode(&heard.payload) {
            Ok(job) => Input::Job(Box::new(job)),
            Err(error) => unreadable(error.to_string()),
        },
        Ok(Subject::Role(..)) => match Member::decode(&heard.payload) {
            Ok(member) => Input::Role(Box::new(member)),
            Err(error) => unreadable(error.to_string()),
        },
        Ok(Subject::InForce(ConfigKey::Farm)) => Input::FarmConfig(stored(revision, deleted, &heard.payload)),
        Ok(Subject::InForce(ConfigKey::Pool(_))) => {
            Input::PoolConfig(stored(revision, deleted, &heard.payload))
        }
        Ok(Subject::InForce(ConfigKey::Node(_))) => {
            Input::NodeConfig(stored(revision, deleted, &heard.payload))
        }
        Ok(Subject::Throttle(target)) => match Throttle::decode(&heard.payload) {
            Ok(order) => {
                Input::Throttle(ThrottleOrder { target, order, stored_at: None, age_ms: 0, keep_ms: 0 })
            }
            Err(error) => unreadable(error.to_string()),
        },
        _ => unreadable("nobody asked for it".to_owned()),
    }
}

/// A configuration in force as it came.
fn stored<C>(revision: u64, deleted: bool, payload: &[u8]) -> Stored<C>
where
    InForce<C>: Message,
{
    if deleted {
        return Stored { revision, value: Ok(None) };
    }
    Stored { revision, value: InForce::decode(payload).map(Some).map_err(|error| error.to_string()) }
}

impl Shell {
    async fn work(mut self) {
        let process = self.bus.owner.process;
        loop {
            let deadline = self.core.borrow().next_deadline();
            let at = deadline.map(|at| self.world.with_process(process, |p| p.clock.at_us(at.0)));
            let input = self.inputs.next_until(&self.world, at).await.unwrap_or(Input::Tick);
            if matches!(input, Input::Tick) && self.world.ticks(process) {
                return;
            }
            let mut inputs = VecDeque::from([input]);
            while let Some(input) = inputs.pop_front() {
                self.handle(input);
                loop {
                    let effect = self.core.borrow_mut().next_effect();
                    let Some(effect) = effect else { break };
                    if self.world.burns_out(process) {
                        return;
                    }
                    if matches!(effect, Effect::Exit) {
                        // The last messages are on their way.
                        self.bus.sleep_ms(100).await;
                        self.world.kill(process, RESTART_US);
                        return;
                    }
                    inputs.extend(self.perform(effect));
                }
                self.look(process);
            }
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
            self.world.fail(|| format!("{}: an invariant of its core: {broken}", self.address.worker));
        }
    }

    /// What holds after each step.
    fn look(&self, process: usize) {
        if self.world.checks_now() {
            self.world.check_worker(process, &self.core.borrow());
        }
    }

    fn perform(&mut self, effect: Effect) -> Option<Input> {
        match effect {
            Effect::StartSearch(order) => self.threads.start(order),
            Effect::StopSearch { thread, order } => self.threads.stop(thread, order),
            Effect::Publish(publication) => return self.publish(publication),
            Effect::SetPace(pace) => self.threads.set_pace(pace.cap_percent),
            Effect::PublishEvent(_) => self.world.counts.borrow_mut().events += 1,
            Effect::PublishHeartbeat(heartbeat) => {
                let subject = Subject::Heartbeat(self.address.pool.clone(), self.address.worker.clone());
                self.bus.publish_once(subject, heartbeat.encode().unwrap_or_default());
            }
            Effect::PublishLeave(leave) => {
                let subject = Subject::Leave(self.address.pool.clone(), self.address.worker.clone());
                self.bus.publish_once(subject, leave.encode().unwrap_or_default());
            }
            Effect::Join(request) => self.join(&request),
            Effect::ReadConfiguration(authority) => {
                let (bus, address, inputs) = (self.bus.clone(), self.address.clone(), self.inputs.clone());
                let read = reads::read(bus, address, authority, inputs);
                self.world.executor.spawn(self.bus.owner, read);
            }
            Effect::MakeAgenda(question) => {
                let (inputs, number) = (self.inputs.clone(), question.number);
                inputs.push(Input::Agenda { number, agenda: Box::new(question.answer()) });
            }
            Effect::Notice(notice) => self.world.note(self.bus.owner.process, &notice),
            Effect::ObtainAlgorithm(_) | Effect::Exit => {}
        }
        None
    }

    /// Into its stream; the answer is waited for beside everything else.
    fn publish(&mut self, publication: Publication) -> Option<Input> {
        let Publication { id, attempt, lane, share } = publication;
        if *self.under_way.borrow() >= OUTGOING_LIMIT {
            let reason = "too many messages wait for the bus".to_owned();
            return Some(Input::PublishFailed { id, attempt, reason });
        }
        let (pool, worker) = (self.address.pool.clone(), self.address.worker.clone());
        let subject = match lane {
            Lane::Share => Subject::Share(pool, worker),
            Lane::Found => Subject::Found(pool, worker),
        };
        let headers = Headers { msg_id: Some(share.message_id().into()), ..Headers::default() };
        let answer = self.bus.publish(subject, share.encode().unwrap_or_default(), headers);
        let (inputs, under_way) = (self.inputs.clone(), self.under_way.clone());
        *under_way.borrow_mut() += 1;
        self.world.executor.spawn(self.bus.owner, async move {
            let answer = answer.await;
            *under_way.borrow_mut() -= 1;
            inputs.push(match answer {
                Ok(_) => Input::Acked { id },
                Err(error) => Input::PublishFailed { id, attempt, reason: format!("{error:?}") },
            });
        });
        None
    }

    fn join(&self, request: &JoinRequest) {
        let (bus, inputs) = (self.bus.clone(), self.inputs.clone());
        let subject = Subject::Join(self.address.pool.clone(), self.address.worker.clone());
        let payload = request.encode().unwrap_or_default();
        self.world.executor.spawn(self.bus.owner, async move {
            let reply = bus.request(subject, payload).await;
            inputs.push(match reply {
                Ok(bytes) => match JoinReply::decode(&bytes) {
                    Ok(reply) => Input::JoinReply(reply),
                    Err(error) => Input::JoinFailed { reason: error.to_string() },
                },
                Err(error) => Input::JoinFailed { reason: format!("{error:?}") },
            });
        });
    }
}

/// Whether this is what hashing the finding of a share gives.
pub(crate) fn hash_of_share(share: &bus_schemas::share::Share) -> Option<[u8; 32]> {
    hashing::hash(&share.job, share.slot, &share.finding)
}
