//! A header of 80 bytes: two blocks of one chunk, of which only the second holds the nonce.

use crate::compress::{BLOCK_WORDS, CHAIN_WORDS, CHUNK_END, CHUNK_START, INITIAL, ROOT, compress};
use crate::words::{Portable, Words};

/// Length of a header in bytes.
pub const HEADER_LEN: usize = 80;
/// Bytes of a header before the nonce.
pub(crate) const NONCE_AT: usize = 76;
/// Length of a block in bytes.
const BLOCK_LEN: usize = 4 * BLOCK_WORDS;
/// Length of the second block in bytes.
const TAIL_LEN: usize = HEADER_LEN - BLOCK_LEN;
/// Words of the second block before the nonce.
const TAIL_WORDS: usize = (NONCE_AT - BLOCK_LEN) / 4;

/// A header whose first block is already compressed.
#[derive(Debug, Clone)]
pub(crate) struct Header {
    chain: [u32; CHAIN_WORDS],
    /// The second block up to the nonce.
    tail: [u32; TAIL_WORDS],
}

impl Header {
    pub(crate) fn new(bytes: &[u8; HEADER_LEN]) -> Self {
        let mut words = [0; HEADER_LEN / 4];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        let first = std::array::from_fn(|i| Portable([words[i]]));
        let chain = compress(&INITIAL, &first, BLOCK_LEN as u32, CHUNK_START).map(|Portable([word])| word);
        Self { chain, tail: std::array::from_fn(|i| words[BLOCK_WORDS + i]) }
    }

    /// The hashes of `first` and the nonces that follow it, word by word; after the last nonce comes the first again.
    #[inline(always)]
    fn hashes<W: Words>(&self, first: u32) -> [W; CHAIN_WORDS] {
        let mut block = [W::of_all(0); BLOCK_WORDS];
        for (word, tail) in block.iter_mut().zip(self.tail) {
            *word = W::of_all(tail);
        }
        block[TAIL_WORDS] = W::count_from(first);
        compress(&self.chain, &block, TAIL_LEN as u32, CHUNK_END | ROOT)
    }

    /// The hash of one nonce.
    pub(crate) fn hash(&self, nonce: u32) -> [u8; 32] {
        let mut hash = [0; 32];
        for (bytes, Portable([word])) in hash.as_chunks_mut().0.iter_mut().zip(self.hashes(nonce)) {
            *bytes = word.to_le_bytes();
        }
        hash
    }

    /// Looks through `batches` times as many nonces from `first` on as there are lanes. Gives the number of the first
    /// batch with a hash whose highest word is not above `top`.
    #[inline(always)]
    pub(crate) fn find<W: Words>(&self, first: u32, batches: u64, top: u32) -> Option<u64> {
        // A loop: see `Words` on closures.
        for batch in 0..batches {
            let [.., highest] = self.hashes::<W>(first.wrapping_add(batch as u32 * W::LANES as u32));
            if highest.any_up_to(top) {
                return Some(batch);
            }
        }
        None
    }
}
