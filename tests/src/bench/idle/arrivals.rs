//! When requests are to be sent: drawn before the window, so that nothing is computed in it. Pure.

use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::time::Duration;

/// Intended send times, in nanoseconds from the begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrivals {
    /// In order.
    pub at: Vec<u64>,
    /// What is to be sent before this time is not counted.
    pub counted_from: Duration,
    /// Nothing is to be sent from this time on.
    pub end: Duration,
}

impl Arrivals {
    /// A Poisson process: `warm_up` and then `length` at `rate` requests a second.
    pub fn poisson(seed: u64, rate: f64, warm_up: Duration, length: Duration) -> Self {
        Self::stepped(seed, &[(rate, warm_up), (rate, length)])
    }

    /// A Poisson process whose rate changes: each step's rate for its length. The first step is not counted.
    pub fn stepped(seed: u64, steps: &[(f64, Duration)]) -> Self {
        let mut generator = StdRng::seed_from_u64(seed);
        let (mut at, mut begin) = (Vec::new(), 0.0);
        for (rate, length) in steps {
            let end = begin + length.as_secs_f64() * 1e9;
            let mut time = begin;
            loop {
                // One minus a number below one is above zero, so its logarithm is finite.
                let uniform: f64 = generator.random();
                time -= (1.0 - uniform).ln() / rate * 1e9;
                if time >= end {
                    break;
                }
                at.push(time as u64);
            }
            begin = end;
        }
        let counted_from = steps.first().map_or(Duration::ZERO, |(_, length)| *length);
        Self { at, counted_from, end: steps.iter().map(|(_, length)| *length).sum() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn arrivals_are_the_same_for_the_same_seed_and_others_for_another() {
        let [first, again, other] = [1, 1, 2].map(|seed| Arrivals::poisson(seed, 500.0, SECOND, 2 * SECOND));
        assert_eq!(first, again);
        assert_ne!(first.at, other.at);
    }

    #[test]
    fn arrivals_are_ordered_end_in_time_and_have_the_rate_and_the_spread_of_a_poisson_process() {
        let arrivals = Arrivals::poisson(7, 10_000.0, SECOND, 9 * SECOND);
        assert!(arrivals.at.is_sorted());
        assert!(arrivals.at.last().unwrap() < &10_000_000_000);
        assert!((98_500..101_500).contains(&arrivals.at.len()), "{}", arrivals.at.len());
        // The number in each 10 ms has the variance of its mean, 100.
        let mut counts = [0_f64; 1_000];
        arrivals.at.iter().for_each(|at| counts[(at / 10_000_000) as usize] += 1.0);
        let variance = counts.iter().map(|count| (count - 100.0).powi(2)).sum::<f64>() / 1_000.0;
        assert!((80.0..120.0).contains(&variance), "{variance}");
    }

    #[test]
    fn a_step_changes_the_rate_at_its_time() {
        let arrivals = Arrivals::stepped(3, &[(100.0, SECOND), (5_000.0, SECOND)]);
        let before = arrivals.at.iter().filter(|at| **at < 1_000_000_000).count();
        assert!((60..140).contains(&before), "{before}");
        assert!((4_700..5_300).contains(&(arrivals.at.len() - before)));
        assert_eq!((arrivals.counted_from, arrivals.end), (SECOND, 2 * SECOND));
    }
}
