//! AVX2: four items in a vector.

use super::{
    super::superscalar::{DIFFERENCES, FIRST_FACTOR, Item, Operation, Program, Programs, REGISTERS, line_of},
    BATCH,
};
use std::arch::{asm, x86_64::*};

type V = __m256i;
const LANES: usize = 4;

lanes!("avx2");

#[inline]
#[target_feature(enable = "avx2")]
fn load(words: &[u64; LANES]) -> V {
    // SAFETY: reads the 32 bytes of the array, at any alignment.
    unsafe { _mm256_loadu_si256(words.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store(words: &mut [u64; LANES], v: V) {
    // SAFETY: writes the 32 bytes of the array, at any alignment.
    unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), v) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn prefetch(line: &Item) {
    _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast());
}

#[inline]
#[target_feature(enable = "avx2")]
fn splat(word: u64) -> V {
    _mm256_set1_epi64x(word.cast_signed())
}

#[inline]
#[target_feature(enable = "avx2")]
fn add(a: V, b: V) -> V {
    _mm256_add_epi64(a, b)
}

#[inline]
#[target_feature(enable = "avx2")]
fn sub(a: V, b: V) -> V {
    _mm256_sub_epi64(a, b)
}

#[inline]
#[target_feature(enable = "avx2")]
fn xor(a: V, b: V) -> V {
    _mm256_xor_si256(a, b)
}

#[inline]
#[target_feature(enable = "avx2")]
fn shift_left(a: V, by: u64) -> V {
    _mm256_sll_epi64(a, _mm_cvtsi64_si128(by.cast_signed()))
}

#[inline]
#[target_feature(enable = "avx2")]
fn rotate_right(a: V, by: u64) -> V {
    let by = by.cast_signed();
    _mm256_or_si256(
        _mm256_srl_epi64(a, _mm_cvtsi64_si128(by)),
        _mm256_sll_epi64(a, _mm_cvtsi64_si128(64 - by)),
    )
}

#[inline]
#[target_feature(enable = "avx2")]
fn mul(a: V, b: V) -> V {
    // Both cross products at once, their sum moved up.
    let crossed = _mm256_mullo_epi32(a, _mm256_shuffle_epi32::<0b10_11_00_01>(b));
    let summed = _mm256_add_epi32(crossed, _mm256_slli_epi64::<32>(crossed));
    let upper = _mm256_blend_epi32::<0b1010_1010>(_mm256_setzero_si256(), summed);
    add(_mm256_mul_epu32(a, b), upper)
}

/// The products of the lower halves. In assembly, since the compiler would otherwise see through [`mul_high`] and
/// multiply word by word outside of the vector unit, which is slower.
#[inline]
#[target_feature(enable = "avx2")]
fn mul_halves(a: V, b: V) -> V {
    let product;
    // SAFETY: works on registers alone.
    unsafe {
        asm!("vpmuludq {}, {}, {}", lateout(ymm_reg) product, in(ymm_reg) a, in(ymm_reg) b,
            options(pure, nomem, nostack, preserves_flags));
    }
    product
}

/// From the four products of the halves; no sum of them passes 64 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn mul_high(a: V, b: V) -> V {
    let (a_high, b_high) = (_mm256_srli_epi64::<32>(a), _mm256_srli_epi64::<32>(b));
    let low = mul_halves(a, b);
    let middle = add(mul_halves(a_high, b), _mm256_srli_epi64::<32>(low));
    let lower_of_middle = _mm256_blend_epi32::<0b1010_1010>(middle, _mm256_setzero_si256());
    let other = add(mul_halves(a, b_high), lower_of_middle);
    let high = add(mul_halves(a_high, b_high), _mm256_srli_epi64::<32>(middle));
    add(high, _mm256_srli_epi64::<32>(other))
}

#[inline]
#[target_feature(enable = "avx2")]
fn mul_high_signed(a: V, b: V) -> V {
    let if_negative = |sign, value| _mm256_and_si256(_mm256_cmpgt_epi64(_mm256_setzero_si256(), sign), value);
    sub(sub(mul_high(a, b), if_negative(a, b)), if_negative(b, a))
}

#[inline]
#[target_feature(enable = "avx2")]
fn transpose(r: [V; LANES]) -> [V; LANES] {
    let (even_a, odd_a) = (_mm256_unpacklo_epi64(r[0], r[1]), _mm256_unpackhi_epi64(r[0], r[1]));
    let (even_b, odd_b) = (_mm256_unpacklo_epi64(r[2], r[3]), _mm256_unpackhi_epi64(r[2], r[3]));
    [
        _mm256_permute2x128_si256::<0x20>(even_a, even_b),
        _mm256_permute2x128_si256::<0x20>(odd_a, odd_b),
        _mm256_permute2x128_si256::<0x31>(even_a, even_b),
        _mm256_permute2x128_si256::<0x31>(odd_a, odd_b),
    ]
}
