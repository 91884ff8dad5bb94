//! PBKDF2-HMAC-SHA256 with one iteration (RFC 8018), as scrypt uses it before and after ROMix, for headers that differ
//! in their nonce only.

use crate::rows::{Block, State};
use sha2::block_api::compress256;

/// Length of a header in bytes.
pub const HEADER_LEN: usize = 80;
/// Bytes of a header before the nonce.
pub(crate) const NONCE_AT: usize = 76;
/// Length of a SHA-256 block in bytes; the first of a header does not hold the nonce.
const BLOCK_LEN: usize = 64;
/// Bytes of a header after its first block.
const TAIL_LEN: usize = HEADER_LEN - BLOCK_LEN;
/// Length of a digest in bytes.
const DIGEST_LEN: usize = 32;
/// Length of the counter that PBKDF2 puts behind the salt, in bytes.
const COUNTER_LEN: usize = 4;
/// Length of what ROMix mixes, in bytes.
const MIXED_LEN: usize = size_of::<Block>();
/// HMAC's paddings of the key.
const INNER_PAD: u8 = 0x36;
const OUTER_PAD: u8 = 0x5c;

/// A state of SHA-256.
type Chain = [u32; 8];

/// Initial state of SHA-256 (FIPS 180-4, section 5.3.3).
const INITIAL: Chain =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// A header, with what all its nonces share.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    first_block: [u8; BLOCK_LEN],
    tail: [u8; TAIL_LEN],
    /// SHA-256 after the first block.
    midstate: Chain,
}

/// HMAC-SHA256 with a header as its key: its states after the padded keys.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    inner: Chain,
    outer: Chain,
}

impl Prepared {
    pub(crate) fn new(header: &[u8; HEADER_LEN]) -> Self {
        let (mut first_block, mut tail) = ([0; BLOCK_LEN], [0; TAIL_LEN]);
        first_block.copy_from_slice(&header[..BLOCK_LEN]);
        tail.copy_from_slice(&header[BLOCK_LEN..]);
        Self { first_block, tail, midstate: compress(&INITIAL, &first_block) }
    }

    fn tail(&self, nonce: u32) -> [u8; TAIL_LEN] {
        let mut tail = self.tail;
        tail[NONCE_AT - BLOCK_LEN..].copy_from_slice(&nonce.to_le_bytes());
        tail
    }

    /// A header is longer than a block, so its digest is the key.
    pub(crate) fn key(&self, nonce: u32) -> Key {
        let digest = bytes(&compress(&self.midstate, &last_block(&self.tail(nonce), HEADER_LEN)));
        let padded = |pad: u8| {
            let mut block = [pad; BLOCK_LEN];
            for (byte, key) in block.iter_mut().zip(digest) {
                *byte ^= key;
            }
            compress(&INITIAL, &block)
        };
        Key { inner: padded(INNER_PAD), outer: padded(OUTER_PAD) }
    }

    /// What ROMix starts with: the header is the password, which made `key`, and the salt.
    pub(crate) fn expand(&self, key: &Key, nonce: u32) -> Block {
        let salted = compress(&key.inner, &self.first_block);
        let mut message = [0; TAIL_LEN + COUNTER_LEN];
        message[..TAIL_LEN].copy_from_slice(&self.tail(nonce));
        let mut block = [State::ZERO; 2];
        for index in 0..MIXED_LEN / DIGEST_LEN {
            message[TAIL_LEN..].copy_from_slice(&(index as u32 + 1).to_be_bytes());
            let inner = compress(&salted, &last_block(&message, BLOCK_LEN + HEADER_LEN + COUNTER_LEN));
            for (i, word) in key.close(&inner).into_iter().enumerate() {
                block[index / 2].0[State::place(index % 2 * inner.len() + i)] = word.swap_bytes();
            }
        }
        block
    }
}

impl Key {
    /// The second half of HMAC.
    fn close(&self, inner: &Chain) -> Chain {
        compress(&self.outer, &last_block(&bytes(inner), BLOCK_LEN + DIGEST_LEN))
    }

    /// The hash: what made this key is the password, and what ROMix gave is the salt.
    pub(crate) fn fold(&self, block: &Block) -> [u8; DIGEST_LEN] {
        let mut inner = self.inner;
        for state in block {
            let mut salt = [0; BLOCK_LEN];
            for (i, bytes) in salt.chunks_exact_mut(4).enumerate() {
                bytes.copy_from_slice(&state.0[State::place(i)].to_le_bytes());
            }
            inner = compress(&inner, &salt);
        }
        inner = compress(&inner, &last_block(&1_u32.to_be_bytes(), BLOCK_LEN + MIXED_LEN + COUNTER_LEN));
        bytes(&self.close(&inner))
    }
}

fn compress(chain: &Chain, block: &[u8; BLOCK_LEN]) -> Chain {
    let mut out = *chain;
    compress256(&mut out, std::slice::from_ref(block));
    out
}

/// A message's last block, which holds its last bytes and says how long it is, in bytes.
fn last_block(last_bytes: &[u8], message_len: usize) -> [u8; BLOCK_LEN] {
    let mut block = [0; BLOCK_LEN];
    block[..last_bytes.len()].copy_from_slice(last_bytes);
    block[last_bytes.len()] = 0x80;
    block[BLOCK_LEN - 8..].copy_from_slice(&(message_len as u64 * 8).to_be_bytes());
    block
}

/// The digest that a state is.
fn bytes(chain: &Chain) -> [u8; DIGEST_LEN] {
    let mut out = [0; DIGEST_LEN];
    for (bytes, word) in out.chunks_exact_mut(4).zip(chain) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    out
}
