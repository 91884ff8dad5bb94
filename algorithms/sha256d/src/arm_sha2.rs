//! The SHA-2 instructions of 64-bit ARM: four nonces at a time, each in registers of its own.
//!
//! A pair of instructions does four rounds of one nonce and the next pair waits for it; several nonces side by side
//! keep the unit busy.
//!
//! A state is two registers, `a..d` and `e..h`, the lowest word first. Words of the message schedule stand in groups
//! of four. The first hash begins with round 4, the second with round 1: its groups are `W1..W4`, `W5..W8` and so on.

// The index is the nonce, which is the same in every array.
#![allow(clippy::needless_range_loop)]

use std::arch::aarch64::*;

use crate::{
    fips::{self, END_OF_MESSAGE, HASH_BITS, HEADER_BITS, INITIAL, SECOND_AFTER_ROUND_0, constants},
    header::Header,
    lanes::Stop,
};

/// Nonces of a batch.
pub(crate) const LANES: u32 = WAYS as u32;
const WAYS: usize = 4;

/// One register for each nonce of a batch.
type Each = [uint32x4_t; WAYS];

struct States {
    abcd: Each,
    efgh: Each,
}

/// Four words, the lowest first.
#[target_feature(enable = "neon")]
#[inline]
fn group(words: [u32; 4]) -> uint32x4_t {
    let pair = |low: u32, high: u32| vcreate_u32(u64::from(low) | u64::from(high) << 32);
    vcombine_u32(pair(words[0], words[1]), pair(words[2], words[3]))
}

/// Four rounds with words and constants added up.
#[target_feature(enable = "neon,sha2")]
#[inline]
fn four_rounds(s: &mut States, way: usize, kw: uint32x4_t) {
    let abcd = s.abcd[way];
    s.abcd[way] = vsha256hq_u32(abcd, s.efgh[way], kw);
    s.efgh[way] = vsha256h2q_u32(s.efgh[way], abcd, kw);
}

/// Four rounds with words that are the same for all nonces.
#[target_feature(enable = "neon,sha2")]
#[inline]
fn rounds_of_same(s: &mut States, kw: [u32; 4]) {
    let kw = group(kw);
    for way in 0..WAYS {
        four_rounds(s, way, kw);
    }
}

/// Rounds `T` to `T + 3`.
#[target_feature(enable = "neon,sha2")]
#[inline]
fn rounds<const T: usize>(s: &mut States, w: &Each) {
    let k = group(const { constants::<T>([0; 4]) });
    for way in 0..WAYS {
        four_rounds(s, way, vaddq_u32(w[way], k));
    }
}

/// The next group of the schedule, in the place of the oldest of the last four.
#[target_feature(enable = "neon,sha2")]
#[inline]
fn schedule(w: &mut [Each; 4], i: usize) {
    for way in 0..WAYS {
        let [w0, w1, w2, w3] = [w[i & 3][way], w[(i + 1) & 3][way], w[(i + 2) & 3][way], w[(i + 3) & 3][way]];
        w[i & 3][way] = vsha256su1q_u32(vsha256su0q_u32(w0, w1), w2, w3);
    }
}

