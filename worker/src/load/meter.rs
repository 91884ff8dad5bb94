//! From readings to samples: pure, so that a table can test it.

use super::text::Ticks;
use worker_core::LoadSample;

/// How long the slow counters are watched before they tell a share: their ticks are 10 ms long, microseconds.
pub const SLOW_WINDOW_US: u64 = 200_000;
/// How often a sample is given while nothing changes, microseconds.
pub const CALM_INTERVAL_US: u64 = 100_000;
/// A change of demand or shortfall by more than this is told at once, thousandths.
pub const JUMP_PERMILLE: u16 = 200;
/// Microseconds of one tick of `/proc/stat`; every Linux shows 100 in a second.
const TICK_US: u64 = 10_000;

/// What is read at every step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reading {
    /// When, microseconds of the monotonic clock.
    pub at_us: u64,
    /// Processor time of the search threads, microseconds since they began.
    pub search_us: u64,
    /// Whether the search threads are those of the reading before.
    pub same_threads: bool,
    /// Hundredths of threads that should run now.
    pub wanted_hundredths: u32,
    /// Tasks that run or wait for a processor, all of the host's.
    pub runnable: Option<u32>,
    /// How much slower the main application is than at its best, percent.
    pub slowdown_percent: Option<u16>,
    /// What is read less often.
    pub slow: Option<SlowReading>,
}

/// What is read about five times a second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SlowReading {
    /// Processor time of the whole host.
    pub ticks: Option<Ticks>,
    /// Processor time of this whole process, microseconds.
    pub own_us: u64,
    /// Time in which some task waited for memory, microseconds.
    pub memory_us: Option<u64>,
}

/// Shares that come from the slow counters, thousandths.
#[derive(Debug, Clone, Copy, Default)]
struct SlowShares {
    demand: u16,
    steal: u16,
    memory: u16,
}

/// What was gathered since some moment.
#[derive(Debug, Clone, Copy, Default)]
struct Span {
    elapsed_us: u64,
    search_us: u64,
    /// Time of threads that should have been used, and that was, of steps in which both are known.
    wanted_us: u64,
    got_us: u64,
}

impl Span {
    fn add(&mut self, step: Self) {
        self.elapsed_us += step.elapsed_us;
        self.search_us += step.search_us;
        self.wanted_us += step.wanted_us;
        self.got_us += step.got_us;
    }

    fn shortfall(&self) -> Option<u16> {
        (self.wanted_us > 0).then(|| permille(self.wanted_us.saturating_sub(self.got_us), self.wanted_us))
    }
}

/// Turns readings into samples.
#[derive(Debug)]
pub struct Meter {
    processors: u64,
    last: Option<Reading>,
    slow: Option<(u64, SlowReading)>,
    shares: SlowShares,
    since_sample: Span,
    told: Option<LoadSample>,
}

impl Meter {
    /// For a host with so many processors.
    pub fn new(processors: u16) -> Self {
        Self {
            processors: u64::from(processors.max(1)),
            last: None,
            slow: None,
            shares: SlowShares::default(),
            since_sample: Span::default(),
            told: None,
        }
    }

    /// The host has so many processors from now on.
    pub fn set_processors(&mut self, processors: u16) {
        self.processors = u64::from(processors.max(1));
    }

    /// Whether the next reading should hold the slow counters.
    pub fn wants_slow(&self, at_us: u64) -> bool {
        self.slow.is_none_or(|(since, _)| at_us.saturating_sub(since) >= SLOW_WINDOW_US)
    }

    /// Takes a reading; gives a sample when one is due.
    pub fn read(&mut self, reading: Reading) -> Option<LoadSample> {
        self.take_slow(&reading);
        let last = self.last.replace(reading)?;
        let step = step(&last, &reading);
        self.since_sample.add(step);
        let now = self.sample(&step, &reading);
        if self.jumped(&now) {
            return Some(self.give(now));
        }
        if self.since_sample.elapsed_us < CALM_INTERVAL_US {
            return None;
        }
        let calm = self.sample(&self.since_sample, &reading);
        Some(self.give(calm))
    }

    fn give(&mut self, sample: LoadSample) -> LoadSample {
        let elapsed_us = u32::try_from(self.since_sample.elapsed_us).unwrap_or(u32::MAX);
        self.since_sample = Span::default();
        let sample = LoadSample { elapsed_us, ..sample };
        self.told = Some(sample);
        sample
    }

    fn jumped(&self, now: &LoadSample) -> bool {
        let Some(told) = &self.told else { return true };
        let shortfall = |s: &LoadSample| s.shortfall_permille.unwrap_or(0);
        now.demand_permille.abs_diff(told.demand_permille) > JUMP_PERMILLE
            || shortfall(now).abs_diff(shortfall(told)) > JUMP_PERMILLE
    }

