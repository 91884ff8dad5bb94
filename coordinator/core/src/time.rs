//! Time as the core is told it.

use bus_schemas::TimestampMs;

/// Milliseconds on a clock that never goes back; its zero means nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct MonoMs(pub u64);

impl MonoMs {
    /// Milliseconds since `earlier`, zero when it lies ahead.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This moment and `ms` milliseconds more.
    pub fn plus(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

/// The moment of an input on both clocks: durations are measured on `mono`, messages carry `wall`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// For durations.
    pub mono: MonoMs,
    /// For messages.
    pub wall: TimestampMs,
}
