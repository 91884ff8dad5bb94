//! The throttle orders as a coordinator knows them: every order of the stream, what was kept of those that it does not hold
//! any more, and what is to be kept of them. Durations are measured on the coordinator's monotonic clock.

use crate::time::{MonoMs, Now};
use bus_schemas::{
    TimestampMs,
    throttle::{
        ArrivedOrder, InvalidThrottle, KeptOrders, MAX_TTL_SECONDS, Throttle, ThrottleTarget, Throttles,
    },
};
use std::collections::BTreeMap;

/// What a monotonic clock shows at its zero here, so that the longest order may have been given before that.
const CLOCK_ZERO_MS: u64 = MAX_TTL_SECONDS as u64 * 1_000;

/// The moment on the clock of the orders.
pub(crate) fn clock(now: MonoMs) -> TimestampMs {
    TimestampMs(now.0.saturating_add(CLOCK_ZERO_MS))
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    throttles: Throttles,
    stream: String,
    /// The last sequence of the stream when its reading began.
    last: u64,
    /// The last message of each target's subject that is taken into account.
    sequences: BTreeMap<ThrottleTarget, u64>,
}

/// A message of the stream.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) sequence: u64,
    pub(crate) stored_at: TimestampMs,
    pub(crate) age_ms: u64,
}

impl Orders {
    pub(crate) fn throttles(&self) -> &Throttles {
        &self.throttles
    }

    /// The stream is read from its beginning.
    pub(crate) fn begin(&mut self, stream: String, last: u64) {
        if self.stream != stream || self.sequences.values().any(|sequence| *sequence > last) {
            self.sequences.clear();
        }
        (self.stream, self.last) = (stream, last);
    }

    /// Takes what was kept, read at `at` of the server's clock.
    pub(crate) fn recover(
        &mut self,
        target: &ThrottleTarget,
        kept: KeptOrders,
        at: TimestampMs,
        now: MonoMs,
    ) {
        for order in kept.orders {
            // What is not valid here was written by another version, and binds nobody.
            let _ = self.throttles.take(order.arrive(target, clock(now), at));
        }
        // A stream that was restored from a backup ends before what was kept: its messages are news.
        if kept.stream == self.stream && kept.sequence <= self.last {
            let sequence = self.sequences.entry(target.clone()).or_default();
            *sequence = kept.sequence.max(*sequence);
        }
    }

    pub(crate) fn take(
        &mut self,
        target: &ThrottleTarget,
        order: Throttle,
        stored: &Stored,
        now: MonoMs,
    ) -> Result<(), InvalidThrottle> {
        if self.sequences.get(target).is_some_and(|known| stored.sequence <= *known) {
            return Ok(());
        }
        let arrived = ArrivedOrder {
            target: target.clone(),
            order,
            given_at: TimestampMs(clock(now).0.saturating_sub(stored.age_ms)),
            stored_at: Some(stored.stored_at),
            keep_ms: 0,
        };
        self.throttles.take(arrived)?;
        let sequence = self.sequences.entry(target.clone()).or_default();
        *sequence = stored.sequence.max(*sequence);
        Ok(())
    }

    /// Forgets what has ended, and gives the targets of which something was.
    pub(crate) fn expire(&mut self, now: MonoMs) -> Vec<ThrottleTarget> {
        let ended = self.throttles.expire(clock(now));
        for target in &ended {
            if self.throttles.kept(target).is_empty() {
                self.sequences.remove(target);
            }
        }
        ended
    }

    /// Every target with an order.
    pub(crate) fn targets(&self) -> Vec<ThrottleTarget> {
        self.sequences.keys().cloned().collect()
    }

    /// What is to be kept for a target.
    pub(crate) fn kept(&self, target: &ThrottleTarget) -> KeptOrders {
        KeptOrders {
            stream: self.stream.clone(),
            sequence: self.sequences.get(target).copied().unwrap_or(0),
            orders: self.throttles.kept(target),
        }
    }

    /// The orders on the wall clock, for people and for the future.
    pub(crate) fn on_the_wall(&self, now: Now) -> Throttles {
        self.throttles.on(clock(now.mono), now.wall)
    }
}
