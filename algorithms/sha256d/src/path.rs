//! The paths: the ways to scan nonces, and the choice of one for this processor.
//!
//! To scan is to hash a block header with one nonce after another and to look for a hash that may meet the target. All
//! paths report the same findings. They differ in the instructions of a processor that they use, and so in their speed:
//!
//! - Vector instructions (AVX2, AVX-512) compute the same step for 8 or 16 nonces at once.
//! - SHA instructions compute rounds of SHA-256 for one nonce: two rounds in one instruction of x86-64, four in two
//!   instructions of 64-bit ARM.
//! - Two paths use both at the same time, since a processor has separate units for them.
//! - The portable path uses none of these.
//!
//! Not every processor has every instruction, so a path may be available or not ([`Path::is_available`]). A
//! `CheckedPath` is made only of an available one; that is why it may call the path's unsafe code. It is chosen in one of
//! these ways:
//!
//! - [`Path::best`] is the first available one in a fixed order ([`Path::ALL`]).
//! - [`Path::fastest`] tries the available ones for some milliseconds. Workers search on this one.
//! - [`Path::narrow`] is one without vectors, if the processor has SHA instructions. Workers search on this one while the
//!   main application works, since vectors lower the clock of some processors.
//! - A caller may also name a path, and gets [`UnavailablePath`] if this processor does not have it.

use std::{fmt, time::Duration};

use algorithm_api::trial;

#[cfg(target_arch = "aarch64")]
use crate::arm_sha2;
#[cfg(target_arch = "x86_64")]
use crate::{avx2, avx2_sha, avx512, avx512_sha, sha_ni};
use crate::{
    header::{HEADER_LEN, Header},
    lanes::Stop,
    portable,
};

/// Calls of a turn in a trial, and nonces of a call: as few as in a worker that yields often.
const TRIAL_CALLS: u32 = 6;
const TRIAL_NONCES: u32 = 1_536;

/// A way to scan. All report the same findings, at different speeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Path {
    /// AVX-512 of x86-64, sixteen nonces at a time.
    Avx512,
    /// AVX-512 and the SHA instructions of x86-64 at once, forty-eight nonces at a time.
    Avx512Sha,
    /// AVX2 and the SHA instructions of x86-64 at once, fifty-six nonces at a time.
    Avx2Sha,
    /// SHA instructions of x86-64, four nonces at a time.
    ShaNi,
    /// AVX2 of x86-64, eight nonces at a time.
    Avx2,
    /// SHA-2 instructions of 64-bit ARM, four nonces at a time.
    ArmSha2,
    /// Nothing of a particular processor, one nonce at a time.
    Portable,
}

impl Path {
    /// All paths, the best first as far as that is known without measuring.
    ///
    /// A hash here is the double hash of one header; it takes some 2,850 operations on words of 32 bits. A pair is the
    /// instruction of x86-64 that does two rounds of SHA-256. The cycles are those of a hash on one core:
    ///
    /// - AVX-512 does each operation for sixteen nonces. With two such operations a cycle, a hash takes 90 cycles.
    /// - The SHA unit does 60 pairs for a hash. That takes 120 cycles on a processor on which a pair takes two cycles, and
    ///   200 with the steps of the message schedule where a pair takes three.
    /// - AVX2 has no rotation and needs three operations for one. With four operations a cycle, a hash takes 220 cycles.
    /// - Two units at once are limited by the number of all instructions together. AVX-512 beside the SHA unit takes 78
    ///   cycles instead of 90, where a pair takes three cycles. For AVX2 beside the SHA unit: AVX2 needs some 880
    ///   operations for a hash, and the SHA unit some 360 beside its 60 pairs. With four operations a cycle, one hash in
    ///   vectors fits beside each seven of the SHA unit: 106 cycles instead of 120.
    ///
    /// How much of that is reached depends on the processor. So a worker measures and takes the fastest path
    /// ([`Self::fastest`]). A path with sixteen nonces in vectors and one more in integer registers is not among them: its
    /// code does not fit into the instruction cache.
    pub const ALL: [Self; 7] = [
        Self::Avx512,
        Self::Avx512Sha,
        Self::Avx2Sha,
        Self::ShaNi,
        Self::Avx2,
        Self::ArmSha2,
        Self::Portable,
    ];

    /// The one of [`Path::available`] that a trial ([`algorithm_api::trial`]) of some milliseconds finds fastest.
    /// `cpu_time` is the processor time that the calling thread has used.
    pub fn fastest(cpu_time: impl Fn() -> Duration) -> Self {
        let mut prepared = Prepared::new(&[0x5a; HEADER_LEN]);
        let mut paths: Vec<_> = Self::available().collect();
        if paths.len() > 1 {
            paths.pop();
        }
        let turn = |number: usize| {
            for call in 0..TRIAL_CALLS {
                // Only a hash that begins with 32 bits of zero would end it early.
                let first = call * TRIAL_NONCES;
                let _ = CheckedPath(paths[number]).find(&mut prepared, first, TRIAL_NONCES.into(), 0);
            }
        };
        trial::fastest(&paths, cpu_time, turn).unwrap_or(Self::Portable)
    }

