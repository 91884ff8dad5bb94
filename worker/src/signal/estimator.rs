//! How much slower the main application is than without the search: pure.
//!
//! Latencies are gathered into short windows, each told by its median. Windows in which nothing was searched show the
//! application undisturbed; while there are too few of them, a low quantile of all windows stands in.

use std::collections::VecDeque;

/// Latencies of a short window.
const WINDOW_LEN: usize = 8;
/// Windows that are remembered of each kind, about an hour at two latencies a second.
const MAX_WINDOWS: usize = 1_024;
/// So many undisturbed windows are enough to compare with.
const ENOUGH_QUIET: usize = 4;
/// Quantile of all windows that stands in for undisturbed ones, percent.
const LOW_QUANTILE: usize = 10;
/// Latencies older than this tell nothing of the present, milliseconds.
pub const LIFE_MS: u64 = 10_000;

/// Learns the application's undisturbed latency and compares the present one with it.
#[derive(Debug, Default)]
pub struct Estimator {
    /// The last latencies, microseconds, and when each was seen.
    recent: VecDeque<(u64, u64)>,
    /// Latencies since the last window was closed.
    open: usize,
    /// Whether all of these were seen while nothing was searched, and none was.
    open_quiet: bool,
    open_busy: bool,
    quiet: VecDeque<u64>,
    all: VecDeque<u64>,
}

impl Estimator {
    /// Takes a latency that was seen at `now_ms`, while something was searched or not.
    pub fn observe(&mut self, latency_us: u64, searching: bool, now_ms: u64) {
        self.recent.push_back((latency_us, now_ms));
        if self.recent.len() > WINDOW_LEN {
            self.recent.pop_front();
        }
        self.open_quiet |= !searching;
        self.open_busy |= searching;
        self.open += 1;
        if self.open < WINDOW_LEN {
            return;
        }
        if let Some(median) = quantile(self.recent.iter().map(|(latency, _)| *latency), 50) {
            remember(&mut self.all, median);
            if self.open_quiet && !self.open_busy {
                remember(&mut self.quiet, median);
            }
        }
        (self.open, self.open_quiet, self.open_busy) = (0, false, false);
    }

    /// How much slower it is now than undisturbed, percent; `None` while that is not known.
    pub fn percent(&self, now_ms: u64) -> Option<u16> {
        let undisturbed = self.undisturbed_us()?.max(1);
        let fresh = self.recent.iter().filter(|(_, seen)| now_ms.saturating_sub(*seen) <= LIFE_MS);
        let now = quantile(fresh.map(|(latency, _)| *latency), 50)?;
        let percent = now.saturating_sub(undisturbed).saturating_mul(100) / undisturbed;
        Some(u16::try_from(percent).unwrap_or(u16::MAX))
    }

    /// The latency without the search, microseconds, as far as it is known.
    pub fn undisturbed_us(&self) -> Option<u64> {
        if self.quiet.len() >= ENOUGH_QUIET {
            return quantile(self.quiet.iter().copied(), 50);
        }
        quantile(self.all.iter().copied(), LOW_QUANTILE)
    }
}

fn remember(windows: &mut VecDeque<u64>, median: u64) {
    if windows.len() == MAX_WINDOWS {
        windows.pop_front();
    }
    windows.push_back(median);
}

/// The value below which `percent` of the values lie; the lower one of two.
fn quantile(values: impl Iterator<Item = u64>, percent: usize) -> Option<u64> {
    let mut sorted: Vec<u64> = values.collect();
    sorted.sort_unstable();
    sorted.get(sorted.len().saturating_sub(1) * percent / 100).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Application {
        estimator: Estimator,
        now_ms: u64,
    }

    impl Application {
        fn new() -> Self {
            Self { estimator: Estimator::default(), now_ms: 0 }
        }

        fn answers(&mut self, times: usize, latency_us: u64, searching: bool) -> Option<u16> {
            for _ in 0..times {
                self.now_ms += 500;
                self.estimator.observe(latency_us, searching, self.now_ms);
            }
            self.estimator.percent(self.now_ms)
        }
    }

    #[test]
    fn the_present_is_compared_with_what_was_seen_while_nothing_was_searched() {
        let mut application = Application::new();
        assert_eq!(application.answers(40, 1_000, false), Some(0));
        for (latency_us, wanted) in
            [(1_000, 0), (1_040, 4), (1_300, 30), (900, 0), (5_000, 400), (u64::MAX, u16::MAX)]
        {
            assert_eq!(application.answers(8, latency_us, true), Some(wanted), "{latency_us}");
        }
    }

    #[test]
    fn while_it_was_always_searched_the_best_windows_stand_in() {
        let mut application = Application::new();
        assert_eq!(application.answers(7, 1_000, true), None, "one window at least");
        application.answers(100, 1_000, true);
        assert_eq!(application.answers(40, 2_000, true), Some(100));
        application.answers(40, 1_500, false);
        assert_eq!(application.answers(8, 1_500, true), Some(0), "undisturbed it is no faster");
    }

    #[test]
    fn one_slow_answer_is_no_slowdown() {
        let mut application = Application::new();
        application.answers(40, 1_000, false);
        application.answers(6, 1_000, true);
        assert_eq!(application.answers(1, 900_000, true), Some(0));
    }

    #[test]
    fn a_window_in_which_something_was_searched_is_not_undisturbed() {
        let mut application = Application::new();
        for _ in 0..10 {
            application.answers(7, 9_000, false);
            application.answers(1, 9_000, true);
        }
        application.answers(40, 1_000, false);
        assert_eq!(application.estimator.undisturbed_us(), Some(1_000));
    }

    #[test]
    fn what_was_seen_long_ago_tells_nothing() {
        let mut application = Application::new();
        application.answers(40, 1_000, false);
        assert_eq!(application.estimator.percent(application.now_ms + LIFE_MS + 1), None);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_forgotten_in_time() {
        let mut application = Application::new();
        application.answers(80, 100, false);
        application.answers(MAX_WINDOWS * WINDOW_LEN, 1_000, false);
        assert_eq!(application.estimator.undisturbed_us(), Some(1_000));
        assert!(
            application.estimator.all.len() <= MAX_WINDOWS
                && application.estimator.recent.len() <= WINDOW_LEN
        );
    }
}
