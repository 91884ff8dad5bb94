//! AVX2: eight nonces at a time. A rotation is two shifts and their union.

use std::arch::x86_64::*;

use crate::{
    fips::{self, END_OF_MESSAGE, HASH_BITS, HEADER_BITS, INITIAL, SECOND_AFTER_ROUND_0},
    header::Header,
    lanes::{Stop, hidden_constants},
};

type Vector = __m256i;
pub(crate) const LANES: u32 = 8;

#[target_feature(enable = "avx2")]
#[inline]
fn splat(x: u32) -> Vector {
    _mm256_set1_epi32(x.cast_signed())
}

#[target_feature(enable = "avx2")]
#[inline]
fn counting_from(x: u32) -> Vector {
    add(splat(x), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))
}

#[target_feature(enable = "avx2")]
#[inline]
fn add(x: Vector, y: Vector) -> Vector {
    _mm256_add_epi32(x, y)
}

#[target_feature(enable = "avx2")]
#[inline]
fn swap_bytes(x: Vector) -> Vector {
    let order = _mm256_setr_epi8(
        3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12, //
        3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12,
    );
    _mm256_shuffle_epi8(x, order)
}

/// Rotation to the right; `LEFT` is 32 less `RIGHT`.
#[target_feature(enable = "avx2")]
#[inline]
fn rotate<const RIGHT: i32, const LEFT: i32>(x: Vector) -> Vector {
    const { assert!(RIGHT + LEFT == 32) };
    _mm256_or_si256(_mm256_srli_epi32::<RIGHT>(x), _mm256_slli_epi32::<LEFT>(x))
}

#[target_feature(enable = "avx2")]
#[inline]
fn xor(x: Vector, y: Vector, z: Vector) -> Vector {
    _mm256_xor_si256(_mm256_xor_si256(x, y), z)
}

#[target_feature(enable = "avx2")]
#[inline]
fn small0(x: Vector) -> Vector {
    xor(rotate::<7, 25>(x), rotate::<18, 14>(x), _mm256_srli_epi32::<3>(x))
}

#[target_feature(enable = "avx2")]
#[inline]
fn small1(x: Vector) -> Vector {
    xor(rotate::<17, 15>(x), rotate::<19, 13>(x), _mm256_srli_epi32::<10>(x))
}

#[target_feature(enable = "avx2")]
#[inline]
fn big0(x: Vector) -> Vector {
    xor(rotate::<2, 30>(x), rotate::<13, 19>(x), rotate::<22, 10>(x))
}

#[target_feature(enable = "avx2")]
#[inline]
fn big1(x: Vector) -> Vector {
    xor(rotate::<6, 26>(x), rotate::<11, 21>(x), rotate::<25, 7>(x))
}

#[target_feature(enable = "avx2")]
#[inline]
fn choose(x: Vector, y: Vector, z: Vector) -> Vector {
    _mm256_xor_si256(z, _mm256_and_si256(x, _mm256_xor_si256(y, z)))
}

#[target_feature(enable = "avx2")]
#[inline]
fn majority(x: Vector, y: Vector, z: Vector) -> Vector {
    _mm256_xor_si256(y, _mm256_and_si256(_mm256_xor_si256(x, y), _mm256_xor_si256(y, z)))
}

#[target_feature(enable = "avx2")]
#[inline]
fn not_above(x: Vector, limit: u32) -> u32 {
    let lower = _mm256_min_epu32(x, splat(limit));
    let same = _mm256_cmpeq_epi32(lower, x);
    _mm256_movemask_ps(_mm256_castsi256_ps(same)).cast_unsigned()
}

find_in_lanes!(#[target_feature(enable = "avx2")]);
