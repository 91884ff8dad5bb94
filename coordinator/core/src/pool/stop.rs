//! How long it takes until nobody searches any more.

use crate::time::MonoMs;
use bus_schemas::event::EventData;

/// A pool that was told to stop, until everybody has said that it did.
#[derive(Debug)]
pub(crate) struct Stop {
    since: MonoMs,
    workers: u32,
}

impl Stop {
    /// `active` members in all are told to.
    pub(crate) fn begin(active: u32, now: MonoMs) -> Self {
        Self { since: now, workers: active }
    }

    /// The fact to tell when none is `awaited` any more.
    pub(crate) fn look(&self, awaited: usize, now: MonoMs) -> Option<EventData> {
        let after_ms = now.since(self.since);
        (awaited == 0).then_some(EventData::PoolStopped { after_ms, workers: self.workers })
    }
}
