//! The SHA instructions of x86-64: four nonces at a time, each in registers of its own.
//!
//! `sha256rnds2` does two rounds, each waits for the one before, and the result takes several cycles; several nonces
//! side by side keep the unit busy. AVX is asked for only for its encoding with three operands, which saves a copy at
//! most additions and shuffles.
//!
//! A state is two registers, `ABEF` and `CDGH`, named from the highest word down. Words of the message schedule
//! stand in groups of four. The first hash begins with round 4, the second with round 1: its groups are `W1..W4`,
//! `W5..W8` and so on, so that neither does a pair of rounds more than it must.

// The index is the nonce, which is the same in every array.
#![allow(clippy::needless_range_loop)]

use std::arch::x86_64::*;

use crate::{
    fips::{self, END_OF_MESSAGE, HASH_BITS, HEADER_BITS, INITIAL, SECOND_AFTER_ROUND_0, constants},
    header::Header,
    lanes::Stop,
};

/// Nonces of a batch.
pub(crate) const LANES: u32 = WAYS as u32;
const WAYS: usize = 4;

/// One register for each nonce of a batch.
type Each = [__m128i; WAYS];

#[derive(Clone, Copy)]
struct States {
    abef: Each,
    cdgh: Each,
}

/// Four words, the lowest first.
#[target_feature(enable = "sse2,avx")]
#[inline]
fn group([x0, x1, x2, x3]: [u32; 4]) -> __m128i {
    _mm_setr_epi32(x0.cast_signed(), x1.cast_signed(), x2.cast_signed(), x3.cast_signed())
}

/// Four rounds with words that are the same for all nonces.
#[target_feature(enable = "sha,sse2,ssse3,sse4.1,avx")]
#[inline]
fn rounds_of_same(s: &mut States, kw: [u32; 4]) {
    let low = group(kw);
    let high = _mm_shuffle_epi32::<0b_11_10>(low);
    for way in 0..WAYS {
        s.cdgh[way] = _mm_sha256rnds2_epu32(s.cdgh[way], s.abef[way], low);
    }
    for way in 0..WAYS {
        s.abef[way] = _mm_sha256rnds2_epu32(s.abef[way], s.cdgh[way], high);
    }
}

/// Rounds `T` to `T + 3`.
#[target_feature(enable = "sha,sse2,ssse3,sse4.1,avx")]
#[inline]
fn rounds<const T: usize>(s: &mut States, w: &Each) {
    let k = group(const { constants::<T>([0; 4]) });
    let mut kw = *w;
    for way in 0..WAYS {
        kw[way] = _mm_add_epi32(w[way], k);
        s.cdgh[way] = _mm_sha256rnds2_epu32(s.cdgh[way], s.abef[way], kw[way]);
    }
    for way in 0..WAYS {
        let high = _mm_shuffle_epi32::<0b_11_10>(kw[way]);
        s.abef[way] = _mm_sha256rnds2_epu32(s.abef[way], s.cdgh[way], high);
    }
}

/// The next group of the schedule, in the place of the oldest of the last four.
#[target_feature(enable = "sha,sse2,ssse3,sse4.1,avx")]
#[inline]
fn schedule(w: &mut [Each; 4], i: usize) {
    for way in 0..WAYS {
        let [w0, w1, w2, w3] = [w[i & 3][way], w[(i + 1) & 3][way], w[(i + 2) & 3][way], w[(i + 3) & 3][way]];
        let sum = _mm_add_epi32(_mm_sha256msg1_epu32(w0, w1), _mm_alignr_epi8::<4>(w3, w2));
        w[i & 3][way] = _mm_sha256msg2_epu32(sum, w3);
    }
}

/// A group of the schedule of which the older two groups are the same for all nonces; `fixed` is their part.
#[target_feature(enable = "sha,sse2,ssse3,sse4.1,avx")]
#[inline]
fn schedule_from_fixed(fixed: __m128i, w2: &Each, w3: &Each) -> Each {
    let mut next = *w3;
    for way in 0..WAYS {
        let sum = _mm_add_epi32(fixed, _mm_alignr_epi8::<4>(w3[way], w2[way]));
        next[way] = _mm_sha256msg2_epu32(sum, w3[way]);
    }
    next
}

/// Rounds 4 to 63 of the header's second block, and the midstate added.
#[target_feature(enable = "sha,sse2,ssse3,sse4.1,avx")]
#[inline]
fn first_hash(header: &Header, first: u32) -> States {
    let [a, b, c, d, e, f, g, h] = header.after_round_3;
    let [abef, cdgh] = [group([f, e, b, a]), group([h, g, d, c])];
    let w16 = group([header.w16, header.w17, header.w18, header.w19]);
    let mut s = States { abef: [abef; WAYS], cdgh: [cdgh; WAYS] };
    let mut w = [[w16; WAYS]; 4];
    let zero = group([0; 4]);
    for way in 0..WAYS {
        let w3 = first.wrapping_add(way as u32).swap_bytes();
        let w3 = group([0, 0, 0, w3]);
        s.abef[way] = _mm_add_epi32(abef, _mm_shuffle_epi32::<0b_11_00_11_00>(w3));
        w[0][way] = _mm_add_epi32(w16, _mm_sha256msg1_epu32(w3, zero));
    }
    rounds_of_same(&mut s, const { constants::<4>([END_OF_MESSAGE, 0, 0, 0]) });
    rounds_of_same(&mut s, const { constants::<8>([0; 4]) });
    rounds_of_same(&mut s, const { constants::<12>([0, 0, 0, HEADER_BITS]) });
    rounds::<16>(&mut s, &w[0]);
    let w20 = group([END_OF_MESSAGE, 0, HEADER_BITS, header.w16]);
    for way in 0..WAYS {
        w[1][way] = _mm_sha256msg2_epu32(w20, w[0][way]);
    }
    rounds::<20>(&mut s, &w[1]);
    for way in 0..WAYS {
        let older = _mm_alignr_epi8::<4>(w[1][way], w[0][way]);
        w[2][way] = _mm_sha256msg2_epu32(older, w[1][way]);
    }
    rounds::<24>(&mut s, &w[2]);
    let w28 = group([0, 0, fips::small0(HEADER_BITS), header.w31]);
    w[3] = schedule_from_fixed(w28, &w[1], &w[2]);
    rounds::<28>(&mut s, &w[3]);
    scheduled_rounds!(s, w, [32 36 40 44 48 52 56 60] from 0);

    let [a, b, c, d, e, f, g, h] = header.midstate;
    let [abef, cdgh] = [group([f, e, b, a]), group([h, g, d, c])];
    for way in 0..WAYS {
        s.abef[way] = _mm_add_epi32(s.abef[way], abef);
        s.cdgh[way] = _mm_add_epi32(s.cdgh[way], cdgh);
    }
    s
}

