//! The look at every member, twice in a heartbeat interval: who was silent for too long, who wants another difficulty, what
//! each has. A round goes over all members in steps of a few, so that none of them keeps others waiting.

use super::{
    Changes, DIFFICULTY_NOTICE_JOBS, Entry, Members, Terms, capacity::measured, decide, role_reason,
};
use crate::time::Now;
use bus_schemas::{
    WorkerId,
    event::EventData,
    member::{DifficultyStep, MAX_DIFFICULTY_STEPS, Member, Role, Standing},
};

/// Most members that one step of a round looks at.
pub const LOOKS_AT_ONCE: usize = 256;

/// How far the look at all members is.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// The last member that was looked at, in the order of the ids; `None` between two rounds.
    reached: Option<WorkerId>,
}

/// What a look at a member found.
enum Found {
    Well,
    Silent(u64),
    Retargeted(Box<Member>),
}

impl Members {
    /// A step of the round; [`Members::is_reviewing`] says whether it goes on. Costs [`LOOKS_AT_ONCE`] looks and what they
    /// change.
    pub(crate) fn review(&mut self, terms: Terms<'_>, now: Now) -> Changes {
        let mut changes = Changes::default();
        let (batch, is_last) = self.roster.present_after(self.round.reached.as_ref(), LOOKS_AT_ONCE);
        let Self { roster, verdicts, .. } = self;
        verdicts.begin_pass();
        let mut silent = Vec::new();
        for worker in &batch {
            let found = roster.change(worker, |entry| {
                let silent_ms = now.mono.since(entry.last_heard);
                if silent_ms >= terms.lost_after_ms() {
                    return Found::Silent(silent_ms);
                }
                let other = retarget(entry, terms, now);
                entry.capacity = measured(entry, verdicts, terms, now);
                if other { Found::Retargeted(Box::new(entry.member.clone())) } else { Found::Well }
            });
            match found {
                Some(Found::Silent(silent_ms)) => silent.push((worker, silent_ms)),
                Some(Found::Retargeted(member)) => changes.store.push(*member),
                Some(Found::Well) | None => {}
            }
        }
        for (worker, silent_ms) in silent {
            let reason = format!("silent for {silent_ms} ms");
            self.retire(worker, Standing::Lost, reason, &mut changes, terms, now);
            changes.events.push(EventData::WorkerLost { worker: worker.clone(), silent_ms });
        }
        self.round.reached = if is_last { None } else { batch.last().cloned() };
        if is_last {
            self.forget_long_gone(&mut changes, terms, now);
        }
        self.fill_roles(&mut changes, terms, now);
        changes
    }

    /// A round was begun and is not over.
    pub(crate) fn is_reviewing(&self) -> bool {
        self.round.reached.is_some()
    }

    /// Some configuration is another one now: everybody is measured by it. After a `prompt` decision nobody waits to step back.
    /// A walk over all.
    pub(crate) fn reconsider(&mut self, prompt: bool, terms: Terms<'_>, now: Now) -> Changes {
        let mut changes = Changes::default();
        self.verdicts.forget();
        self.damping.prompt |= prompt;
        self.measure_all(terms, now);
        self.fill_roles(&mut changes, terms, now);
        changes
    }

    /// A node has another configuration of its own; nobody else is concerned.
    pub(crate) fn reconsider_node(
        &mut self,
        worker: &WorkerId,
        prompt: bool,
        terms: Terms<'_>,
        now: Now,
    ) -> Changes {
        let mut changes = Changes::default();
        let Self { roster, verdicts, damping, .. } = self;
        verdicts.forget_node(worker);
        verdicts.begin_pass();
        damping.prompt |= prompt;
        roster.change(worker, |entry| {
            entry.fixed = terms.world.fixed(worker);
            if entry.member.standing == Standing::Present {
                entry.capacity = measured(entry, verdicts, terms, now);
            }
        });
        self.fill_roles(&mut changes, terms, now);
        changes
    }

    /// Whoever holds a slot that the pool does not have, or that another holds, loses its place and joins again: the
    /// pool may have got fewer slots while nobody owned it. A walk over all.
    pub(crate) fn reconcile(&mut self, terms: Terms<'_>, now: Now) -> Changes {
        let (mut changes, limit) = (Changes::default(), 1_u32 << terms.config.slot_bits.min(16));
        self.roster.change_all(|entry| entry.fixed = terms.world.fixed(&entry.member.worker));
        let present = self.roster.iter().filter(|e| e.member.standing == Standing::Present);
        let displaced = present.filter(|e| {
            let held = self.slots.holder(e.member.slot) == Some(&e.member.worker);
            u32::from(e.member.slot) >= limit || !held
        });
        let of = |e: &Entry| (e.member.worker.clone(), e.member.slot, now.mono.since(e.last_heard));
        let displaced: Vec<_> = displaced.map(of).collect();
        for (worker, slot, silent_ms) in displaced {
            let reason = format!("slot {slot} is not its own any more");
            self.retire(&worker, Standing::Lost, reason, &mut changes, terms, now);
            changes.events.push(EventData::WorkerLost { worker, silent_ms });
        }
        self.measure_all(terms, now);
        self.fill_roles(&mut changes, terms, now);
        changes
    }
}

/// Gives the member another difficulty, if one fits better, from the job after the next on: the order is there before that job.
fn retarget(entry: &mut Entry, terms: Terms<'_>, now: Now) -> bool {
    if entry.member.role != Role::Active {
        return false;
    }
    let Some(current) = entry.member.difficulty.last().map(|s| s.bits) else { return false };
    let Some(bits) = entry.vardiff.retarget(current, terms.limits(), now.mono) else { return false };
    let from_job = terms.job_sequence + DIFFICULTY_NOTICE_JOBS;
    entry.member.difficulty.retain(|s| s.from_job < from_job);
    entry.member.difficulty.push(DifficultyStep { from_job, bits });
    if entry.member.difficulty.len() > MAX_DIFFICULTY_STEPS {
        entry.member.difficulty.remove(0);
    }
    let reason =
        format!("difficulty {} bits from job {from_job}; {}", bits.get(), role_reason(&entry.member.reason));
    decide(&mut entry.member, reason, terms, now);
    true
}
