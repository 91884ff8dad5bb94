//! The ways to scan, and which of them this processor can go.

use crate::batch::{Batch, SideBySide, memory_bytes};
use crate::pbkdf2::{HEADER_LEN, Prepared};
use crate::romix::{Memory, romix};
#[cfg(target_arch = "aarch64")]
use crate::rows::neon::Neon;
#[cfg(target_arch = "x86_64")]
use crate::rows::x86::{Avx2, Avx512, Sse2};
use crate::rows::{Block, Portable};
use algorithm_api::trial;
use std::{fmt, time::Duration};

/// Headers of a batch. Each fills 128 KiB, and together they should fit into the cache of a core (1 to 2 MiB where
/// there is AVX-512, 256 KiB to 1 MiB elsewhere). Fewer leave a core waiting for its own results, the more so the longer
/// its instructions take. So for some vectors there are two paths.
const PORTABLE_HEADERS: usize = 1;
#[cfg(target_arch = "aarch64")]
const NEON_HEADERS: usize = 3;
#[cfg(target_arch = "x86_64")]
const SSE2_HEADERS: usize = 3;
#[cfg(target_arch = "x86_64")]
const AVX2_HEADERS: [usize; 2] = [6, 8];
#[cfg(target_arch = "x86_64")]
const AVX512_HEADERS: [usize; 2] = [8, 16];
/// Headers of a turn in a trial: whole batches of each path.
const TRIAL_HEADERS: u32 = 48;

/// A way to scan. All give the same findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Path {
    /// Without anything of a particular processor, one header at a time.
    Portable,
    /// NEON of 64-bit ARM, three headers at a time.
    Neon,
    /// SSE2, three headers at a time.
    Sse2,
    /// AVX2, six headers at a time.
    Avx2x6,
    /// AVX2, eight headers at a time.
    Avx2x8,
    /// AVX-512, eight headers at a time.
    Avx512x8,
    /// AVX-512, sixteen headers at a time.
    Avx512x16,
}

impl Path {
    /// All that there are, the best first as far as it can be known without a clock: the wider the vectors, the more
    /// headers for each instruction. AVX-512 also rotates in one instruction, for which the others need three (NEON
    /// two). Of two with the same vectors the one that needs less cache comes first; [`Self::fastest`] tries them.
    pub const ALL: [Self; 7] =
        [Self::Avx512x8, Self::Avx512x16, Self::Avx2x6, Self::Avx2x8, Self::Sse2, Self::Neon, Self::Portable];

    /// The one of [`Path::available`] that a trial ([`algorithm_api::trial`]) of some tens of milliseconds finds
    /// fastest. `cpu_time` is the processor time that the calling thread has used.
    pub fn fastest(cpu_time: impl Fn() -> Duration) -> Self {
        let header = Prepared::new(&[0x5a; HEADER_LEN]);
        // Narrower vectors than the widest that there are would only take longer to try.
        let widest = |path: &Self| path.headers_of_a_vector() == Self::best().headers_of_a_vector();
        let paths: Vec<_> = Self::available().filter(widest).collect();
        let mut batches: Vec<_> = paths.iter().map(|path| Checked(*path).batch()).collect();
        let turn = |number: usize| {
            let mut next = 0;
            while next < TRIAL_HEADERS {
                batches[number].hash(&header, next);
                next += batches[number].hashes().len() as u32;
            }
        };
        trial::fastest(&paths, cpu_time, turn).unwrap_or(Self::Portable)
    }

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
            Self::Neon => cfg!(target_arch = "aarch64"),
            Self::Sse2 => cfg!(target_arch = "x86_64"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2x6 | Self::Avx2x8 => is_x86_feature_detected!("avx2"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512x8 | Self::Avx512x16 => is_x86_feature_detected!("avx512f"),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2x6 | Self::Avx2x8 | Self::Avx512x8 | Self::Avx512x16 => false,
        }
    }

