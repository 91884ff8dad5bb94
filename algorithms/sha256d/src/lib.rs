//! SHA-256 applied twice to an 80-byte block header, as Bitcoin does.
//!
//! The nonce stands little-endian in the last four bytes; those of the input are ignored. The hash is read as a
//! little-endian integer. [`Algorithm::verify`] says it plainly, with the crate `sha2`.
//!
//! A search is the same in each [`Path`] and leaves out what need not be computed:
//!
//! - Once for a header: its first block, rounds 0 to 2 of the second block, and of round 3 and of the message schedule
//!   what does not depend on the nonce (`header.rs`).
//! - For each nonce: rounds 4 to 63 of the first hash, rounds 0 to 60 of the second. The last word of the second hash
//!   is known then, and it is the top of the integer: if it is above that of the target, so is the hash.
//! - For the few that are left: the whole hash, held against the whole target (`search.rs`).
//!
//! Where to look: `fips.rs` the standard's own words, `lanes.rs` the scan for vectors, one file for each path,
//! `path.rs` which path is gone, `kernel/` the program that writes the assembly of `avx512_sha.rs`. `unsafe` are only that
//! assembly, and calls to what the processor was asked for before.

#[macro_use]
mod lanes;
#[cfg(target_arch = "aarch64")]
mod arm_sha2;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx2_sha;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512_sha;
mod fips;
mod header;
mod path;
mod portable;
mod search;
#[cfg(target_arch = "x86_64")]
mod sha_ni;

use algorithm_api::{Algorithm, Descriptor, InvalidInput, Search};
use sha2::{Digest, Sha256};
use std::{borrow::Cow, time::Duration};

pub use header::HEADER_LEN;
use header::NONCE_AT;
use path::{CheckedPath, Prepared};
pub use path::{Path, UnavailablePath};
use search::HeaderSearch;

/// What a search holds on the path that needs most.
const SEARCH_BYTES: u64 = 20_480;

static DESCRIPTOR: Descriptor = Descriptor {
    id: Cow::Borrowed("sha256d"),
    version: 1,
    input_len: HEADER_LEN..=HEADER_LEN,
    finding_len: 4..=4,
    positions: 1 << 32,
    memory_bytes_per_thread: SEARCH_BYTES,
};

/// The hash of `bytes`, plainly.
pub fn sha256d(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(Sha256::digest(bytes)).into()
}

/// The algorithm, on the best path that this processor can go.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sha256d;

impl Sha256d {
    /// The algorithm on a path of the caller's choice, wide vectors or not.
    pub fn on(path: Path) -> Result<Sha256dOnPath, UnavailablePath> {
        CheckedPath::new(path).map(|path| Sha256dOnPath { wide: path, narrow: path })
    }

    /// The algorithm on the path that a short trial finds fastest ([`Path::fastest`]), and on [`Path::narrow`] without
    /// wide vectors.
    pub fn fastest(cpu_time: impl Fn() -> Duration) -> Sha256dOnPath {
        Sha256dOnPath { wide: CheckedPath::fastest(cpu_time), narrow: CheckedPath::narrow() }
    }
}

/// The algorithm on a chosen path: [`Sha256d::on`], [`Sha256d::fastest`].
#[derive(Debug, Clone, Copy)]
pub struct Sha256dOnPath {
    wide: CheckedPath,
    narrow: CheckedPath,
}

impl Sha256dOnPath {
    /// That path.
    pub fn path(&self) -> Path {
        self.wide.path()
    }
}

impl Algorithm for Sha256d {
    fn descriptor(&self) -> &Descriptor {
        &DESCRIPTOR
    }

    fn prepare(&self, input: &[u8]) -> Result<Box<dyn Search>, InvalidInput> {
        header_search(input, CheckedPath::best(), CheckedPath::narrow())
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

impl Algorithm for Sha256dOnPath {
    fn descriptor(&self) -> &Descriptor {
        &DESCRIPTOR
    }

    fn prepare(&self, input: &[u8]) -> Result<Box<dyn Search>, InvalidInput> {
        header_search(input, self.wide, self.narrow)
    }

    fn verify(&self, input: &[u8], finding: &[u8]) -> Result<[u8; 32], InvalidInput> {
        Sha256d.verify(input, finding)
    }
}

fn header_search(
    input: &[u8],
    wide: CheckedPath,
    narrow: CheckedPath,
) -> Result<Box<dyn Search>, InvalidInput> {
    DESCRIPTOR.check_input(input)?;
    let mut bytes = [0; HEADER_LEN];
    bytes.copy_from_slice(input);
    Ok(Box::new(HeaderSearch { prepared: Prepared::new(&bytes), path: wide, wide, narrow }))
}
