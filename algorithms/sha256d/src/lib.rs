//! SHA-256 applied twice to an 80-byte block header, as Bitcoin does.
//!
//! The nonce stands little-endian in the last four bytes; those of the input are ignored. The hash is read as a
//! little-endian integer.

use algorithm_api::{Algorithm, Descriptor, Finding, InvalidInput, Range, Search, Target};
use sha2::{Digest, Sha256, block_api::compress256};

/// Length of a header in bytes.
pub const HEADER_LEN: usize = 80;
/// Bytes of a header before the nonce.
const NONCE_AT: usize = 76;
/// Length of a SHA-256 block in bytes; the first of a header does not hold the nonce.
const BLOCK_LEN: usize = 64;
/// Place of the nonce in the header's second block.
const NONCE_IN_TAIL: usize = NONCE_AT - BLOCK_LEN;

static DESCRIPTOR: Descriptor = Descriptor {
    id: "sha256d",
    version: 1,
    input_len: HEADER_LEN..=HEADER_LEN,
    finding_len: 4..=4,
    positions: 1 << 32,
    memory_bytes_per_thread: 256,
};

/// Initial state of SHA-256 (FIPS 180-4, section 5.3.3).
const INITIAL: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// The hash of `bytes`, plainly.
pub fn sha256d(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(Sha256::digest(bytes)).into()
}

/// The algorithm.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sha256d;

impl Algorithm for Sha256d {
    fn descriptor(&self) -> &'static Descriptor {
        &DESCRIPTOR
    }

    fn prepare(&self, input: &[u8]) -> Result<Box<dyn Search>, InvalidInput> {
        DESCRIPTOR.check_input(input)?;
        let (first, rest) = input.split_at(BLOCK_LEN);
        let mut midstate = INITIAL;
        let mut block = [0; BLOCK_LEN];
        block.copy_from_slice(first);
        compress256(&mut midstate, &[block]);

        let mut tail = padded(HEADER_LEN);
        tail[..rest.len()].copy_from_slice(rest);
        tail[rest.len()] = 0x80;
        let mut second = padded(32);
        second[32] = 0x80;
        Ok(Box::new(Midstate { midstate, tail, second }))
    }

    fn verify(&self, input: &[u8], finding: &[u8]) -> Result<[u8; 32], InvalidInput> {
        DESCRIPTOR.check_input(input)?;
        DESCRIPTOR.check_finding(finding)?;
        let mut header = [0; HEADER_LEN];
        header.copy_from_slice(input);
        header[NONCE_AT..].copy_from_slice(finding);
        Ok(sha256d(&header))
    }
}

/// A last block that holds nothing yet but the length of its message, in bits and big-endian.
fn padded(message_len: usize) -> [u8; BLOCK_LEN] {
    let mut block = [0; BLOCK_LEN];
    block[BLOCK_LEN - 8..].copy_from_slice(&(message_len as u64 * 8).to_be_bytes());
    block
}

/// A header whose first block is already compressed.
struct Midstate {
    midstate: [u32; 8],
    /// The header's last 16 bytes and the padding.
    tail: [u8; BLOCK_LEN],
    /// Room for the inner hash, and the padding.
    second: [u8; BLOCK_LEN],
}

impl Midstate {
    fn hash(&mut self, nonce: u32) -> [u8; 32] {
        self.tail[NONCE_IN_TAIL..NONCE_IN_TAIL + 4].copy_from_slice(&nonce.to_le_bytes());
        let mut state = self.midstate;
        compress256(&mut state, std::slice::from_ref(&self.tail));
        write_words(&state, &mut self.second);
        let mut state = INITIAL;
        compress256(&mut state, std::slice::from_ref(&self.second));
        let mut hash = [0; 32];
        write_words(&state, &mut hash);
        hash
    }
}

/// Writes a state as the big-endian bytes of a digest.
fn write_words(state: &[u32; 8], out: &mut [u8]) {
    for (bytes, word) in out.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
}

impl Search for Midstate {
    fn search(
        &mut self,
        range: &mut Range,
        budget: u64,
        target: &Target,
        sink: &mut dyn FnMut(Finding<'_>),
    ) -> u64 {
        let scanned = range.take(budget, DESCRIPTOR.positions);
        let done = scanned.end - scanned.start;
        for position in scanned {
            let nonce = position as u32;
            let hash = self.hash(nonce);
            if target.is_met_by(&hash) {
                sink(Finding { bytes: &nonce.to_le_bytes(), hash });
            }
        }
        done
    }
}
