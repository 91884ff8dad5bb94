//! Algorithms with a context: something that takes seconds and much memory to make and that many inputs share.
//!
//! ```text
//! let context = algorithm.seeded()?.begin(seed, Mode::Fast)?;    // takes memory, computes nothing yet
//! while context.advance() != Progress::Ready { … }               // on as many threads as the caller likes, a bounded step each
//! let ready = context.algorithm()?;                              // an `Algorithm` for inputs that begin with this seed
//! ```
//!
//! The caller owns contexts: it begins the next one while the current one is in use, pauses by not calling, and frees
//! the memory by dropping the context and what came from it. An algorithm without contexts says nothing of all this.

use crate::Algorithm;
use std::{fmt, sync::Arc};

/// How much memory a context may take, and so how fast it makes the search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// As little memory as the algorithm can do with: to judge, or on a host without memory to spare.
    Light,
    /// All the memory that makes the search fast.
    Fast,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Light => "light",
            Self::Fast => "fast",
        })
    }
}

/// An algorithm whose inputs begin with a seed to which a context belongs.
pub trait Seeded: Algorithm {
    /// Length of the seed in bytes: so many first bytes of each input.
    fn seed_len(&self) -> usize;

    /// Memory that a context takes while it is prepared and afterwards, at most, in bytes. Each searching thread takes
    /// [`Descriptor::memory_bytes_per_thread`](crate::Descriptor::memory_bytes_per_thread) beside it.
    fn memory_bytes(&self, mode: Mode) -> u64;

    /// Begins a context. Takes its memory; what computes is [`Context::advance`].
    fn begin(&self, seed: &[u8], mode: Mode) -> Result<Arc<dyn Context>, ContextError>;

    /// Gives back memory that was kept for the next context.
    fn trim(&self);
}

/// What belongs to one seed.
pub trait Context: Send + Sync {
    /// The seed.
    fn seed(&self) -> &[u8];

    /// How much memory it may take.
    fn mode(&self) -> Mode;

    /// Does a part of the preparation on the calling thread, about a millisecond of it unless the algorithm says
    /// otherwise. Any number of threads may call at a time; nothing is lost when some or all stop calling.
    fn advance(&self) -> Progress;

    /// How far the preparation is, without doing any of it.
    fn progress(&self) -> Progress;

    /// The algorithm over this context, once that is ready. It refuses inputs that begin with another seed.
    fn algorithm(&self) -> Option<Arc<dyn Algorithm>>;

    /// What was obtained of memory and of the processor's abilities.
    fn report(&self) -> Report;
}

/// How far a preparation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// There is more to do, also for the calling thread. Parts of equal work.
    Underway {
        /// Parts done.
        done: u64,
        /// All parts.
        total: u64,
    },
    /// Other threads are at what is left; the calling thread can only come back later.
    Waiting,
    /// The context can be used.
    Ready,
}

/// Pages of a piece of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pages {
    /// Reserved huge pages (`vm.nr_hugepages`): cannot be swapped out, split or moved.
    Huge,
    /// The kernel was asked for transparent huge pages.
    Transparent {
        /// So many bytes really lie in huge pages; `None` where the kernel does not tell.
        huge_bytes: Option<u64>,
    },
    /// The smallest pages.
    Small,
}

/// A piece of memory that a context holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Area {
    /// What lies there.
    pub name: &'static str,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its pages.
    pub pages: Pages,
}

/// What a context obtained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How much memory it may take.
    pub mode: Mode,
    /// The memory that it holds now.
    pub areas: Vec<Area>,
    /// The code paths that were chosen, each a name and a choice.
    pub paths: Vec<(&'static str, &'static str)>,
}

/// Why a context cannot be begun.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContextError {
    /// Not a seed of this algorithm.
    #[error("a seed of {len} bytes: it must have {wanted}")]
    SeedLength {
        /// Its length in bytes.
        len: usize,
        /// The right length in bytes.
        wanted: usize,
    },
    /// The system does not give the memory.
    #[error(
        "no {bytes} bytes of memory for the {what}: {reason}; use the light mode, or free memory and try again"
    )]
    Memory {
        /// What it is for.
        what: &'static str,
        /// Its size in bytes.
        bytes: u64,
        /// What the system says.
        reason: String,
    },
}
