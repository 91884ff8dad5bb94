//! scryptROMix (RFC 7914, section 5) with N = 1024 and r = 1 for several headers at once.
//!
//! Each step of a header waits for the one before, far longer than the processor needs to issue it. So `SETS` vectors
//! go side by side, each with its own headers, and each step is done for all of them before the next.

use crate::rows::{Block, MAX_HEADERS, Rows, TURN_1, TURN_2, TURN_3};

/// Cost N: blocks that are written, and then read in an order that the data decides.
pub(crate) const COST: usize = 1024;

/// What a batch of `HEADERS` headers fills: block after block, and in each place the headers side by side.
pub(crate) type Memory<const HEADERS: usize> = [[Block; HEADERS]; COST];

/// The four rows of one Salsa20 state, for each set of headers.
type States<R, const SETS: usize> = [[R; 4]; SETS];

/// scryptROMix of `blocks`, in place.
#[inline(always)]
pub(crate) fn romix<R: Rows, const SETS: usize, const HEADERS: usize>(
    blocks: &mut [Block; HEADERS],
    memory: &mut Memory<HEADERS>,
) {
    const { assert!(HEADERS == SETS * R::HEADERS && R::HEADERS <= MAX_HEADERS) };
    let (mut left, mut right) = (load::<R, SETS, HEADERS>(blocks, 0), load::<R, SETS, HEADERS>(blocks, 1));
    for place in memory.iter_mut() {
        store(&left, place, 0);
        store(&right, place, 1);
        mix(&mut left, &mut right);
    }
    for _ in 0..COST {
        for set in 0..SETS {
            let first = set * R::HEADERS;
            let mut chosen = [0; MAX_HEADERS];
            for (header, chosen) in chosen.iter_mut().enumerate().take(R::HEADERS) {
                *chosen = right[set][0].first_word(header) as usize % COST;
            }
            xor(&mut left[set], &R::load(|header| &memory[chosen[header]][first + header][0]));
            xor(&mut right[set], &R::load(|header| &memory[chosen[header]][first + header][1]));
        }
        mix(&mut left, &mut right);
    }
    store(&left, blocks, 0);
    store(&right, blocks, 1);
}

/// scryptBlockMix with r = 1.
#[inline(always)]
fn mix<R: Rows, const SETS: usize>(left: &mut States<R, SETS>, right: &mut States<R, SETS>) {
    salsa(left, right);
    salsa(right, left);
}

/// `states = Salsa20/8(states ^ others)`.
#[inline(always)]
fn salsa<R: Rows, const SETS: usize>(states: &mut States<R, SETS>, others: &States<R, SETS>) {
    for (state, other) in states.iter_mut().zip(others) {
        xor(state, other);
    }
    let before = *states;
    // Eight rounds, written out: in a loop they are not kept in registers.
    round(states);
    round(states);
    round(states);
    round(states);
    round(states);
    round(states);
    round(states);
    round(states);
    for (state, before) in states.iter_mut().zip(&before) {
        for (row, before) in state.iter_mut().zip(before) {
            *row = row.add(*before);
        }
    }
}

/// A column round. Turned after it, the rows are such that the next one is a row round, and so on.
#[inline(always)]
fn round<R: Rows, const SETS: usize>(states: &mut States<R, SETS>) {
    for [a, b, _, d] in states.iter_mut() {
        *b = b.xor(a.add(*d).rotate::<7, 25>());
    }
    for [a, b, c, _] in states.iter_mut() {
        *c = c.xor(b.add(*a).rotate::<9, 23>());
    }
    for [_, b, c, d] in states.iter_mut() {
        *d = d.xor(c.add(*b).rotate::<13, 19>());
    }
    for [a, b, c, d] in states.iter_mut() {
        *a = a.xor(d.add(*c).rotate::<18, 14>());
        (*b, *c, *d) = (d.turn::<TURN_1>(), c.turn::<TURN_2>(), b.turn::<TURN_3>());
    }
}

#[inline(always)]
fn xor<R: Rows>(state: &mut [R; 4], other: &[R; 4]) {
    for (row, other) in state.iter_mut().zip(other) {
        *row = row.xor(*other);
    }
}

/// State number `half` of each block.
#[inline(always)]
fn load<R: Rows, const SETS: usize, const HEADERS: usize>(
    blocks: &[Block; HEADERS],
    half: usize,
) -> States<R, SETS> {
    let mut states = [R::load(|header| &blocks[header][half]); SETS];
    for (set, state) in states.iter_mut().enumerate().skip(1) {
        *state = R::load(|header| &blocks[set * R::HEADERS + header][half]);
    }
    states
}

/// Writes `states` as state number `half` of each block.
#[inline(always)]
fn store<R: Rows, const SETS: usize, const HEADERS: usize>(
    states: &States<R, SETS>,
    blocks: &mut [Block; HEADERS],
    half: usize,
) {
    for (state, blocks) in states.iter().zip(blocks.chunks_exact_mut(R::HEADERS)) {
        R::store(*state, blocks, half);
    }
}
