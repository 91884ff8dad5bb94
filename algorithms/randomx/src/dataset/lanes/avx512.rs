//! AVX-512: eight items in a vector.

use super::{
    super::superscalar::{DIFFERENCES, FIRST_FACTOR, Item, Operation, Program, Programs, REGISTERS, line_of},
    BATCH,
};
use std::arch::{asm, x86_64::*};

type V = __m512i;
const LANES: usize = 8;

lanes!("avx512f,avx512dq");

#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn load(words: &[u64; LANES]) -> V {
    // SAFETY: reads the 64 bytes of the array, at any alignment.
    unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn store(words: &mut [u64; LANES], v: V) {
    // SAFETY: writes the 64 bytes of the array, at any alignment.
    unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), v) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn prefetch(line: &Item) {
    _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast());
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn splat(word: u64) -> V {
    _mm512_set1_epi64(word.cast_signed())
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn add(a: V, b: V) -> V {
    _mm512_add_epi64(a, b)
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn sub(a: V, b: V) -> V {
    _mm512_sub_epi64(a, b)
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn xor(a: V, b: V) -> V {
    _mm512_xor_si512(a, b)
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn shift_left(a: V, by: u64) -> V {
    _mm512_sll_epi64(a, _mm_cvtsi64_si128(by.cast_signed()))
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn rotate_right(a: V, by: u64) -> V {
    _mm512_rorv_epi64(a, splat(by))
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn mul(a: V, b: V) -> V {
    _mm512_mullo_epi64(a, b)
}

/// The products of the lower halves. In assembly, since the compiler would otherwise see through [`mul_high`] and
/// multiply word by word outside of the vector unit, which is slower.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn mul_halves(a: V, b: V) -> V {
    let product;
    // SAFETY: works on registers alone.
    unsafe {
        asm!("vpmuludq {}, {}, {}", lateout(zmm_reg) product, in(zmm_reg) a, in(zmm_reg) b,
            options(pure, nomem, nostack, preserves_flags));
    }
    product
}

/// From the four products of the halves; no sum of them passes 64 bits.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn mul_high(a: V, b: V) -> V {
    let (a_high, b_high) = (_mm512_srli_epi64::<32>(a), _mm512_srli_epi64::<32>(b));
    let low = mul_halves(a, b);
    let middle = add(mul_halves(a_high, b), _mm512_srli_epi64::<32>(low));
    let other = add(mul_halves(a, b_high), _mm512_and_si512(middle, _mm512_set1_epi64(0xffff_ffff)));
    let high = add(mul_halves(a_high, b_high), _mm512_srli_epi64::<32>(middle));
    add(high, _mm512_srli_epi64::<32>(other))
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn mul_high_signed(a: V, b: V) -> V {
    let high = mul_high(a, b);
    let high = _mm512_mask_sub_epi64(high, _mm512_movepi64_mask(a), high, b);
    _mm512_mask_sub_epi64(high, _mm512_movepi64_mask(b), high, a)
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn transpose(r: [V; LANES]) -> [V; LANES] {
    // Pairs of words, then of 128 bits, then of 256 bits change places.
    let low = |a, b| _mm512_unpacklo_epi64(a, b);
    let high = |a, b| _mm512_unpackhi_epi64(a, b);
    let p = [
        low(r[0], r[1]),
        high(r[0], r[1]),
        low(r[2], r[3]),
        high(r[2], r[3]),
        low(r[4], r[5]),
        high(r[4], r[5]),
        low(r[6], r[7]),
        high(r[6], r[7]),
    ];
    let even = |a, b| _mm512_shuffle_i64x2::<0b10_00_10_00>(a, b);
    let odd = |a, b| _mm512_shuffle_i64x2::<0b11_01_11_01>(a, b);
    // Of each: words 0 and 4, 1 and 5 and so on of four rows.
    let (a04, a15) = (even(p[0], p[2]), even(p[1], p[3]));
    let (a26, a37) = (odd(p[0], p[2]), odd(p[1], p[3]));
    let (b04, b15) = (even(p[4], p[6]), even(p[5], p[7]));
    let (b26, b37) = (odd(p[4], p[6]), odd(p[5], p[7]));
    [
        even(a04, b04),
        even(a15, b15),
        even(a26, b26),
        even(a37, b37),
        odd(a04, b04),
        odd(a15, b15),
        odd(a26, b26),
        odd(a37, b37),
    ]
}