/// Rounds 4 to 63 of the header's second block, and the midstate added.
#[target_feature(enable = "neon,sha2")]
#[inline]
fn first_hash(header: &Header, first: u32) -> States {
    let [a, b, c, d, e, f, g, h] = header.after_round_3;
    let [abcd, efgh] = [group([a, b, c, d]), group([e, f, g, h])];
    let mut s = States { abcd: [abcd; WAYS], efgh: [efgh; WAYS] };
    // W4..W15: the padding.
    let mut w = [
        [group([0; 4]); WAYS],
        [group([END_OF_MESSAGE, 0, 0, 0]); WAYS],
        [group([0; 4]); WAYS],
        [group([0, 0, 0, HEADER_BITS]); WAYS],
    ];
    for way in 0..WAYS {
        let w3 = first.wrapping_add(way as u32).swap_bytes();
        let of_nonce = group([w3, 0, 0, 0]);
        s.abcd[way] = vaddq_u32(abcd, of_nonce);
        s.efgh[way] = vaddq_u32(efgh, of_nonce);
        let [w18, w19] = [header.w18.wrapping_add(fips::small0(w3)), header.w19.wrapping_add(w3)];
        w[0][way] = group([header.w16, header.w17, w18, w19]);
    }
    rounds_of_same(&mut s, const { constants::<4>([END_OF_MESSAGE, 0, 0, 0]) });
    rounds_of_same(&mut s, const { constants::<8>([0; 4]) });
    rounds_of_same(&mut s, const { constants::<12>([0, 0, 0, HEADER_BITS]) });
    rounds::<16>(&mut s, &w[0]);
    scheduled_rounds!(s, w, [20 24 28 32 36 40 44 48 52 56 60] from 1);

    let [a, b, c, d, e, f, g, h] = header.midstate;
    let [abcd, efgh] = [group([a, b, c, d]), group([e, f, g, h])];
    for way in 0..WAYS {
        s.abcd[way] = vaddq_u32(s.abcd[way], abcd);
        s.efgh[way] = vaddq_u32(s.efgh[way], efgh);
    }
    s
}

/// Rounds 1 to 60 of the second hash, after which `e` is what `h` is after round 63; round 0 is two additions.
#[target_feature(enable = "neon,sha2")]
#[inline]
fn second_hash(inner: &States) -> Each {
    let [a, b, c, d, e, f, g, h] = SECOND_AFTER_ROUND_0;
    let [abcd, efgh] = [group([a, b, c, d]), group([e, f, g, h])];
    let mut s = States { abcd: [abcd; WAYS], efgh: [efgh; WAYS] };
    let zero = group([0; 4]);
    let mut w = [[zero; WAYS]; 4];
    for way in 0..WAYS {
        let w0 = vsetq_lane_u32::<0>(vgetq_lane_u32::<0>(inner.abcd[way]), zero);
        s.abcd[way] = vaddq_u32(abcd, w0);
        s.efgh[way] = vaddq_u32(efgh, w0);
        w[0][way] = vextq_u32::<1>(inner.abcd[way], inner.efgh[way]);
        w[1][way] = vextq_u32::<1>(inner.efgh[way], group([END_OF_MESSAGE, 0, 0, 0]));
        // W16 is W0 and σ0 of W1: what the instruction makes of the first two words of a group.
        let w16 = vsha256su0q_u32(inner.abcd[way], inner.efgh[way]);
        w[3][way] = vextq_u32::<1>(group([0, 0, 0, HASH_BITS]), w16);
    }
    rounds::<1>(&mut s, &w[0]);
    rounds::<5>(&mut s, &w[1]);
    rounds_of_same(&mut s, const { constants::<9>([0; 4]) });
    rounds::<13>(&mut s, &w[3]);
    scheduled_rounds!(s, w, [17 21 25 29 33 37 41 45 49 53 57] from 0);
    s.efgh
}

/// Scans at least `count` nonces from `first` on, in whole batches, up to the first batch that may hold a finding:
/// one whose top word is not above `top`.
#[target_feature(enable = "neon,sha2")]
pub(crate) fn find(header: &Header, first: u32, count: u64, top: u32) -> Option<Stop> {
    let mut nonce = first;
    let mut before = 0;
    while before < count {
        let efgh = second_hash(&first_hash(header, nonce));
        let mut candidates = 0;
        for (way, efgh) in efgh.into_iter().enumerate() {
            let last_word = vgetq_lane_u32::<0>(efgh).wrapping_add(INITIAL[7]).swap_bytes();
            candidates |= u32::from(last_word <= top) << way;
        }
        if candidates != 0 {
            return Some(Stop { before, candidates });
        }
        nonce = nonce.wrapping_add(LANES);
        before += u64::from(LANES);
    }
    None
}
