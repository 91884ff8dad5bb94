//! How long it takes until nobody searches any more.

use crate::time::MonoMs;
use bus_schemas::{WorkerId, event::EventData};
use std::collections::BTreeSet;

/// A pool that was told to stop, until everybody has said that it did.
#[derive(Debug)]
pub(crate) struct Stop {
    since: MonoMs,
    waiting: BTreeSet<WorkerId>,
    workers: u32,
}

impl Stop {
    /// `active` members in all, of whom those `searching` have to stop.
    pub(crate) fn begin<'a>(searching: impl Iterator<Item = &'a WorkerId>, active: u32, now: MonoMs) -> Self {
        Self { since: now, waiting: searching.cloned().collect(), workers: active }
    }

    /// `searching` are those who still do; the fact to tell when there is none any more. Costs a pass over those that
    /// are waited for.
    pub(crate) fn look<'a>(
        &mut self,
        searching: impl Iterator<Item = &'a WorkerId>,
        now: MonoMs,
    ) -> Option<EventData> {
        let searching: BTreeSet<_> = searching.collect();
        self.waiting.retain(|worker| searching.contains(worker));
        let after_ms = now.since(self.since);
        self.waiting.is_empty().then_some(EventData::PoolStopped { after_ms, workers: self.workers })
    }
}
