//! Rows in the vector registers of 64-bit ARM processors: one header in 128 bits.
#![allow(unsafe_code)]
// SAFETY, of every block here: NEON belongs to every 64-bit ARM processor that Rust's Linux targets run on. What is
// read or written lies within a `State`, which is borrowed for it and has the length of four vectors.

use super::{Block, ROW_WORDS, Rows, State, TURN_1, TURN_2};
use std::arch::aarch64::*;

/// A row of one header.
#[derive(Clone, Copy)]
pub(crate) struct Neon(uint32x4_t);

impl Rows for Neon {
    const HEADERS: usize = 1;

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { vaddq_u32(self.0, other.0) })
    }

    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        // SAFETY: see above.
        Self(unsafe { veorq_u32(self.0, other.0) })
    }

    #[inline(always)]
    fn rotate<const LEFT: i32, const RIGHT: i32>(self) -> Self {
        // SAFETY: see above.
        Self(unsafe { vsriq_n_u32::<RIGHT>(vshlq_n_u32::<LEFT>(self.0), self.0) })
    }

    #[inline(always)]
    fn turn<const ORDER: i32>(self) -> Self {
        // SAFETY: see above.
        Self(unsafe {
            match ORDER {
                TURN_1 => vextq_u32::<1>(self.0, self.0),
                TURN_2 => vextq_u32::<2>(self.0, self.0),
                _ => vextq_u32::<3>(self.0, self.0),
            }
        })
    }

    #[inline(always)]
    fn load<'a>(state: impl Fn(usize) -> &'a State) -> [Self; 4] {
        let from = state(0).0.as_ptr();
        // SAFETY: see above.
        unsafe {
            [
                Self(vld1q_u32(from)),
                Self(vld1q_u32(from.add(ROW_WORDS))),
                Self(vld1q_u32(from.add(2 * ROW_WORDS))),
                Self(vld1q_u32(from.add(3 * ROW_WORDS))),
            ]
        }
    }

    #[inline(always)]
    fn store(rows: [Self; 4], blocks: &mut [Block], half: usize) {
        let to = blocks[0][half].0.as_mut_ptr();
        for (i, row) in rows.into_iter().enumerate() {
            // SAFETY: see above.
            unsafe { vst1q_u32(to.add(i * ROW_WORDS), row.0) };
        }
    }

    #[inline(always)]
    fn first_word(self, _header: usize) -> u32 {
        // SAFETY: see above.
        unsafe { vgetq_lane_u32::<0>(self.0) }
    }
}
