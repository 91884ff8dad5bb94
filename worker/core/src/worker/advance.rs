//! What follows from the state, after every input.

use super::{
    DEFAULT_HEARTBEAT_MS, LEADER_READ_INTERVAL_MS, LEADER_READ_SPREAD_MS, Life, READ_TIMEOUT_MS, WorkerCore,
};
use crate::{
    effect::{Assignment, Effect, Pace},
    input::Authority,
    moment::{MonotonicMs, Now},
    notice::{Notice, Refusal},
    outbox::DropReason,
    search::BLOCKS_PER_JOB,
};
use bus_schemas::{
    HashRate, Target,
    heartbeat::Heartbeat,
    member::{Capability, JoinRequest, Leave},
    set_point::{self, SetPoint, SetPointInput},
};
use std::sync::Arc;

impl WorkerCore {
    pub(super) fn advance(&mut self, now: Now) {
        let at = now.monotonic;
        self.look_at_clearances(now);
        self.resolve_set_point(now);
        self.set_pace();
        self.steer(at);
        if self.connected {
            self.outbox.pump(at, &mut self.effects);
            self.call_out(now);
        }
        self.end_when_drained(at);
    }

    pub(super) fn draining(&self) -> bool {
        matches!(self.life, Life::Draining { .. })
    }

    pub(super) fn resolve_set_point(&mut self, now: Now) {
        let (pool, node) = (self.configuration.pool(), self.configuration.node());
        self.limits.expire(now.monotonic);
        self.limits.calendar.look(pool, node, self.configuration.changes(), now, &mut self.effects);
        let who = self.membership.who();
        let lease_expired = self.configuration.lease_expired(now.monotonic);
        let set_point = set_point::resolve(SetPointInput {
            farm: self.configuration.farm(),
            pool,
            node,
            role: self.membership.member().map(|m| (m.role, m.standing)),
            schedule: self.limits.calendar.verdict(),
            throttle: self.limits.throttle(&who.pool, &who.worker, node, now.monotonic),
            local: &self.limits.local,
            lease_expired,
        });
        self.lease_over = lease_expired;
        self.limits_due =
            [self.limits.next_deadline(now), self.clearance_deadline(now)].into_iter().flatten().min();
        if set_point != self.set_point {
            self.set_point = set_point;
            self.beat.next = now.monotonic;
            self.note(Some(Notice::SetPointChanged(set_point)));
        }
    }

    /// Search threads keep their place and what they have prepared: a pace takes effect within one chunk.
    fn set_pace(&mut self) {
        let SetPoint { cap_percent, priority, .. } = self.set_point;
        let pace = Pace {
            cap_percent,
            priority,
            rhythm: self.limits.rhythm(),
            wide_vectors: self.limits.governor.wide_vectors(),
        };
        if self.set_point.enabled() && self.pace != Some(pace) {
            self.pace = Some(pace);
            self.effects.push_back(Effect::SetPace(pace));
        }
    }

    pub(super) fn steer(&mut self, now: MonotonicMs) {
        let held = self.outbox.holds_search();
        if held != self.held {
            self.held = held;
            self.note(Some(Notice::SearchHeld(held)));
        }
        let assignment =
            if self.draining() || held || !self.set_point.enabled() { None } else { self.assign() };
        self.crew.steer(self.set_point.threads, assignment.as_ref(), now, &mut self.effects);
    }

    /// What all threads are to search: the same [`Arc`] as before unless something in it has changed.
    pub(super) fn assign(&mut self) -> Option<Arc<Assignment>> {
        let job = self.job.clone().filter(|_| !self.job_unusable)?;
        let member = self.membership.member()?;
        if self.membership.is_doubted() && self.assignment.as_ref().is_none_or(|a| a.job.id != job.id) {
            return self.assignment.clone();
        }
        let (slot, slot_generation) = (member.slot, member.slot_generation);
        let bits = member.bits_for_job(job.sequence);
        let missing = match (job.nonce_range(slot), bits) {
            (None, _) => Some("the slot does not exist under it"),
            (_, None) => Some("the role gives no difficulty for it"),
            _ => None,
        };
        if let Some(why) = missing {
            let place = (job.id.clone(), slot);
            if self.no_work.as_ref() != Some(&place) {
                self.refuse(Refusal::NoWorkForSlot { job: place.0.clone(), slot, why });
                self.no_work = Some(place);
            }
            return None;
        }
        let bits = bits?;
        let mut target = Target::from_share_bits(bits);
        if self.blocks < BLOCKS_PER_JOB {
            target = target.max(job.network_target);
        }
        let known = self.assignment.as_ref().filter(|a| {
            a.job.id == job.id
                && (a.slot, a.slot_generation, a.bits, a.target) == (slot, slot_generation, bits, target)
        });
        if known.is_none() {
            self.assignment = Some(Arc::new(Assignment { job, slot, slot_generation, bits, target }));
        }
        self.assignment.clone()
    }

