//! The order in which one slot's space under one job is searched: a cursor that only goes forward, and what was
//! interrupted. Nothing is handed out twice, whatever is stopped, paused or resumed.
//!
//! The space is `rows × nonces`. Within a row all of the slot's nonces are searched; the next row changes the
//! version where the job allows it (BIP 310), and when those are used up, the roll of the extranonce.

use bus_schemas::{
    JobId,
    job::{Job, WorkUnit},
    work::NonceRange,
};

/// Whose space a plan divides. The slot's generation is not part of it: whoever holds the slot again under the
/// same job goes on where the last search of it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanKey {
    /// The job.
    pub job: JobId,
    /// The slot.
    pub slot: u16,
}

/// What one thread searches in one go: some nonces of one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    /// Which roll and version, see [`Unit::roll`].
    pub row: u64,
    /// The nonces.
    pub nonces: NonceRange,
}

impl Unit {
    /// The roll and the version of this unit's headers. Row zero has the job's own version.
    pub fn roll(&self, work: &WorkUnit) -> (u32, u32) {
        let mask = work.version_mask();
        let bits = mask.count_ones();
        let mut index = self.row & ((1_u64 << bits) - 1);
        let mut version = work.version();
        for bit in (0..u32::BITS).filter(|bit| mask >> bit & 1 == 1) {
            version ^= ((index & 1) as u32) << bit;
            index >>= 1;
        }
        // A plan ends before its rows outgrow the roll, see `Space::of`.
        ((self.row >> bits) as u32, version)
    }

    /// Positions in it.
    pub fn len(&self) -> u64 {
        self.nonces.end.saturating_sub(self.nonces.start)
    }

    /// Whether nothing is left of it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a position lies in both.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.row == other.row && self.nonces.start < other.nonces.end && other.nonces.start < self.nonces.end
    }
}

/// What there is to search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Space {
    /// The slot's nonces in each row.
    nonces: NonceRange,
    /// The last row.
    last_row: u64,
}

impl Space {
    /// The space of `slot` under `job`, `None` when there is no such slot.
    pub(crate) fn of(job: &Job, slot: u16) -> Option<Self> {
        let rolls_and_versions = u32::BITS + job.work.version_mask().count_ones();
        Some(Self { nonces: job.nonce_range(slot)?, last_row: u64::MAX >> (u64::BITS - rolls_and_versions) })
    }
}

/// The search of one slot under one job.
#[derive(Debug, Clone)]
pub struct Plan {
    key: PlanKey,
    space: Space,
    row: u64,
    next: u64,
    returned: Vec<Unit>,
}

impl Plan {
    pub(crate) fn new(key: PlanKey, space: Space) -> Self {
        Self { key, space, row: 0, next: space.nonces.start, returned: Vec::new() }
    }

    pub(crate) fn key(&self) -> &PlanKey {
        &self.key
    }

    /// What was handed out, interrupted and not handed out again.
    pub(crate) fn returned(&self) -> &[Unit] {
        &self.returned
    }

    /// Takes a unit: an interrupted one as it is, else at most `positions` from the cursor. `None` when the space
    /// is used up.
    pub(crate) fn take(&mut self, positions: u64) -> Option<Unit> {
        if let Some(unit) = self.returned.pop() {
            return Some(unit);
        }
        let Space { nonces, last_row } = self.space;
        if self.next >= nonces.end {
            if self.row >= last_row {
                return None;
            }
            self.row += 1;
            self.next = nonces.start;
        }
        let start = self.next;
        self.next = start.saturating_add(positions.max(1)).min(nonces.end);
        Some(Unit { row: self.row, nonces: NonceRange { start, end: self.next } })
    }

    /// Takes back what is left of an interrupted unit.
    pub(crate) fn give_back(&mut self, rest: Unit) {
        if !rest.is_empty() {
            self.returned.push(rest);
        }
    }

    /// Whether the cursor has passed all of `unit`.
    pub(crate) fn has_handed_out(&self, unit: &Unit) -> bool {
        let Space { nonces, .. } = self.space;
        unit.nonces.start >= nonces.start
            && (unit.row, unit.nonces.end) <= (self.row, self.next)
            && unit.nonces.end <= nonces.end
    }
}

/// Plans that are kept; the least recently used goes first. Slots change seldom and old jobs do not come back, so
/// a few are enough.
pub(crate) const MAX_PLANS: usize = 8;

/// The plans of the last few jobs and slots, the one in use last.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plans(Vec<Plan>);

impl Plans {
    /// The plan of `key`, begun when there is none, and made the most recently used.
    pub(crate) fn of(&mut self, key: PlanKey, space: Space) -> &mut Plan {
        let plan = match self.0.iter().position(|p| p.key == key) {
            Some(at) => self.0.remove(at),
            None => Plan::new(key, space),
        };
        if self.0.len() >= MAX_PLANS {
            self.0.remove(0);
        }
        self.0.push(plan);
        let last = self.0.len() - 1;
        &mut self.0[last]
    }