/// Rounds 1 to 60 of the second hash, after which `e` is what `h` is after round 63; round 0 is two additions.
#[target_feature(enable = "sha,sse2,ssse3,sse4.1,avx")]
#[inline]
fn second_hash(inner: &States) -> Each {
    let [a, b, c, d, e, f, g, h] = SECOND_AFTER_ROUND_0;
    let [abef, cdgh] = [group([f, e, b, a]), group([h, g, d, c])];
    let mut s = States { abef: [abef; WAYS], cdgh: [cdgh; WAYS] };
    let zero = group([0; 4]);
    let mut w = [[zero; WAYS]; 4];
    let a_to_a_and_e = _mm_setr_epi8(-1, -1, -1, -1, 12, 13, 14, 15, -1, -1, -1, -1, 12, 13, 14, 15);
    for way in 0..WAYS {
        let badc = _mm_unpackhi_epi64(inner.abef[way], inner.cdgh[way]);
        let fehg = _mm_unpacklo_epi64(inner.abef[way], inner.cdgh[way]);
        let bcda = _mm_shuffle_epi32::<0b_01_10_11_00>(badc);
        let fghe = _mm_shuffle_epi32::<0b_01_10_11_00>(fehg);
        s.abef[way] = _mm_add_epi32(abef, _mm_shuffle_epi8(bcda, a_to_a_and_e));
        w[0][way] = _mm_blend_epi16::<0b_1100_0000>(bcda, fghe);
        w[1][way] = _mm_blend_epi16::<0b_1100_0000>(fghe, group([0, 0, 0, END_OF_MESSAGE]));
        // W16 is W0 and σ0 of W1: what the instruction makes of the last word and of the first of the next group.
        let w16 = _mm_sha256msg1_epu32(bcda, bcda);
        w[3][way] = _mm_blend_epi16::<0b_1100_0000>(group([0, 0, HASH_BITS, 0]), w16);
    }
    rounds::<1>(&mut s, &w[0]);
    rounds::<5>(&mut s, &w[1]);
    rounds_of_same(&mut s, const { constants::<9>([0; 4]) });
    rounds::<13>(&mut s, &w[3]);
    for way in 0..WAYS {
        let sum = _mm_sha256msg1_epu32(w[0][way], w[1][way]);
        w[0][way] = _mm_sha256msg2_epu32(sum, w[3][way]);
    }
    rounds::<17>(&mut s, &w[0]);
    for way in 0..WAYS {
        let older = _mm_alignr_epi8::<4>(w[0][way], w[3][way]);
        let sum = _mm_add_epi32(_mm_sha256msg1_epu32(w[1][way], zero), older);
        w[1][way] = _mm_sha256msg2_epu32(sum, w[0][way]);
    }
    rounds::<21>(&mut s, &w[1]);
    for way in 0..WAYS {
        let older = _mm_alignr_epi8::<4>(w[1][way], w[0][way]);
        w[2][way] = _mm_sha256msg2_epu32(older, w[1][way]);
    }
    rounds::<25>(&mut s, &w[2]);
    scheduled_rounds!(s, w, [29 33 37 41 45 49 53 57] from 3);
    s.abef
}

/// Scans at least `count` nonces from `first` on, in whole batches, up to the first batch that may hold a finding:
/// one whose top word is not above `top`.
#[target_feature(enable = "sha,sse2,ssse3,sse4.1,avx")]
pub(crate) fn find(header: &Header, first: u32, count: u64, top: u32) -> Option<Stop> {
    let swap = _mm_setr_epi8(3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12);
    let limit = group([top; 4]);
    let mut nonce = first;
    let mut before = 0;
    while before < count {
        let abef = second_hash(&first_hash(header, nonce));
        let [low, high] = [_mm_unpacklo_epi32(abef[0], abef[1]), _mm_unpacklo_epi32(abef[2], abef[3])];
        let e = _mm_unpackhi_epi64(low, high);
        let last_word = _mm_shuffle_epi8(_mm_add_epi32(e, group([INITIAL[7]; 4])), swap);
        let met = _mm_cmpeq_epi32(_mm_min_epu32(last_word, limit), last_word);
        let candidates = _mm_movemask_ps(_mm_castsi128_ps(met)).cast_unsigned();
        if candidates != 0 {
            return Some(Stop { before, candidates });
        }
        nonce = nonce.wrapping_add(LANES);
        before += u64::from(LANES);
    }
    None
}
