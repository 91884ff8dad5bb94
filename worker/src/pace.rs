//! The pace of the search threads: shared without a lock, read before each chunk, kept by short rests.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use worker_core::{Pace, Rhythm};

use bus_schemas::policy::Priority;

/// Bits of one time in the shared word, microseconds: up to sixteen seconds.
const TIME_BITS: u32 = 24;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;

/// The pace of all threads, as one word.
#[derive(Debug, Clone)]
pub struct SharedPace(Arc<AtomicU64>);

impl Default for SharedPace {
    fn default() -> Self {
        let rhythm = Rhythm { work_us: 1_000, rest_us: 0 };
        let shared = Self(Arc::default());
        shared.set(Pace { cap_percent: 100, priority: Priority::Idle, rhythm, wide_vectors: false });
        shared
    }
}

impl SharedPace {
    /// From the next chunk on.
    pub fn set(&self, pace: Pace) {
        let Pace { cap_percent, priority, rhythm, wide_vectors } = pace;
        let time = |us: u32| u64::from(us).min(TIME_MASK);
        let background = u64::from(priority == Priority::Background);
        let word = u64::from(cap_percent.clamp(1, 100))
            | background << 8
            | u64::from(wide_vectors) << 9
            | time(rhythm.work_us.max(1)) << 16
            | time(rhythm.rest_us) << (16 + TIME_BITS);
        self.0.store(word, Ordering::Relaxed);
    }

    /// The pace now.
    pub fn get(&self) -> Pace {
        let word = self.0.load(Ordering::Relaxed);
        let time = |shift: u32| u32::try_from(word >> shift & TIME_MASK).unwrap_or(u32::MAX);
        Pace {
            cap_percent: (word & 0xff) as u8,
            priority: if word >> 8 & 1 == 1 { Priority::Background } else { Priority::Idle },
            rhythm: Rhythm { work_us: time(16), rest_us: time(16 + TIME_BITS) },
            wide_vectors: word >> 9 & 1 == 1,
        }
    }
}

/// How long to rest after `worked`, and `None` while there is more to do before that. A rest of no length is due as well:
/// what was worked before it is settled.
pub fn rest_after(worked: Duration, pace: Pace) -> Option<Duration> {
    let work = Duration::from_micros(pace.rhythm.work_us.into());
    if worked < work {
        return None;
    }
    let cap = u32::from(pace.cap_percent.clamp(1, 100));
    let for_cap = worked.saturating_mul(100 - cap) / cap;
    Some(for_cap.max(Duration::from_micros(pace.rhythm.rest_us.into())))
}

/// Rests, and wakes for nothing but its end and somebody who unparks the thread because it is `stopped`.
pub fn rest(length: Duration, stopped: impl Fn() -> bool) {
    let begun = Instant::now();
    while !stopped() {
        let Some(left) = length.checked_sub(begun.elapsed()).filter(|left| !left.is_zero()) else { return };
        std::thread::park_timeout(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    fn pace(cap_percent: u8, work_us: u32, rest_us: u32) -> Pace {
        let rhythm = Rhythm { work_us, rest_us };
        Pace { cap_percent, priority: Priority::Background, rhythm, wide_vectors: cap_percent > 50 }
    }

    #[test]
    fn every_pace_is_read_as_it_was_set() {
        let shared = SharedPace::default();
        for wanted in [pace(1, 1, 0), pace(100, 500, 20), pace(37, 16_000_000, 16_000_000)] {
            shared.set(wanted);
            assert_eq!(shared.get(), wanted);
        }
    }

    #[test]
    fn a_rest_ends_at_once_for_who_is_stopped_and_unparked() {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let begun = Instant::now();
        let resting =
            std::thread::spawn(move || rest(Duration::from_secs(600), || stopped.load(Ordering::Acquire)));
        stop.store(true, Ordering::Release);
        resting.thread().unpark();
        resting.join().unwrap();
        assert!(begun.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn rests_keep_the_rhythm_and_the_cap() {
        let ms = Duration::from_millis;
        assert_eq!(rest_after(Duration::from_micros(999), pace(100, 1_000, 20)), None);
        assert_eq!(rest_after(ms(1), pace(100, 1_000, 20)), Some(Duration::from_micros(20)));
        assert_eq!(rest_after(ms(1), pace(100, 1_000, 0)), Some(Duration::ZERO));
        assert_eq!(rest_after(ms(2), pace(50, 1_000, 20)), Some(ms(2)));
        assert_eq!(rest_after(ms(1), pace(1, 1_000, 20)), Some(ms(99)));
    }
}