    /// Its name in figures and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Neon => "neon",
            Self::Sse2 => "sse2",
            Self::Avx2x6 => "avx2-6",
            Self::Avx2x8 => "avx2-8",
            Self::Avx512x8 => "avx512-8",
            Self::Avx512x16 => "avx512-16",
        }
    }

    /// How wide its vectors are.
    const fn headers_of_a_vector(self) -> usize {
        match self {
            Self::Avx512x8 | Self::Avx512x16 => 4,
            Self::Avx2x6 | Self::Avx2x8 => 2,
            Self::Sse2 | Self::Neon | Self::Portable => 1,
        }
    }

    /// Working memory of a search, in bytes.
    pub(crate) const fn memory_bytes(self) -> u64 {
        match self {
            #[cfg(target_arch = "aarch64")]
            Self::Neon => memory_bytes::<NEON_HEADERS>(),
            #[cfg(target_arch = "x86_64")]
            Self::Sse2 => memory_bytes::<SSE2_HEADERS>(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2x6 => memory_bytes::<{ AVX2_HEADERS[0] }>(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2x8 => memory_bytes::<{ AVX2_HEADERS[1] }>(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512x8 => memory_bytes::<{ AVX512_HEADERS[0] }>(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512x16 => memory_bytes::<{ AVX512_HEADERS[1] }>(),
            _ => memory_bytes::<PORTABLE_HEADERS>(),
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

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

    pub(crate) fn fastest(cpu_time: impl Fn() -> Duration) -> Self {
        Self(Path::fastest(cpu_time))
    }

    pub(crate) fn path(self) -> Path {
        self.0
    }

    /// What hashes on this path, with its memory.
    #[allow(unsafe_code)]
    pub(crate) fn batch(self) -> Box<dyn Batch> {
        // SAFETY: the processor has the instructions of each kernel; `Checked` is made only where it was asked for.
        unsafe {
            match self.0 {
                #[cfg(target_arch = "aarch64")]
                Path::Neon => Box::new(SideBySide::new(neon)),
                #[cfg(target_arch = "x86_64")]
                Path::Sse2 => Box::new(SideBySide::new(sse2)),
                #[cfg(target_arch = "x86_64")]
                Path::Avx2x6 => Box::new(SideBySide::new(avx2::<3, { AVX2_HEADERS[0] }>)),
                #[cfg(target_arch = "x86_64")]
                Path::Avx2x8 => Box::new(SideBySide::new(avx2::<4, { AVX2_HEADERS[1] }>)),
                #[cfg(target_arch = "x86_64")]
                Path::Avx512x8 => Box::new(SideBySide::new(avx512::<2, { AVX512_HEADERS[0] }>)),
                #[cfg(target_arch = "x86_64")]
                Path::Avx512x16 => Box::new(SideBySide::new(avx512::<4, { AVX512_HEADERS[1] }>)),
                _ => Box::new(SideBySide::new(portable)),
            }
        }
    }
}

fn portable(blocks: &mut [Block; PORTABLE_HEADERS], memory: &mut Memory<PORTABLE_HEADERS>) {
    romix::<Portable, 1, PORTABLE_HEADERS>(blocks, memory);
}

#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
fn neon(blocks: &mut [Block; NEON_HEADERS], memory: &mut Memory<NEON_HEADERS>) {
    romix::<Neon, 3, NEON_HEADERS>(blocks, memory);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse2")]
fn sse2(blocks: &mut [Block; SSE2_HEADERS], memory: &mut Memory<SSE2_HEADERS>) {
    romix::<Sse2, 3, SSE2_HEADERS>(blocks, memory);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2<const SETS: usize, const HEADERS: usize>(
    blocks: &mut [Block; HEADERS],
    memory: &mut Memory<HEADERS>,
) {
    romix::<Avx2, SETS, HEADERS>(blocks, memory);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn avx512<const SETS: usize, const HEADERS: usize>(
    blocks: &mut [Block; HEADERS],
    memory: &mut Memory<HEADERS>,
) {
    romix::<Avx512, SETS, HEADERS>(blocks, memory);
}
