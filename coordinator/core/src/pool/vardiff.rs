//! Share difficulty: about so many shares a minute from each worker, in whole bits, with hysteresis.

use crate::time::MonoMs;
use bus_schemas::{HashRate, ShareBits, Work};
use ruint::aliases::U256;

/// Shares after which a difficulty is looked at before [`WINDOW_MS`] is over.
pub const EARLY_SHARES: u32 = 16;
/// Least time over which a rate is believed, milliseconds.
pub const MIN_WINDOW_MS: u64 = 3_000;
/// Time after which a difficulty is looked at however few the shares, milliseconds.
pub const WINDOW_MS: u64 = 60_000;
/// Most bits by which a difficulty changes at once: a factor of four.
pub const MAX_STEP_BITS: u8 = 2;

/// The range in which a difficulty may lie, and the wanted rate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) min: ShareBits,
    pub(crate) max: ShareBits,
    pub(crate) shares_per_minute: u16,
}

impl Limits {
    fn clamp(&self, bits: u8) -> ShareBits {
        // The network's difficulty may lie under the configured minimum; then it wins, or blocks would be no shares.
        ShareBits::new(bits.max(self.min.get()).min(self.max.get()))
    }
}

/// `floor(log2(work))`, zero for no work.
pub(crate) fn floor_log2(work: Work) -> u8 {
    u8::try_from(work.0.bit_len().saturating_sub(1)).unwrap_or(u8::MAX)
}

/// The difficulty at which `rate` gives the wanted shares.
pub(crate) fn for_rate(rate: HashRate, limits: Limits) -> ShareBits {
    let per_share = U256::from(rate.0) * U256::from(60) / U256::from(limits.shares_per_minute.max(1));
    limits.clamp(floor_log2(Work(per_share)))
}

/// What one worker earned since the last look.
#[derive(Debug)]
pub(crate) struct Vardiff {
    since: MonoMs,
    shares: u32,
    work: Work,
}

impl Vardiff {
    pub(crate) fn new(now: MonoMs) -> Self {
        Self { since: now, shares: 0, work: Work::ZERO }
    }

    pub(crate) fn credit(&mut self, work: Work) {
        self.shares = self.shares.saturating_add(1);
        self.work = self.work.saturating_add(work);
    }

    /// Forgets what was seen, for instance while the worker was told to pause.
    pub(crate) fn restart(&mut self, now: MonoMs) {
        *self = Self::new(now);
    }

    /// The new difficulty, if it is time to look and another fits better.
    pub(crate) fn retarget(&mut self, current: ShareBits, limits: Limits, now: MonoMs) -> Option<ShareBits> {
        let window = now.since(self.since);
        let early = self.shares >= EARLY_SHARES && window >= MIN_WINDOW_MS;
        if !early && window < WINDOW_MS {
            return None;
        }
        let per_share = self.work.0 * U256::from(60_000)
            / (U256::from(window.max(1)) * U256::from(limits.shares_per_minute.max(1)));
        self.restart(now);
        let fitting = floor_log2(Work(per_share));
        let bits = current.get();
        let (low, high) = (bits.saturating_sub(MAX_STEP_BITS), bits.saturating_add(MAX_STEP_BITS));
        // One bit of hysteresis downwards: a rate near a power of two would flap otherwise.
        let next =
            if fitting > bits || fitting.saturating_add(1) < bits { fitting.clamp(low, high) } else { bits };
        let next = limits.clamp(next);
        (next != current).then_some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { min: ShareBits::MIN, max: ShareBits::MAX, shares_per_minute: 6 };

    /// Mines at a steady rate and returns the difficulty after `rounds` looks.
    fn settle(rate: u64, mut bits: ShareBits, rounds: usize) -> Vec<u8> {
        let (mut vardiff, mut now, mut seen) = (Vardiff::new(MonoMs(0)), 0, Vec::new());
        while seen.len() < rounds {
            now += 100;
            let per_tick = rate / 10;
            let work: u64 = bits.work().0.to();
            // Deterministic arrivals: as many shares as the work of this tick is worth.
            for _ in 0..((now / 100) * per_tick / work - (now / 100 - 1) * per_tick / work) {
                vardiff.credit(bits.work());
            }
            let before = vardiff.since;
            if let Some(next) = vardiff.retarget(bits, LIMITS, MonoMs(now)) {
                bits = next;
            }
            if vardiff.since != before {
                seen.push(bits.get());
            }
        }
        seen
    }

    #[test]
    fn a_difficulty_settles_near_the_wanted_rate_and_stays() {
        // 10 MH/s for ten seconds is 10^8 hashes a share: between 2^26 and 2^27.
        for start in [10, 20, 26, 30, 34] {
            let seen = settle(10_000_000, ShareBits::new(start), 14);
            assert!(seen.iter().rev().take(4).all(|b| (26..=27).contains(b)), "{start}: {seen:?}");
            assert!(seen.windows(2).all(|w| w[0].abs_diff(w[1]) <= MAX_STEP_BITS), "{start}: {seen:?}");
        }
    }

    #[test]
    fn silence_makes_shares_easier_down_to_the_minimum() {
        let mut vardiff = Vardiff::new(MonoMs(0));
        let limits = Limits { min: ShareBits::new(19), ..LIMITS };
        assert_eq!(vardiff.retarget(ShareBits::new(20), limits, MonoMs(59_999)), None);
        assert_eq!(vardiff.retarget(ShareBits::new(20), limits, MonoMs(60_000)), Some(ShareBits::new(19)));
        assert_eq!(vardiff.retarget(ShareBits::new(19), limits, MonoMs(120_000)), None);
    }

    #[test]
    fn a_reported_rate_gives_a_fitting_start() {
        assert_eq!(for_rate(HashRate(10_000_000), LIMITS), ShareBits::new(26));
        assert_eq!(for_rate(HashRate(0), LIMITS), ShareBits::MIN);
    }
}