    /// Those that this processor can go, the best first; the last is [`Path::Portable`].
    pub fn available() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|path| path.is_available())
    }

    /// The first of [`Path::available`].
    pub fn best() -> Self {
        Self::available().next().unwrap_or(Self::Portable)
    }

    /// The best without wide vectors. On a processor that has no SHA instructions it is [`Path::best`] all the same: its
    /// integer registers alone would be many times slower.
    pub fn narrow() -> Self {
        [Self::ShaNi, Self::ArmSha2].into_iter().find(|path| path.is_available()).unwrap_or_else(Self::best)
    }

    /// Whether the processor has what it takes and the operating system lets it be used.
    pub fn is_available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Sha => {
                is_x86_feature_detected!("avx512vl")
                    && Self::Avx512.is_available()
                    && Self::ShaNi.is_available()
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => is_x86_feature_detected!("avx512f"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2Sha => Self::Avx2.is_available() && Self::ShaNi.is_available(),
            #[cfg(target_arch = "x86_64")]
            Self::ShaNi => {
                is_x86_feature_detected!("sha")
                    && is_x86_feature_detected!("ssse3")
                    && is_x86_feature_detected!("sse4.1")
                    && is_x86_feature_detected!("avx")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2"),
            #[cfg(target_arch = "aarch64")]
            Self::ArmSha2 => {
                std::arch::is_aarch64_feature_detected!("neon")
                    && std::arch::is_aarch64_feature_detected!("sha2")
            }
            Self::Portable => true,
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx512Sha | Self::Avx512 | Self::Avx2Sha | Self::ShaNi | Self::Avx2 => false,
            #[cfg(not(target_arch = "aarch64"))]
            Self::ArmSha2 => false,
        }
    }

    /// Its name in figures and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Avx512Sha => "avx512+sha",
            Self::Avx512 => "avx512",
            Self::Avx2Sha => "avx2+sha",
            Self::ShaNi => "sha-ni",
            Self::Avx2 => "avx2",
            Self::ArmSha2 => "arm-sha2",
            Self::Portable => "portable",
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A path that is wanted on a processor that cannot go it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this processor cannot go the path {0} of sha256d: choose one of Path::available()")]
pub struct UnavailablePath(pub Path);

/// A header, and what paths make of it once.
pub(crate) struct Prepared {
    pub(crate) header: Header,
    #[cfg(target_arch = "x86_64")]
    avx512_sha: Option<Box<avx512_sha::Workspace>>,
    #[cfg(target_arch = "x86_64")]
    avx2_sha: Option<Box<avx2_sha::Workspace>>,
}

impl Prepared {
    pub(crate) fn new(header: &[u8; HEADER_LEN]) -> Self {
        Self {
            header: Header::new(header),
            #[cfg(target_arch = "x86_64")]
            avx512_sha: None,
            #[cfg(target_arch = "x86_64")]
            avx2_sha: None,
        }
    }
}

/// A path that this processor can go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CheckedPath(Path);

impl CheckedPath {
    pub(crate) fn new(path: Path) -> Result<Self, UnavailablePath> {
        if path.is_available() { Ok(Self(path)) } else { Err(UnavailablePath(path)) }
    }

    pub(crate) fn best() -> Self {
        Self(Path::best())
    }

    pub(crate) fn narrow() -> Self {
        Self(Path::narrow())
    }

    pub(crate) fn fastest(cpu_time: impl Fn() -> Duration) -> Self {
        Self(Path::fastest(cpu_time))
    }

    pub(crate) const fn path(self) -> Path {
        self.0
    }

    /// Nonces of a batch.
    pub(crate) const fn lanes(self) -> u32 {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Path::Avx512Sha | Path::Avx512 => avx512::LANES,
            #[cfg(target_arch = "x86_64")]
            Path::Avx2Sha | Path::ShaNi => sha_ni::LANES,
            #[cfg(target_arch = "x86_64")]
            Path::Avx2 => avx2::LANES,
            #[cfg(target_arch = "aarch64")]
            Path::ArmSha2 => arm_sha2::LANES,
            _ => portable::LANES,
        }
    }

    /// Scans at least `count` nonces from `first` on, in whole batches, up to the first batch that may hold a finding:
    /// one whose top word is not above `top`. The whole loop is the path's own, so that what chooses it costs nothing.
    #[allow(unsafe_code)]
    pub(crate) fn find(self, prepared: &mut Prepared, first: u32, count: u64, top: u32) -> Option<Stop> {
        let header = &prepared.header;
        match self.0 {
            // SAFETY: `new`, `best`, `fastest` and `narrow` have asked for what `Path::is_available` names: avx512f.
            #[cfg(target_arch = "x86_64")]
            Path::Avx512 => unsafe { avx512::find(header, first, count, top) },
            // SAFETY: as above, what the next two name: avx512f, sha, avx.
            #[cfg(target_arch = "x86_64")]
            Path::Avx512Sha => {
                let made = || Box::new(avx512_sha::Workspace::new(header));
                let workspace = prepared.avx512_sha.get_or_insert_with(made);
                unsafe { avx512_sha::find(header, workspace, first, count, top) }
            }
            // SAFETY: as above: avx2, sha, ssse3, sse4.1, avx.
            #[cfg(target_arch = "x86_64")]
            Path::Avx2Sha => {
                let made = || Box::new(avx2_sha::Workspace::new(header));
                let workspace = prepared.avx2_sha.get_or_insert_with(made);
                unsafe { avx2_sha::find(header, workspace, first, count, top) }
            }
            // SAFETY: as above: sha, ssse3, sse4.1, avx; sse2 is part of x86-64.
            #[cfg(target_arch = "x86_64")]
            Path::ShaNi => unsafe { sha_ni::find(header, first, count, top) },
            // SAFETY: as above: avx2.
            #[cfg(target_arch = "x86_64")]
            Path::Avx2 => unsafe { avx2::find(header, first, count, top) },
            // SAFETY: as above: neon, sha2.
            #[cfg(target_arch = "aarch64")]
            Path::ArmSha2 => unsafe { arm_sha2::find(header, first, count, top) },
            _ => portable::find(header, first, count, top),
        }
    }
}
