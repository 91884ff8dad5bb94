//! What chance does to a ratio, and whether a measured one can be told from it. Pure.

use super::windows::{Spread, spread};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde::Serialize;

/// Rounds in which [`by_chance`] is found: its second digit is right.
const ROUNDS: u32 = 8_192;

/// Where a measured ratio lies among the quartiles of the noise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Between them or on one: it cannot be told from chance.
    Within,
    /// Below the lower one.
    Below,
    /// Above the upper one.
    Above,
}

/// The noise beside a measured ratio: the same ratio in pairs of the same application at the same load without a miner in
/// either window. Ratios have no unit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Noise {
    /// Lower quartile of the noise.
    pub low: f64,
    /// Its median: other than one by chance only, since the order within its pairs alternates.
    pub value: f64,
    /// Upper quartile.
    pub high: f64,
    /// Of how many pairs.
    pub samples: usize,
    /// Where the measured ratio's median lies.
    pub verdict: Verdict,
    /// How likely it would lie outside if the miner did nothing, from 0 to 1: see [`by_chance`].
    pub by_chance: f64,
}

impl Noise {
    /// The noise beside `measured`, which lies outside with the probability `by_chance`.
    pub fn beside(measured: &Spread, noise: &Spread, by_chance: f64) -> Self {
        let Spread { low, value, high, samples } = *noise;
        let verdict = if measured.value < low {
            Verdict::Below
        } else if measured.value > high {
            Verdict::Above
        } else {
            Verdict::Within
        };
        Self { low, value, high, samples, verdict, by_chance }
    }

    /// Whether the measured ratio lies outside the quartiles.
    pub fn is_outside(&self) -> bool {
        self.verdict != Verdict::Within
    }
}

/// How likely the median of `measured` ratios lies outside the quartiles of `noise` others of the very same kind. It hardly
/// depends on how ratios are distributed, so that even numbers stand for them; tried out, always with the same numbers.
pub fn by_chance(measured: usize, noise: usize) -> f64 {
    let mut generator = StdRng::seed_from_u64(0);
    let mut draw = |count| {
        let samples: Vec<f64> = (0..count).map(|_| generator.random()).collect();
        spread(&samples, 0.5)
    };
    let mut outside = 0;
    for _ in 0..ROUNDS {
        let (Some(measured), Some(noise)) = (draw(measured), draw(noise)) else { return 1.0 };
        outside += u32::from(measured.value < noise.low || measured.value > noise.high);
    }
    f64::from(outside) / f64::from(ROUNDS)
}

/// How many of these ratios lie outside the noise, and how many would if no miner did anything. `None` without ratios.
pub fn summary<'a>(ratios: impl Iterator<Item = &'a Noise>) -> Option<String> {
    let (mut all, mut outside, mut expected) = (0, 0, 0.0);
    for noise in ratios {
        all += 1;
        outside += usize::from(noise.is_outside());
        expected += noise.by_chance;
    }
    (all > 0).then(|| {
        format!(
            "noise: {outside} of {all} ratios lie outside its quartiles; if mining changed nothing, about {expected:.0} would"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: f64) -> Spread {
        Spread { low: 0.0, value, high: 9.0, samples: 12 }
    }

    #[test]
    fn a_ratio_is_within_the_noise_from_one_quartile_to_the_other() {
        let noise = Spread { low: 0.9, value: 1.0, high: 1.1, samples: 24 };
        let verdict = |value| Noise::beside(&of(value), &noise, 0.14).verdict;
        assert_eq!([0.9, 1.0, 1.1].map(verdict), [Verdict::Within; 3]);
        assert_eq!([0.89, 1.11].map(verdict), [Verdict::Below, Verdict::Above]);
        let beside = Noise::beside(&of(1.2), &noise, 0.14);
        assert!(beside.is_outside());
        assert_eq!((beside.low, beside.value, beside.high, beside.samples), (0.9, 1.0, 1.1, 24));
    }

    #[test]
    fn the_more_pairs_the_fewer_ratios_lie_outside_by_chance() {
        // Tried out with normal and with log-normal numbers too, which gives the same within 0.03.
        for (measured, noise, share) in [(12, 12, 0.23), (12, 24, 0.14), (2, 4, 0.59), (1, 12, 0.58)] {
            let found = by_chance(measured, noise);
            assert!((found - share).abs() < 0.02, "{measured} beside {noise}: {found}");
        }
        assert_eq!((by_chance(12, 0), by_chance(0, 12)), (1.0, 1.0));
    }

    #[test]
    fn the_summary_compares_with_what_chance_alone_would_do() {
        let noise = Spread { low: 0.9, value: 1.0, high: 1.1, samples: 24 };
        let ratios: Vec<Noise> = [0.8, 1.0, 1.0, 1.0, 1.2, 1.3, 1.0]
            .iter()
            .map(|value| Noise::beside(&of(*value), &noise, 0.14))
            .collect();
        assert_eq!(
            summary(ratios.iter()).unwrap(),
            "noise: 3 of 7 ratios lie outside its quartiles; if mining changed nothing, about 1 would"
        );
        assert_eq!(summary([].iter()), None);
    }

    #[test]
    fn the_verdict_is_a_word_in_the_json() {
        let noise = Spread { low: 0.9, value: 1.0, high: 1.1, samples: 24 };
        let noise = Noise::beside(&of(1.2), &noise, 0.14);
        let json = serde_json::to_value(noise).unwrap();
        assert_eq!(
            (&json["verdict"], &json["low"], &json["samples"]),
            (&"above".into(), &0.9.into(), &24.into())
        );
    }
}
