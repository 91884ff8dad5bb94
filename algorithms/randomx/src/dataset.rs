//! The data set while it is filled: chunks of items, each handed out once, to any number of threads.
#![allow(unsafe_code)]

use crate::library::{Cache, Dataset, ITEMS};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Items that are computed at a time: about a millisecond's work.
const CHUNK_ITEMS: usize = 2048;
/// Chunks of the data set.
pub(crate) const CHUNKS: usize = ITEMS.div_ceil(CHUNK_ITEMS);

/// A data set that is being filled.
#[derive(Debug)]
pub(crate) struct Filling {
    dataset: Arc<Dataset>,
    /// Chunks handed out, and a few more once none is left.
    taken: AtomicUsize,
    done: AtomicUsize,
}

/// What became of a call of [`Filling::fill_chunk`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filled {
    /// A chunk; there may be more.
    Chunk,
    /// All chunks have been handed out.
    NothingLeft,
}

impl Filling {
    /// Takes a data set that nobody uses yet.
    pub(crate) fn new(dataset: Dataset) -> Self {
        Self { dataset: Arc::new(dataset), taken: AtomicUsize::new(0), done: AtomicUsize::new(0) }
    }

    /// Computes one chunk from `cache`, which must always be the same.
    pub(crate) fn fill_chunk(&self, cache: &Cache) -> Filled {
        if self.taken.load(Ordering::Relaxed) >= CHUNKS {
            return Filled::NothingLeft;
        }
        // Each thread adds at most once after the last chunk is gone, so this does not overflow.
        let chunk = self.taken.fetch_add(1, Ordering::Relaxed);
        if chunk >= CHUNKS {
            return Filled::NothingLeft;
        }
        let first = chunk * CHUNK_ITEMS;
        let count = CHUNK_ITEMS.min(ITEMS - first);
        // SAFETY: the items lie within the data set. Nobody else has this chunk, since the counter never gives a number
        // twice, and nobody reads before `filled` is true for all of them.
        unsafe { self.dataset.fill(cache, first, count) };
        self.done.fetch_add(1, Ordering::Release);
        Filled::Chunk
    }

    /// Chunks that are finished.
    pub(crate) fn done(&self) -> usize {
        self.done.load(Ordering::Acquire)
    }

    /// The data set, once every chunk is finished.
    pub(crate) fn filled(&self) -> Option<Arc<Dataset>> {
        (self.done() == CHUNKS).then(|| Arc::clone(&self.dataset))
    }

    /// The data set, whatever it holds.
    pub(crate) fn dataset(&self) -> &Dataset {
        &self.dataset
    }
}
