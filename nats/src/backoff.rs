//! Delays between attempts: they double up to a limit, and half of each is random, so that a fleet does not knock in step.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(50);

/// The delay before attempt `attempt` (1 is the first repetition), at most `max`.
pub(crate) fn delay(attempt: usize, max: Duration) -> Duration {
    let doublings = u32::try_from(attempt.saturating_sub(1)).unwrap_or(u32::MAX).min(16);
    let full = FIRST.saturating_mul(1 << doublings).min(max);
    full.mul_f64(0.5 + 0.5 * rand::random::<f64>())
}

/// Counts attempts, for the delay before the next.
#[derive(Debug)]
pub struct Backoff {
    attempt: usize,
    max: Duration,
}

impl Backoff {
    /// Delays of at most `max`.
    pub fn new(max: Duration) -> Self {
        Self { attempt: 0, max }
    }

    /// An attempt went well.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }

    /// The delay after an attempt that failed.
    #[expect(clippy::should_implement_trait, reason = "it never ends, and what is next is no item")]
    pub fn next(&mut self) -> Duration {
        self.attempt = self.attempt.saturating_add(1);
        delay(self.attempt, self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_their_limit_and_half_of_each_is_random() {
        let max = Duration::from_secs(4);
        for (attempt, full) in [(0, 50), (1, 50), (2, 100), (5, 800), (8, 4_000), (usize::MAX, 4_000)] {
            for _ in 0..100 {
                let got = delay(attempt, max).as_millis();
                assert!((full / 2..=full).contains(&got), "attempt {attempt}: {got} ms");
            }
        }
        let different: std::collections::BTreeSet<_> = (0..20).map(|_| delay(8, max)).collect();
        assert!(different.len() > 1);
    }
}
