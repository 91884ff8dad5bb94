//! Jitter and backoff from a seed that the shell draws once.

/// Jittered durations lie within this share of the wanted one, in percent.
const JITTER_PERCENT: u64 = 10;

/// A sequence of numbers from one seed (SplitMix64, Steele et al., 2014). It spreads timers; it is no secret.
#[derive(Debug, Clone)]
pub(crate) struct Jitter(u64);

impl Jitter {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Anything up to `ms`.
    pub(crate) fn within(&mut self, ms: u64) -> u64 {
        self.draw() % ms.saturating_add(1).max(1)
    }

    /// `ms`, at most a tenth more or less.
    pub(crate) fn around(&mut self, ms: u64) -> u64 {
        let spread = ms.saturating_mul(JITTER_PERCENT) / 100;
        ms.saturating_sub(spread).saturating_add(self.draw() % (2 * spread + 1))
    }
}

/// Delays that double with every failure up to a cap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Backoff {
    pub(crate) first_ms: u64,
    pub(crate) cap_ms: u64,
}

impl Backoff {
    /// The delay after `failures` failures, counted from one.
    pub(crate) fn delay(self, failures: u32, jitter: &mut Jitter) -> u64 {
        let doublings = failures.saturating_sub(1).min(32);
        jitter.around(self.first_ms.saturating_mul(1 << doublings).min(self.cap_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_within_a_tenth_and_differs_between_seeds() {
        let (mut a, mut b) = (Jitter::new(1), Jitter::new(2));
        let (a, b): (Vec<_>, Vec<_>) = (0..100).map(|_| (a.around(1_000), b.around(1_000))).unzip();
        assert!(a.iter().chain(&b).all(|ms| (900..=1_100).contains(ms)));
        assert_ne!(a, b);
        assert_eq!(Jitter::new(1).around(0), 0);
    }

    #[test]
    fn a_backoff_doubles_up_to_its_cap() {
        let (backoff, mut jitter) = (Backoff { first_ms: 100, cap_ms: 1_000 }, Jitter::new(7));
        for (failures, about) in [(1, 100), (2, 200), (4, 800), (5, 1_000), (u32::MAX, 1_000)] {
            let delay = backoff.delay(failures, &mut jitter);
            assert!((about * 9 / 10..=about * 11 / 10).contains(&delay), "{failures}: {delay}");
        }
    }
}
