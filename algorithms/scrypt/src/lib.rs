//! scrypt (RFC 7914) with N = 1024, r = 1, p = 1 over an 80-byte block header that is both password and salt,
//! 32 bytes out, as Litecoin does.
//!
//! The nonce stands little-endian in the last four bytes; those of the input are ignored. The hash is read as a
//! little-endian integer.

use algorithm_api::{Algorithm, Descriptor, Finding, InvalidInput, Range, Search, Target};
use scrypt::{Params, scrypt};

/// Length of a header in bytes.
pub const HEADER_LEN: usize = 80;
/// Bytes of a header before the nonce.
const NONCE_AT: usize = 76;
/// Binary logarithm of the cost N.
const LOG_N: u8 = 10;
/// Block size r, in units of 128 bytes.
const R: u32 = 1;
/// Parallelism p.
const P: u32 = 1;

static DESCRIPTOR: Descriptor = Descriptor {
    id: "scrypt-1024-1-1",
    version: 1,
    input_len: HEADER_LEN..=HEADER_LEN,
    finding_len: 4..=4,
    positions: 1 << 32,
    memory_bytes_per_thread: (128 << LOG_N) + 1024,
};

/// The algorithm.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scrypt1024;

/// A header with its nonce.
type Header = [u8; HEADER_LEN];

fn hash(header: &Header) -> Result<[u8; 32], InvalidInput> {
    let refused = |_| InvalidInput::Malformed { what: "input", reason: "scrypt refuses its parameters" };
    let params = Params::new(LOG_N, R, P).map_err(refused)?;
    let mut out = [0; 32];
    scrypt(header, header, &params, &mut out)
        .map_err(|_| InvalidInput::Malformed { what: "input", reason: "scrypt refuses its output length" })?;
    Ok(out)
}

impl Algorithm for Scrypt1024 {
    fn descriptor(&self) -> &'static Descriptor {
        &DESCRIPTOR
    }

    fn prepare(&self, input: &[u8]) -> Result<Box<dyn Search>, InvalidInput> {
        DESCRIPTOR.check_input(input)?;
        let mut header = [0; HEADER_LEN];
        header.copy_from_slice(input);
        hash(&header)?;
        Ok(Box::new(Plain { header }))
    }

    fn verify(&self, input: &[u8], finding: &[u8]) -> Result<[u8; 32], InvalidInput> {
        DESCRIPTOR.check_input(input)?;
        DESCRIPTOR.check_finding(finding)?;
        let mut header = [0; HEADER_LEN];
        header.copy_from_slice(input);
        header[NONCE_AT..].copy_from_slice(finding);
        hash(&header)
    }
}

struct Plain {
    header: Header,
}

impl Search for Plain {
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
            let bytes = (position as u32).to_le_bytes();
            self.header[NONCE_AT..].copy_from_slice(&bytes);
            // `prepare` has hashed once, and whether scrypt refuses does not depend on the header's contents.
            if let Ok(hash) = hash(&self.header)
                && target.is_met_by(&hash)
            {
                sink(Finding { bytes: &bytes, hash });
            }
        }
        done
    }
}
