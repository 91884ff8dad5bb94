//! The hashes of as many headers as a path takes at once.
#![allow(unsafe_code)]

use crate::{
    pbkdf2::{Key, Prepared},
    romix::Memory,
    rows::{Block, State},
};

/// scryptROMix of each block, in place, with some memory to work in.
pub(crate) type Kernel<const HEADERS: usize> = unsafe fn(&mut [Block; HEADERS], &mut Memory<HEADERS>);

/// Hashes nonces that follow each other.
pub(crate) trait Batch: Send {
    /// Hashes `first`, `first + 1` and so on; after the last nonce comes the first again.
    fn hash(&mut self, header: &Prepared, first: u32);

    /// What the last call gave.
    fn hashes(&self) -> &[[u8; 32]];
}

/// `HEADERS` at once.
pub(crate) struct SideBySide<const HEADERS: usize> {
    kernel: Kernel<HEADERS>,
    memory: Box<Memory<HEADERS>>,
    blocks: [Block; HEADERS],
    hashes: [[u8; 32]; HEADERS],
}

/// Memory of a batch, in bytes.
pub(crate) const fn memory_bytes<const HEADERS: usize>() -> u64 {
    (size_of::<SideBySide<HEADERS>>() + size_of::<Memory<HEADERS>>() + size_of::<[Key; HEADERS]>()) as u64
}

impl<const HEADERS: usize> SideBySide<HEADERS> {
    /// # Safety
    ///
    /// The processor must have the instructions that `kernel` is compiled for.
    pub(crate) unsafe fn new(kernel: Kernel<HEADERS>) -> Self {
        // SAFETY: memory is an array of integers, and of those zeros are valid ones.
        let memory = unsafe { Box::new_zeroed().assume_init() };
        Self { kernel, memory, blocks: [[State::ZERO; 2]; HEADERS], hashes: [[0; 32]; HEADERS] }
    }
}

impl<const HEADERS: usize> Batch for SideBySide<HEADERS> {
    fn hash(&mut self, header: &Prepared, first: u32) {
        let nonces: [u32; HEADERS] = std::array::from_fn(|i| first.wrapping_add(i as u32));
        let keys = nonces.map(|nonce| header.key(nonce));
        for ((block, key), nonce) in self.blocks.iter_mut().zip(&keys).zip(nonces) {
            *block = header.expand(key, nonce);
        }
        // SAFETY: whoever made this has promised that the processor can run the kernel.
        unsafe { (self.kernel)(&mut self.blocks, &mut self.memory) };
        for ((hash, block), key) in self.hashes.iter_mut().zip(&self.blocks).zip(&keys) {
            *hash = key.fold(block);
        }
    }

    fn hashes(&self) -> &[[u8; 32]] {
        &self.hashes
    }
}
