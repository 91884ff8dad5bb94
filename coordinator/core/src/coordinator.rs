//! The coordinator: configurations, ownership, and the pools that are owned.

mod due;
mod views;

use crate::{
    effect::Effect,
    input::{Input, LeaseInput, Recovered},
    orders::{Orders, Stored},
    ownership::{Duty, Ownership},
    pool::{Ask, Pool},
    registry::{Applied, Registry},
    time::{MonoMs, Now},
    trouble::Attention,
    world::World,
};
use bus_schemas::{
    CoordinatorId, PoolId,
    config::ConfigKey,
    event::{Event, EventData},
    throttle::{Throttle, ThrottleTarget},
};
use due::Due;
use std::collections::{BTreeMap, VecDeque};

/// Time between two publications of a pool's status, milliseconds.
pub const STATUS_INTERVAL_MS: u64 = 1_000;

/// Time between two looks for throttle orders that have ended, milliseconds; they bind nobody from their end on.
pub const THROTTLE_EXPIRY_INTERVAL_MS: u64 = 10_000;

/// A coordinator that finds kept orders without something that it knows keeps that after this time, milliseconds: two that
/// cannot agree write no more often.
pub const KEEP_AGAIN_MS: u64 = 1_000;

/// What the active members of a pool have and what is wanted, in percent of one whole member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolCapacity {
    /// What they have.
    pub percent: u32,
    /// What is wanted.
    pub wanted: u32,
}

/// What a node's configuration fixes: its role, and whether it is drained.
type Fixed = Option<(Option<bus_schemas::member::Role>, bool)>;

/// One configured pool.
#[derive(Debug)]
struct Slot {
    ownership: Ownership,
    attention: Attention,
    pool: Option<Box<Pool>>,
    status_at: MonoMs,
}

/// The same from every coordinator, and another one when the stream was made anew and its sequences begin again.
fn throttle_event_id(stored: &Stored) -> String {
    format!("throttle-{}-{}", stored.sequence, stored.stored_at.0)
}

/// A pool that is wanted and that nobody was seen to own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unattended {
    /// The pool.
    pub pool: PoolId,
    /// For how long, milliseconds.
    pub for_ms: u64,
    /// Why this coordinator gave it up, if it did.
    pub reason: Option<String>,
}

impl Slot {
    /// Takes news of the lease: what to do, and what to tell.
    fn lease(&mut self, lease: LeaseInput, now: MonoMs) -> (Duty, Option<EventData>) {
        let Self { ownership, attention, .. } = self;
        match lease {
            LeaseInput::HeldElsewhere { renewed } => {
                let told = attention.elsewhere(renewed, ownership, now);
                (ownership.handle(lease, now), told)
            }
            LeaseInput::GivenUp { epoch, ref trouble } if ownership.epoch() == Some(epoch) => {
                let trouble = trouble.clone();
                let duty = ownership.handle(lease, now);
                let told = attention.given_up(&trouble, ownership, now);
                (duty, told)
            }
            lease => (ownership.handle(lease, now), None),
        }
    }
}

/// The pool, if it is owned under this epoch.
fn owned<'a>(slots: &'a mut BTreeMap<PoolId, Slot>, pool: &PoolId, epoch: u64) -> Option<&'a mut Pool> {
    let slot = slots.get_mut(pool)?;
    if slot.ownership.epoch() != Some(epoch) {
        return None;
    }
    slot.pool.as_deref_mut()
}

/// See the crate's documentation.
#[derive(Debug)]
pub struct Coordinator {
    id: CoordinatorId,
    farm: u32,
    /// Makes the ids of events unique over the lives of this process.
    session: String,
    events: u64,
    registry: Registry,
    configured: bool,
    /// The bucket of wishes was made anew, and what it holds now is being told.
    wishes_restarted: bool,
    /// What the bucket of what is in force holds is known.
    published_known: bool,
    /// Refused edits that were found at the start and have no newer one.
    refused_before: BTreeMap<String, (u64, EventData)>,
    orders: Orders,
    /// Orders from here on are news.
    throttles_complete: bool,
    /// Every document of kept orders was told.
    documents_told: bool,
    throttles_expire_at: MonoMs,
    /// When what the documents of orders lack is kept, if they lack anything.
    keep_lacking_at: Option<MonoMs>,
    ending: bool,
    slots: BTreeMap<PoolId, Slot>,
    due: Due,
    effects: VecDeque<Effect>,
}

