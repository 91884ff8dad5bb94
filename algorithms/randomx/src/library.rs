//! The reference library, from the sources that come with the crate `randomx-rs`; of the crate itself only these are
//! used, since it offers neither inputs in a pipeline nor a data set in memory of ours.
#![allow(unsafe_code)]

use crate::{
    dataset::Item,
    float::FloatState,
    memory::{self, Execute, Mapping, Spare, may_execute},
};
use algorithm_api::context::{Area, ContextError, Pages};
use std::{
    ffi::{c_int, c_ulong, c_void},
    fmt,
    ptr::{NonNull, null_mut},
    sync::Arc,
};

// Brings the library into the link.
use randomx_rs as _;

/// Length of a data set item in bytes.
pub(crate) const ITEM_LEN: usize = 64;
/// Items of the data set.
pub(crate) const ITEMS: usize = (2_147_483_648 + 33_554_368) / ITEM_LEN;
/// Length of the cache in bytes.
pub(crate) const CACHE_LEN: usize = 256 << 20;
/// Length of a machine's scratchpad in bytes.
pub(crate) const SCRATCHPAD_LEN: usize = 2 << 20;

const LARGE_PAGES: c_int = 1;
const HARD_AES: c_int = 2;
const FULL_MEM: c_int = 4;
const JIT: c_int = 8;
const SECURE: c_int = 16;

#[repr(C)]
struct RawCache {
    /// The header asserts that a pointer to the structure points to this, its first member; its JIT relies on it.
    memory: *mut u8,
}

/// The library's structure of a data set as far as it is read by machines and by `randomx_init_dataset`. Ours is never
/// given to `randomx_release_dataset`.
#[repr(C)]
struct RawDataset {
    memory: *mut u8,
    release: *mut c_void,
}

#[repr(C)]
struct RawVm {
    _private: [u8; 0],
}

unsafe extern "C" {
    fn randomx_get_flags() -> c_int;
    fn randomx_alloc_cache(flags: c_int) -> *mut RawCache;
    fn randomx_init_cache(cache: *mut RawCache, key: *const c_void, len: usize);
    fn randomx_release_cache(cache: *mut RawCache);
    fn randomx_dataset_item_count() -> c_ulong;
    fn randomx_init_dataset(dataset: *mut RawDataset, cache: *mut RawCache, first: c_ulong, count: c_ulong);
    fn randomx_get_dataset_memory(dataset: *mut RawDataset) -> *mut c_void;
    fn randomx_create_vm(flags: c_int, cache: *mut RawCache, dataset: *mut RawDataset) -> *mut RawVm;
    fn randomx_destroy_vm(vm: *mut RawVm);
    fn randomx_calculate_hash_first(vm: *mut RawVm, input: *const c_void, len: usize);
    fn randomx_calculate_hash_next(vm: *mut RawVm, next: *const c_void, len: usize, hash: *mut c_void);
    fn randomx_calculate_hash_last(vm: *mut RawVm, hash: *mut c_void);
}

/// The library's abilities that this processor and this process may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Abilities {
    flags: c_int,
}

impl Abilities {
    pub(crate) fn find() -> Self {
        // SAFETY: takes nothing and asks the processor only.
        let flags = unsafe { randomx_get_flags() } & !(JIT | SECURE);
        let compiled = cfg!(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"));
        let jit = match may_execute() {
            Execute::WhileWritable if compiled => JIT,
            Execute::InTurns if compiled => JIT | SECURE,
            _ => 0,
        };
        Self { flags: flags | jit }
    }

    /// Each choice by name.
    pub(crate) fn paths(self) -> Vec<(&'static str, &'static str)> {
        let programs = match (self.flags & JIT != 0, self.flags & SECURE != 0) {
            (false, _) => "interpreted",
            (true, true) => "compiled, pages writable and executable in turns",
            (true, false) => "compiled",
        };
        let aes = if self.flags & HARD_AES != 0 { "hardware" } else { "software" };
        vec![("programs", programs), ("aes", aes)]
    }
}

/// The 256 MiB from which data set items are computed, for one seed.
pub(crate) struct Cache {
    raw: NonNull<RawCache>,
    reserved: bool,
}

// SAFETY: after `new` the library only reads a cache, from any number of threads.
unsafe impl Send for Cache {}
// SAFETY: as above.
unsafe impl Sync for Cache {}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("reserved", &self.reserved).finish_non_exhaustive()
    }
}

