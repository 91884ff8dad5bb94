//! scrypt (RFC 7914) with N = 1024, r = 1, p = 1 over an 80-byte block header that is both password and salt,
//! 32 bytes out, as Litecoin does.
//!
//! The nonce stands little-endian in the last four bytes; those of the input are ignored. The hash is read as a
//! little-endian integer.
//!
//! [`Algorithm::verify`] asks the `scrypt` crate. A search hashes several headers at a time on the best [`Path`] that
//! the processor can go: `pbkdf2` makes a block of each header, `romix` mixes the blocks side by side in `rows` of
//! vectors, and `pbkdf2` makes the hashes of them.

mod batch;
mod path;
mod pbkdf2;
mod romix;
mod rows;

use algorithm_api::{Algorithm, Descriptor, Finding, InvalidInput, Range, Search, Target};
use batch::Batch;
use path::Checked;
use pbkdf2::{NONCE_AT, Prepared};
use scrypt::{Params, scrypt};
use std::{borrow::Cow, time::Duration};

pub use path::Path;
pub use pbkdf2::HEADER_LEN;

/// Binary logarithm of the cost N.
const LOG_N: u8 = 10;
/// Block size r, in units of 128 bytes.
const R: u32 = 1;
/// Parallelism p.
const P: u32 = 1;
/// Nonces of a header.
const POSITIONS: u64 = 1 << 32;

/// The paths differ in their memory only.
const fn describe(path: Path) -> Descriptor {
    Descriptor {
        id: Cow::Borrowed("scrypt-1024-1-1"),
        version: 1,
        input_len: HEADER_LEN..=HEADER_LEN,
        finding_len: 4..=4,
        positions: POSITIONS,
        memory_bytes_per_thread: path.memory_bytes() + size_of::<Scan>() as u64,
    }
}

static PORTABLE: Descriptor = describe(Path::Portable);
static NEON: Descriptor = describe(Path::Neon);
static SSE2: Descriptor = describe(Path::Sse2);
static AVX2_X6: Descriptor = describe(Path::Avx2x6);
static AVX2_X8: Descriptor = describe(Path::Avx2x8);
static AVX512_X8: Descriptor = describe(Path::Avx512x8);
static AVX512_X16: Descriptor = describe(Path::Avx512x16);

fn descriptor(path: Path) -> &'static Descriptor {
    match path {
        Path::Portable => &PORTABLE,
        Path::Neon => &NEON,
        Path::Sse2 => &SSE2,
        Path::Avx2x6 => &AVX2_X6,
        Path::Avx2x8 => &AVX2_X8,
        Path::Avx512x8 => &AVX512_X8,
        Path::Avx512x16 => &AVX512_X16,
    }
}

/// The algorithm, on the best path.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scrypt1024;

/// The algorithm on a chosen path.
#[derive(Debug, Clone, Copy)]
pub struct OnPath(Checked);

impl Scrypt1024 {
    /// On a chosen path; nothing if the processor cannot go it.
    pub fn on(path: Path) -> Option<OnPath> {
        Checked::new(path).map(OnPath)
    }

    /// On the path that a short trial finds fastest ([`Path::fastest`]).
    pub fn fastest(cpu_time: impl Fn() -> Duration) -> OnPath {
        OnPath(Checked::fastest(cpu_time))
    }

    /// What a search needs at most, on whichever path.
    pub fn any_path() -> &'static Descriptor {
        Path::available().map(descriptor).max_by_key(|d| d.memory_bytes_per_thread).unwrap_or(&PORTABLE)
    }

    fn on_best() -> OnPath {
        OnPath(Checked::best())
    }
}

impl OnPath {
    /// That path.
    pub fn path(&self) -> Path {
        self.0.path()
    }
}

impl Algorithm for Scrypt1024 {
    fn descriptor(&self) -> &Descriptor {
        descriptor(Checked::best().path())
    }

    fn prepare(&self, input: &[u8]) -> Result<Box<dyn Search>, InvalidInput> {
        Self::on_best().prepare(input)
    }

    fn verify(&self, input: &[u8], finding: &[u8]) -> Result<[u8; 32], InvalidInput> {
        verify(input, finding)
    }
}

impl Algorithm for OnPath {
    fn descriptor(&self) -> &Descriptor {
        descriptor(self.0.path())
    }

    fn prepare(&self, input: &[u8]) -> Result<Box<dyn Search>, InvalidInput> {
        let header = Prepared::new(&header(input)?);
        Ok(Box::new(Scan { header, batch: self.0.batch(), first: None }))
    }

    fn verify(&self, input: &[u8], finding: &[u8]) -> Result<[u8; 32], InvalidInput> {
        verify(input, finding)
    }
}

fn header(input: &[u8]) -> Result<[u8; HEADER_LEN], InvalidInput> {
    PORTABLE.check_input(input)?;
    let mut header = [0; HEADER_LEN];
    header.copy_from_slice(input);
    Ok(header)
}

fn verify(input: &[u8], finding: &[u8]) -> Result<[u8; 32], InvalidInput> {
    let mut header = header(input)?;
    PORTABLE.check_finding(finding)?;
    header[NONCE_AT..].copy_from_slice(finding);
    let refused = |_| InvalidInput::Malformed { what: "input", reason: "scrypt refuses its parameters" };
    let params = Params::new(LOG_N, R, P).map_err(refused)?;
    let mut hash = [0; 32];
    scrypt(&header, &header, &params, &mut hash)
        .map_err(|_| InvalidInput::Malformed { what: "input", reason: "scrypt refuses its output length" })?;
    Ok(hash)
}

/// A prepared header.
struct Scan {
    header: Prepared,
    batch: Box<dyn Batch>,
    /// First position of the last batch. What a call's budget does not reach is there for the next call.
    first: Option<u64>,
}

impl Scan {
    /// The hashes of `position` and, as far as they are known, of those that follow it.
    fn hashes(&mut self, position: u64) -> &[[u8; 32]] {
        let known = |first: &u64| (*first..first + self.batch.hashes().len() as u64).contains(&position);
        let first = self.first.filter(known).unwrap_or_else(|| {
            self.batch.hash(&self.header, position as u32);
            position
        });
        self.first = Some(first);
        &self.batch.hashes()[(position - first) as usize..]
    }
}

impl Search for Scan {
    fn search(
        &mut self,
        range: &mut Range,
        budget: u64,
        target: &Target,
        sink: &mut dyn FnMut(Finding<'_>),
    ) -> u64 {
        let scanned = range.take(budget, POSITIONS);
        let mut next = scanned.start;
        while next < scanned.end {
            for (position, hash) in (next..scanned.end).zip(self.hashes(next)) {
                if target.is_met_by(hash) {
                    sink(Finding { bytes: &(position as u32).to_le_bytes(), hash: *hash });
                }
                next = position + 1;
            }
        }
        scanned.end - scanned.start
    }
}
