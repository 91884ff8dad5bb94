//! The filling of a data set: chunks of items, each handed out once, to any number of threads.
#![allow(unsafe_code)]

use super::{Lanes, Programs};
use crate::library::{Cache, Dataset, ITEMS};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Items that are computed at a time: about a millisecond's work.
const CHUNK_ITEMS: usize = 2048;
/// Chunks of the data set.
pub(crate) const CHUNKS: usize = ITEMS.div_ceil(CHUNK_ITEMS);

/// How items are computed.
#[derive(Debug)]
pub(crate) enum Source {
    /// By the library's compiled programs, one item at a time.
    Library,
    /// Many at a time.
    Lanes(Lanes, Box<Programs>),
}

impl Source {
    /// The fastest that this processor has.
    pub(crate) fn best(seed: &[u8]) -> Self {
        let lanes = Lanes::available().first().copied();
        lanes.map_or(Self::Library, |lanes| Self::Lanes(lanes, Box::new(Programs::of(seed))))
    }

    /// For a report.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Library => "library",
            Self::Lanes(lanes, _) => lanes.name(),
        }
    }
}

/// A data set that is being filled.
#[derive(Debug)]
pub(crate) struct Filling {
    dataset: Arc<Dataset>,
    source: Source,
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
    pub(crate) fn new(dataset: Dataset, source: Source) -> Self {
        Self { dataset: Arc::new(dataset), source, taken: AtomicUsize::new(0), done: AtomicUsize::new(0) }
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
        match &self.source {
            // SAFETY: the items lie within the data set. Nobody else has this chunk, since the counter never gives a
            // number twice, and nobody reads before `filled` has seen that all are finished.
            Source::Library => unsafe { self.dataset.fill(cache, first, count) },
            Source::Lanes(lanes, programs) => {
                // SAFETY: as above.
                let items = unsafe { self.dataset.items(first, count) };
                lanes.fill(programs, cache.lines(), first as u64, items);
            }
        }
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

    pub(crate) fn source(&self) -> &Source {
        &self.source
    }

    /// The data set, whatever it holds.
    pub(crate) fn dataset(&self) -> &Dataset {
        &self.dataset
    }
}
