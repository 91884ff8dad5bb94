//! The clocks of one machine. No two machines' are compared by anybody but the simulation.

/// The true time at which every simulation begins, milliseconds since the Unix epoch.
pub(crate) const BEGIN_MS: u64 = 1_800_000_000_000;

/// A wall clock that is off, and a monotonic one that begins with the process and runs a little too fast or too slow.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Clock {
    pub(crate) wall_offset_ms: i64,
    pub(crate) rate_ppm: i64,
    /// When the process began, microseconds of the simulation.
    pub(crate) began_us: u64,
}

impl Clock {
    fn rate(self) -> u64 {
        1_000_000_u64.saturating_add_signed(self.rate_ppm)
    }

    /// The monotonic clock, milliseconds.
    pub(crate) fn mono_ms(self, now_us: u64) -> u64 {
        let elapsed = u128::from(now_us.saturating_sub(self.began_us)) * u128::from(self.rate());
        u64::try_from(elapsed / 1_000_000_000).unwrap_or(u64::MAX)
    }

    /// When the monotonic clock shows this, at the earliest.
    pub(crate) fn at_us(self, mono_ms: u64) -> u64 {
        let elapsed = u128::from(mono_ms) * 1_000_000_000;
        let us = elapsed.div_ceil(u128::from(self.rate()).max(1));
        self.began_us.saturating_add(u64::try_from(us).unwrap_or(u64::MAX / 2))
    }

    /// The wall clock, milliseconds since the Unix epoch.
    pub(crate) fn wall_ms(self, now_us: u64) -> u64 {
        (BEGIN_MS + now_us / 1_000).saturating_add_signed(self.wall_offset_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_has_come_when_the_clock_that_set_it_says_so() {
        for rate_ppm in [-500, 0, 137, 500] {
            let clock = Clock { wall_offset_ms: 5, rate_ppm, began_us: 1_234_567 };
            for mono in [0, 1, 999, 60_000, 86_400_000] {
                let at = clock.at_us(mono);
                assert!(clock.mono_ms(at) >= mono && (at == 1_234_567 || clock.mono_ms(at - 1_000) < mono));
            }
        }
    }
}
