//! Four headers in 512 bits.
#![allow(unsafe_code)]
// SAFETY, of every block here: the kernel that this is inlined into runs on processors with AVX-512F only. What is read
// or written is a whole `State`, which is borrowed for it and has the length and the alignment of a vector.

use crate::rows::{Block, Rows, State};
use std::arch::x86_64::*;

/// A row of four headers.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(__m512i);

/// Makes one row of four headers out of each four rows of one header, and the other way round.
#[inline(always)]
fn transpose([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    /// Rows 0 and 1 of both.
    const LOW: i32 = 0b01_00_01_00;
    /// Rows 2 and 3 of both.
    const HIGH: i32 = 0b11_10_11_10;
    /// Rows 0 and 2 of both.
    const EVEN: i32 = 0b10_00_10_00;
    /// Rows 1 and 3 of both.
    const ODD: i32 = 0b11_01_11_01;
    // SAFETY: see above.
    unsafe {
        let (ab_low, ab_high) = (_mm512_shuffle_i32x4::<LOW>(a, b), _mm512_shuffle_i32x4::<HIGH>(a, b));
        let (cd_low, cd_high) = (_mm512_shuffle_i32x4::<LOW>(c, d), _mm512_shuffle_i32x4::<HIGH>(c, d));
        [
            _mm512_shuffle_i32x4::<EVEN>(ab_low, cd_low),
            _mm512_shuffle_i32x4::<ODD>(ab_low, cd_low),
            _mm512_shuffle_i32x4::<EVEN>(ab_high, cd_high),
            _mm512_shuffle_i32x4::<ODD>(ab_high, cd_high),
        ]
    }
}

#[inline(always)]
fn read(state: &State) -> __m512i {
    // SAFETY: see above.
    unsafe { _mm512_load_si512(state.0.as_ptr().cast()) }
}

impl Rows for Avx512 {
    const HEADERS: usize = 4;

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
    fn rotate<const LEFT: i32, const RIGHT: i32>(self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_rol_epi32::<LEFT>(self.0) })
    }

    #[inline(always)]
    fn turn<const ORDER: i32>(self) -> Self {
        // SAFETY: see above.
        Self(unsafe { _mm512_shuffle_epi32::<ORDER>(self.0) })
    }

    #[inline(always)]
    fn load<'a>(state: impl Fn(usize) -> &'a State) -> [Self; 4] {
        let [a, b, c, d] = transpose([read(state(0)), read(state(1)), read(state(2)), read(state(3))]);
        [Self(a), Self(b), Self(c), Self(d)]
    }

    #[inline(always)]
    fn store([a, b, c, d]: [Self; 4], blocks: &mut [Block], half: usize) {
        for (block, state) in blocks.iter_mut().zip(transpose([a.0, b.0, c.0, d.0])) {
            // SAFETY: see above.
            unsafe { _mm512_store_si512(block[half].0.as_mut_ptr().cast(), state) };
        }
    }

    #[inline(always)]
    fn first_word(self, header: usize) -> u32 {
        // SAFETY: see above.
        let row = unsafe {
            match header {
                0 => _mm512_castsi512_si128(self.0),
                1 => _mm512_extracti32x4_epi32::<1>(self.0),
                2 => _mm512_extracti32x4_epi32::<2>(self.0),
                _ => _mm512_extracti32x4_epi32::<3>(self.0),
            }
        };
        // SAFETY: see above.
        unsafe { _mm_cvtsi128_si32(row) as u32 }
    }
}
