//! scryptROMix (RFC 7914, section 5) with N = 1024 and r = 1 for several headers at once.
//!
//! Each step of a header waits for the one before, far longer than the processor needs to issue it. So `SETS` vectors
//! go side by side, each with its own headers, and each step is done for all of them before the next. Half of them, the
//! leading sets, are half a block ahead of the trailing ones: while those wait for a block from memory, these compute.

use std::ops::Range;

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
    let (leading, trailing) = (0..SETS / 2, SETS / 2..SETS);
    // Left halves of the leading sets and right ones of the trailing sets, and the others: scryptBlockMix does the left
    // half, then the right one.
    let (mut x, mut y) = (load::<R, SETS, HEADERS>(blocks, 0), load::<R, SETS, HEADERS>(blocks, 1));
    swap(&mut x, &mut y, trailing.clone());
    write(&x, &y, leading.clone(), &mut memory[0]);
    let before = x;
    salsa(&mut x, &y);
    x[trailing.clone()].copy_from_slice(&before[trailing.clone()]);
    for place in 0..COST {
        write(&y, &x, trailing.clone(), &mut memory[place]);
        salsa(&mut y, &x);
        match memory.get_mut(place + 1) {
            Some(next) => write(&x, &y, leading.clone(), next),
            None => read(&mut x, &mut y, leading.clone(), memory),
        }
        salsa(&mut x, &y);
    }
    for left in (0..COST).rev() {
        read(&mut y, &mut x, trailing.clone(), memory);
        salsa(&mut y, &x);
        if left > 0 {
            read(&mut x, &mut y, leading.clone(), memory);
            salsa(&mut x, &y);
        }
    }
    let before = x;
    salsa(&mut x, &y);
    x[leading.clone()].copy_from_slice(&before[leading]);
    swap(&mut x, &mut y, trailing);
    write(&x, &y, 0..SETS, blocks);
}

/// Exchanges the halves of some sets.
#[inline(always)]
fn swap<R: Rows, const SETS: usize>(x: &mut States<R, SETS>, y: &mut States<R, SETS>, sets: Range<usize>) {
    x[sets.clone()].swap_with_slice(&mut y[sets]);
}

/// Writes both halves of some sets to their headers' blocks.
#[inline(always)]
fn write<R: Rows, const SETS: usize, const HEADERS: usize>(
    left: &States<R, SETS>,
    right: &States<R, SETS>,
    sets: Range<usize>,
    blocks: &mut [Block; HEADERS],
) {
    for set in sets {
        let blocks = &mut blocks[set * R::HEADERS..][..R::HEADERS];
        R::store(left[set], blocks, 0);
        R::store(right[set], blocks, 1);
    }
}

/// Adds to some sets the block of each of their headers that its right half chooses.
#[inline(always)]
fn read<R: Rows, const SETS: usize, const HEADERS: usize>(
    left: &mut States<R, SETS>,
    right: &mut States<R, SETS>,
    sets: Range<usize>,
    memory: &Memory<HEADERS>,
) {
    for set in sets {
        let first = set * R::HEADERS;
        let mut chosen = [0; MAX_HEADERS];
        for (header, chosen) in chosen.iter_mut().enumerate().take(R::HEADERS) {
            *chosen = right[set][0].first_word(header) as usize % COST;
        }
        xor(&mut left[set], &R::load(|header| &memory[chosen[header]][first + header][0]));
        xor(&mut right[set], &R::load(|header| &memory[chosen[header]][first + header][1]));
    }
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
