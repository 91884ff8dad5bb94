//! A seed's context: first its cache is filled by one thread, then, in the fast mode, its data set by all that call.

use crate::{
    SEED_LEN,
    bound::Bound,
    dataset::{CHUNKS, Filled, Filling, Source},
    library::{Abilities, Backing, Cache, Dataset, EmptyCache},
    memory::Spare,
};
use algorithm_api::{
    Algorithm,
    context::{Context, ContextError, Mode, Progress, Report},
};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};

/// The cache costs about as much as so many chunks of the data set.
const CACHE_PARTS: u64 = 400;

/// What belongs to one seed.
#[derive(Debug)]
pub(crate) struct SeedContext {
    seed: [u8; SEED_LEN],
    abilities: Abilities,
    cache: Mutex<CacheState>,
    /// In the fast mode.
    filling: Option<Filling>,
    ready: OnceLock<Arc<Bound>>,
}

/// The cache and what became of it.
#[derive(Debug)]
enum CacheState {
    Empty(EmptyCache),
    Filled(Arc<Cache>),
    /// Not needed any more, or its filling thread has panicked.
    Gone,
}

impl SeedContext {
    pub(crate) fn light(abilities: Abilities, seed: [u8; SEED_LEN]) -> Result<Self, ContextError> {
        Self::new(abilities, seed, None)
    }

    pub(crate) fn fast(
        abilities: Abilities,
        seed: [u8; SEED_LEN],
        spare: &Arc<Spare>,
    ) -> Result<Self, ContextError> {
        let filling = Filling::new(Dataset::reserve(spare)?, Source::best(&seed));
        Self::new(abilities, seed, Some(filling))
    }

    fn new(
        abilities: Abilities,
        seed: [u8; SEED_LEN],
        filling: Option<Filling>,
    ) -> Result<Self, ContextError> {
        let cache = Mutex::new(CacheState::Empty(Cache::reserve(abilities)?));
        Ok(Self { seed, abilities, cache, filling, ready: OnceLock::new() })
    }

    /// Waits while another thread fills the cache.
    pub(crate) fn wait_for_cache(&self) {
        drop(self.cache.lock());
    }

    /// The filled cache, filling it if nobody has. `None` while another thread does.
    fn cache(&self) -> Option<Arc<Cache>> {
        let mut state: MutexGuard<'_, CacheState> = match self.cache.try_lock() {
            Ok(state) => state,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        match std::mem::replace(&mut *state, CacheState::Gone) {
            CacheState::Empty(empty) => {
                let cache = Arc::new(empty.fill(&self.seed));
                *state = CacheState::Filled(Arc::clone(&cache));
                Some(cache)
            }
            CacheState::Filled(cache) => {
                *state = CacheState::Filled(Arc::clone(&cache));
                Some(cache)
            }
            CacheState::Gone => None,
        }
    }

    fn finish(&self, backing: Backing) -> Progress {
        self.ready.get_or_init(|| Arc::new(Bound::new(self.seed, self.abilities, backing)));
        if self.filling.is_some() {
            *self.cache.lock().unwrap_or_else(PoisonError::into_inner) = CacheState::Gone;
        }
        Progress::Ready
    }

    /// Whether the cache is filled, as far as can be seen without waiting.
    fn cache_parts(&self) -> u64 {
        let filled = self.cache.try_lock().is_ok_and(|state| !matches!(*state, CacheState::Empty(_)));
        if filled { CACHE_PARTS } else { 0 }
    }
}

impl Context for SeedContext {
    fn seed(&self) -> &[u8] {
        &self.seed
    }

    fn mode(&self) -> Mode {
        if self.filling.is_some() { Mode::Fast } else { Mode::Light }
    }

    /// One of the first calls fills the cache, which takes 0.3 to 0.6 s.
    fn advance(&self) -> Progress {
        if self.ready.get().is_some() {
            return Progress::Ready;
        }
        let Some(cache) = self.cache() else { return Progress::Waiting };
        let Some(filling) = &self.filling else { return self.finish(Backing::Light(cache)) };
        let filled = filling.fill_chunk(&cache);
        match (filling.filled(), filled) {
            (Some(dataset), _) => self.finish(Backing::Fast(dataset)),
            (None, Filled::Chunk) => self.progress(),
            (None, Filled::NothingLeft) => Progress::Waiting,
        }
    }

    fn progress(&self) -> Progress {
        if self.ready.get().is_some() {
            return Progress::Ready;
        }
        let (done, all) = self.filling.as_ref().map_or((0, 0), |f| (f.done() as u64, CHUNKS as u64));
        let cache = if done > 0 { CACHE_PARTS } else { self.cache_parts() };
        Progress::Underway { done: cache + done, total: CACHE_PARTS + all }
    }

    fn algorithm(&self) -> Option<Arc<dyn Algorithm>> {
        self.ready.get().map(|bound| Arc::clone(bound) as Arc<dyn Algorithm>)
    }

    fn report(&self) -> Report {
        let cache = match &*self.cache.lock().unwrap_or_else(PoisonError::into_inner) {
            CacheState::Filled(cache) => Some(cache.area()),
            CacheState::Empty(_) | CacheState::Gone => None,
        };
        let dataset = self.filling.as_ref().and_then(|filling| filling.dataset().area());
        let scratchpads = self.ready.get().and_then(|bound| bound.area());
        let areas = [cache, dataset, scratchpads].into_iter().flatten().collect();
        let mut paths = self.abilities.paths();
        paths.extend(self.filling.as_ref().map(|filling| ("data set", filling.source().name())));
        Report { mode: self.mode(), areas, paths }
    }
}
