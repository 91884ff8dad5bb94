//! Without anything of a particular processor: one nonce at a time.

use crate::{
    fips::{
        self, END_OF_MESSAGE, HASH_BITS, HEADER_BITS, INITIAL, SECOND_AFTER_ROUND_0, big0, big1, choose,
        majority, small0, small1,
    },
    header::Header,
    lanes::{Stop, hidden_constants},
};

type Vector = u32;
pub(crate) const LANES: u32 = 1;

fn splat(x: u32) -> Vector {
    x
}

fn counting_from(x: u32) -> Vector {
    x
}

fn add(x: Vector, y: Vector) -> Vector {
    x.wrapping_add(y)
}

fn swap_bytes(x: Vector) -> Vector {
    x.swap_bytes()
}

fn not_above(x: Vector, limit: u32) -> u32 {
    // Opaque to the compiler, which would else turn the scan into vectors of no use.
    u32::from(std::hint::black_box(x) <= limit)
}

find_in_lanes!();
