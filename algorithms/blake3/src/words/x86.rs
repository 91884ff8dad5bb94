//! Words in the vector registers of x86-64 processors.
#![allow(unsafe_code)]
// SAFETY, of every block here: what a type is named after is an instruction set, and its instructions run in the functions
// of `crate::path` only that are compiled for it and called on processors that have it. None touches memory.

use super::Words;
use std::arch::x86_64::*;

/// A word of eight messages.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(__m256i);

/// A word of sixteen messages.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(__m512i);

impl Words for Avx2 {
    const LANES: usize = 8;

    #[inline(always)]
    fn of_all(word: u32) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm256_set1_epi32(word as i32) })
    }

    #[inline(always)]
    fn count_from(first: u32) -> Self {
        // SAFETY: see above.
        Self::of_all(first).add(Self(unsafe { _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7) }))
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm256_add_epi32(self.0, other.0) })
    }

    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm256_xor_si256(self.0, other.0) })
    }

    #[inline(always)]
    fn rotate<const RIGHT: i32, const LEFT: i32>(self) -> Self {
        // Whole bytes are moved in one instruction.
        // SAFETY: see above.
        Self(unsafe {
            match RIGHT {
                16 => {
                    let order = _mm_setr_epi8(2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
                    _mm256_shuffle_epi8(self.0, _mm256_broadcastsi128_si256(order))
                }
                8 => {
                    let order = _mm_setr_epi8(1, 2, 3, 0, 5, 6, 7, 4, 9, 10, 11, 8, 13, 14, 15, 12);
                    _mm256_shuffle_epi8(self.0, _mm256_broadcastsi128_si256(order))
                }
                _ => _mm256_or_si256(_mm256_srli_epi32::<RIGHT>(self.0), _mm256_slli_epi32::<LEFT>(self.0)),
            }
        })
    }

    #[inline(always)]
    fn any_up_to(self, top: u32) -> bool {
        let top = Self::of_all(top).0;
        // SAFETY: see above.
        unsafe { _mm256_movemask_epi8(_mm256_cmpeq_epi32(_mm256_min_epu32(self.0, top), self.0)) != 0 }
    }
}

impl Words for Avx512 {
    const LANES: usize = 16;

    #[inline(always)]
    fn of_all(word: u32) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_set1_epi32(word as i32) })
    }

    #[inline(always)]
    fn count_from(first: u32) -> Self {
        // SAFETY: see above.
        let lanes = unsafe { _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15) };
        Self::of_all(first).add(Self(lanes))
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_add_epi32(self.0, other.0) })
    }

    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_xor_si512(self.0, other.0) })
    }

    #[inline(always)]
    fn rotate<const RIGHT: i32, const LEFT: i32>(self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_ror_epi32::<RIGHT>(self.0) })
    }

    #[inline(always)]
    fn any_up_to(self, top: u32) -> bool {
        // SAFETY: see above.
        unsafe { _mm512_cmple_epu32_mask(self.0, Self::of_all(top).0) != 0 }
    }
}
