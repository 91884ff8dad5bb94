//! Which processors the search threads run on.

use nix::{
    errno::Errno,
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};
use std::num::NonZero;

/// From so many processors on, some are left free of search threads.
pub const BUFFER_FROM: usize = 8;

/// The processors for `threads` search threads, one each, spread evenly over those that are `allowed`. On a host with
/// at least [`BUFFER_FROM`] of them `buffer` stay free: the first, where interrupts and new programs tend to land. There
/// may be fewer than `threads`, when there are fewer processors.
pub fn choose(allowed: &[usize], threads: usize, buffer: usize) -> Vec<usize> {
    let free = if allowed.len() >= BUFFER_FROM { buffer.min(allowed.len() - 1) } else { 0 };
    let usable = allowed.get(free..).unwrap_or_default();
    let count = threads.min(usable.len());
    (0..count).filter_map(|n| usable.get(n * usable.len() / count)).copied().collect()
}

/// How many processors this process may use at a time: its affinity and the quota of its control group.
pub fn usable() -> u16 {
    let usable = std::thread::available_parallelism().map_or(1, NonZero::get);
    u16::try_from(usable).unwrap_or(u16::MAX)
}

/// The processors that this process may use, ascending.
pub fn allowed() -> Result<Vec<usize>, Errno> {
    let set = sched_getaffinity(Pid::from_raw(0))?;
    Ok((0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).collect())
}

/// Lets a thread, the calling one when `tid` is 0, run on one processor only.
pub fn pin(tid: i32, processor: usize) -> Result<(), Errno> {
    let mut set = CpuSet::new();
    set.set(processor)?;
    sched_setaffinity(Pid::from_raw(tid), &set)
}

/// Lets a thread, the calling one when `tid` is 0, run on any of these processors.
pub fn unpin(tid: i32, processors: &[usize]) -> Result<(), Errno> {
    let mut set = CpuSet::new();
    processors.iter().try_for_each(|cpu| set.set(*cpu))?;
    sched_setaffinity(Pid::from_raw(tid), &set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_thread_has_a_processor_of_its_own_and_large_hosts_keep_some_free() {
        let all = |n: usize| (0..n).collect::<Vec<_>>();
        for (allowed, threads, buffer, wanted) in [
            (all(2), 2, 1, vec![0, 1]),
            (all(2), 1, 1, vec![0]),
            (all(4), 9, 1, vec![0, 1, 2, 3]),
            (all(8), 8, 1, vec![1, 2, 3, 4, 5, 6, 7]),
            (all(8), 4, 0, vec![0, 2, 4, 6]),
            (all(9), 4, 1, vec![1, 3, 5, 7]),
            (all(8), 8, 100, vec![7]),
            (vec![3, 5, 11], 2, 0, vec![3, 5]),
            (all(4), 0, 0, vec![]),
            (vec![], 4, 1, vec![]),
        ] {
            assert_eq!(choose(&allowed, threads, buffer), wanted, "{allowed:?} {threads} {buffer}");
        }
    }

    #[test]
    fn a_pinned_thread_may_use_its_processor_only_until_it_is_let_go() {
        let before = allowed().unwrap();
        let last = *before.last().unwrap();
        let everywhere = before.clone();
        std::thread::spawn(move || {
            pin(0, last).unwrap();
            assert_eq!(allowed(), Ok(vec![last]));
            unpin(0, &everywhere).unwrap();
            assert_eq!(allowed(), Ok(everywhere));
        })
        .join()
        .unwrap();
        assert_eq!(allowed(), Ok(before), "no other thread is touched");
        assert!(pin(0, usize::MAX).is_err());
    }
}
