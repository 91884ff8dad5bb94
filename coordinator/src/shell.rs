//! The core's effects done: each goes to the task that does it, and none is waited for.

use crate::{
    announce::{EVENT_BACKLOG, STATUS_BACKLOG, publish_events, publish_statuses},
    components::Components,
    health::Health,
    host::HostConfig,
    in_force,
    judges::{Judges, Overloaded},
    lease::{self, LEASE_BACKLOG, LeaseRequest},
    metrics::Metrics,
    pool::{Asked, Context, OwnedPool, answer_view},
    recovery::{self, Positions, RecoveryError},
    run::Clock,
    stores::Stores,
    tasks::{Faults, Obituary, Vital, guarded},
};
use bus_schemas::{PoolId, command::PoolStatus, event::Event};
use coordinator_core::{Coordinator, Effect, Input, LeaseInput, PoolEffect, Trouble};
use nats_adapter::Bus;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::mpsc, task::JoinSet};

/// How long the last words may take.
const FAREWELL_DEADLINE: Duration = Duration::from_secs(3);
/// Longest time in which a pool's state is read.
const RECOVERY_DEADLINE: Duration = Duration::from_secs(30);

/// What a shell is made of.
pub(crate) struct Parts {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) judges: Judges,
    pub(crate) components: Arc<Components>,
    pub(crate) stores: Stores,
    pub(crate) views: mpsc::Sender<(PoolId, u64, Asked)>,
    pub(crate) faults: Faults,
    pub(crate) health: Health,
    pub(crate) in_force: in_force::Wanted,
}

pub(crate) struct Shell {
    pub(crate) core: Coordinator,
    pub(crate) clock: Clock,
    pub(crate) bus: Bus,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) judges: Judges,
    pub(crate) inputs: mpsc::Sender<Input>,
    pub(crate) config: Arc<HostConfig>,
    pub(crate) credentials: Arc<BTreeMap<String, job_sources::Credentials>>,
    pub(crate) components: Arc<Components>,
    pub(crate) in_force: in_force::Wanted,
    /// Long polls that nodes may still hold, over all terms of all pools.
    pub(crate) abandoned: job_sources::Abandoned,
    pub(crate) leases: BTreeMap<PoolId, mpsc::Sender<LeaseRequest>>,
    pub(crate) pools: BTreeMap<PoolId, OwnedPool>,
    /// Where writers go on, from a recovery until the pool is started.
    pub(crate) positions: Arc<std::sync::Mutex<BTreeMap<(PoolId, u64), Positions>>>,
    pub(crate) events: mpsc::Sender<Box<Event>>,
    pub(crate) statuses: mpsc::Sender<(PoolId, Box<PoolStatus>)>,
    /// Short work, each with its own answer to its end.
    pub(crate) background: JoinSet<()>,
    /// Tasks that must run as long as the process does.
    pub(crate) vital: Vital,
    pub(crate) stores: Stores,
    pub(crate) views: mpsc::Sender<(PoolId, u64, Asked)>,
    pub(crate) faults: Faults,
    pub(crate) health: Health,
    /// Pools of which the metrics tell whether anybody attends to them.
    pub(crate) shown: BTreeSet<PoolId>,
    pub(crate) exit: bool,
}

impl Shell {
    pub(crate) fn new(config: &HostConfig, bus: Bus, parts: Parts, inputs: mpsc::Sender<Input>) -> Self {
        let Parts { metrics, judges, components, stores, views, faults, health, in_force } = parts;
        let (events, event_queue) = mpsc::channel(EVENT_BACKLOG);
        let (statuses, status_queue) = mpsc::channel(STATUS_BACKLOG);
        let mut vital = Vital::new(faults.clone());
        let task = publish_statuses(bus.clone(), status_queue, stores.clone());
        vital.spawn("statuses", task);
        let task = publish_events(bus.clone(), event_queue, metrics.clone(), stores.clone());
        vital.spawn("events", task);
        let session = format!("{}-{:016x}", config.id, rand::random::<u64>());
        Self {
            core: Coordinator::new(config.id.clone(), config.farm, session),
            clock: Clock(Instant::now()),
            bus,
            metrics,
            judges,
            inputs,
            credentials: Arc::new(config.credentials.clone()),
            components,
            in_force,
            abandoned: job_sources::Abandoned::default(),
            config: Arc::new(config.clone()),
            leases: BTreeMap::new(),
            pools: BTreeMap::new(),
            positions: Arc::default(),
            events,
            statuses,
            background: JoinSet::new(),
            vital,
            stores,
            views,
            faults,
            health,
            shown: BTreeSet::new(),
            exit: false,
        }
    }

    pub(crate) fn obituary(&self) -> Obituary {
        Obituary { metrics: self.metrics.clone(), inputs: self.inputs.clone() }
    }

