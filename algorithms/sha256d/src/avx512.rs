//! AVX-512: sixteen nonces at a time. Rotation and any function of three bits are one instruction each.

use std::arch::x86_64::*;

use crate::{
    fips::{self, END_OF_MESSAGE, HASH_BITS, HEADER_BITS, INITIAL, SECOND_AFTER_ROUND_0},
    header::Header,
    lanes::{Stop, hidden_constants},
};

type Vector = __m512i;
pub(crate) const LANES: u32 = 16;

// Tables of three bits for `vpternlogd`, which writes its result over its first operand. That is the oldest word here:
// it need not be kept, so nothing is copied.
const XOR: i32 = 0x96;
const CHOOSE: i32 = 0xb8;
const MAJORITY: i32 = 0xe8;

#[target_feature(enable = "avx512f")]
#[inline]
fn splat(x: u32) -> Vector {
    _mm512_set1_epi32(x.cast_signed())
}

#[target_feature(enable = "avx512f")]
#[inline]
fn counting_from(x: u32) -> Vector {
    add(splat(x), _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15))
}

#[target_feature(enable = "avx512f")]
#[inline]
fn add(x: Vector, y: Vector) -> Vector {
    _mm512_add_epi32(x, y)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn swap_bytes(x: Vector) -> Vector {
    choose(splat(0x00ff_00ff), _mm512_rol_epi32::<8>(x), _mm512_ror_epi32::<8>(x))
}

#[target_feature(enable = "avx512f")]
#[inline]
fn small0(x: Vector) -> Vector {
    let [r7, r18] = [_mm512_ror_epi32::<7>(x), _mm512_ror_epi32::<18>(x)];
    _mm512_ternarylogic_epi32::<XOR>(r7, r18, _mm512_srli_epi32::<3>(x))
}

#[target_feature(enable = "avx512f")]
#[inline]
fn small1(x: Vector) -> Vector {
    let [r17, r19] = [_mm512_ror_epi32::<17>(x), _mm512_ror_epi32::<19>(x)];
    _mm512_ternarylogic_epi32::<XOR>(r17, r19, _mm512_srli_epi32::<10>(x))
}

#[target_feature(enable = "avx512f")]
#[inline]
fn big0(x: Vector) -> Vector {
    let [r2, r13] = [_mm512_ror_epi32::<2>(x), _mm512_ror_epi32::<13>(x)];
    _mm512_ternarylogic_epi32::<XOR>(r2, r13, _mm512_ror_epi32::<22>(x))
}

#[target_feature(enable = "avx512f")]
#[inline]
fn big1(x: Vector) -> Vector {
    let [r6, r11] = [_mm512_ror_epi32::<6>(x), _mm512_ror_epi32::<11>(x)];
    _mm512_ternarylogic_epi32::<XOR>(r6, r11, _mm512_ror_epi32::<25>(x))
}

#[target_feature(enable = "avx512f")]
#[inline]
fn choose(x: Vector, y: Vector, z: Vector) -> Vector {
    _mm512_ternarylogic_epi32::<CHOOSE>(z, x, y)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn majority(x: Vector, y: Vector, z: Vector) -> Vector {
    _mm512_ternarylogic_epi32::<MAJORITY>(z, y, x)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn not_above(x: Vector, limit: u32) -> u32 {
    u32::from(_mm512_cmple_epu32_mask(x, splat(limit)))
}

find_in_lanes!(#[target_feature(enable = "avx512f")]);
