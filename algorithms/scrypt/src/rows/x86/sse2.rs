//! One header in 128 bits.
#![allow(unsafe_code)]
// SAFETY, of every block here: SSE2 belongs to every x86-64 processor. What is read or written lies within a `State`,
// which is borrowed for it, has the length of four vectors and is aligned for each.

use crate::rows::{Block, Rows, State};
use std::arch::x86_64::*;

/// A row of one header.
#[derive(Clone, Copy)]
pub(crate) struct Sse2(__m128i);

impl Rows for Sse2 {
    const HEADERS: usize = 1;

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm_add_epi32(self.0, other.0) })
    }

    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm_xor_si128(self.0, other.0) })
    }

    #[inline(always)]
    fn rotate<const LEFT: i32, const RIGHT: i32>(self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm_or_si128(_mm_slli_epi32::<LEFT>(self.0), _mm_srli_epi32::<RIGHT>(self.0)) })
    }

    #[inline(always)]
    fn turn<const ORDER: i32>(self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm_shuffle_epi32::<ORDER>(self.0) })
    }

    #[inline(always)]
    fn load<'a>(state: impl Fn(usize) -> &'a State) -> [Self; 4] {
        let from = state(0).0.as_ptr().cast::<__m128i>();
        // SAFETY: see above.
        unsafe {
            [
                Self(_mm_load_si128(from)),
                Self(_mm_load_si128(from.add(1))),
                Self(_mm_load_si128(from.add(2))),
                Self(_mm_load_si128(from.add(3))),
            ]
        }
    }

    #[inline(always)]
    fn store(rows: [Self; 4], blocks: &mut [Block], half: usize) {
        let to = blocks[0][half].0.as_mut_ptr().cast::<__m128i>();
        for (i, row) in rows.into_iter().enumerate() {
            // SAFETY: see above.
            unsafe { _mm_store_si128(to.add(i), row.0) };
        }
    }

    #[inline(always)]
    fn first_word(self, _header: usize) -> u32 {
        // SAFETY: see above.
        unsafe { _mm_cvtsi128_si32(self.0) as u32 }
    }
}