impl Coordinator {
    /// A coordinator that owns nothing yet. `session` must differ from that of every other process of this id.
    pub fn new(id: CoordinatorId, farm: u32, session: impl Into<String>) -> Self {
        Self {
            id,
            farm,
            session: session.into(),
            events: 0,
            registry: Registry::default(),
            configured: false,
            wishes_restarted: false,
            published_known: false,
            refused_before: BTreeMap::new(),
            orders: Orders::default(),
            throttles_complete: false,
            documents_told: false,
            throttles_expire_at: MonoMs::default(),
            keep_lacking_at: None,
            ending: false,
            slots: BTreeMap::new(),
            due: Due::default(),
            effects: VecDeque::new(),
        }
    }

    /// Takes an input; never fails.
    pub fn handle(&mut self, input: Input, now: Now) {
        match input {
            Input::Pool(id, epoch, input) => {
                let world = World { registry: &self.registry, throttles: self.orders.throttles() };
                if let Some(pool) = owned(&mut self.slots, &id, epoch) {
                    pool.handle(input, world, now);
                    self.collect(&id, now);
                    self.arm(&id);
                }
            }
            Input::Lease(pool, lease) => {
                self.leased(&pool, lease, now);
                self.arm(&pool);
            }
            Input::Recovered(pool, epoch, found) => {
                self.recovered(pool.clone(), epoch, *found, now);
                self.arm(&pool);
            }
            Input::Tick => {}
            input => {
                self.of_the_farm(input, now);
                self.arm_all();
            }
        }
        self.tick(now);
    }

    /// What concerns all pools, or the coordinator as a whole.
    fn of_the_farm(&mut self, input: Input, now: Now) {
        match input {
            Input::Config { key, revision, value } => self.configure(&key, revision, value.as_deref(), now),
            Input::ConfigComplete => self.configured(now),
            Input::ConfigRestarted => {
                self.registry.forget_wishes();
                self.wishes_restarted = true;
            }
            Input::InForce { .. }
            | Input::InForceComplete
            | Input::InForceRestarted
            | Input::InForceAdopted { .. } => self.in_force(input, now),
            Input::Throttle { sequence, target, order, stored_at, age_ms } => {
                self.throttle(target, order, &Stored { sequence, stored_at, age_ms }, now);
            }
            Input::ThrottleUnreadable { sequence, stored_at, subject, reason } => {
                let stored = Stored { sequence, stored_at, age_ms: 0 };
                self.throttle_unreadable(&stored, subject, reason, now);
            }
            Input::ThrottlesBegin { stream, last } => {
                self.throttles_complete = false;
                self.orders.begin(stream, last);
            }
            Input::ThrottlesKept { .. }
            | Input::ThrottlesKeptComplete
            | Input::ThrottlesKeptRestarted
            | Input::ThrottlesComplete => self.kept_orders(input, now.mono),
            Input::MembersReplaced => self.each_pool(now, |pool, _| pool.store_members_again()),
            Input::News { id: Some(id), event } => self.publish(id, None, event, now),
            Input::News { id: None, event } => self.publish_numbered(None, event, now),
            Input::Shutdown => self.shut_down(now),
            Input::Lease(..) | Input::Recovered(..) | Input::Pool(..) | Input::Tick => {}
        }
    }

    fn leased(&mut self, pool: &PoolId, lease: LeaseInput, now: Now) {
        let acquired = match &lease {
            LeaseInput::Acquired { epoch, .. } => Some(*epoch),
            _ => None,
        };
        let slot = self.slots.get_mut(pool);
        let (duty, told) = slot.map_or((Duty::Nothing, None), |slot| slot.lease(lease, now.mono));
        self.do_duty(pool, duty, now);
        if let Some(event) = told {
            self.publish_numbered(Some(pool), event, now);
        }
        if let Some(epoch) = acquired.filter(|e| !self.owns_under(pool, *e)) {
            self.effects.push_back(Effect::ReleaseLease(pool.clone(), epoch));
        }
    }

