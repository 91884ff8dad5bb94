//! Slots: small integers, each held by at most one worker. A freed slot is not handed out again before another
//! job was published, so nobody ever searches what its former holder did.

use std::collections::{BTreeMap, VecDeque};

use bus_schemas::WorkerId;

/// The slots of one pool.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    held: BTreeMap<u16, WorkerId>,
    /// Freed slots with the sequence of the job at that time, oldest first.
    freed: VecDeque<(u16, u64)>,
    /// Freed slots that the pool does not have since it has fewer.
    beyond: Vec<(u16, u64)>,
    /// How many slots the pool had when one was last taken.
    limit: u32,
    /// Every slot from here on was never handed out.
    fresh: u32,
}

impl Slots {
    /// The slots after a recovery: `held` go on, every other one below the highest that was ever seen counts as
    /// freed under the last job.
    pub(crate) fn recover(held: BTreeMap<u16, WorkerId>, highest: Option<u16>, job_sequence: u64) -> Self {
        let fresh = highest.map_or(0, |h| u32::from(h) + 1);
        let freed = (0..fresh)
            .filter_map(|s| u16::try_from(s).ok())
            .filter(|s| !held.contains_key(s))
            .map(|s| (s, job_sequence))
            .collect();
        Self { held, freed, fresh, ..Self::default() }
    }

    /// Hands a slot to `worker`, `None` when all `2^slot_bits` are held or freed under this job.
    pub(crate) fn take(&mut self, worker: &WorkerId, slot_bits: u8, job_sequence: u64) -> Option<u16> {
        let limit = 1_u32 << slot_bits.min(16);
        if std::mem::replace(&mut self.limit, limit) < limit && !self.beyond.is_empty() {
            self.freed.extend(self.beyond.drain(..));
            self.freed.make_contiguous().sort_unstable_by_key(|(_, at)| *at);
        }
        let slot = match self.reusable(limit, job_sequence) {
            Some(slot) => slot,
            None if self.fresh < limit => {
                let slot = u16::try_from(self.fresh).ok()?;
                self.fresh += 1;
                slot
            }
            None => return None,
        };
        self.held.insert(slot, worker.clone());
        Some(slot)
    }

    /// The slot that was freed first, if that was before this job. Each that the pool does not have is met once.
    fn reusable(&mut self, limit: u32, job_sequence: u64) -> Option<u16> {
        while let Some((slot, at)) = self.freed.pop_front_if(|(_, at)| *at < job_sequence) {
            if u32::from(slot) < limit {
                return Some(slot);
            }
            self.beyond.push((slot, at));
        }
        None
    }

    /// Takes a slot back, if `worker` holds it.
    pub(crate) fn free(&mut self, slot: u16, worker: &WorkerId, job_sequence: u64) {
        if self.held.get(&slot) == Some(worker) {
            self.held.remove(&slot);
            self.freed.push_back((slot, job_sequence));
        }
    }

    pub(crate) fn holder(&self, slot: u16) -> Option<&WorkerId> {
        self.held.get(&slot)
    }

    /// Invariant: what is freed is not held, and nothing is freed twice.
    pub(crate) fn check(&self) -> Result<(), String> {
        let mut seen = std::collections::BTreeSet::new();
        for (slot, _) in self.freed.iter().chain(&self.beyond) {
            if self.held.contains_key(slot) || !seen.insert(*slot) {
                return Err(format!("slot {slot} is free and held, or free twice"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn w(n: u32) -> WorkerId {
        WorkerId::new(format!("w{n}")).unwrap()
    }

    #[test]
    fn a_freed_slot_waits_for_the_next_job() {
        let mut slots = Slots::default();
        assert_eq!(slots.take(&w(1), 1, 5), Some(0));
        assert_eq!(slots.take(&w(2), 1, 5), Some(1));
        slots.free(0, &w(1), 5);
        assert_eq!(slots.take(&w(3), 1, 5), None);
        assert_eq!(slots.take(&w(3), 1, 6), Some(0));
        assert_eq!(slots.holder(0), Some(&w(3)));
    }

    #[test]
    fn slots_that_a_pool_gave_up_wait_until_it_has_them_again() {
        let mut slots = Slots::default();
        (0..4).for_each(|n| assert_eq!(slots.take(&w(n), 2, 1), u16::try_from(n).ok()));
        (0..4).rev().for_each(|n| slots.free(u16::try_from(n).unwrap(), &w(n), 1));
        assert_eq!(slots.take(&w(5), 0, 2), Some(0), "the others are beyond");
        assert_eq!(slots.take(&w(6), 0, 2), None);
        slots.check().unwrap();
        let taken: Vec<_> = (7..11).map(|n| slots.take(&w(n), 2, 2)).collect();
        assert_eq!(taken.iter().flatten().count(), 3, "{taken:?}");
        slots.check().unwrap();
    }

    #[test]
    fn only_its_holder_frees_a_slot() {
        let mut slots = Slots::default();
        slots.take(&w(1), 4, 1);
        slots.free(0, &w(2), 1);
        assert_eq!(slots.holder(0), Some(&w(1)));
    }

    #[test]
    fn after_a_recovery_no_slot_below_the_highest_seen_is_handed_out_under_the_old_job() {
        let mut slots = Slots::recover(BTreeMap::from([(1, w(1))]), Some(3), 9);
        assert_eq!(slots.take(&w(2), 12, 9), Some(4));
        assert_eq!(slots.take(&w(3), 12, 10), Some(0));
        slots.check().unwrap();
    }
}
