//! Whether somebody attends to a pool, and what keeps it from going on: told once, until it is over.

use crate::{
    input::Trouble,
    ownership::{Ownership, STUCK_AFTER},
    time::MonoMs,
};
use bus_schemas::{command::Stuck, event::EventData};

/// A wanted pool that nobody was seen to own for this long is unattended, milliseconds.
pub const UNATTENDED_AFTER_MS: u64 = 5_000;
/// A pool that another coordinator has kept for this long is not stuck, whatever failed here, milliseconds.
pub const ELSEWHERE_STEADY_MS: u64 = 10_000;

/// What is known of the care that a pool gets.
#[derive(Debug)]
pub(crate) struct Attention {
    /// Somebody was last known to own it.
    attended_at: MonoMs,
    /// Another coordinator has kept it since then.
    elsewhere_since: Option<MonoMs>,
    stuck: Option<(Stuck, MonoMs)>,
    /// Why it was last given up here.
    last_reason: Option<String>,
}

impl Attention {
    pub(crate) fn new(now: MonoMs) -> Self {
        Self { attended_at: now, elsewhere_since: None, stuck: None, last_reason: None }
    }

    pub(crate) fn stuck(&self) -> Option<&Stuck> {
        self.stuck.as_ref().map(|(stuck, _)| stuck)
    }

    /// For how long nobody was seen to own the pool, if that is too long, and why it was given up here.
    pub(crate) fn unattended(&self, now: MonoMs) -> Option<(u64, Option<&str>)> {
        let ms = now.since(self.attended_at);
        (ms >= UNATTENDED_AFTER_MS).then_some((ms, self.last_reason.as_deref()))
    }

    /// It runs here.
    pub(crate) fn runs_here(&mut self, ownership: &Ownership, now: MonoMs) -> Option<EventData> {
        self.attended_at = now;
        self.elsewhere_since = None;
        if !ownership.is_steady(now) {
            return None;
        }
        self.last_reason = None;
        self.over(now)
    }

    /// Somebody else holds its lease.
    pub(crate) fn elsewhere(
        &mut self,
        renewed: bool,
        ownership: &mut Ownership,
        now: MonoMs,
    ) -> Option<EventData> {
        if !renewed {
            return None;
        }
        self.attended_at = now;
        let since = *self.elsewhere_since.get_or_insert(now);
        if now.since(since) < ELSEWHERE_STEADY_MS {
            return None;
        }
        ownership.forgive();
        self.last_reason = None;
        self.over(now)
    }

    /// It was given up here; the event tells what is in the way, once for each thing.
    pub(crate) fn given_up(
        &mut self,
        trouble: &Trouble,
        ownership: &Ownership,
        now: MonoMs,
    ) -> Option<EventData> {
        self.elsewhere_since = None;
        self.last_reason = Some(trouble.reason.clone());
        let attempts = ownership.failures();
        let stuck = match &trouble.stuck {
            Some(stuck) => stuck.clone(),
            None if attempts >= STUCK_AFTER => Stuck {
                reason: trouble.reason.clone(),
                stream: None,
                sequence: None,
                repair: "look at the coordinator's log; it is tried again by itself".to_owned(),
            },
            None => return None,
        };
        let since = match &self.stuck {
            // A reason that only repeats itself, however it is worded, is told once.
            Some((known, since)) if trouble.stuck.is_none() || *known == stuck => {
                self.stuck = Some((stuck, *since));
                return None;
            }
            Some((_, since)) => *since,
            None => now,
        };
        let Stuck { reason, stream, sequence, repair } = stuck.clone();
        self.stuck = Some((stuck, since));
        Some(EventData::PoolStuck { reason, stream, sequence, repair, attempts })
    }

    fn over(&mut self, now: MonoMs) -> Option<EventData> {
        let (_, since) = self.stuck.take()?;
        Some(EventData::PoolUnstuck { stuck_ms: now.since(since) })
    }
}
