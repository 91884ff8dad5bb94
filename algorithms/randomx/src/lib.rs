//! RandomX version 1 (`rx/0`) as Monero uses it: <https://github.com/tevador/RandomX>.
//!
//! | | bytes |
//! |---|---|
//! | input | seed hash (32), then the block hashing blob (39 to 512) |
//! | position, finding | the nonce, 4 bytes little-endian; those of the input are ignored. [`nonce_offset`] says where it stands |
//! | hash | 32, read as a little-endian integer |
//!
//! The version is part of the name, since version 2 of upstream gives other hashes for the same input and never may be
//! taken for this one.
//!
//! All hashes of one seed share a [context](algorithm_api::context):
//!
//! | mode | memory | what it is good for |
//! |---|---|---|
//! | light | a cache of 256 MiB | judging shares; searching where there is no memory |
//! | fast | a data set of 2,080 MiB, and the cache while it is computed | searching, about ten times as fast |
//!
//! Each thread takes a scratchpad of 2 MiB beside that. Memory is asked for in reserved huge pages
//! (`sysctl vm.nr_hugepages=1172` for a data set, its cache and four threads), else in transparent huge pages, else in
//! what there is; [`Report`](algorithm_api::context::Report) says what was obtained.
//!
//! [`RandomX`] used without a context works in light mode over the caches of the [`KEPT_SEEDS`] seeds used last.

mod blob;
mod bound;
mod context;
mod dataset;
mod float;
mod library;
mod memory;

pub use blob::{NONCE_LEN, SEED_LEN, nonce_offset};

use algorithm_api::{
    Algorithm, Descriptor, InvalidInput, Search,
    context::{Context, ContextError, Mode, Progress, Seeded},
};
use blob::{Blob, MAX_BLOB_LEN, MIN_BLOB_LEN};
use context::SeedContext;
use library::{Abilities, CACHE_LEN, ITEM_LEN, ITEMS, SCRATCHPAD_LEN};
use memory::Spare;
use std::{
    borrow::Cow,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

/// Seeds whose caches [`RandomX`] keeps for use without a context: the current one and the one before or after it.
pub const KEPT_SEEDS: usize = 2;

/// Compiled code and the machine's own state, in bytes, at most.
const MACHINE_LEN: usize = 256 << 10;

static DESCRIPTOR: Descriptor = Descriptor {
    id: Cow::Borrowed("randomx-v1"),
    version: 1,
    input_len: SEED_LEN + MIN_BLOB_LEN..=SEED_LEN + MAX_BLOB_LEN,
    finding_len: NONCE_LEN..=NONCE_LEN,
    positions: 1 << 32,
    memory_bytes_per_thread: (SCRATCHPAD_LEN + MACHINE_LEN) as u64,
};

/// The algorithm. One of it is enough for a process.
#[derive(Debug)]
pub struct RandomX {
    abilities: OnceLock<Abilities>,
    /// Light contexts, the one used last at the end.
    kept: Mutex<Vec<Arc<SeedContext>>>,
    spare: OnceLock<Arc<Spare>>,
}

impl Default for RandomX {
    fn default() -> Self {
        Self::new()
    }
}

impl RandomX {
    /// Takes no memory yet.
    pub const fn new() -> Self {
        Self { abilities: OnceLock::new(), kept: Mutex::new(Vec::new()), spare: OnceLock::new() }
    }

    fn abilities(&self) -> Abilities {
        *self.abilities.get_or_init(Abilities::find)
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Arc<SeedContext>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The kept light context of a seed, begun if need be.
    fn light(&self, seed: &[u8; SEED_LEN]) -> Result<Arc<SeedContext>, ContextError> {
        let mut kept = self.kept();
        let known = kept.iter().position(|context| context.seed() == seed);
        let context = match known {
            Some(at) => kept.remove(at),
            None => {
                // Gives memory back before it takes more; who still uses the oldest keeps it.
                let excess = (kept.len() + 1).saturating_sub(KEPT_SEEDS);
                kept.drain(..excess);
                Arc::new(SeedContext::light(self.abilities(), *seed)?)
            }
        };
        kept.push(Arc::clone(&context));
        Ok(context)
    }

    /// The algorithm over the kept light context of the input's seed, which is prepared now if it is not.
    fn plain(&self, input: &[u8]) -> Result<Arc<dyn Algorithm>, InvalidInput> {
        DESCRIPTOR.check_input(input)?;
        let (seed, _) = Blob::read(input)?;
        let no_memory =
            InvalidInput::Malformed { what: "input", reason: "no memory for the cache of its seed" };
        let context = self.light(&seed).map_err(|_| no_memory.clone())?;
        while context.advance() != Progress::Ready {
            context.wait_for_cache();
        }
        context.algorithm().ok_or(no_memory)
    }
}

impl Algorithm for RandomX {
    fn descriptor(&self) -> &Descriptor {
        &DESCRIPTOR
    }

    fn prepare(&self, input: &[u8]) -> Result<Box<dyn Search>, InvalidInput> {
        self.plain(input)?.prepare(input)
    }

    fn verify(&self, input: &[u8], finding: &[u8]) -> Result<[u8; 32], InvalidInput> {
        DESCRIPTOR.check_finding(finding)?;
        self.plain(input)?.verify(input, finding)
    }

    fn seeded(&self) -> Option<&dyn Seeded> {
        Some(self)
    }
}

impl Seeded for RandomX {
    fn seed_len(&self) -> usize {
        SEED_LEN
    }

    fn memory_bytes(&self, mode: Mode) -> u64 {
        let dataset = if mode == Mode::Fast { ITEMS * ITEM_LEN } else { 0 };
        (CACHE_LEN + dataset) as u64
    }

    /// Light contexts of one seed are one and the same.
    fn begin(&self, seed: &[u8], mode: Mode) -> Result<Arc<dyn Context>, ContextError> {
        let wrong = |_| ContextError::SeedLength { len: seed.len(), wanted: SEED_LEN };
        let seed = <&[u8; SEED_LEN]>::try_from(seed).map_err(wrong)?;
        match mode {
            Mode::Light => Ok(self.light(seed)?),
            Mode::Fast => {
                let spare = self.spare.get_or_init(Arc::default);
                Ok(Arc::new(SeedContext::fast(self.abilities(), *seed, spare)?))
            }
        }
    }

    fn trim(&self) {
        self.kept().clear();
        if let Some(spare) = self.spare.get() {
            spare.clear();
        }
    }
}