impl Cache {
    /// Takes the memory; nothing may be done with it before [`Cache::fill`].
    pub(crate) fn reserve(abilities: Abilities) -> Result<EmptyCache, ContextError> {
        let taken = memory::grant(CACHE_LEN, |large| {
            let large = if large { LARGE_PAGES } else { 0 };
            // SAFETY: the flags are ones that the processor has.
            NonNull::new(unsafe { randomx_alloc_cache(abilities.flags | large) })
        });
        let Some((raw, reserved)) = taken else {
            let reason = "the RandomX library got none".to_owned();
            return Err(ContextError::Memory { what: "cache", bytes: CACHE_LEN as u64, reason });
        };
        let cache = Self { raw, reserved };
        if !reserved {
            memory::advise_huge(cache.memory(), CACHE_LEN);
        }
        Ok(EmptyCache(cache))
    }

    fn memory(&self) -> NonNull<u8> {
        // SAFETY: the library made the structure, its memory is not null and is never exchanged.
        unsafe { NonNull::new_unchecked((*self.raw.as_ptr()).memory) }
    }

    /// What was obtained.
    pub(crate) fn area(&self) -> Area {
        let pages = if self.reserved {
            Pages::Huge
        } else {
            Pages::Transparent { huge_bytes: memory::huge_bytes_at(self.memory()) }
        };
        Area { name: "cache", bytes: CACHE_LEN as u64, pages }
    }

    /// The filled cache.
    pub(crate) fn lines(&self) -> &[Item] {
        // SAFETY: so many bytes were allocated, at a multiple of 64, and filled; nothing writes to them again.
        unsafe { std::slice::from_raw_parts(self.memory().as_ptr().cast(), CACHE_LEN / ITEM_LEN) }
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        // SAFETY: each machine keeps the cache that it uses alive.
        unsafe { randomx_release_cache(self.raw.as_ptr()) };
    }
}

/// A cache without contents.
#[derive(Debug)]
pub(crate) struct EmptyCache(Cache);

impl EmptyCache {
    /// Fills it, which takes a good part of a second.
    pub(crate) fn fill(self, seed: &[u8]) -> Cache {
        // SAFETY: nobody else knows of this cache yet; the seed is read only.
        unsafe { randomx_init_cache(self.0.raw.as_ptr(), seed.as_ptr().cast(), seed.len()) };
        self.0
    }
}

/// Memory for a data set, in the form that the library reads. Dropped, it gives the memory back to the spare one.
pub(crate) struct Dataset {
    /// Present until the drop.
    mapping: Option<Mapping>,
    raw: Box<RawDataset>,
    spare: Arc<Spare>,
}

// SAFETY: the library reads the structure only, and who writes items is governed by `dataset::Filling`.
unsafe impl Send for Dataset {}
// SAFETY: as above.
unsafe impl Sync for Dataset {}

impl fmt::Debug for Dataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dataset").field("mapping", &self.mapping).finish_non_exhaustive()
    }
}

