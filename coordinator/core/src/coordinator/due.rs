//! When the coordinator has something to do by itself, and doing it.

use super::{Coordinator, STATUS_INTERVAL_MS, Slot, THROTTLE_EXPIRY_INTERVAL_MS};
use crate::{
    effect::Effect,
    ownership::Duty,
    time::{MonoMs, Now},
    world::World,
};
use bus_schemas::PoolId;
use std::collections::{BTreeMap, BTreeSet};

/// When each pool is due.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Due {
    of: BTreeMap<PoolId, MonoMs>,
    order: BTreeSet<(MonoMs, PoolId)>,
}

impl Due {
    fn set(&mut self, pool: &PoolId, at: Option<MonoMs>) {
        let before = self.of.get(pool).copied();
        if before == at {
            return;
        }
        if let Some(before) = before {
            self.order.remove(&(before, pool.clone()));
            self.of.remove(pool);
        }
        if let Some(at) = at {
            self.order.insert((at, pool.clone()));
            self.of.insert(pool.clone(), at);
        }
    }

    fn first(&self) -> Option<MonoMs> {
        self.order.first().map(|(at, _)| *at)
    }

    /// The pools that are due, in the order of their ids.
    fn until(&self, now: MonoMs) -> BTreeSet<PoolId> {
        self.order.iter().take_while(|(at, _)| *at <= now).map(|(_, pool)| pool.clone()).collect()
    }
}

impl Slot {
    fn deadline(&self) -> Option<MonoMs> {
        let pool = self.pool.as_ref().map(|p| p.deadline().min(self.status_at));
        [self.ownership.deadline(), pool].into_iter().flatten().min()
    }
}

impl Coordinator {
    /// When [`crate::Input::Tick`] is wanted.
    pub fn next_deadline(&self) -> Option<MonoMs> {
        if !self.configured || self.ending {
            return None;
        }
        [self.due.first(), self.keep_lacking_at].into_iter().flatten().min()
    }

    /// Something of the pool changed.
    pub(super) fn arm(&mut self, pool: &PoolId) {
        let at = self.slots.get(pool).and_then(Slot::deadline);
        self.due.set(pool, at);
    }

    /// Something of every pool may have changed: a walk over all.
    pub(super) fn arm_all(&mut self) {
        self.due = self.all_due();
    }

    fn all_due(&self) -> Due {
        let mut due = Due::default();
        self.slots.iter().for_each(|(pool, slot)| due.set(pool, slot.deadline()));
        due
    }

    /// Invariant: every pool is looked at when it is due.
    pub(super) fn check_due(&self) -> Result<(), String> {
        let due = self.all_due();
        if due == self.due { Ok(()) } else { Err(format!("the pools are {due:?}, kept is {:?}", self.due)) }
    }

    /// Does what is due.
    pub(super) fn tick(&mut self, now: Now) {
        if !self.configured || self.ending {
            return;
        }
        if now.mono >= self.throttles_expire_at {
            self.throttles_expire_at = now.mono.plus(THROTTLE_EXPIRY_INTERVAL_MS);
            self.orders.expire(now.mono).iter().for_each(|target| self.keep_orders(target, now.mono));
        }
        if self.keep_lacking_at.is_some_and(|at| now.mono >= at) {
            self.keep_lacking_at = None;
            self.orders.take_lacking().iter().for_each(|target| self.keep_orders(target, now.mono));
        }
        for id in self.due.until(now.mono) {
            let duty = self.slots.get_mut(&id).map(|s| s.ownership.tick(now.mono));
            self.do_duty(&id, duty.unwrap_or(Duty::Nothing), now);
            self.arm(&id);
            let world = World { registry: &self.registry, throttles: self.orders.throttles() };
            let Some(slot) = self.slots.get_mut(&id) else { continue };
            let Some(pool) = slot.pool.as_mut() else { continue };
            if now.mono >= pool.deadline() {
                pool.tick(world, now);
            }
            let mut told = None;
            if now.mono >= slot.status_at {
                slot.status_at = now.mono.plus(STATUS_INTERVAL_MS);
                let status = Box::new(pool.status(&self.id, now.wall));
                self.effects.push_back(Effect::PublishStatus(id.clone(), status));
                told = slot.attention.runs_here(&slot.ownership, now.mono);
            }
            if let Some(event) = told {
                self.publish_numbered(Some(&id), event, now);
            }
            self.collect(&id, now);
            self.arm(&id);
        }
    }
}