    /// Tells a question what the owner knows; who does not own the pool any more leaves it to the next.
    pub(crate) fn answer_view(&mut self, pool: &PoolId, epoch: u64, request: Asked) {
        let owned = self.pools.get(pool).is_some_and(|p| p.epoch == epoch);
        let view = self.core.view(pool, &request.message, self.clock.now()).filter(|_| owned);
        if let Some(view) = view {
            self.background.spawn(answer_view(request, view));
        }
    }

    /// Looks which pools nobody attends to, and which are stuck.
    pub(crate) fn look(&mut self) {
        self.metrics.throttles(self.core.live_throttles(self.clock.now()));
        let now = self.clock.now().mono;
        let unattended = if self.core.is_configured() { self.core.unattended(now) } else { Vec::new() };
        let unattended: BTreeMap<_, _> = unattended.into_iter().map(|u| (u.pool.clone(), u)).collect();
        let mut reasons = Vec::new();
        let mut shown = BTreeSet::new();
        for pool in self.core.registry().pools().map(|(pool, ..)| pool) {
            shown.insert(pool.clone());
            let alone = unattended.get(pool);
            let stuck = self.core.stuck(pool);
            self.metrics.attention(pool, alone.is_some(), stuck.is_some());
            if let Some(alone) = alone {
                let seconds = alone.for_ms / 1_000;
                let why = alone.reason.as_ref().map_or_else(String::new, |why| format!(": {why}"));
                reasons.push((pool.to_string(), format!("nobody owns pool {pool} for {seconds} s{why}")));
            }
            if let Some(stuck) = stuck {
                let text = format!("pool {pool} is stuck: {}; to mend it: {}", stuck.reason, stuck.repair);
                reasons.push((format!("{pool}-stuck"), text));
            }
        }
        // A pool that was deleted is missed by nobody.
        for gone in self.shown.difference(&shown) {
            self.metrics.attention(gone, false, false);
        }
        self.shown = shown;
        self.health.only("pool-", reasons);
    }

    pub(crate) fn handle(&mut self, input: Input) {
        let pool = match &input {
            Input::Pool(pool, epoch, _) => Some((pool.clone(), *epoch)),
            _ => None,
        };
        self.core.handle(input, self.clock.now());
        if let Some((pool, epoch)) = pool
            && let Some(owned) = self.pools.get(&pool).filter(|p| p.epoch == epoch)
        {
            owned.set_room(self.core.has_room(&pool, epoch));
        }
    }