impl Dataset {
    /// Takes the memory.
    pub(crate) fn reserve(spare: &Arc<Spare>) -> Result<Self, ContextError> {
        let (what, len) = ("data set", ITEMS * ITEM_LEN);
        let mapping = spare.take(what, len)?;
        let memory = mapping.start().as_ptr();
        let mut raw = Box::new(RawDataset { memory, release: null_mut() });
        // SAFETY: the first call takes nothing, the second reads the structure given.
        let agreed = unsafe {
            randomx_dataset_item_count() == ITEMS as c_ulong
                && randomx_get_dataset_memory(&raw mut *raw).cast::<u8>() == memory
        };
        if !agreed {
            let reason = "the RandomX library is another one than this was built for".to_owned();
            return Err(ContextError::Memory { what, bytes: len as u64, reason });
        }
        Ok(Self { mapping: Some(mapping), raw, spare: Arc::clone(spare) })
    }

    /// What was obtained.
    pub(crate) fn area(&self) -> Option<Area> {
        self.mapping.as_ref().map(|mapping| mapping.area("data set"))
    }

    /// Computes `count` items from `first` on into their places.
    ///
    /// # Safety
    /// Nothing else reads or writes these items meanwhile, and there are so many.
    pub(crate) unsafe fn fill(&self, cache: &Cache, first: usize, count: usize) {
        let raw = (&raw const *self.raw).cast_mut();
        // SAFETY: the library writes to the items named and reads the rest; the caller sees to these items.
        unsafe { randomx_init_dataset(raw, cache.raw.as_ptr(), first as c_ulong, count as c_ulong) };
    }
}

impl Dataset {
    /// Some of the items.
    ///
    /// # Safety
    /// Nothing else reads or writes these items while the slice lives, and there are so many.
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn items(&self, first: usize, count: usize) -> &mut [Item] {
        // SAFETY: the memory holds all items from its start on, zero at first; the caller sees to the rest.
        unsafe { std::slice::from_raw_parts_mut(self.raw.memory.cast::<Item>().add(first), count) }
    }
}

impl Drop for Dataset {
    fn drop(&mut self) {
        if let Some(mapping) = self.mapping.take() {
            self.spare.put(mapping);
        }
    }
}

/// What machines compute from, kept alive by each of them.
#[derive(Debug, Clone)]
pub(crate) enum Backing {
    Light(Arc<Cache>),
    /// Filled.
    Fast(Arc<Dataset>),
}

/// One thread's virtual machine with its scratchpad.
pub(crate) struct Machine {
    raw: NonNull<RawVm>,
    backing: Backing,
    reserved: bool,
}

// SAFETY: a machine may move between threads; what it points to is kept alive by `backing` and only read.
unsafe impl Send for Machine {}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine").field("backing", &self.backing).finish_non_exhaustive()
    }
}

impl Machine {
    /// A machine over a filled backing.
    pub(crate) fn new(abilities: Abilities, backing: Backing) -> Result<Self, ContextError> {
        let (flags, cache, dataset) = match &backing {
            Backing::Light(cache) => (0, cache.raw.as_ptr(), null_mut()),
            Backing::Fast(dataset) => (FULL_MEM, null_mut(), (&raw const *dataset.raw).cast_mut()),
        };
        let taken = memory::grant(SCRATCHPAD_LEN, |large| {
            let large = if large { LARGE_PAGES } else { 0 };
            // SAFETY: the flags are ones that the processor has; what the pointers point to is filled and outlives
            // the machine, and the library only reads it.
            NonNull::new(unsafe { randomx_create_vm(abilities.flags | flags | large, cache, dataset) })
        });
        let Some((raw, reserved)) = taken else {
            let reason = "the RandomX library got none".to_owned();
            return Err(ContextError::Memory { what: "scratchpad", bytes: SCRATCHPAD_LEN as u64, reason });
        };
        Ok(Self { raw, backing, reserved })
    }

    /// Whether the scratchpad lies in reserved huge pages.
    pub(crate) fn is_reserved(&self) -> bool {
        self.reserved
    }

