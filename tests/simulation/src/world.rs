//! The whole simulated farm: virtual time, what happens next, every process and the server.

use crate::{
    chain::Chain,
    clock::{BEGIN_MS, Clock},
    counts::Counts,
    executor::{Executor, Owner},
    link::{Arrival, Link},
    options::Options,
    random::Random,
    server::{
        Server,
        stream::{Ack, Publish, Refused},
        subscriptions::{Heard, Subscriptions},
    },
    truth::Truth,
};
use bus_schemas::{PoolId, WorkerId};
use coordinator_core::Coordinator;
use std::{
    cell::{Cell, RefCell},
    cmp::Ordering,
    collections::BinaryHeap,
    rc::Rc,
};
use worker_core::WorkerCore;

/// Most that can happen at one moment.
const MOST_AT_ONCE: u64 = 500_000;

/// So often a core may be called at one moment because its deadline has come.
const MOST_TICKS_AT_ONCE: u32 = 20;

/// What a process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Coordinator,
    Worker { id: WorkerId, pool: PoolId, threads: u16, rate: u64 },
}

/// The core of a process that runs.
#[derive(Clone, Default)]
pub(crate) enum Core {
    #[default]
    None,
    Coordinator(Rc<RefCell<Coordinator>>),
    Worker(Rc<RefCell<WorkerCore>>),
}

/// A machine and the process that runs on it, if it runs.
pub(crate) struct Process {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) clock: Clock,
    pub(crate) link: Link,
    pub(crate) alive: bool,
    /// Which life it is, counted from the first.
    pub(crate) life: u64,
    /// Effects until it is killed.
    pub(crate) fuse: Option<u32>,
    /// How long it stays down after that.
    pub(crate) down_us: u64,
    pub(crate) random: Random,
    pub(crate) core: Core,
    /// Since when it runs.
    pub(crate) up_since_us: u64,
    /// When it was last woken by its deadline, and how often at that moment.
    pub(crate) ticks: (u64, u32),
    /// Asked to end in order.
    pub(crate) shutdown: Option<crate::queue::Queue<()>>,
}

struct Event {
    at_us: u64,
    order: u64,
    run: Arrival,
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Event {}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Event {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at_us, other.order).cmp(&(self.at_us, self.order))
    }
}

/// See the module's documentation.
pub(crate) struct World {
    now_us: Cell<u64>,
    events: RefCell<BinaryHeap<Event>>,
    order: Cell<u64>,
    pub(crate) executor: Executor,
    pub(crate) server: RefCell<Server>,
    pub(crate) subscriptions: RefCell<Subscriptions>,
    pub(crate) processes: RefCell<Vec<Process>>,
    pub(crate) chain: RefCell<Chain>,
    pub(crate) truth: RefCell<Truth>,
    pub(crate) counts: RefCell<Counts>,
    pub(crate) random: RefCell<Random>,
    pub(crate) options: Options,
    pub(crate) pools: Vec<PoolId>,
    failure: RefCell<Option<String>>,
    story: RefCell<Vec<String>>,
}

impl World {
    pub(crate) fn new(options: Options, pools: Vec<PoolId>) -> Result<Rc<Self>, serde_json::Error> {
        let mut random = Random::new(options.seed, 1);
        let server_offset_ms = random.below(7_200_000);
        let server = Server::new((BEGIN_MS - 3_600_000 + server_offset_ms) * 1_000)?;
        Ok(Rc::new(Self {
            now_us: Cell::new(0),
            events: RefCell::default(),
            order: Cell::new(0),
            executor: Executor::default(),
            server: RefCell::new(server),
            subscriptions: RefCell::default(),
            processes: RefCell::default(),
            chain: RefCell::new(Chain::new(options.seed, options.workers)),
            truth: RefCell::default(),
            counts: RefCell::default(),
            random: RefCell::new(random),
            options,
            pools,
            failure: RefCell::default(),
            story: RefCell::default(),
        }))
    }

    /// Microseconds since the begin.
    pub(crate) fn now(&self) -> u64 {
        self.now_us.get()
    }

    pub(crate) fn schedule(&self, at_us: u64, run: impl FnOnce(&Rc<Self>) + 'static) {
        let order = self.order.get();
        self.order.set(order + 1);
        let at_us = at_us.max(self.now());
        self.events.borrow_mut().push(Event { at_us, order, run: Box::new(run) });
    }

    /// Lets time pass until then, or until something is wrong.
    pub(crate) fn run_until(self: &Rc<Self>, end_us: u64) {
        let mut standing = 0_u64;
        loop {
            while self.executor.step() && standing < MOST_AT_ONCE {
                standing += 1;
            }
            if standing >= MOST_AT_ONCE {
                self.fail(|| "something goes on and on without time passing".to_owned());
            }
            if self.failure.borrow().is_some() {
                return;
            }
            let next = {
                let mut events = self.events.borrow_mut();
                match events.peek() {
                    Some(event) if event.at_us <= end_us => events.pop(),
                    _ => None,
                }
            };
            let Some(event) = next else { break };
            standing = if event.at_us > self.now() { 0 } else { standing + 1 };
            self.now_us.set(event.at_us);
            (event.run)(self);
        }
        self.now_us.set(end_us.max(self.now()));
    }

    /// Something that must hold does not; the first is told.
    pub(crate) fn fail(&self, what: impl FnOnce() -> String) {
        let mut failure = self.failure.borrow_mut();
        if failure.is_none() {
            *failure = Some(format!("at {:.3} s: {}", self.now() as f64 / 1e6, what()));
        }
    }

    pub(crate) fn failure(&self) -> Option<String> {
        self.failure.borrow().clone()
    }