    /// The next thing to do, `None` when all is done.
    pub fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// The configurations in force.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Whether the owned pool takes another batch of shares.
    pub fn has_room(&self, pool: &PoolId, epoch: u64) -> bool {
        self.slots
            .get(pool)
            .filter(|s| s.ownership.epoch() == Some(epoch))
            .and_then(|s| s.pool.as_ref())
            .is_none_or(|p| p.has_room())
    }

    fn owns_under(&self, pool: &PoolId, epoch: u64) -> bool {
        self.slots.get(pool).and_then(|s| s.ownership.epoch()) == Some(epoch)
    }

    fn configure(&mut self, key: &str, revision: u64, value: Option<&[u8]>, now: Now) {
        let parsed = key.parse::<ConfigKey>().ok();
        let fixed = self.fixed(parsed.as_ref());
        let (applied, event) = self.registry.apply(key, revision, value);
        // A refused edit is looked at as well: another version may have accepted it.
        if let Some(key) = parsed.as_ref().filter(|_| event.is_some()) {
            self.publish_in_force(key);
        }
        let pool = match &applied {
            Applied::Pool(pool) | Applied::PoolRemoved(pool) => Some(pool.clone()),
            _ => None,
        };
        if let Some(event) = event {
            if self.configured {
                self.publish_config(key, revision, pool.as_ref(), event, now);
            } else {
                // What was in force before this process began is no news, unless the last edit is still refused.
                self.refused_before.remove(key);
                if matches!(event, EventData::ConfigRefused { .. }) {
                    self.refused_before.insert(key.to_owned(), (revision, event));
                }
            }
        }
        self.applied(applied, fixed, now);
    }

    /// A configuration is another one now; `fixed` is what a node's fixed before.
    fn applied(&mut self, applied: Applied, fixed: Fixed, now: Now) {
        match applied {
            Applied::Pool(id) => self.configure_pool(id, now),
            Applied::PoolRemoved(id) => {
                if let Some(slot) = self.slots.remove(&id) {
                    self.release(&id, &slot, "the pool was deleted", now);
                }
            }
            Applied::Node(node) => {
                let prompt = self.fixed(Some(&ConfigKey::Node(node.clone()))) != fixed;
                self.each_pool(now, |pool, world| pool.reconsider_node(&node, prompt, world, now));
            }
            Applied::Farm => self.each_pool(now, |pool, world| pool.reconsider(false, world, now)),
            Applied::Nothing => {}
        }
    }

    /// What the bucket of what is in force holds, and what followed from it.
    fn in_force(&mut self, input: Input, now: Now) {
        match input {
            Input::InForce { key, value } => {
                let Ok(key) = key.parse() else { return };
                if !self.registry.published(&key, value.as_deref()) {
                    self.publish_in_force(&key);
                }
            }
            Input::InForceComplete => {
                self.published_known = true;
                for key in self.registry.unpublished() {
                    self.publish_in_force(&key);
                }
            }
            Input::InForceRestarted => {
                self.registry.forget_published();
                self.published_known = false;
            }
            Input::InForceAdopted { key, value } => {
                let fixed = self.fixed(Some(&key));
                if let Ok(applied) = self.registry.adopt(&key, &value) {
                    self.applied(applied, fixed, now);
                }
            }
            _ => {}
        }
    }

    /// Before it is known what was published, everything would look as if it were not.
    fn publish_in_force(&mut self, key: &ConfigKey) {
        if self.published_known {
            self.effects.push_back(Effect::PublishInForce(Box::new(self.registry.ours(key))));
        }
    }

    /// What the node's configuration fixes, if the key is a node's.
    fn fixed(&self, key: Option<&ConfigKey>) -> Fixed {
        match key {
            Some(ConfigKey::Node(node)) => self.registry.node(node).map(|(_, c)| (c.role, c.drained)),
            _ => None,
        }
    }

