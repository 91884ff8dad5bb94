//! BLAKE3 of an 80-byte block header: an algorithm that is cheap to compute, and the example of how to add one
//! (`docs/your-own-algorithm.md`).
//!
//! The nonce stands little-endian in the last four bytes; those of the input are ignored. The hash is read as a
//! little-endian integer.
//!
//! [`Algorithm::verify`] asks the `blake3` crate. A search compresses the header's first block once and then many
//! nonces at a time, on the best [`Path`] that the processor can go.

mod compress;
mod header;
mod path;
mod words;

use algorithm_api::{Algorithm, Descriptor, Finding, InvalidInput, Range, Search, Target};
use header::{Header, NONCE_AT};
use path::Checked;
use std::borrow::Cow;

pub use header::HEADER_LEN;
pub use path::Path;

static DESCRIPTOR: Descriptor = Descriptor {
    id: Cow::Borrowed("blake3"),
    version: 1,
    input_len: HEADER_LEN..=HEADER_LEN,
    finding_len: 4..=4,
    positions: 1 << 32,
    memory_bytes_per_thread: size_of::<Scan>() as u64,
};

/// The algorithm, on the best path.
#[derive(Debug, Clone, Copy, Default)]
pub struct Blake3;

/// The algorithm on a chosen path.
#[derive(Debug, Clone, Copy)]
pub struct OnPath(Checked);

impl Blake3 {
    /// On a chosen path; nothing if the processor cannot go it.
    pub fn on(path: Path) -> Option<OnPath> {
        Checked::new(path).map(OnPath)
    }
}

impl Algorithm for Blake3 {
    fn descriptor(&self) -> &Descriptor {
        &DESCRIPTOR
    }

    fn prepare(&self, input: &[u8]) -> Result<Box<dyn Search>, InvalidInput> {
        OnPath(Checked::best()).prepare(input)
    }

    fn verify(&self, input: &[u8], finding: &[u8]) -> Result<[u8; 32], InvalidInput> {
        let mut header = header(input)?;
        DESCRIPTOR.check_finding(finding)?;
        header[NONCE_AT..].copy_from_slice(finding);
        Ok(blake3::hash(&header).into())
    }
}

impl Algorithm for OnPath {
    fn descriptor(&self) -> &Descriptor {
        &DESCRIPTOR
    }

    fn prepare(&self, input: &[u8]) -> Result<Box<dyn Search>, InvalidInput> {
        Ok(Box::new(Scan { header: Header::new(&header(input)?), path: self.0 }))
    }

    fn verify(&self, input: &[u8], finding: &[u8]) -> Result<[u8; 32], InvalidInput> {
        Blake3.verify(input, finding)
    }
}

fn header(input: &[u8]) -> Result<[u8; HEADER_LEN], InvalidInput> {
    DESCRIPTOR.check_input(input)?;
    let mut header = [0; HEADER_LEN];
    header.copy_from_slice(input);
    Ok(header)
}

/// A prepared header.
struct Scan {
    header: Header,
    path: Checked,
}

impl Search for Scan {
    fn search(
        &mut self,
        range: &mut Range,
        budget: u64,
        target: &Target,
        sink: &mut dyn FnMut(Finding<'_>),
    ) -> u64 {
        let scanned = range.take(budget, DESCRIPTOR.positions);
        let [.., a, b, c, d] = target.to_le_bytes();
        let top = u32::from_le_bytes([a, b, c, d]);
        let lanes = self.path.lanes();
        let mut next = scanned.start;
        while next < scanned.end {
            let batches = (scanned.end - next).div_ceil(lanes);
            let Some(batch) = self.path.find(&self.header, next as u32, batches, top) else { break };
            let first = next + batch * lanes;
            next = scanned.end.min(first + lanes);
            for position in first..next {
                let nonce = position as u32;
                let hash = self.header.hash(nonce);
                if target.is_met_by(&hash) {
                    sink(Finding { bytes: &nonce.to_le_bytes(), hash });
                }
            }
        }
        scanned.end - scanned.start
    }
}