    /// A process is woken by its own deadline; `true` when that has come again and again without moving on.
    pub(crate) fn ticks(&self, process: usize) -> bool {
        let now = self.now();
        let stands = self.with_process(process, |p| {
            p.ticks = if p.ticks.0 == now { (now, p.ticks.1 + 1) } else { (now, 1) };
            p.ticks.1 > MOST_TICKS_AT_ONCE
        });
        if stands {
            let name = self.with_process(process, |p| p.name.clone());
            self.fail(|| format!("{name}: its deadline has come and does not move on"));
        }
        stands
    }

    /// A line of what happened, if anybody wants to read it.
    pub(crate) fn tell(&self, line: impl FnOnce() -> String) {
        if self.options.story {
            let line = format!("{:>11.3} {}", self.now() as f64 / 1e6, line());
            self.story.borrow_mut().push(line);
        }
    }

    pub(crate) fn story(&self) -> Vec<String> {
        std::mem::take(&mut self.story.borrow_mut())
    }

    /// Looks at or changes a process; there is always one of this number.
    pub(crate) fn with_process<T>(&self, process: usize, look: impl FnOnce(&mut Process) -> T) -> T {
        let mut processes = self.processes.borrow_mut();
        look(&mut processes[process])
    }

    pub(crate) fn with_link<T>(&self, process: usize, look: impl FnOnce(&mut Link) -> T) -> T {
        self.with_process(process, |p| look(&mut p.link))
    }

    /// Counts an effect of a process; `true` when it is the one at which the process is killed.
    pub(crate) fn burns_out(self: &Rc<Self>, process: usize) -> bool {
        let killed = self.with_process(process, |p| match &mut p.fuse {
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        });
        if killed {
            let down_us = self.with_process(process, |p| p.down_us);
            self.kill(process, down_us);
        }
        killed
    }

    /// Kills a process in the middle of whatever it does; it is started again after a while.
    pub(crate) fn kill(self: &Rc<Self>, process: usize, down_us: u64) {
        let died = self.with_process(process, |p| {
            p.fuse = None;
            p.core = Core::None;
            p.shutdown = None;
            std::mem::replace(&mut p.alive, false)
        });
        if !died {
            return;
        }
        let name = self.with_process(process, |p| p.name.clone());
        self.tell(|| format!("{name} is dead"));
        let is_its = move |owner: Owner| owner.process == process;
        self.executor.end(is_its);
        self.subscriptions.borrow_mut().end(is_its);
        let life = self.with_process(process, |p| p.life);
        self.schedule(self.now() + down_us, move |world| {
            if world.with_process(process, |p| !p.alive && p.life == life) {
                world.start(process);
            }
        });
    }

    /// Starts a process.
    pub(crate) fn start(self: &Rc<Self>, process: usize) {
        let now = self.now();
        let (kind, name, life) = self.with_process(process, |p| {
            p.life += 1;
            p.alive = true;
            p.up_since_us = now;
            p.clock.began_us = now;
            p.link.begin(now);
            (p.kind.clone(), p.name.clone(), p.life)
        });
        self.tell(|| format!("{name} starts for the {life}. time"));
        let owner = Owner { process, group: self.executor.new_group() };
        match kind {
            Kind::Coordinator => self.executor.spawn(owner, crate::coordinator::run(self.clone(), owner)),
            Kind::Worker { .. } => self.executor.spawn(owner, crate::worker::run(self.clone(), owner)),
        }
    }

    /// Ends a part of a process.
    pub(crate) fn end_group(&self, group: u64) {
        let is_its = move |owner: Owner| owner.group == group;
        self.executor.end(is_its);
        self.subscriptions.borrow_mut().end(is_its);
    }

    /// Hands a message to everybody who listens.
    pub(crate) fn fan_out(self: &Rc<Self>, heard: &Heard) -> usize {
        let subscribers = self.subscriptions.borrow().of(&heard.subject);
        for subscriber in &subscribers {
            let (queue, heard) = (subscriber.queue.clone(), heard.clone());
            self.send_in(subscriber.owner.process, Box::new(move |_| queue.push(heard)));
        }
        subscribers.len()
    }

    /// A message is published at the server: subscribers hear it, and a stream may take it.
    pub(crate) fn publish(self: &Rc<Self>, new: Publish) -> Result<Ack, Refused> {
        let plain = Heard {
            subject: new.subject.clone(),
            payload: new.payload.clone(),
            republished: None,
            reply: None,
        };
        self.fan_out(&plain);
        let stored = self.server.borrow_mut().store(new.clone(), self.now());
        if stored.is_err() {
            self.unstored(&new);
        }
        let (ack, stored) = stored?;
        let Some(stored) = stored else { return Ok(ack) };
        let taken = {
            let server = self.server.borrow();
            let name = server.taker(&stored.subject).unwrap_or_default().to_owned();
            let republish = server.peek(&name).and_then(|s| s.declared.republish.clone());
            (name, republish)
        };
        let (name, republish) = taken;
        if let Some(republish) = republish {
            let prefix = |text: &str| text.trim_end_matches('>').to_owned();
            let key = stored.subject.strip_prefix(prefix(&republish.src).as_str()).unwrap_or_default();
            let subject: Rc<str> = format!("{}{key}", prefix(&republish.dest)).into();
            let republished = Some((stored.sequence, stored.headers.deletes));
            self.fan_out(&Heard { subject, payload: stored.payload.clone(), republished, reply: None });
        }
        self.notice(&name);
        self.stored(&name, &stored);
        Ok(ack)
    }

    /// A stream has news for those who wait for them.
    pub(crate) fn notice(self: &Rc<Self>, stream: &str) {
        let waiting = self.server.borrow_mut().waiting.remove(stream).unwrap_or_default();
        for (process, waker) in waiting {
            self.send_in(process, Box::new(move |_| waker.wake()));
        }
    }
}
