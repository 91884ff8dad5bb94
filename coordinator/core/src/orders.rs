//! The throttle orders as a coordinator knows them: every order of the stream, what was kept of those that it does not hold
//! any more, and what is to be kept of them. Durations are measured on the coordinator's monotonic clock.

use crate::time::{MonoMs, Now};
use bus_schemas::{
    TimestampMs,
    throttle::{
        ArrivedOrder, InvalidThrottle, KeptOrders, LiveThrottle, MAX_TTL_SECONDS, Throttle, ThrottleTarget,
        Throttles,
    },
};
use std::collections::{BTreeMap, BTreeSet};

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
    /// Revision of the document of each target that was last looked at.
    looked_at: BTreeMap<ThrottleTarget, u64>,
    /// Targets whose document lacks something.
    lacking: BTreeSet<ThrottleTarget>,
}

/// The document of a target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeptDocument {
    /// Its revision in the bucket of what is in force; 0 when there is none that can be read.
    pub revision: u64,
    /// The orders.
    pub orders: KeptOrders,
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

    /// Takes what is kept, told at `at` of the server's clock. Another coordinator may have kept it, that heard what this one
    /// did not and did not hear what this one did.
    pub(crate) fn recover(
        &mut self,
        target: &ThrottleTarget,
        kept: KeptDocument,
        at: TimestampMs,
        now: MonoMs,
    ) {
        let KeptDocument { revision, orders } = kept;
        match revision {
            0 => drop(self.looked_at.remove(target)),
            _ => drop(self.looked_at.insert(target.clone(), revision)),
        }
        for order in &orders.orders {
            // What is not valid here was written by another version, and binds nobody.
            let _ = self.throttles.take(order.arrive(target, clock(now), at));
        }
        // A stream that was restored from a backup ends before what was kept: its messages are news.
        let known =
            if orders.stream == self.stream && orders.sequence <= self.last { orders.sequence } else { 0 };
        if !orders.orders.is_empty() {
            let sequence = self.sequences.entry(target.clone()).or_default();
            *sequence = known.max(*sequence);
        }
        if self.throttles.lacks(target, &orders, clock(now)) {
            self.lacking.insert(target.clone());
        } else {
            self.lacking.remove(target);
        }
    }

    /// The documents are told from the beginning: those of a bucket that was made anew are others.
    pub(crate) fn forget_documents(&mut self) {
        self.looked_at.clear();
        self.lacking.clear();
    }

    /// Whether the document of some target lacks something.
    pub(crate) fn is_lacking(&self) -> bool {
        !self.lacking.is_empty()
    }

    /// The targets whose document lacks something; from here on they count as seen to.
    pub(crate) fn take_lacking(&mut self) -> BTreeSet<ThrottleTarget> {
        std::mem::take(&mut self.lacking)
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
            if self.throttles.kept(target, clock(now)).is_empty() {
                self.sequences.remove(target);
            }
        }
        ended
    }

    /// Every target with an order.
    pub(crate) fn targets(&self) -> Vec<ThrottleTarget> {
        self.sequences.keys().cloned().collect()
    }

    /// What is to be kept for a target, and the revision of the document whose place it takes.
    pub(crate) fn kept(&self, target: &ThrottleTarget, now: MonoMs) -> KeptDocument {
        let orders = KeptOrders {
            stream: self.stream.clone(),
            sequence: self.sequences.get(target).copied().unwrap_or(0),
            orders: self.throttles.kept(target, clock(now)),
        };
        KeptDocument { revision: self.looked_at.get(target).copied().unwrap_or(0), orders }
    }

    /// The orders that live behind that of a source for a target, on the wall clock.
    pub(crate) fn live_after<'a>(
        &'a self,
        after: Option<&'a (ThrottleTarget, String)>,
        now: Now,
    ) -> impl Iterator<Item = LiveThrottle> + 'a {
        let (here, there) = (clock(now.mono), now.wall);
        let turned = move |at: TimestampMs| TimestampMs((at.0 + there.0).saturating_sub(here.0));
        let behind = move |l: &&LiveThrottle| {
            after.is_none_or(|(target, source)| {
                (&l.target, l.order.source.as_str()) > (target, source.as_str())
            })
        };
        let from = after.map_or(&ThrottleTarget::Farm, |(target, _)| target);
        self.throttles.live_from(from, here).filter(behind).map(move |live| LiveThrottle {
            given_at_ms: turned(live.given_at_ms),
            until_ms: turned(live.until_ms),
            ..live.clone()
        })
    }

    /// The orders on the wall clock, for people and for the future.
    pub(crate) fn on_the_wall(&self, now: Now) -> Throttles {
        self.throttles.on(clock(now.mono), now.wall)
    }
}
