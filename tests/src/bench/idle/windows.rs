//! What is computed from windows: percentiles, ratios of a pair, and which pairs count. Pure.

use std::time::Duration;

/// A pair counts only if the hypervisor took no more than this share of the machine's time in either window.
pub const MOST_STEAL: f64 = 0.02;
/// A pair counts only if programs that are neither application nor miner used no more than this share of the machine in
/// either window. The kernel's own work for them is part of it: about 0.05 with nginx at half the machine.
pub const MOST_FOREIGN: f64 = 0.12;

/// Latencies of one window, in microseconds from the intended send time to the last byte of the answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Latencies {
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99.9th percentile.
    pub p999: f64,
    /// Mean.
    pub mean: f64,
    /// How many requests.
    pub requests: usize,
}

impl Latencies {
    /// Of latencies in nanoseconds, which are sorted in place. `None` without any.
    pub fn of(nanos: &mut [u64]) -> Option<Self> {
        nanos.sort_unstable();
        let at = |q: f64| nearest_rank(nanos, q).map(|n| *n as f64 / 1_000.0);
        let sum: f64 = nanos.iter().map(|n| *n as f64 / 1_000.0).sum();
        Some(Self {
            p50: at(0.5)?,
            p99: at(0.99)?,
            p999: at(0.999)?,
            mean: sum / nanos.len() as f64,
            requests: nanos.len(),
        })
    }
}

/// The least value that at least the share `q` of all values does not exceed.
pub fn nearest_rank<T>(sorted: &[T], q: f64) -> Option<&T> {
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1)
}

/// What was measured in one window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window {
    /// Of the requests that were to be sent in it.
    pub latencies: Latencies,
    /// How long it was.
    pub length: Duration,
    /// Processors of the machine.
    pub processors: usize,
    /// Processor time of application and generator.
    pub application: Duration,
    /// Processor time of the miner.
    pub miner: Duration,
    /// Time in which processors had nothing to do.
    pub idle: Duration,
    /// Time that the hypervisor gave to others.
    pub steal: Duration,
}

impl Window {
    fn share(&self, time: Duration) -> f64 {
        time.as_secs_f64() / (self.length.as_secs_f64() * self.processors as f64)
    }

    /// Share of the machine that the application, with the generator, used.
    pub fn load(&self) -> f64 {
        self.share(self.application)
    }

    /// Share of the machine that the hypervisor took away.
    pub fn stolen(&self) -> f64 {
        self.share(self.steal)
    }

    /// Share of the machine that others used: programs besides application and miner, and the kernel.
    pub fn foreign(&self) -> f64 {
        1.0 - self.load() - self.stolen() - self.idle_share() - self.share(self.miner)
    }

    /// Share of the machine that had nothing to do.
    pub fn idle_share(&self) -> f64 {
        self.share(self.idle)
    }
}

/// Latencies of one window over those of another, without a unit: above one, the first had the longer ones.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratios {
    /// Of the medians.
    pub p50: f64,
    /// Of the means.
    pub mean: f64,
    /// Of the 99th percentiles.
    pub p99: f64,
    /// Of the 99.9th percentiles.
    pub p999: f64,
}

impl Ratios {
    fn of(above: &Latencies, below: &Latencies) -> Self {
        Self {
            p50: above.p50 / below.p50,
            mean: above.mean / below.mean,
            p99: above.p99 / below.p99,
            p999: above.p999 / below.p999,
        }
    }
}

/// Two windows, one directly after the other, with the same arrivals.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pair {
    /// Without a miner.
    pub baseline: Window,
    /// With one; in a pair that shows the noise, without one like the baseline.
    pub other: Window,
    /// Whether `other` was the first.
    pub other_first: bool,
}

impl Pair {
    /// Whether the hypervisor and other programs left both windows alone.
    pub fn undisturbed(&self) -> bool {
        let alone = |window: &Window| window.stolen() <= MOST_STEAL && window.foreign() <= MOST_FOREIGN;
        alone(&self.baseline) && alone(&self.other)
    }

    /// The other window over the baseline: what the miner did, or the noise where there was none.
    pub fn ratios(&self) -> Ratios {
        Ratios::of(&self.other.latencies, &self.baseline.latencies)
    }

    /// The second window over the first, whichever had the miner.
    pub fn drift(&self) -> Ratios {
        let (other, baseline) = (&self.other.latencies, &self.baseline.latencies);
        if self.other_first { Ratios::of(baseline, other) } else { Ratios::of(other, baseline) }
    }

    /// The miner's processor time over the idle time of the baseline. Infinite where that had none.
    pub fn harvested(&self) -> f64 {
        self.other.miner.as_secs_f64() / self.baseline.idle.as_secs_f64()
    }
}

/// Whether the baseline is the second window of the pair: in every other, so that a drift of the machine hits both kinds
/// alike and each window has a neighbour of the other kind.
pub fn other_first(pair: usize) -> bool {
    pair % 2 == 1
}

/// Seed of a pair's arrivals: the same for its two windows, another for each pair, the same in every run.
pub fn seed(pair: usize) -> u64 {
    0x1d1e_0000 + pair as u64
}

/// A value of several samples with the quartiles around it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// Lower quartile.
    pub low: f64,
    /// The wanted quantile.
    pub value: f64,
    /// Upper quartile.
    pub high: f64,
    /// How many samples.
    pub samples: usize,
}

