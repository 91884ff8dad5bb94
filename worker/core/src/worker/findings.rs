//! What the search threads say.

use super::WorkerCore;
use crate::{
    effect::Lane,
    moment::Now,
    notice::{Notice, Refusal},
    outbox::DropReason,
    search::{BLOCKS_PER_JOB, Running},
};
use bus_schemas::{Hash32, Target, share::Share};

impl WorkerCore {
    pub(super) fn on_search_refused(&mut self, thread: u16, order: u64, reason: String) {
        let Some(assignment) = self.crew.abandon(thread, order) else { return };
        let job = assignment.job.id.clone();
        if self.job.as_ref().is_some_and(|j| j.id == job) {
            self.job_unusable = true;
            self.components.forget(&assignment.job.algorithm);
        }
        self.refuse(Refusal::SearchRefused { job, reason });
    }

    pub(super) fn on_found(&mut self, thread: u16, order: u64, nonce: u32, hash: &[u8; 32], now: Now) {
        let Some(Running { assignment, unit, .. }) = self.crew.find(thread, order).cloned() else { return };
        let job = &assignment.job;
        let (roll, version) = unit.roll(&job.work);
        let finding = job.work.finding(roll, version, nonce);
        let share = Share {
            job: job.id.clone(),
            session: self.membership.who().session.clone(),
            slot: assignment.slot,
            generation: assignment.slot_generation,
            bits: assignment.bits,
            finding,
            found_at_ms: now.wall,
        };
        let is_share = Target::from_share_bits(assignment.bits).is_met_by(hash);
        let block = job.network_target.is_met_by(hash);
        if block && !is_share && self.blocks >= BLOCKS_PER_JOB {
            return self.dropped(DropReason::SurplusBlock, 1);
        }
        self.note(Some(Notice::ShareFound { job: job.id.clone(), block }));
        if !block && self.job.as_ref().is_some_and(|j| j.work.prev_hash() != job.work.prev_hash()) {
            return self.dropped(DropReason::Stale, 1);
        }
        if block {
            self.blocks += u32::from(self.job.as_ref().is_some_and(|j| j.id == job.id));
            self.send(share.clone(), Lane::Found, true, job.work.prev_hash());
        }
        if is_share {
            self.send(share, Lane::Share, block, job.work.prev_hash());
        }
    }

    pub(super) fn send(&mut self, share: Share, lane: Lane, candidate: bool, prev_hash: Hash32) {
        if let Some(reason) = self.outbox.push(share, lane, candidate, prev_hash) {
            self.dropped(reason, 1);
        }
    }
}