    /// Begins with an input, forgetting one that was begun before.
    pub(crate) fn first(&mut self, input: &[u8]) {
        let _guard = FloatState::keep();
        // SAFETY: the machine belongs to this call alone; the input is read only.
        unsafe { randomx_calculate_hash_first(self.raw.as_ptr(), input.as_ptr().cast(), input.len()) };
    }

    /// Ends the input that was begun and begins the next.
    pub(crate) fn next(&mut self, input: &[u8]) -> [u8; 32] {
        let _guard = FloatState::keep();
        let mut hash = [0; 32];
        // SAFETY: as in `first`; the hash has 32 bytes.
        unsafe {
            randomx_calculate_hash_next(
                self.raw.as_ptr(),
                input.as_ptr().cast(),
                input.len(),
                hash.as_mut_ptr().cast(),
            );
        }
        hash
    }

    /// Ends the input that was begun.
    pub(crate) fn last(&mut self) -> [u8; 32] {
        let _guard = FloatState::keep();
        let mut hash = [0; 32];
        // SAFETY: as in `next`.
        unsafe { randomx_calculate_hash_last(self.raw.as_ptr(), hash.as_mut_ptr().cast()) };
        hash
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // SAFETY: nobody else has the machine.
        unsafe { randomx_destroy_vm(self.raw.as_ptr()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Key, input and hash of each test of the library's own.
    pub(crate) fn published() -> Vec<[Vec<u8>; 3]> {
        let vectors: serde_json::Value = serde_json::from_str(include_str!("../tests/vectors.json")).unwrap();
        let field = |case: &serde_json::Value, name| hex::decode(case[name].as_str().unwrap()).unwrap();
        let cases = vectors["randomx"].as_array().unwrap().iter();
        cases.map(|case| ["key_hex", "input_hex", "hash_v1"].map(|name| field(case, name))).collect()
    }

    fn cache(abilities: Abilities, key: &[u8]) -> Arc<Cache> {
        Arc::new(Cache::reserve(abilities).unwrap().fill(key))
    }

    #[test]
    fn the_published_hashes_come_out_alone_and_in_a_pipeline() {
        let cases = published();
        assert_eq!(cases.len(), 5);
        for key in [b"test key 000", b"test key 001"] {
            let cache = cache(Abilities::find(), key);
            let mut machine = Machine::new(Abilities::find(), Backing::Light(cache)).unwrap();
            let of_key: Vec<_> = cases.iter().filter(|[k, ..]| k == key).collect();
            for [_, input, hash] in &of_key {
                machine.first(input);
                assert_eq!(machine.last().as_slice(), hash);
            }
            machine.first(&of_key[0][1]);
            for (this, next) in of_key.iter().zip(of_key.iter().skip(1)) {
                assert_eq!(machine.next(&next[1]).as_slice(), this[2]);
            }
        }
    }

    #[test]
    fn the_cache_holds_the_published_words() {
        let vectors: serde_json::Value = serde_json::from_str(include_str!("../tests/vectors.json")).unwrap();
        let check = &vectors["randomx_cache_check"];
        let cache = cache(Abilities::find(), check["key"].as_str().unwrap().as_bytes());
        for (at, word) in check["cacheMemory_u64"].as_object().unwrap() {
            let word = u64::from_str_radix(word.as_str().unwrap().trim_start_matches("0x"), 16).unwrap();
            let at: usize = at.parse().unwrap();
            assert_eq!(cache.lines()[at / 8][at % 8], word);
        }
    }

    #[test]
    fn every_way_to_run_programs_gives_the_same_hash() {
        let [key, input, hash] = published().remove(0);
        let all = Abilities::find().flags;
        for flags in [0, all & !(JIT | SECURE), all & !HARD_AES, all | SECURE, all] {
            let abilities = Abilities { flags };
            let mut machine = Machine::new(abilities, Backing::Light(cache(abilities, &key))).unwrap();
            machine.first(&input);
            assert_eq!(machine.last().as_slice(), hash, "{:?}", abilities.paths());
        }
    }
}