    fn sample(&self, span: &Span, reading: &Reading) -> LoadSample {
        let host_us = span.elapsed_us.saturating_mul(self.processors);
        let missed = permille(span.wanted_us.saturating_sub(span.got_us), host_us);
        let ours = reading.wanted_hundredths.div_ceil(100).saturating_add(1);
        let beside = reading.runnable.unwrap_or(0).saturating_sub(ours);
        LoadSample {
            elapsed_us: u32::try_from(span.elapsed_us).unwrap_or(u32::MAX),
            // What the search threads missed, others took: known at once, the slow counters say it later.
            demand_permille: self.shares.demand.max(missed),
            search_permille: permille(span.search_us, host_us),
            steal_permille: self.shares.steal,
            memory_permille: self.shares.memory,
            shortfall_permille: span.shortfall(),
            runnable: u16::try_from(beside).unwrap_or(u16::MAX),
            slowdown_percent: reading.slowdown_percent,
        }
    }

    fn take_slow(&mut self, reading: &Reading) {
        let Some(now) = reading.slow else { return };
        if let Some((since, before)) = self.slow {
            let elapsed = reading.at_us.saturating_sub(since);
            let host_us = elapsed.saturating_mul(self.processors);
            if let (Some(ticks), Some(old)) = (now.ticks, before.ticks) {
                let busy = ticks.busy.saturating_sub(old.busy).saturating_mul(TICK_US);
                let own = now.own_us.saturating_sub(before.own_us);
                self.shares.demand = permille(busy.saturating_sub(own), host_us);
                let steal = ticks.steal.saturating_sub(old.steal).saturating_mul(TICK_US);
                self.shares.steal = permille(steal, host_us);
            }
            if let (Some(memory), Some(old)) = (now.memory_us, before.memory_us) {
                self.shares.memory = permille(memory.saturating_sub(old), elapsed);
            }
        }
        self.slow = Some((reading.at_us, now));
    }
}

fn step(last: &Reading, now: &Reading) -> Span {
    let elapsed_us = now.at_us.saturating_sub(last.at_us);
    if !now.same_threads {
        return Span { elapsed_us, ..Span::default() };
    }
    let search_us = now.search_us.saturating_sub(last.search_us);
    // Who was just told to run or to stop cannot be held to the greater of the two.
    let wanted = u64::from(last.wanted_hundredths.min(now.wanted_hundredths));
    let wanted_us = elapsed_us.saturating_mul(wanted) / 100;
    let got_us = if wanted_us == 0 { 0 } else { search_us };
    Span { elapsed_us, search_us, wanted_us, got_us }
}

