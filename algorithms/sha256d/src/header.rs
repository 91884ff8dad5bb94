//! A header with everything done once that does not depend on the nonce.

use sha2::block_api::compress256;

use crate::fips::{END_OF_MESSAGE, HEADER_BITS, INITIAL, K, round, small0, small1};

/// Length of a header in bytes.
pub const HEADER_LEN: usize = 80;
/// Bytes of a header before the nonce.
pub(crate) const NONCE_AT: usize = 76;
/// Length of a SHA-256 block in bytes; the first of a header does not hold the nonce.
const BLOCK_LEN: usize = 64;
/// Length of a hash in bytes.
const HASH_LEN: usize = 32;

/// What all nonces of a header share.
///
/// The second block is `W0..W2` (end of the Merkle root, time, difficulty), `W3` (nonce), padding. So its first three
/// rounds are the same for each nonce, round 3 adds the nonce to two words of the state, and of the message schedule
/// `W16` and `W17` are fixed, and a part of some later words.
#[derive(Debug, Clone)]
pub(crate) struct Header {
    /// State after the first block.
    pub(crate) midstate: [u32; 8],
    /// State after round 3 of the second block for the nonce 0; `a` and `e` grow by `W3`.
    pub(crate) after_round_3: [u32; 8],
    /// `W0..W2`.
    pub(crate) tail: [u32; 3],
    /// The whole word.
    pub(crate) w16: u32,
    /// The whole word.
    pub(crate) w17: u32,
    /// `W18` less σ0 of `W3`.
    pub(crate) w18: u32,
    /// `W19` less `W3`.
    pub(crate) w19: u32,
    /// Fixed part of `W31`: σ0 of `W16`, and `W15`.
    pub(crate) w31: u32,
    /// Fixed part of `W32`: σ0 of `W17`, and `W16`.
    pub(crate) w32: u32,
}

impl Header {
    /// Reads a header; its nonce is ignored.
    pub(crate) fn new(bytes: &[u8; HEADER_LEN]) -> Self {
        let mut first = [0; BLOCK_LEN];
        first.copy_from_slice(&bytes[..BLOCK_LEN]);
        let mut midstate = INITIAL;
        compress256(&mut midstate, &[first]);

        let mut tail = [0; 3];
        for (word, bytes) in tail.iter_mut().zip(bytes[BLOCK_LEN..].chunks_exact(4)) {
            *word = bytes.iter().fold(0, |word, byte| word << 8 | u32::from(*byte));
        }
        let mut after_round_3 = midstate;
        for (k, w) in K.into_iter().zip(tail.into_iter().chain([0])) {
            after_round_3 = round(after_round_3, k.wrapping_add(w));
        }
        let w16 = small0(tail[1]).wrapping_add(tail[0]);
        let w17 = small1(HEADER_BITS).wrapping_add(small0(tail[2])).wrapping_add(tail[1]);
        Self {
            midstate,
            after_round_3,
            tail,
            w16,
            w17,
            w18: small1(w16).wrapping_add(tail[2]),
            w19: small1(w17).wrapping_add(small0(END_OF_MESSAGE)),
            w31: small0(w16).wrapping_add(HEADER_BITS),
            w32: small0(w17).wrapping_add(w16),
        }
    }

    /// The whole hash of one nonce.
    pub(crate) fn hash(&self, nonce: u32) -> [u8; 32] {
        let mut block = padded(HEADER_LEN);
        write_words(&self.tail, &mut block);
        block[NONCE_AT - BLOCK_LEN..NONCE_AT - BLOCK_LEN + 4].copy_from_slice(&nonce.to_le_bytes());
        block[HEADER_LEN - BLOCK_LEN] = 0x80;
        let mut inner = self.midstate;
        compress256(&mut inner, &[block]);

        let mut block = padded(HASH_LEN);
        write_words(&inner, &mut block);
        block[HASH_LEN] = 0x80;
        let mut outer = INITIAL;
        compress256(&mut outer, &[block]);

        let mut hash = [0; HASH_LEN];
        write_words(&outer, &mut hash);
        hash
    }
}

/// A last block that holds nothing yet but the length of its message, in bits and big-endian.
fn padded(message_len: usize) -> [u8; BLOCK_LEN] {
    let mut block = [0; BLOCK_LEN];
    block[BLOCK_LEN - 8..].copy_from_slice(&(message_len as u64 * 8).to_be_bytes());
    block
}

/// Writes words big-endian.
fn write_words(words: &[u32], out: &mut [u8]) {
    for (bytes, word) in out.chunks_exact_mut(4).zip(words) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
}
