//! Who waits behind a search thread although it should run, found by counting.
//!
//! The kernel lets whoever wakes run before the search at once, but not always: waits of up to 12 ms were traced, through
//! which giving way did not help. The likely reason is that the application's group weighs as little on that processor as an
//! idle one (a group's weight follows its threads), so that the fair scheduler finds it to be the search's turn.
//! It is rare, a few times a second, and to sleep is dear, so that it is done only when it was seen several times in
//! a row: every search thread runs, and yet more tasks are runnable than there are processors.

use crate::load::{sources, text};
use nix::unistd::{SysconfVar, sysconf};
use std::{
    fs::File,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use worker_core::search::MAX_THREADS;

/// Between two looks while nothing is suspected, microseconds, and so much more for each search thread: a look asks for the
/// state of each, so that what looking costs does not grow with their number.
const LOOK_EVERY_US: u64 = 200;
const LOOK_EVERY_US_PER_THREAD: u64 = 25;
/// A search thread that finished a turn no longer ago than this runs, microseconds: some three turns.
const FRESH_US: u64 = 150;
/// So many looks in a row, one after each turn, make sure that somebody waits: who just woke is there at one.
const LOOKS: u8 = 3;
/// Length of the sleep: what was passed over runs as soon as the search does not want to.
const SLEEP: Duration = Duration::from_micros(20);
/// Least time between two sleeps, microseconds; it doubles while they do not end what is seen.
const LEAST_GAP_US: u64 = 2_000;
const MOST_GAP_US: u64 = 32_000;

/// What all search threads of a process know of each other.
#[derive(Debug)]
pub struct Lookout {
    begun: Instant,
    loadavg: Option<File>,
    /// Of the whole host.
    processors: AtomicU64,
    /// When each thread finished its last turn, microseconds since `begun`; zero while it does not search.
    turns: Vec<AtomicU64>,
    /// One more than the highest place that was taken.
    places: AtomicU64,
}

/// One thread's part.
#[derive(Debug)]
pub struct Place {
    lookout: Arc<Lookout>,
    index: usize,
    suspicion: Suspicion,
}

impl Lookout {
    /// For the threads of this process on this host.
    pub fn of_host() -> Arc<Self> {
        let lookout = Self::new(usize::MAX);
        lookout.count_processors();
        lookout
    }

    /// Counts the processors of the host anew: they come and go. All of the host's, since the tasks that are counted are the
    /// host's too. Without a number nobody is ever seen.
    pub fn count_processors(&self) {
        let online = sysconf(SysconfVar::_NPROCESSORS_ONLN).ok().flatten();
        let online = online.and_then(|n| u64::try_from(n).ok()).unwrap_or(u64::MAX);
        self.processors.store(online, Ordering::Relaxed);
    }

    fn new(processors: usize) -> Arc<Self> {
        let turns = (0..MAX_THREADS).map(|_| AtomicU64::new(0)).collect();
        let (processors, places) = (AtomicU64::new(processors as u64), AtomicU64::new(0));
        let loadavg = File::open("/proc/loadavg").ok();
        Arc::new(Self { begun: Instant::now(), loadavg, processors, turns, places })
    }

    /// The place of a thread, counted from zero.
    pub fn place(self: &Arc<Self>, thread: u16) -> Place {
        self.places.fetch_max(u64::from(thread) + 1, Ordering::Relaxed);
        Place { lookout: Arc::clone(self), index: thread.into(), suspicion: Suspicion::default() }
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX).max(1)
    }

    /// Tasks of the host that run or wait for a processor.
    fn runnable(&self) -> Option<u32> {
        sources::read(self.loadavg.as_ref(), text::runnable)
    }

    /// How many threads search, and how many of them have not finished a turn for a while.
    fn count(&self, now_us: u64) -> (u64, u64) {
        let places = usize::try_from(self.places.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
        let turns = self.turns.iter().take(places).map(|turn| turn.load(Ordering::Relaxed));
        turns.filter(|turn| *turn != 0).fold((0, 0), |(all, late), turn| {
            (all + 1, late + u64::from(now_us.saturating_sub(turn) > FRESH_US))
        })
    }
}

impl Place {
    /// A turn of the search has ended. Sleeps for a moment when it is sure that somebody waits behind a search thread.
    pub fn turn(&mut self) {
        let now_us = self.lookout.now_us();
        self.set(now_us);
        if !self.suspicion.looks(now_us) {
            return;
        }
        let (searching, late) = self.lookout.count(now_us);
        let waits = self.lookout.runnable().is_some_and(|runnable| {
            let processors = self.lookout.processors.load(Ordering::Relaxed);
            somebody_waits(runnable.into(), searching, late, processors)
        });
        if self.suspicion.seen(waits, now_us, searching) {
            self.rests();
            std::thread::sleep(SLEEP);
        }
    }

    /// The thread does not search for a while.
    pub fn rests(&self) {
        self.set(0);
    }

    fn set(&self, us: u64) {
        if let Some(turn) = self.lookout.turns.get(self.index) {
            turn.store(us, Ordering::Relaxed);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.rests();
    }
}

/// Every search thread runs, so what is runnable besides them and beyond the processors that have none waits behind one.
fn somebody_waits(runnable: u64, searching: u64, late: u64, processors: u64) -> bool {
    late == 0 && runnable > searching.max(processors)
}

/// What one thread has seen, and when it looks again.
#[derive(Debug, Default)]
struct Suspicion {
    looks: u8,
    look_at_us: u64,
    slept_at_us: u64,
    gap_us: u64,
}

impl Suspicion {
    fn looks(&self, now_us: u64) -> bool {
        now_us >= self.look_at_us
    }

    /// Takes what a look saw; tells whether to sleep.
    fn seen(&mut self, waits: bool, now_us: u64, searching: u64) -> bool {
        if !waits {
            self.looks = 0;
            self.look_at_us = now_us + LOOK_EVERY_US + LOOK_EVERY_US_PER_THREAD * searching;
            return false;
        }
        self.looks += 1;
        if self.looks < LOOKS {
            return false;
        }
        self.looks = 0;
        let again = self.slept_at_us > 0 && now_us.saturating_sub(self.slept_at_us) < 2 * self.gap_us;
        self.gap_us = if again { (2 * self.gap_us).min(MOST_GAP_US) } else { LEAST_GAP_US };
        self.slept_at_us = now_us;
        self.look_at_us = now_us + self.gap_us;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn somebody_waits_only_where_every_search_thread_runs_and_the_rest_has_no_processor() {
        for (runnable, searching, late, processors, waits) in [
            (2, 2, 0, 2, false),
            (3, 2, 0, 2, true),
            (3, 2, 1, 2, false),
            (8, 7, 0, 8, false),
            (9, 7, 0, 8, true),
            (5, 4, 0, 2, true),
            (0, 2, 0, 2, false),
        ] {
            let told = somebody_waits(runnable, searching, late, processors);
            assert_eq!(told, waits, "{runnable} {searching} {late} {processors}");
        }
    }

    #[test]
    fn a_thread_sleeps_when_it_was_seen_at_several_turns_in_a_row_and_ever_more_rarely_in_vain() {
        let mut suspicion = Suspicion::default();
        let (mut now, mut slept) = (1, Vec::new());
        while now < 1_000_000 {
            if suspicion.looks(now) && suspicion.seen(true, now, 2) {
                slept.push(now);
            }
            now += 50;
        }
        assert_eq!(slept[0], 1 + 50 * (u64::from(LOOKS) - 1));
        let gaps: Vec<_> = slept.windows(2).map(|two| two[1] - two[0]).collect();
        assert!(gaps[0] >= LEAST_GAP_US && gaps.windows(2).all(|two| two[0] <= two[1] + 50), "{gaps:?}");
        assert!(slept.len() < 45, "{}", slept.len());
        let mut suspicion = Suspicion::default();
        for waits in [true, true, false, true, true] {
            assert!(!suspicion.seen(waits, 1, 2), "not in a row");
        }
    }

    #[test]
    fn threads_that_search_are_counted_and_those_that_rest_are_not() {
        let lookout = Lookout::new(2);
        let (first, second) = (lookout.place(0), lookout.place(1));
        assert_eq!(lookout.count(1_000), (0, 0));
        first.set(1_000);
        second.set(900);
        assert_eq!(lookout.count(1_000), (2, 0));
        assert_eq!(lookout.count(1_051), (2, 1), "one was displaced");
        second.rests();
        assert_eq!(lookout.count(1_000), (1, 0));
        drop(first);
        assert_eq!(lookout.count(1_000), (0, 0));
    }

    #[test]
    fn the_kernel_tells_how_many_tasks_are_runnable() {
        assert!(Lookout::of_host().runnable().is_some_and(|tasks| tasks > 0), "this one at least");
    }
}
