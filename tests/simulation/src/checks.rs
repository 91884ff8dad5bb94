//! What must hold of workers at every step, once they could know it.

use crate::{
    truth::{configs::Wanted, slots::Tally},
    world::{Core, Kind, Process, World},
};
use bus_schemas::{config::ConfigKey, set_point::Reason};
use std::rc::Rc;
use worker_core::WorkerCore;

/// A worker that everything reached for so long knows every order and configuration, whatever was lost before: a push
/// was lost, the next read failed, and the one after it came.
pub(crate) const HEARD_WITHIN_US: u64 = 60_000_000;
/// The longest lease of a configuration in the simulation, and what clocks and steps may add, microseconds.
const LEASE_US: u64 = 30_000_000 + 2_000_000;

impl Process {
    /// Since when nothing kept it from hearing and being heard; `None` while something does.
    pub(crate) fn settled_since(&self) -> Option<u64> {
        (self.alive && self.link.is_sound()).then(|| self.link.sound_since_us.max(self.up_since_us))
    }
}

impl World {
    /// Checks a worker that has just made a step.
    pub(crate) fn check_worker(self: &Rc<Self>, process: usize, core: &WorkerCore) {
        let now = self.now();
        let (kind, settled, deaf, up) = self.with_process(process, |p| {
            (p.kind.clone(), p.settled_since(), p.link.deaf_since_us, p.up_since_us)
        });
        let Kind::Worker { id, pool, threads, .. } = kind else { return };
        let (status, truth) = (core.status(), self.truth.borrow());
        let set_point = status.set_point;
        for (key, revision) in [
            (ConfigKey::Pool(pool.clone()), status.pool_revision),
            (ConfigKey::Node(id.clone()), status.node_revision),
        ] {
            if !truth.configs.was_good(&key, revision) {
                self.fail(|| format!("{id} obeys edit {revision} of {key}, which was refused"));
            }
        }
        if deaf.is_some_and(|since| now > since.max(up) + LEASE_US) && set_point.enabled() {
            self.fail(|| format!("{id} heard nothing for {} s and searches", LEASE_US / 1_000_000));
        }
        let life = self.with_process(process, |p| p.life);
        let tally = truth.slots.tallies.get(&(process, life)).copied().unwrap_or_default();
        let Tally { wanted, stored, dropped } = tally;
        // Whoever ends drops what waits and looks at it no more.
        if wanted > stored + dropped + status.outbox_len as u64 || wanted < stored + dropped {
            self.fail(|| {
                format!(
                    "{id} found {wanted} shares: {stored} stored, {dropped} dropped, {} wait",
                    status.outbox_len
                )
            });
        }
        let store_settled = truth.configs.disturbed_us + HEARD_WITHIN_US;
        let Some(since) = settled.filter(|since| now > since + HEARD_WITHIN_US) else { return };
        if now < store_settled && truth.configs.disturbed_us > 0 {
            return;
        }
        let heard = now - HEARD_WITHIN_US;
        if truth.configs.halted_since_us.is_some_and(|at| at < heard) && set_point.enabled() {
            self.fail(|| format!("{id} searches although the farm is halted and it could hear it"));
        }
        let labels = truth.configs.labels(&id, heard);
        let known = labels.clone().unwrap_or_default();
        for (target, given) in truth.orders.live(&pool, &id, &known, now) {
            let cap = given.order.cap_percent;
            if !given.certain || given.at_us > heard || given.until_us < now + 1_000_000 {
                continue;
            }
            let most = u32::from(threads) * u32::from(cap);
            let threads_obeyed = given.order.threads.is_none_or(|most| set_point.threads <= most);
            if set_point.capacity() > most || !threads_obeyed {
                self.fail(|| {
                    format!(
                        "{id} searches with {set_point:?} although {target} is throttled: {:?}",
                        given.order
                    )
                });
            }
        }
        let may = truth.orders.may_bind(&pool, &id, labels.as_ref(), heard);
        if set_point.reason == Reason::Throttle && !may {
            self.fail(|| format!("{id} is throttled since {since} although no order lives"));
        }
    }

    /// Checks every worker, whether it made a step or not.
    pub(crate) fn check_workers(self: &Rc<Self>) {
        let count = self.processes.borrow().len();
        for process in 0..count {
            let core = self.with_process(process, |p| p.core.clone());
            if let Core::Worker(core) = core {
                self.check_worker(process, &core.borrow());
            }
        }
    }

    /// The edit that is to be in force, if it is known.
    pub(crate) fn wanted(&self, key: &ConfigKey) -> Wanted {
        self.truth.borrow().configs.wanted(key, u64::MAX)
    }
}