/// The quantile `q` of samples and their quartiles. `None` without samples or when one is no number.
pub fn spread(samples: &[f64], q: f64) -> Option<Spread> {
    if samples.iter().any(|sample| !sample.is_finite()) {
        return None;
    }
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |q| interpolated(&sorted, q);
    Some(Spread { low: at(0.25)?, value: at(q)?, high: at(0.75)?, samples: sorted.len() })
}

/// The quantile between the two nearest samples.
fn interpolated(sorted: &[f64], q: f64) -> Option<f64> {
    let place = q * sorted.len().checked_sub(1)? as f64;
    let below = *sorted.get(place.floor() as usize)?;
    let above = *sorted.get(place.ceil() as usize)?;
    Some(below + (above - below) * place.fract())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const CALM: Window = Window {
        latencies: Latencies { p50: 1.0, p99: 1.0, p999: 1.0, mean: 1.0, requests: 1 },
        length: Duration::from_secs(1),
        processors: 1,
        application: Duration::ZERO,
        miner: Duration::ZERO,
        idle: Duration::from_secs(1),
        steal: Duration::ZERO,
    };
    /// A pair that counts.
    pub const UNDISTURBED: Pair = Pair { baseline: CALM, other: CALM, other_first: false };
    /// One that does not.
    pub const STOLEN: Pair =
        Pair { baseline: CALM, other: Window { steal: Duration::from_secs(1), ..CALM }, other_first: false };

    fn window(p99: f64, miner_ms: u64, idle_ms: u64, steal_ms: u64) -> Window {
        Window {
            latencies: Latencies { p50: 100.0, p99, p999: 4.0 * p99, mean: 150.0, requests: 10 },
            length: Duration::from_secs(1),
            processors: 2,
            application: Duration::from_millis(660),
            miner: Duration::from_millis(miner_ms),
            idle: Duration::from_millis(idle_ms),
            steal: Duration::from_millis(steal_ms),
        }
    }

    fn pair(baseline: Window, other: Window) -> Pair {
        Pair { baseline, other, other_first: false }
    }

    #[test]
    fn percentiles_are_the_least_value_that_so_many_do_not_exceed() {
        let mut nanos: Vec<u64> = (1..=1_000).rev().map(|n| n * 1_000).collect();
        let latencies = Latencies::of(&mut nanos).unwrap();
        assert_eq!((latencies.p50, latencies.p99, latencies.p999), (500.0, 990.0, 999.0));
        assert_eq!((latencies.mean, latencies.requests), (500.5, 1_000));
        assert_eq!(Latencies::of(&mut [7_000]).unwrap().p999, 7.0);
        assert_eq!(Latencies::of(&mut []), None);
    }

    #[test]
    fn a_pair_compares_the_window_with_the_miner_to_the_one_without() {
        let pair = pair(window(200.0, 0, 1_250, 0), window(210.0, 1_200, 0, 0));
        assert_eq!(pair.ratios(), Ratios { p50: 1.0, mean: 1.0, p99: 1.05, p999: 1.05 });
        assert_eq!(pair.harvested(), 0.96);
        assert_eq!(pair.baseline.load(), 0.33);
        assert_eq!(pair.baseline.idle_share(), 0.625);
    }

    #[test]
    fn a_drift_is_the_second_window_over_the_first_in_either_order() {
        let (first, second) = (window(200.0, 0, 1_340, 0), window(250.0, 0, 1_340, 0));
        let pairs = [
            Pair { baseline: first, other: second, other_first: false },
            Pair { baseline: second, other: first, other_first: true },
        ];
        assert_eq!(pairs.map(|pair| pair.drift().p99), [1.25, 1.25]);
        assert_eq!(pairs.map(|pair| pair.ratios().p99), [1.25, 0.8]);
    }

    #[test]
    fn a_pair_does_not_count_when_the_hypervisor_took_more_than_two_percent_of_either_window() {
        let [calm, stolen] = [40, 41].map(|steal| window(200.0, 0, 1_340 - steal, steal));
        assert!(pair(calm, calm).undisturbed());
        assert!(!pair(stolen, calm).undisturbed());
        assert!(!pair(calm, stolen).undisturbed());
    }

    #[test]
    fn a_pair_does_not_count_when_other_programs_used_more_than_twelve_percent_of_either_window() {
        let [calm, busy] = [1_110, 1_090].map(|idle| window(200.0, 0, idle, 0));
        let mining = window(200.0, 1_200, 0, 0);
        assert!(pair(calm, mining).undisturbed());
        assert!(!pair(busy, mining).undisturbed());
        let foreign = mining.foreign();
        assert!((0.069..0.071).contains(&foreign), "{foreign}");
    }

    #[test]
    fn the_order_within_pairs_alternates_and_each_pair_has_arrivals_of_its_own() {
        assert_eq!([0, 1, 2, 3].map(other_first), [false, true, false, true]);
        assert_ne!(seed(0), seed(1));
    }

    #[test]
    fn a_spread_has_the_quartiles_around_the_wanted_quantile() {
        let spread_of = |samples: &[f64], q| spread(samples, q).map(|s| (s.low, s.value, s.high, s.samples));
        assert_eq!(spread_of(&[5.0, 1.0, 4.0, 2.0, 3.0], 0.5), Some((2.0, 3.0, 4.0, 5)));
        assert_eq!(spread_of(&[1.0, 2.0], 0.5), Some((1.25, 1.5, 1.75, 2)));
        assert_eq!(spread_of(&[1.0, 2.0, 3.0], 1.0), Some((1.5, 3.0, 2.5, 3)));
        assert_eq!(spread_of(&[], 0.5), None);
        assert_eq!(spread_of(&[1.0, f64::INFINITY], 0.5), None);
    }
}
