//! Refused shares and unreadable messages, told in few events however many there are.

use crate::time::MonoMs;
use bus_schemas::{WorkerId, event::EventData, share::ShareRefusal};
use std::collections::BTreeMap;

/// Least time between two batches of such events, milliseconds.
pub const REFUSAL_EVENT_INTERVAL_MS: u64 = 1_000;
/// Most events of one batch; the rest waits for the next.
pub const MAX_REFUSAL_EVENTS: usize = 64;
/// Most pairs of worker and reason that wait to be told; what is over is in the ledger and the metrics alone.
pub const MAX_REFUSAL_KEYS: usize = 8_192;
/// Most different subjects of unreadable messages that are told apart.
pub const MAX_UNDECODABLE_SUBJECTS: usize = 256;

/// What is to be told.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    shares: BTreeMap<(WorkerId, ShareRefusal), u64>,
    undecodable: BTreeMap<String, (String, u64)>,
    told_at: Option<MonoMs>,
}

impl Refusals {
    pub(crate) fn share(&mut self, worker: WorkerId, refusal: ShareRefusal) {
        if self.shares.len() >= MAX_REFUSAL_KEYS && !self.shares.contains_key(&(worker.clone(), refusal)) {
            return;
        }
        *self.shares.entry((worker, refusal)).or_default() += 1;
    }

    pub(crate) fn undecodable(&mut self, subject: String, reason: String) {
        let full =
            self.undecodable.len() >= MAX_UNDECODABLE_SUBJECTS && !self.undecodable.contains_key(&subject);
        let subject = if full { "others".to_owned() } else { subject };
        let entry = self.undecodable.entry(subject).or_insert((reason, 0));
        entry.1 += 1;
    }

    pub(crate) fn deadline(&self) -> Option<MonoMs> {
        if self.shares.is_empty() && self.undecodable.is_empty() {
            return None;
        }
        Some(self.told_at.map_or(MonoMs(0), |at| at.plus(REFUSAL_EVENT_INTERVAL_MS)))
    }

    pub(crate) fn tell(&mut self, now: MonoMs) -> Vec<EventData> {
        if self.deadline().is_none_or(|at| now < at) {
            return Vec::new();
        }
        self.told_at = Some(now);
        let mut events = Vec::new();
        while events.len() < MAX_REFUSAL_EVENTS {
            if let Some(((worker, refusal), count)) = self.shares.pop_first() {
                events.push(EventData::ShareRefused { worker, refusal, count });
            } else if let Some((subject, (reason, count))) = self.undecodable.pop_first() {
                events.push(EventData::MessageUndecodable { subject, reason, count });
            } else {
                break;
            }
        }
        events
    }
}
