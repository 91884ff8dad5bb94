//! Which processor each search thread runs on, and what follows when processors come and go: one is taken offline, a container's
//! set is changed.

use crate::{affinity, search::ThreadIds};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The places of the search threads.
#[derive(Debug)]
pub struct Placement {
    /// Whether threads are pinned.
    pins: bool,
    /// Search threads at most.
    threads: usize,
    /// Processors that stay free on a large host.
    buffer: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What the process may use.
    allowed: Vec<usize>,
    /// One for each thread, as far as there are any.
    chosen: Vec<usize>,
    /// Index and kernel id of every thread that was placed; some may have ended.
    placed: Vec<(u16, i32)>,
}

impl State {
    fn of(&self, index: u16) -> Option<usize> {
        self.chosen.get(usize::from(index) % self.chosen.len().max(1)).copied()
    }
}

impl Placement {
    /// For `threads` search threads on the processors that this process may use now.
    pub fn new(pins: bool, threads: u16, buffer: usize) -> Self {
        let placement = Self { pins, threads: threads.into(), buffer, state: Mutex::default() };
        placement.choose(affinity::allowed().unwrap_or_default());
        placement
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes another set of processors; whether it is another one.
    fn choose(&self, allowed: Vec<usize>) -> bool {
        let mut state = self.state();
        let changed = state.allowed != allowed;
        if changed && self.pins {
            state.chosen = affinity::choose(&allowed, self.threads, self.buffer);
        }
        state.allowed = allowed;
        changed
    }

    /// Puts the calling thread onto its processor.
    pub fn settle(&self, index: u16, tid: i32) {
        let mut state = self.state();
        state.placed.retain(|(placed, _)| *placed != index);
        state.placed.push((index, tid));
        pin(state.of(index), tid);
    }

    /// Looks which processors this process may use now. When they are others, the threads that live move; returns whether.
    pub fn follow(&self, living: &ThreadIds) -> bool {
        // Silence changes nothing, and no process has no processor.
        let allowed = affinity::allowed().unwrap_or_default();
        if allowed.is_empty() || !self.choose(allowed) {
            return false;
        }
        // While this is held no thread ends, so that no id is another program's by now.
        let living = living.lock().unwrap_or_else(PoisonError::into_inner);
        let state = self.state();
        for (index, tid) in state.placed.iter().filter(|(_, tid)| living.contains(tid)) {
            pin(state.of(*index), *tid);
        }
        true
    }
}

fn pin(processor: Option<usize>, tid: i32) {
    if let Some(error) = processor.and_then(|processor| affinity::pin(tid, processor).err()) {
        tracing::warn!(%error, ?processor, "a search thread is not on its processor");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::unistd::gettid;
    use std::sync::mpsc::channel;

    /// Affinity belongs to a thread, so a thread plays the process.
    #[test]
    fn threads_move_when_the_processors_of_the_process_change_and_dead_ones_are_left_alone() {
        let all = affinity::allowed().unwrap();
        let (first, last) = (all[0], *all.last().unwrap());
        std::thread::spawn(move || {
            let placement = Placement::new(true, 2, 0);
            let (tell, told) = channel();
            let (end, ended) = channel::<()>();
            let searcher = std::thread::spawn(move || {
                tell.send(gettid().as_raw()).unwrap();
                let _ = ended.recv();
                affinity::allowed().unwrap()
            });
            let tid = told.recv().unwrap();
            let living = ThreadIds::default();
            living.lock().unwrap().push(tid);
            placement.settle(1, tid);
            placement.settle(0, 999_999_999);
            assert!(!placement.follow(&living), "nothing has changed");
            affinity::pin(0, first).unwrap();
            assert_eq!(placement.follow(&living), all.len() > 1);
            affinity::pin(0, last).unwrap();
            assert_eq!(placement.follow(&living), all.len() > 1);
            drop(end);
            assert_eq!(searcher.join().unwrap(), [last]);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn who_is_not_to_be_pinned_is_not() {
        let placement = Placement::new(false, 2, 0);
        let before = affinity::allowed().unwrap();
        placement.settle(0, gettid().as_raw());
        assert_eq!(affinity::allowed().unwrap(), before);
    }
}