fn permille(part: u64, whole: u64) -> u16 {
    let share = part.saturating_mul(1_000) / whole.max(1);
    u16::try_from(share.min(1_000)).unwrap_or(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host with two processors, read every 20 ms.
    struct Host {
        meter: Meter,
        now: Reading,
        slow: SlowReading,
    }

    impl Host {
        fn new(wanted_hundredths: u32) -> Self {
            let now = Reading { wanted_hundredths, same_threads: true, ..Reading::default() };
            let slow = SlowReading { ticks: Some(Ticks::default()), memory_us: Some(0), own_us: 0 };
            let mut host = Self { meter: Meter::new(2), now, slow };
            host.now.slow = Some(host.slow);
            assert_eq!(host.meter.read(host.now), None, "one reading is no measure");
            host
        }

        /// 20 ms in which the search threads and other programs use so many microseconds.
        fn step(&mut self, search_us: u64, others_us: u64) -> Option<LoadSample> {
            self.now.at_us += 20_000;
            self.now.search_us += search_us;
            self.slow.own_us += search_us;
            if let Some(ticks) = &mut self.slow.ticks {
                ticks.busy += (search_us + others_us) / TICK_US;
            }
            self.now.slow = self.meter.wants_slow(self.now.at_us).then_some(self.slow);
            self.meter.read(self.now)
        }

        fn steps(&mut self, n: usize, search_us: u64, others_us: u64) -> Vec<LoadSample> {
            (0..n).filter_map(|_| self.step(search_us, others_us)).collect()
        }
    }

    #[test]
    fn while_nothing_changes_a_sample_comes_every_tenth_of_a_second() {
        let mut host = Host::new(200);
        let samples = host.steps(51, 40_000, 0);
        assert_eq!(samples.len(), 11, "the first step and then every fifth: {samples:?}");
        let last = samples.last().unwrap();
        assert_eq!((last.elapsed_us, last.search_permille), (100_000, 1_000));
        assert_eq!((last.demand_permille, last.shortfall_permille), (0, Some(0)));
    }

    #[test]
    fn a_jump_of_the_shortfall_is_told_in_the_same_step() {
        let mut host = Host::new(200);
        host.steps(31, 40_000, 0);
        let sample = host.step(20_000, 20_000).unwrap();
        assert_eq!((sample.shortfall_permille, sample.demand_permille), (Some(500), 500));
        assert_eq!(host.step(20_000, 20_000), None, "told already");
        assert_eq!(host.step(40_000, 0).unwrap().shortfall_permille, Some(0));
    }

    #[test]
    fn without_a_search_the_counters_of_the_host_tell_the_demand() {
        let mut host = Host::new(0);
        let samples = host.steps(30, 0, 20_000);
        let last = samples.last().unwrap();
        assert_eq!((last.demand_permille, last.shortfall_permille, last.search_permille), (500, None, 0));
    }

    #[test]
    fn the_own_use_is_no_demand_and_a_throttled_thread_no_shortfall() {
        let mut host = Host::new(100);
        let last = *host.steps(30, 20_000, 0).last().unwrap();
        assert_eq!((last.demand_permille, last.shortfall_permille, last.search_permille), (0, Some(0), 500));
    }

    #[test]
    fn a_change_of_what_should_run_is_no_shortfall() {
        let mut host = Host::new(0);
        host.steps(10, 0, 0);
        host.now.wanted_hundredths = 200;
        assert!(host.steps(1, 0, 0).iter().all(|s| s.shortfall_permille.is_none()));
        host.now.same_threads = false;
        assert!(host.steps(1, 1_000, 0).iter().all(|s| s.shortfall_permille.is_none_or(|s| s == 0)));
        host.now.same_threads = true;
        let samples = host.steps(10, 40_000, 0);
        assert_eq!(samples.last().unwrap().shortfall_permille, Some(0), "{samples:?}");
    }

    #[test]
    fn a_processor_that_comes_or_goes_changes_the_whole_of_which_shares_are_told() {
        let mut host = Host::new(0);
        assert_eq!(host.steps(30, 0, 20_000).last().unwrap().demand_permille, 500);
        host.meter.set_processors(1);
        assert_eq!(host.steps(30, 0, 20_000).last().unwrap().demand_permille, 1_000);
        host.meter.set_processors(4);
        assert_eq!(host.steps(30, 0, 20_000).last().unwrap().demand_permille, 250);
        host.meter.set_processors(0);
        assert_eq!(host.steps(30, 0, 20_000).last().unwrap().demand_permille, 1_000);
    }

    #[test]
    fn steal_and_waiting_for_memory_are_told_as_shares() {
        let mut host = Host::new(0);
        let mut last = None;
        for _ in 0..30 {
            if let Some(ticks) = &mut host.slow.ticks {
                ticks.steal += 1;
            }
            host.slow.memory_us = host.slow.memory_us.map(|us| us + 2_000);
            last = host.step(0, 0).or(last);
        }
        let last = last.unwrap();
        assert_eq!((last.steal_permille, last.memory_permille), (250, 100));
    }

    #[test]
    fn what_the_host_does_not_tell_is_nothing() {
        let mut host = Host::new(0);
        host.slow = SlowReading::default();
        let last = *host.steps(30, 0, 0).last().unwrap();
        assert_eq!((last.demand_permille, last.steal_permille, last.memory_permille), (0, 0, 0));
    }

    #[test]
    fn tasks_of_the_worker_are_not_counted_as_those_of_others() {
        let mut host = Host::new(150);
        host.now.runnable = Some(5);
        assert_eq!(host.step(30_000, 0).unwrap().runnable, 2);
        host.now.runnable = Some(1);
        assert_eq!(host.steps(5, 30_000, 0).last().unwrap().runnable, 0);
    }

    #[test]
    fn clocks_that_go_backwards_and_counters_at_their_end_do_no_harm() {
        let mut host = Host::new(u32::MAX);
        host.now = Reading { at_us: u64::MAX, search_us: u64::MAX, ..host.now };
        let slow = SlowReading {
            ticks: Some(Ticks { busy: u64::MAX, steal: u64::MAX }),
            own_us: 0,
            memory_us: Some(u64::MAX),
        };
        host.now.slow = Some(slow);
        let _ = host.meter.read(host.now);
        host.now = Reading { same_threads: true, slow: Some(SlowReading::default()), ..Reading::default() };
        let _ = host.meter.read(host.now);
    }
}