    pub(crate) fn drain(&mut self) {
        while let Some(effect) = self.core.next_effect() {
            self.perform(effect);
        }
        while self.background.try_join_next().is_some() {}
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::AcquireLease(pool) => self.lease(pool, LeaseRequest::Acquire),
            Effect::RenewLease(pool, epoch) => self.lease(pool, LeaseRequest::Renew(epoch)),
            Effect::ReleaseLease(pool, epoch) => self.lease(pool, LeaseRequest::Release(epoch)),
            Effect::Recover(pool, epoch) => self.recover(pool, epoch),
            Effect::StartPool { pool, epoch, shares_after, config } => {
                tracing::info!(%pool, epoch, shares_after, "pool is owned");
                let positions = {
                    let mut kept = self.positions.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    kept.remove(&(pool.clone(), epoch))
                };
                let Some(positions) = positions else {
                    let trouble = Trouble::of("it was to start although its state was not read");
                    tracing::error!(%pool, epoch, reason = trouble.reason, "a pool is given up");
                    self.handle(Input::Lease(pool, LeaseInput::GivenUp { epoch, trouble }));
                    return;
                };
                let context = self.context(&pool, epoch);
                let owned = OwnedPool::start(&context, *config, shares_after, positions);
                self.pools.insert(pool, owned);
            }
            Effect::RestartSource(pool, epoch, config) => {
                if let Some(owned) = self.pools.get(&pool).filter(|p| p.epoch == epoch) {
                    owned.configure(*config);
                }
            }
            Effect::StopPool(pool, epoch) => {
                tracing::info!(%pool, epoch, "pool is given up");
                if self.pools.get(&pool).is_some_and(|p| p.epoch == epoch) {
                    self.pools.remove(&pool);
                }
            }
            Effect::PublishInForce(ours) => self.in_force.put(*ours),
            Effect::KeepOrders(target, kept) => self.in_force.keep(target, *kept),
            Effect::PublishEvent(event) => {
                self.metrics.event(&event.subject, &event.what);
                if self.events.try_send(event).is_err() {
                    self.metrics.event_lost();
                }
            }
            Effect::PublishStatus(pool, status) => {
                self.metrics.status(&pool, &status);
                self.metrics.capacity(&pool, self.core.capacity(&pool));
                // A state that does not fit is replaced by the next one in a second.
                let _ = self.statuses.try_send((pool, status));
            }
            Effect::Pool(pool, epoch, effect) => self.perform_in_pool(pool, epoch, effect),
            Effect::Exit => self.exit = true,
        }
    }

    fn perform_in_pool(&mut self, pool: PoolId, epoch: u64, effect: PoolEffect) {
        let done = match effect {
            PoolEffect::Judge(tasks) => self.judges.judge(&pool, epoch, tasks),
            PoolEffect::JudgeFound(task) => self.judges.judge_found(&pool, epoch, task),
            effect => match self.pools.get(&pool).filter(|p| p.epoch == epoch) {
                Some(owned) => owned.perform(effect),
                None => Ok(()),
            },
        };
        if done == Err(Overloaded) {
            // What did not fit is lost to this term; the state in JetStream is whole, so a new term begins from it.
            tracing::error!(%pool, epoch, "a queue is full; the pool is given up and taken anew");
            self.metrics.overloaded(&pool);
            let trouble = Trouble::of("a queue was full; see dcmf_coordinator_overloads_total");
            self.handle(Input::Lease(pool, LeaseInput::GivenUp { epoch, trouble }));
        }
    }

    fn context(&self, pool: &PoolId, epoch: u64) -> Context {
        Context {
            bus: self.bus.clone(),
            pool: pool.clone(),
            epoch,
            inputs: self.inputs.clone(),
            metrics: self.metrics.clone(),
            credentials: self.credentials.clone(),
            components: self.components.clone(),
            abandoned: self.abandoned.clone(),
            stores: self.stores.clone(),
            views: self.views.clone(),
            faults: self.faults.clone(),
        }
    }

    fn lease(&mut self, pool: PoolId, request: LeaseRequest) {
        let sender = self.leases.entry(pool.clone()).or_insert_with(|| {
            let (sender, queue) = mpsc::channel(LEASE_BACKLOG);
            let (bus, id, inputs) = (self.bus.clone(), self.config.id.clone(), self.inputs.clone());
            let task = lease::serve(bus, pool.clone(), id, self.clock, self.stores.clone(), queue, inputs);
            self.vital.spawn("lease", task);
            sender
        });
        if sender.try_send(request).is_err() && matches!(request, LeaseRequest::Acquire) {
            self.handle(Input::Lease(pool, LeaseInput::Unavailable));
        }
    }

    fn recover(&mut self, pool: PoolId, epoch: u64) {
        let (bus, inputs, positions) = (self.bus.clone(), self.inputs.clone(), self.positions.clone());
        let (components, faults, obituary) = (self.components.clone(), self.faults.clone(), self.obituary());
        self.background.spawn(async move {
            let whole = async {
                let found = recovery::read(&bus, &pool).await?;
                components.obtain_for(&bus, &found.recovered.jobs).await?;
                Ok::<_, RecoveryError>(found)
            };
            let read = guarded(&faults, "recovery", tokio::time::timeout(RECOVERY_DEADLINE, whole)).await;
            let trouble = match read {
                Ok(Some(Ok(Ok(found)))) => {
                    {
                        let mut kept = positions.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                        kept.retain(|(p, e), _| *p != pool || *e > epoch);
                        kept.insert((pool.clone(), epoch), found.positions);
                    }
                    let _ = inputs.send(Input::Recovered(pool, epoch, Box::new(found.recovered))).await;
                    return;
                }
                Ok(Some(Ok(Err(error)))) => error.into(),
                Ok(_) => Trouble::of(format!(
                    "its state could not be read within {} s",
                    RECOVERY_DEADLINE.as_secs()
                )),
                Err(panic) => {
                    obituary.tell("recovery", &panic, "the pool is given up and taken anew");
                    Trouble::of(format!("reading its state: {panic}"))
                }
            };
            tracing::error!(%pool, epoch, reason = trouble.reason, "a pool is given up");
            let _ = inputs.send(Input::Lease(pool, LeaseInput::GivenUp { epoch, trouble })).await;
        });
    }

    /// Waits for what is on its way: released leases and the last events.
    pub(crate) async fn farewell(self) {
        let Self { mut background, mut vital, events, statuses, leases, pools, inputs, judges, .. } = self;
        drop((events, statuses, leases, pools, inputs, judges));
        let last_words = async {
            while vital.ended().await.is_some() {}
            while background.join_next().await.is_some() {}
        };
        if tokio::time::timeout(FAREWELL_DEADLINE, last_words).await.is_err() {
            tracing::warn!("not everything could be said in time; leases end by themselves");
        }
        self.bus.close().await;
    }
}
