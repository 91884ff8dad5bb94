//! The ways to scan, and which of them this processor can go.

use crate::header::Header;
#[cfg(target_arch = "x86_64")]
use crate::words::x86::{Avx2, Avx512};
use crate::words::{Portable, Words};
use std::fmt;

/// A way to scan. All give the same findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Path {
    /// What every processor of the architecture has, four nonces at a time.
    Portable,
    /// AVX2, eight nonces at a time.
    Avx2,
    /// AVX-512, sixteen nonces at a time.
    Avx512,
}

impl Path {
    /// All that there are, the best first: the wider the vectors, the more nonces for each instruction.
    pub const ALL: [Self; 3] = [Self::Avx512, Self::Avx2, Self::Portable];

    /// Those that this processor can go, the best first.
    pub fn available() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|path| path.is_available())
    }

    /// The first of [`Path::ALL`] that this processor can go.
    pub fn best() -> Self {
        Self::available().next().unwrap_or(Self::Portable)
    }

    /// Whether this processor, and the operating system, can go it.
    pub fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => is_x86_feature_detected!("avx512f"),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 | Self::Avx512 => false,
        }
    }

    /// Its name in figures and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Four nonces at a time.
type Four = Portable<4>;

/// Proof that the processor can go a path.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Checked(Path);

impl Checked {
    pub(crate) fn new(path: Path) -> Option<Self> {
        path.is_available().then_some(Self(path))
    }

    pub(crate) fn best() -> Self {
        Self(Path::best())
    }

    /// Nonces of a batch.
    pub(crate) fn lanes(self) -> u64 {
        let lanes = match self.0 {
            #[cfg(target_arch = "x86_64")]
            Path::Avx2 => Avx2::LANES,
            #[cfg(target_arch = "x86_64")]
            Path::Avx512 => Avx512::LANES,
            _ => Four::LANES,
        };
        lanes as u64
    }

    /// [`Header::find`] on this path.
    #[allow(unsafe_code)]
    pub(crate) fn find(self, header: &Header, first: u32, batches: u64, top: u32) -> Option<u64> {
        match self.0 {
            // SAFETY: the processor has AVX2; `Checked` is made only where it was asked for.
            #[cfg(target_arch = "x86_64")]
            Path::Avx2 => unsafe { avx2(header, first, batches, top) },
            // SAFETY: the same of AVX-512F.
            #[cfg(target_arch = "x86_64")]
            Path::Avx512 => unsafe { avx512(header, first, batches, top) },
            _ => header.find::<Four>(first, batches, top),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2(header: &Header, first: u32, batches: u64, top: u32) -> Option<u64> {
    header.find::<Avx2>(first, batches, top)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn avx512(header: &Header, first: u32, batches: u64, top: u32) -> Option<u64> {
    header.find::<Avx512>(first, batches, top)
}