    /// The plan of `key` when it is still kept.
    pub(crate) fn get_mut(&mut self, key: &PlanKey) -> Option<&mut Plan> {
        self.0.iter_mut().find(|p| p.key == *key)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Plan> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bus_schemas::{examples, work::HeaderWork};
    use std::collections::BTreeSet;

    const SPACE: Space = Space { nonces: NonceRange { start: 0, end: 1_000 }, last_row: 9 };

    fn plan(start: u64, end: u64) -> Plan {
        let space = Space { nonces: NonceRange { start, end }, ..SPACE };
        Plan::new(PlanKey { job: JobId::new("j").unwrap(), slot: 3 }, space)
    }

    fn unit(row: u64, start: u64, end: u64) -> Unit {
        Unit { row, nonces: NonceRange { start, end } }
    }

    #[test]
    fn units_follow_one_another_through_the_nonces_and_then_the_rows() {
        let mut plan = plan(10, 15);
        let taken: Vec<_> = (0..4).filter_map(|_| plan.take(2)).collect();
        assert_eq!(taken, [unit(0, 10, 12), unit(0, 12, 14), unit(0, 14, 15), unit(1, 10, 12)]);
    }

    #[test]
    fn what_is_left_of_an_interrupted_unit_comes_before_anything_new() {
        let mut plan = plan(0, 100);
        let first = plan.take(50).unwrap();
        plan.give_back(unit(0, 30, 50));
        plan.give_back(unit(0, 50, 50));
        assert!(plan.has_handed_out(&first));
        assert_eq!(plan.take(5), Some(unit(0, 30, 50)));
        assert_eq!(plan.take(5), Some(unit(0, 50, 55)));
        assert!(!plan.has_handed_out(&unit(0, 50, 56)));
    }

    #[test]
    fn a_space_that_is_used_up_ends_instead_of_beginning_again() {
        let mut plan = plan(0, 4);
        plan.row = SPACE.last_row;
        assert_eq!(plan.take(9), Some(unit(SPACE.last_row, 0, 4)));
        assert_eq!(plan.take(9), None);
    }

    #[test]
    fn the_last_row_has_the_highest_roll_and_the_last_version() {
        let mut job = examples::job().unwrap();
        for mask in [0, 0x1fff_e000, u32::MAX] {
            let WorkUnit::Header(work) = &mut job.work else { panic!("a header") };
            work.version_mask = mask;
            let last = Space::of(&job, 3).unwrap().last_row;
            assert_eq!(unit(last, 0, 1).roll(&job.work), (u32::MAX, job.work.version() ^ mask));
        }
        assert_eq!(Space::of(&job, 1 << 12), None);
    }

    #[test]
    fn rows_run_through_every_allowed_version_before_the_roll_rises() {
        let WorkUnit::Header(header) = examples::job().unwrap().work else { panic!("a header") };
        let of = |version_mask| WorkUnit::Header(HeaderWork { version_mask, ..header.clone() });
        let rows: Vec<_> = (0..8).map(|row| unit(row, 0, 1).roll(&of(0b1010_0000))).collect();
        assert_eq!(rows[0], (0, header.version));
        assert_eq!(rows.iter().map(|r| r.0).collect::<Vec<_>>(), [0, 0, 0, 0, 1, 1, 1, 1]);
        assert_eq!(rows.iter().collect::<BTreeSet<_>>().len(), 8);
        assert!(rows.iter().all(|(_, version)| (version ^ header.version) & !0b1010_0000 == 0));

        assert_eq!(unit(5, 0, 1).roll(&of(0)), (5, header.version));
        assert_eq!(unit((7 << 32) | 1, 0, 1).roll(&of(u32::MAX)), (7, header.version ^ 1));
    }

    #[test]
    fn a_kind_of_work_without_versions_rolls_only_the_extranonce() {
        let job = examples::crypto_note_job().unwrap();
        assert_eq!(Space::of(&job, 3).map(|space| space.last_row), Some(u32::MAX.into()));
        assert_eq!(unit(5, 0, 1).roll(&job.work), (5, 0));
    }

    #[test]
    fn a_plan_that_is_used_again_goes_on_and_the_oldest_is_forgotten() {
        let mut plans = Plans::default();
        let key = |n: usize| PlanKey { job: JobId::new(format!("j{n}")).unwrap(), slot: 0 };
        plans.of(key(0), SPACE).take(10);
        assert_eq!(plans.of(key(0), SPACE).take(10), Some(unit(0, 10, 20)));
        for n in 1..=MAX_PLANS {
            plans.of(key(n), SPACE);
        }
        assert_eq!(plans.iter().count(), MAX_PLANS);
        assert!(plans.get_mut(&key(0)).is_none());
        assert!(plans.get_mut(&key(1)).is_some());
    }
}
