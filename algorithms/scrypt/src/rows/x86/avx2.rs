//! Two headers in 256 bits.
#![allow(unsafe_code)]
// SAFETY, of every block here: the kernel that this is inlined into runs on processors with AVX2 only. What is read or
// written lies within a `State`, which is borrowed for it, has the length of four rows and is aligned for each.

use crate::rows::{Block, Rows, State};
use std::arch::x86_64::*;

/// A row of two headers.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(__m256i);

/// The row at `a` below the row at `b`.
#[inline(always)]
unsafe fn join(a: *const __m128i, b: *const __m128i) -> Avx2 {
    // SAFETY: see above; both pointers are at a row.
    Avx2(unsafe {
        _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(_mm_load_si128(a)), _mm_load_si128(b))
    })
}

impl Rows for Avx2 {
    const HEADERS: usize = 2;

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
    fn rotate<const LEFT: i32, const RIGHT: i32>(self) -> Self {
        // SAFETY: see above.
        Self(unsafe {
            _mm256_or_si256(_mm256_slli_epi32::<LEFT>(self.0), _mm256_srli_epi32::<RIGHT>(self.0))
        })
    }

    #[inline(always)]
    fn turn<const ORDER: i32>(self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm256_shuffle_epi32::<ORDER>(self.0) })
    }

    #[inline(always)]
    fn load<'a>(state: impl Fn(usize) -> &'a State) -> [Self; 4] {
        let a = state(0).0.as_ptr().cast::<__m128i>();
        let b = state(1).0.as_ptr().cast::<__m128i>();
        // SAFETY: see above.
        unsafe { [join(a, b), join(a.add(1), b.add(1)), join(a.add(2), b.add(2)), join(a.add(3), b.add(3))] }
    }

    #[inline(always)]
    fn store(rows: [Self; 4], blocks: &mut [Block], half: usize) {
        let a = blocks[0][half].0.as_mut_ptr().cast::<__m128i>();
        let b = blocks[1][half].0.as_mut_ptr().cast::<__m128i>();
        for (i, row) in rows.into_iter().enumerate() {
            // SAFETY: see above.
            unsafe {
                _mm_store_si128(a.add(i), _mm256_castsi256_si128(row.0));
                _mm_store_si128(b.add(i), _mm256_extracti128_si256::<1>(row.0));
            }
        }
    }

    #[inline(always)]
    fn first_word(self, header: usize) -> u32 {
        // SAFETY: see above.
        let row = unsafe {
            match header {
                0 => _mm256_castsi256_si128(self.0),
                _ => _mm256_extracti128_si256::<1>(self.0),
            }
        };
        // SAFETY: see above.
        unsafe { _mm_cvtsi128_si32(row) as u32 }
    }
}
