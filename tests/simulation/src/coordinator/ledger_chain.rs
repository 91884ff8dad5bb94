//! The last record of a pool's ledger that can be believed: the longest run of owners' records that count on from one another.

use crate::server::stream::Stored;
use bus_schemas::{Message, PoolId, ledger::LedgerRecord};

/// What the ledger says.
#[derive(Debug, Default)]
pub(super) struct Chain {
    pub(super) last: Option<LedgerRecord>,
    pub(super) stored_at_ms: u64,
    /// Sequence of the last message of the subject, whatever it is.
    pub(super) end: u64,
    /// Only an owner can have written the last message, and nobody can read it.
    pub(super) unreadable: Option<u64>,
}

struct Run {
    last: LedgerRecord,
    stored_at_ms: u64,
    at: u64,
    length: usize,
}

impl Run {
    fn is_followed_by(&self, record: &LedgerRecord, gap: bool) -> bool {
        let new: u64 = record.credits.iter().map(|c| c.shares).sum();
        let next = record.number == self.last.number + 1
            && record.total_shares == self.last.total_shares.saturating_add(new)
            && record.total_work >= self.last.total_work;
        let later = record.number > self.last.number && record.total_shares >= self.last.total_shares;
        next || (gap && later)
    }
}

/// Judges the messages of a pool's subject, oldest first.
pub(super) fn judge(pool: &PoolId, messages: &[Stored]) -> Chain {
    let mut runs: Vec<Run> = Vec::new();
    let (mut unreadable, mut gap) = (None, false);
    for message in messages.iter().filter(|m| m.is_guarded()) {
        let sequence = message.sequence;
        let Ok(record) = LedgerRecord::decode(&message.payload) else {
            (gap, unreadable) = (true, Some(sequence));
            continue;
        };
        if record.pool != *pool {
            continue;
        }
        let stored_at_ms = message.stored_at().0;
        let before = runs.iter_mut().filter(|run| run.is_followed_by(&record, gap)).max_by_key(|r| r.length);
        match before {
            Some(run) => {
                run.length += 1;
                (run.last, run.at, run.stored_at_ms) = (record, sequence, stored_at_ms);
                (gap, unreadable) = (false, None);
            }
            None => runs.push(Run { last: record, stored_at_ms, at: sequence, length: 1 }),
        }
    }
    let end = messages.last().map_or(0, |m| m.sequence);
    let best = runs.into_iter().rev().max_by_key(|run| run.length);
    let at = best.as_ref().map_or(0, |run| run.at);
    let (last, stored_at_ms) = best.map_or((None, 0), |run| (Some(run.last), run.stored_at_ms));
    Chain { last, stored_at_ms, end, unreadable: unreadable.filter(|u| *u > at) }
}
