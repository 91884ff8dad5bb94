//! What the bus says: configuration, roles, jobs, answers.

use super::{READ_INTERVAL_MS, READ_RETRY, READS_PER_LEASE, WorkerCore, components::Components};
use crate::{
    input::{Authority, Input, Snapshot, Stored, ThrottleOrder},
    moment::{MonotonicMs, Now},
    notice::{Notice, Refusal},
    outbox::DropReason,
};
use bus_schemas::{
    config::NodeConfig,
    job::Job,
    member::{JoinReply, Member},
};
use std::sync::Arc;

impl WorkerCore {
    pub(super) fn on_connected(&mut self) {
        self.connected = true;
        self.read_failures = 0;
        self.next_read = MonotonicMs::default();
        self.membership.on_connected();
        self.outbox.on_connected();
    }

    pub(super) fn on_read(&mut self, snapshot: Snapshot, now: Now) {
        let Snapshot { authority, pool, node, farm, throttles, role, job } = snapshot;
        if authority == Authority::Leader {
            self.doubt = false;
        }
        for notice in self.configuration.on_read(farm, pool, node, authority, now.monotonic) {
            self.note(notice);
        }
        for order in throttles {
            self.on_throttle(order, now);
        }
        let (epoch, at) = (self.job_fence.0, now.monotonic);
        let (certain, notices) = self.membership.on_read(role, authority, epoch, at, &mut self.jitter);
        self.doubt |= !certain;
        notices.into_iter().for_each(|notice| self.note(notice));
        if let Some(job) = job {
            self.on_job_read(job, authority, now);
        }
        self.read_failures = 0;
        let lease = self.configuration.pool().map_or(u64::MAX, |p| p.config_lease_ms.into());
        let interval = READ_INTERVAL_MS.min(lease / READS_PER_LEASE);
        self.next_read = now.monotonic.plus_ms(self.jitter.around(interval));
    }

    fn on_job_read(&mut self, job: Job, authority: Authority, now: Now) {
        if (job.epoch, job.sequence) >= self.job_fence {
            return self.on_job(job, now);
        }
        match authority {
            Authority::Replica => self.doubt |= !self.job_pushed,
            Authority::Leader if !self.job_pushed => {
                self.note(Some(Notice::OrderRewound { order: "job" }));
                self.job_fence = (0, 0);
                self.on_job(job, now);
            }
            Authority::Leader => {}
        }
    }

    /// A push of a job.
    pub(super) fn on_job_push(&mut self, job: Job, now: Now) {
        let older = (job.epoch, job.sequence) < self.job_fence && job.pool == self.membership.who().pool;
        self.doubt |= older;
        self.job_pushed |= !older;
        self.on_job(job, now);
    }

    pub(super) fn on_read_failed(&mut self, reason: String, now: MonotonicMs) {
        self.read_failures = self.read_failures.saturating_add(1);
        let retry_ms = READ_RETRY.delay(self.read_failures, &mut self.jitter);
        self.next_read = now.plus_ms(retry_ms);
        self.note(Some(Notice::ReadFailed { reason, retry_ms }));
    }

    /// A push of the node's configuration. With another label other orders concern the worker, which it may never have heard.
    pub(super) fn on_node(&mut self, stored: Stored<NodeConfig>, now: MonotonicMs) {
        let labels = |this: &Self| this.configuration.node().map(|node| node.labels.clone());
        let before = labels(self);
        let notice = self.configuration.on_node(stored);
        self.note(notice);
        if labels(self) != before {
            self.next_read = now;
        }
    }

    /// Something that limits the search besides configuration and role.
    pub(super) fn on_limit(&mut self, input: Input, now: Now) {
        let worker = self.membership.who().worker.clone();
        let event = match input {
            Input::Throttle(order) => {
                self.on_throttle(order, now);
                None
            }
            Input::Veto(veto) => self.limits.on_veto(&worker, veto),
            Input::Group(report) => self.limits.on_group(&worker, report),
            Input::Load(sample) => {
                let memory_hard = self.memory_hard();
                self.limits.on_load(&worker, sample, self.configuration.pool(), memory_hard, now.monotonic)
            }
            _ => None,
        };
        self.tell(event, now);
    }

