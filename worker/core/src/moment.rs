//! Time as the core sees it: handed in, never read.

use bus_schemas::TimestampMs;

/// Milliseconds of a clock that never goes back; only differences mean something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MonotonicMs(pub u64);

impl MonotonicMs {
    /// Milliseconds from `earlier` to `self`, zero if it is later.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This moment and `ms` milliseconds more.
    pub fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

/// The moment at which an input is handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// For deadlines and durations.
    pub monotonic: MonotonicMs,
    /// For what is written into messages.
    pub wall: TimestampMs,
}
