//! Shares that wait for the bus. A share leaves when the bus has stored it; until then it is sent again and again,
//! which is safe because its message id names what was found.

use crate::{
    effect::{Effect, Lane, Publication},
    jitter::{Backoff, Jitter},
    moment::MonotonicMs,
};
use bus_schemas::{Hash32, share::Share};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Most ordinary shares that wait. Block candidates come on top, bounded by [`HOLD_SEARCH_AT`].
pub const OUTBOX_LIMIT: usize = 4_096;
/// So many waiting shares hold the search: what cannot be sent need not be found, and nothing has to be dropped.
pub const HOLD_SEARCH_AT: usize = OUTBOX_LIMIT / 4 * 3;
/// A held search goes on when no more than this wait.
pub const RELEASE_SEARCH_AT: usize = OUTBOX_LIMIT / 2;
/// Most publications without an answer.
pub const MAX_IN_FLIGHT: usize = 256;
/// Delay before a publication that failed is repeated.
const RETRY: Backoff = Backoff { first_ms: 100, cap_ms: 5_000 };

/// Why a share was dropped. Closed: each reason is counted on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DropReason {
    /// Its job's previous block is no longer the tip.
    Stale,
    /// [`OUTBOX_LIMIT`] shares wait already; the oldest gave way.
    OutboxFull,
    /// The process ended before the bus was back.
    Shutdown,
    /// Enough blocks of this job were found already, see [`crate::search::BLOCKS_PER_JOB`].
    SurplusBlock,
}

impl DropReason {
    /// Every reason.
    pub const ALL: [Self; 4] = [Self::Stale, Self::OutboxFull, Self::Shutdown, Self::SurplusBlock];

    /// The label in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stale => "stale",
            Self::OutboxFull => "outbox-full",
            Self::Shutdown => "shutdown",
            Self::SurplusBlock => "surplus-block",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In `ready` or in `retries`.
    Waiting,
    /// Handed to the shell.
    InFlight,
}

#[derive(Debug, Clone)]
struct Entry {
    share: Share,
    lane: Lane,
    /// Meets the network target: never dropped.
    candidate: bool,
    prev_hash: Hash32,
    attempts: u32,
    state: State,
}

/// The outbox.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outbox {
    entries: BTreeMap<u64, Entry>,
    ready: VecDeque<u64>,
    retries: BTreeSet<(MonotonicMs, u64)>,
    next_id: u64,
    in_flight: usize,
    candidates: usize,
    tip: Option<Hash32>,
    held: bool,
}

impl Outbox {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Ordinary shares, without block candidates.
    pub(crate) fn ordinary(&self) -> usize {
        self.entries.len().saturating_sub(self.candidates)
    }

    /// Whether so much waits that the search should hold.
    pub(crate) fn holds_search(&mut self) -> bool {
        let limit = if self.held { RELEASE_SEARCH_AT + 1 } else { HOLD_SEARCH_AT };
        self.held = self.entries.len() >= limit;
        self.held
    }

    /// Takes a share; what has to go for it is handed to `dropped`.
    pub(crate) fn push(
        &mut self,
        share: Share,
        lane: Lane,
        candidate: bool,
        prev_hash: Hash32,
    ) -> Option<DropReason> {
        let mut dropped = None;
        if !candidate && self.ordinary() >= OUTBOX_LIMIT {
            dropped = Some(DropReason::OutboxFull);
            let oldest = self.entries.iter().find(|(_, e)| !e.candidate && e.state == State::Waiting);
            match oldest.map(|(id, _)| *id) {
                Some(id) => self.remove(id),
                None => return dropped,
            };
        }
        let id = self.next_id;
        self.next_id += 1;
        self.candidates += usize::from(candidate);
        self.entries
            .insert(id, Entry { share, lane, candidate, prev_hash, attempts: 0, state: State::Waiting });
        match lane {
            Lane::Found => self.ready.push_front(id),
            Lane::Share => self.ready.push_back(id),
        }
        dropped
    }

    fn remove(&mut self, id: u64) -> Option<Entry> {
        let entry = self.entries.remove(&id)?;
        self.candidates -= usize::from(entry.candidate);
        self.in_flight -= usize::from(entry.state == State::InFlight);
        Some(entry)
    }

    /// The tip is `prev_hash` now: drops what waits for another, and says how many shares that were. What is on its
    /// way stays until its answer.
    pub(crate) fn on_tip(&mut self, prev_hash: Hash32) -> usize {
        if self.tip.replace(prev_hash) == Some(prev_hash) {
            return 0;
        }
        let before = self.entries.len();
        self.entries.retain(|_, e| e.candidate || e.state == State::InFlight || e.prev_hash == prev_hash);
        self.ready.retain(|id| self.entries.contains_key(id));
        self.retries.retain(|(_, id)| self.entries.contains_key(id));
        before - self.entries.len()
    }

    /// The bus has stored it. An id that is not known was stored by an earlier attempt, or given up.
    pub(crate) fn acked(&mut self, id: u64) -> Option<Lane> {
        self.remove(id).map(|entry| entry.lane)
    }

    /// An attempt failed: it is repeated later, or dropped when its job is stale.
    pub(crate) fn failed(
        &mut self,
        id: u64,
        attempt: u32,
        now: MonotonicMs,
        jitter: &mut Jitter,
    ) -> Option<DropReason> {
        let tip = self.tip;
        let entry = self.entries.get_mut(&id)?;
        if entry.state != State::InFlight || entry.attempts != attempt {
            return None;
        }
        if !entry.candidate && tip.is_some_and(|tip| tip != entry.prev_hash) {
            self.remove(id);
            return Some(DropReason::Stale);
        }
        entry.state = State::Waiting;
        self.in_flight -= 1;
        self.retries.insert((now.plus_ms(RETRY.delay(attempt, jitter)), id));
        None
    }

    /// The bus is back: everything without an answer is sent again at once, block candidates first.
    pub(crate) fn on_connected(&mut self) {
        self.retries.clear();
        self.in_flight = 0;
        for entry in self.entries.values_mut() {
            entry.state = State::Waiting;
        }
        let (found, shares): (Vec<_>, Vec<_>) =
            self.entries.iter().map(|(id, e)| (*id, e.lane)).partition(|(_, lane)| *lane == Lane::Found);
        self.ready = found.into_iter().chain(shares).map(|(id, _)| id).collect();
    }

    /// Hands to the shell what is due, at most [`MAX_IN_FLIGHT`] at a time.
    pub(crate) fn pump(&mut self, now: MonotonicMs, effects: &mut VecDeque<Effect>) {
        while let Some((at, id)) = self.retries.first().copied().filter(|(at, _)| *at <= now) {
            self.retries.remove(&(at, id));
            self.ready.push_back(id);
        }
        while self.in_flight < MAX_IN_FLIGHT {
            let Some(id) = self.ready.pop_front() else { return };
            // An entry that gave way to a newer one leaves its id behind.
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            entry.state = State::InFlight;
            entry.attempts = entry.attempts.saturating_add(1);
            self.in_flight += 1;
            let (attempt, lane, share) = (entry.attempts, entry.lane, entry.share.clone());
            effects.push_back(Effect::Publish(Publication { id, attempt, lane, share }));
        }
    }

    /// When a retry is due.
    pub(crate) fn next_retry(&self) -> Option<MonotonicMs> {
        self.retries.first().map(|(at, _)| *at)
    }
}