    /// Has the leaders asked soon after something was heard that may be of a stream that was made anew.
    fn resolve_doubt(&mut self, at: MonotonicMs) {
        let doubted = self.doubt || self.configuration.doubted();
        if !doubted {
            return;
        }
        if !std::mem::replace(&mut self.doubt, true) || self.next_read > at.plus_ms(LEADER_READ_INTERVAL_MS) {
            let soon = at.plus_ms(self.jitter.within(LEADER_READ_SPREAD_MS));
            let due = soon.max(self.leader_read.plus_ms(LEADER_READ_INTERVAL_MS));
            self.next_read = self.next_read.min(due);
        }
    }

    /// Reads, joins and heartbeats that are due.
    pub(super) fn call_out(&mut self, now: Now) {
        let at = now.monotonic;
        self.resolve_doubt(at);
        self.next_read = self.membership.wants_read().map_or(self.next_read, |from| self.next_read.min(from));
        if self.next_read <= at {
            self.next_read = at.plus_ms(READ_TIMEOUT_MS);
            self.configuration.on_read_begin();
            self.membership.on_read_begin(at);
            self.job_pushed = false;
            let authority = if self.doubt { Authority::Leader } else { Authority::Replica };
            if self.doubt {
                self.leader_read = at;
            }
            self.effects.push_back(Effect::ReadConfiguration(authority));
        }
        if !self.draining() && self.membership.wants_join(at) {
            let session = self.membership.who().session.clone();
            let expected_rate = Some(self.beat.rate).filter(|rate| rate.0 > 0);
            let capability = Capability { threads: self.limits.local.threads, ..self.capability.clone() };
            let request = JoinRequest { session, capability, expected_rate };
            self.effects.push_back(Effect::Join(Box::new(request)));
        }
        if self.membership.member().is_some() && self.beat.next <= at {
            self.send_heartbeat(now);
        }
    }

    pub(super) fn send_heartbeat(&mut self, now: Now) {
        let at = now.monotonic;
        let interval =
            self.configuration.pool().map_or(DEFAULT_HEARTBEAT_MS, |p| p.heartbeat_interval_ms.into());
        let hashes = self.crew.hashes();
        let elapsed = at.since(self.beat.last);
        // A heartbeat that follows at once, on a change of the set-point, tells the rate of the one before.
        if elapsed >= interval / 2 {
            let rate = hashes.saturating_sub(self.beat.hashes).saturating_mul(1_000) / elapsed.max(1);
            (self.beat.rate, self.beat.hashes, self.beat.last) = (HashRate(rate), hashes, at);
        }
        self.beat.sequence += 1;
        self.beat.next = at.plus_ms(self.jitter.around(interval));
        let searching = self.crew.running().any(|r| !r.stopping);
        let heartbeat = Heartbeat {
            session: self.membership.who().session.clone(),
            generation: self.membership.member().map_or(0, |m| m.generation),
            sequence: self.beat.sequence,
            job: self.job.as_ref().filter(|_| searching).map(|j| j.id.clone()),
            hash_rate: self.beat.rate,
            hashes_total: hashes,
            outbox_len: u32::try_from(self.outbox.len()).unwrap_or(u32::MAX),
            set_point: self.set_point,
            local: Some(self.limits.local.clone()),
            load: self.limits.governor.report(),
            sent_at_ms: now.wall,
        };
        self.effects.push_back(Effect::PublishHeartbeat(Box::new(heartbeat)));
    }

    pub(super) fn end_when_drained(&mut self, now: MonotonicMs) {
        let Life::Draining { until, reason } = &self.life else { return };
        let idle = self.crew.running().next().is_none();
        let overdue = *until <= now;
        if !(overdue || idle && self.outbox.is_empty()) {
            return;
        }
        let reason = reason.clone();
        self.dropped(DropReason::Shutdown, self.outbox.len());
        if self.connected && self.membership.member().is_some() {
            let session = self.membership.who().session.clone();
            self.effects.push_back(Effect::PublishLeave(Leave { session, reason }));
        }
        self.effects.push_back(Effect::Exit);
        self.life = Life::Over;
    }
}
