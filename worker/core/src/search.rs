//! Which thread searches what. Threads hold one unit each; what a stopped thread has not searched goes back to
//! the plan, so that the place in the search is kept.

use crate::{
    effect::{Assignment, Effect, SearchOrder},
    moment::MonotonicMs,
    plan::{Plan, PlanKey, Plans, Space, Unit},
};
use bus_schemas::work::NonceRange;
use std::{collections::VecDeque, sync::Arc};

/// Most search threads of one worker.
pub const MAX_THREADS: u16 = 1_024;
/// How long a unit should take, milliseconds: long enough that handing it out costs nothing, short enough that the
/// reported rate is fresh.
pub const UNIT_MS: u64 = 250;
/// Blocks of one job that are reported although they are no shares. Where a block is easier than a share, the
/// first one ends the job and the others are wasted words.
pub const BLOCKS_PER_JOB: u32 = 8;
/// Positions of the first unit, before a rate is known.
const FIRST_UNIT: u64 = 1_024;
/// Fewest positions of a unit.
const MIN_UNIT: u64 = 16;
/// Most positions of a unit.
const MAX_UNIT: u64 = 1 << 28;
/// A unit's size changes at most by this factor at a time.
const MAX_UNIT_STEP: u64 = 4;

#[derive(Debug, Clone)]
pub(crate) struct Running {
    pub(crate) order: u64,
    pub(crate) assignment: Arc<Assignment>,
    pub(crate) unit: Unit,
    pub(crate) stopping: bool,
    since: MonotonicMs,
}

#[derive(Debug, Clone, Default)]
enum Thread {
    #[default]
    Idle,
    Busy(Running),
    Failed,
}

/// The search threads as the core knows them.
#[derive(Debug, Clone)]
pub(crate) struct Crew {
    threads: Vec<Thread>,
    plans: Plans,
    orders: u64,
    positions: u64,
    hashes: u64,
}

impl Assignment {
    fn key(&self) -> PlanKey {
        PlanKey { job: self.job.id.clone(), slot: self.slot }
    }
}

impl Crew {
    pub(crate) fn new() -> Self {
        Self { threads: Vec::new(), plans: Plans::default(), orders: 0, positions: FIRST_UNIT, hashes: 0 }
    }

    /// Hashes of all ended units.
    pub(crate) fn hashes(&self) -> u64 {
        self.hashes
    }

    pub(crate) fn running(&self) -> impl Iterator<Item = &Running> {
        self.threads.iter().filter_map(|t| if let Thread::Busy(r) = t { Some(r) } else { None })
    }

    pub(crate) fn plans(&self) -> impl Iterator<Item = &Plan> {
        self.plans.iter()
    }

    /// Another algorithm has another rate.
    pub(crate) fn forget_rate(&mut self) {
        self.positions = FIRST_UNIT;
    }

    /// What `thread` works on under `order`.
    pub(crate) fn find(&self, thread: u16, order: u64) -> Option<&Running> {
        match self.threads.get(usize::from(thread)) {
            Some(Thread::Busy(running)) if running.order == order => Some(running),
            _ => None,
        }
    }

    /// A unit ended at nonce `next`.
    pub(crate) fn end(&mut self, thread: u16, order: u64, next: u64, now: MonotonicMs) {
        let Some(running) = self.find(thread, order).cloned() else { return };
        if let Some(slot) = self.threads.get_mut(usize::from(thread)) {
            *slot = Thread::Idle;
        }
        let NonceRange { start, end } = running.unit.nonces;
        let next = next.clamp(start, end);
        self.hashes = self.hashes.saturating_add(next - start);
        if let Some(plan) = self.plans.get_mut(&running.assignment.key()) {
            plan.give_back(Unit { nonces: NonceRange { start: next, end }, ..running.unit });
        }
        if next == end && !running.stopping {
            self.adapt(running.unit.len(), now.since(running.since));
        }
    }

    /// Sizes the next unit by what one of `positions` took. A unit that ended short at its row's end tells nothing.
    fn adapt(&mut self, positions: u64, took_ms: u64) {
        if positions < self.positions / MAX_UNIT_STEP {
            return;
        }
        let wanted = positions.saturating_mul(UNIT_MS) / took_ms.max(1);
        let (least, most) = (self.positions / MAX_UNIT_STEP, self.positions.saturating_mul(MAX_UNIT_STEP));
        self.positions = wanted.clamp(least, most).clamp(MIN_UNIT, MAX_UNIT);
    }

    /// The unit of a thread is gone with what it was searching; it counts as searched. Gives the assignment.
    pub(crate) fn abandon(&mut self, thread: u16, order: u64) -> Option<Arc<Assignment>> {
        let assignment = self.find(thread, order)?.assignment.clone();
        if let Some(slot) = self.threads.get_mut(usize::from(thread)) {
            *slot = Thread::Idle;
        }
        Some(assignment)
    }

    /// A thread is gone for good, with its unit.
    pub(crate) fn lose(&mut self, thread: u16) {
        if let Some(slot) = self.threads.get_mut(usize::from(thread)) {
            *slot = Thread::Failed;
        }
    }

    /// Threads that are gone for good.
    pub(crate) fn lost(&self) -> usize {
        self.threads.iter().filter(|thread| matches!(thread, Thread::Failed)).count()
    }

    /// Brings the threads to `wanted` of them on `assignment`: stops what is to stop, gives units to who is idle.
    pub(crate) fn steer(
        &mut self,
        wanted: u16,
        assignment: Option<&Arc<Assignment>>,
        now: MonotonicMs,
        effects: &mut VecDeque<Effect>,
    ) {
        let wanted = wanted.min(MAX_THREADS);
        if self.threads.len() < usize::from(wanted) {
            self.threads.resize(usize::from(wanted), Thread::Idle);
        }
        for (index, slot) in (0_u16..).zip(&mut self.threads) {
            let goal = assignment.filter(|_| index < wanted);
            match (slot, goal) {
                (Thread::Busy(running), goal)
                    if !running.stopping && goal.is_none_or(|a| !Arc::ptr_eq(a, &running.assignment)) =>
                {
                    running.stopping = true;
                    effects.push_back(Effect::StopSearch { thread: index, order: running.order });
                }
                (idle @ Thread::Idle, Some(assignment)) => {
                    let Some(space) = Space::of(&assignment.job, assignment.slot) else { continue };
                    let plan = self.plans.of(assignment.key(), space);
                    let Some(unit) = plan.take(self.positions) else { continue };
                    self.orders += 1;
                    let (order, assignment) = (self.orders, assignment.clone());
                    let running =
                        Running { order, assignment: assignment.clone(), unit, stopping: false, since: now };
                    *idle = Thread::Busy(running);
                    let order = SearchOrder { thread: index, order, assignment, unit };
                    effects.push_back(Effect::StartSearch(order));
                }
                _ => {}
            }
        }
    }
}