    fn on_throttle(&mut self, order: ThrottleOrder, now: Now) {
        let target = order.target.to_string();
        if let Err(reason) = self.limits.on_throttle(order, now.monotonic) {
            self.refuse(Refusal::Throttle { target, reason });
        }
    }

    fn memory_hard(&self) -> bool {
        self.offered().is_some_and(|offered| offered.memory_hard)
    }

    pub(super) fn on_role(&mut self, member: Member, now: MonotonicMs) {
        let (certain, notice) = self.membership.on_push(member, self.job_fence.0, now, &mut self.jitter);
        self.doubt |= !certain;
        self.note(notice);
    }

    pub(super) fn on_join_reply(&mut self, reply: JoinReply, now: MonotonicMs) {
        match reply {
            JoinReply::Accepted(member) => {
                self.on_role(*member, now);
                if !self.membership.has_place() {
                    self.membership.on_join_failed(now, &mut self.jitter);
                }
            }
            JoinReply::Refused { code, message } => {
                let retry_ms = self.membership.on_join_failed(now, &mut self.jitter);
                self.note(Some(Notice::JoinRefused { code, message, retry_ms }));
            }
        }
    }

    pub(super) fn on_join_failed(&mut self, reason: String, now: MonotonicMs) {
        let retry_ms = self.membership.on_join_failed(now, &mut self.jitter);
        self.note(Some(Notice::JoinFailed { reason, retry_ms }));
    }

    /// Follows a job of a higher epoch, or of the same epoch and a higher sequence.
    pub(super) fn on_job(&mut self, job: Job, now: Now) {
        let fence = (job.epoch, job.sequence);
        if job.pool != self.membership.who().pool {
            return self.refuse(Refusal::JobNotOurs { job: job.id, pool: job.pool });
        }
        let known = self.job.as_ref().map(|j| &j.id);
        if fence == self.job_fence && known == Some(&job.id) {
            return;
        }
        // A later one takes the place of the job that waits for its algorithm.
        let fence_waiting = self.components.fence();
        if fence_waiting.is_some_and(|(waits, id)| fence == waits && *id == job.id) {
            return;
        }
        if fence <= self.job_fence || fence_waiting.is_some_and(|(waits, _)| fence <= waits) {
            return self.refuse(Refusal::JobOutdated { job: job.id, epoch: fence.0, sequence: fence.1 });
        }
        if let Err(invalid) = job.check() {
            return self.refuse(Refusal::JobInvalid(invalid));
        }
        if self.known().any(|offered| offered.fits(&job.algorithm)) {
            self.components.give_up();
            self.take_job(job);
        } else if self.is_native(&job.algorithm) || !Components::can_be(&job.algorithm) {
            self.refuse_algorithm_of(&job, now);
        } else {
            self.wait_for_algorithm(job);
        }
    }

    pub(super) fn take_job(&mut self, job: Job) {
        if self.job.as_ref().is_none_or(|j| j.algorithm != job.algorithm) {
            self.crew.forget_rate();
        }
        if self.job.as_ref().is_none_or(|j| j.id != job.id) {
            self.blocks = 0;
            self.job_unusable = false;
        }
        self.job_fence = (job.epoch, job.sequence);
        let stale = self.outbox.on_tip(job.work.prev_hash());
        self.dropped(DropReason::Stale, stale);
        let (id, sequence, height) = (job.id.clone(), job.sequence, job.height);
        self.note(Some(Notice::JobApplied { job: id, sequence, height }));
        self.job = Some(Arc::new(job));
    }

    pub(super) fn on_publish_failed(&mut self, id: u64, attempt: u32, reason: String, now: MonotonicMs) {
        self.note(Some(Notice::PublishFailed { attempt, reason }));
        if let Some(reason) = self.outbox.failed(id, attempt, now, &mut self.jitter) {
            self.dropped(reason, 1);
        }
    }
}