    /// Lets every owned pool decide anew.
    fn each_pool(&mut self, now: Now, mut decide: impl FnMut(&mut Pool, World<'_>)) {
        for id in self.slots.keys().cloned().collect::<Vec<_>>() {
            let world = World { registry: &self.registry, throttles: self.orders.throttles() };
            if let Some(pool) = self.slots.get_mut(&id).and_then(|s| s.pool.as_mut()) {
                decide(pool, world);
                self.collect(&id, now);
            }
        }
    }

    /// What is known of the kept orders.
    fn kept_orders(&mut self, input: Input, now: MonoMs) {
        match input {
            Input::ThrottlesKept { target, kept, at } => {
                self.orders.recover(&target, *kept, at, now);
                if self.keeps_orders() && self.orders.is_lacking() {
                    self.keep_lacking_at.get_or_insert(now.plus(KEEP_AGAIN_MS));
                }
                return;
            }
            Input::ThrottlesKeptRestarted => {
                self.documents_told = false;
                return self.orders.forget_documents();
            }
            Input::ThrottlesKeptComplete => self.documents_told = true,
            _ => self.throttles_complete = true,
        }
        self.orders.targets().iter().for_each(|target| self.keep_orders(target, now));
    }

    /// Before all of the stream and all that is kept are known, what is kept is not written anew.
    fn keeps_orders(&self) -> bool {
        self.throttles_complete && self.documents_told
    }

    fn keep_orders(&mut self, target: &ThrottleTarget, now: MonoMs) {
        if self.keeps_orders() {
            let kept = Box::new(self.orders.kept(target, now));
            self.effects.push_back(Effect::KeepOrders(target.clone(), kept));
        }
    }

    /// Every coordinator sees the order; an id made of its place in the stream makes their events one.
    fn throttle(&mut self, target: ThrottleTarget, order: Throttle, stored: &Stored, now: Now) {
        let event = EventData::ThrottleOrdered {
            target: target.to_string(),
            source: order.source.clone(),
            cap_percent: order.cap_percent,
            ttl_seconds: order.ttl_seconds,
            reason: order.reason.clone(),
        };
        let subject = || bus_schemas::subject::Subject::Throttle(target.clone()).to_string();
        let (pool, subject) = match &target {
            ThrottleTarget::Pool(pool) => (Some(pool.clone()), subject()),
            _ => (None, subject()),
        };
        match self.orders.take(&target, order, stored, now.mono) {
            Ok(()) if self.throttles_complete => {
                self.publish(throttle_event_id(stored), pool.as_ref(), event, now);
                self.keep_orders(&target, now.mono);
            }
            Ok(()) => {}
            Err(error) => self.throttle_unreadable(stored, subject, error.to_string(), now),
        }
    }

    fn throttle_unreadable(&mut self, stored: &Stored, subject: String, reason: String, now: Now) {
        if self.throttles_complete {
            let event = EventData::MessageUndecodable { subject, reason, count: 1 };
            self.publish(throttle_event_id(stored), None, event, now);
        }
    }

    /// Every coordinator sees the edit; an id made of key and revision makes their events one.
    fn publish_config(
        &mut self,
        key: &str,
        revision: u64,
        pool: Option<&PoolId>,
        event: EventData,
        now: Now,
    ) {
        self.publish(format!("config-{key}-{revision}"), pool, event, now);
    }

    fn configured(&mut self, now: Now) {
        self.configured = true;
        if std::mem::take(&mut self.wishes_restarted) {
            let kept = self.registry.unwished() as u64;
            self.publish_numbered(None, EventData::ConfigBucketReplaced { kept }, now);
        }
        for (key, (revision, event)) in std::mem::take(&mut self.refused_before) {
            self.publish_config(&key, revision, None, event, now);
        }
    }

    /// Whether every configuration that the bucket held is known.
    pub fn is_configured(&self) -> bool {
        self.configured
    }

    fn configure_pool(&mut self, id: PoolId, now: Now) {
        let Some(config) = self.registry.pool(&id).map(|(_, c)| c.clone()) else { return };
        let slot = self.slots.entry(id.clone()).or_insert_with(|| Slot {
            ownership: Ownership::new(now.mono),
            attention: Attention::new(now.mono),
            pool: None,
            status_at: now.mono,
        });
        let world = World { registry: &self.registry, throttles: self.orders.throttles() };
        if let (Some(pool), Some(epoch)) = (&mut slot.pool, slot.ownership.epoch()) {
            if pool.configure(config.clone(), world, now) {
                self.effects.push_back(Effect::RestartSource(id.clone(), epoch, Box::new(config)));
            }
            self.collect(&id, now);
        }
    }

    fn recovered(&mut self, id: PoolId, epoch: u64, found: Recovered, now: Now) {
        let config = self.registry.pool(&id).map(|(_, c)| c.clone());
        let (Some(slot), Some(config)) = (self.slots.get_mut(&id), config) else { return };
        if slot.ownership.epoch() != Some(epoch) || slot.pool.is_some() {
            return;
        }
        let world = World { registry: &self.registry, throttles: self.orders.throttles() };
        let pool = Pool::new(id.clone(), epoch, self.farm, config.clone(), found, world, now);
        let shares_after = pool.shares_after();
        slot.pool = Some(Box::new(pool));
        slot.status_at = now.mono;
        self.effects.push_back(Effect::StartPool {
            pool: id.clone(),
            epoch,
            shares_after,
            config: Box::new(config),
        });
        let owned = EventData::PoolOwned { coordinator: self.id.clone(), epoch };
        self.publish_numbered(Some(&id), owned, now);
        self.collect(&id, now);
    }

    fn do_duty(&mut self, id: &PoolId, duty: Duty, now: Now) {
        match duty {
            Duty::Nothing => {}
            Duty::Acquire => self.effects.push_back(Effect::AcquireLease(id.clone())),
            Duty::Renew(epoch) => self.effects.push_back(Effect::RenewLease(id.clone(), epoch)),
            Duty::Begin(epoch) => self.effects.push_back(Effect::Recover(id.clone(), epoch)),
            Duty::End(epoch, reason) => {
                if let Some(slot) = self.slots.get_mut(id) {
                    slot.pool = None;
                }
                self.effects.push_back(Effect::StopPool(id.clone(), epoch));
                // Where the lease is still ours, nobody need wait for its end.
                self.effects.push_back(Effect::ReleaseLease(id.clone(), epoch));
                let event = EventData::PoolDisowned { coordinator: self.id.clone(), epoch, reason };
                self.publish_numbered(Some(id), event, now);
            }
        }
    }

    fn release(&mut self, id: &PoolId, slot: &Slot, reason: &str, now: Now) {
        let Some(epoch) = slot.ownership.epoch() else { return };
        self.effects.push_back(Effect::StopPool(id.clone(), epoch));
        self.effects.push_back(Effect::ReleaseLease(id.clone(), epoch));
        let event =
            EventData::PoolDisowned { coordinator: self.id.clone(), epoch, reason: reason.to_owned() };
        self.publish_numbered(Some(id), event, now);
    }

    fn shut_down(&mut self, now: Now) {
        if std::mem::replace(&mut self.ending, true) {
            return;
        }
        for (id, slot) in std::mem::take(&mut self.slots) {
            self.release(&id, &slot, "the coordinator was shut down", now);
        }
        self.effects.push_back(Effect::Exit);
    }

    /// Hands on what a pool asked for.
    fn collect(&mut self, id: &PoolId, now: Now) {
        loop {
            let Some(slot) = self.slots.get_mut(id) else { return };
            let (Some(epoch), Some(pool)) = (slot.ownership.epoch(), slot.pool.as_mut()) else { return };
            match pool.next_ask() {
                Some(Ask::Effect(effect)) => self.effects.push_back(Effect::Pool(id.clone(), epoch, effect)),
                Some(Ask::Event(event)) => self.publish_numbered(Some(id), event, now),
                None => return,
            }
        }
    }

    fn publish_numbered(&mut self, pool: Option<&PoolId>, event: EventData, now: Now) {
        self.events += 1;
        let id = format!("{}-{}", self.session, self.events);
        self.publish(id, pool, event, now);
    }

    fn publish(&mut self, id: String, pool: Option<&PoolId>, event: EventData, now: Now) {
        let event = Event::new(&self.id, id, pool, now.wall, event);
        self.effects.push_back(Effect::PublishEvent(Box::new(event)));
    }

    /// Every named invariant of every owned pool; tests and simulations call it after each step.
    pub fn check_invariants(&self) -> Result<(), String> {
        self.check_due()?;
        let world = World { registry: &self.registry, throttles: self.orders.throttles() };
        self.slots.values().filter_map(|s| s.pool.as_ref()).try_for_each(|p| p.check(world))
    }
}
