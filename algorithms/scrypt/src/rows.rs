//! Vectors that hold the same row of several headers' Salsa20 states, and what ROMix does with them.
//!
//! A Salsa20 state is a matrix of four by four words. Written down by its diagonals it has four rows that are each
//! worked on as a whole, and the rows of other headers fit beside it for as long as a vector has room. Each
//! implementation is one instruction set; none knows what is computed.

#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
mod portable;
#[cfg(target_arch = "x86_64")]
pub(crate) mod x86;

pub(crate) use portable::Portable;

/// Words of a row, and rows of a state.
pub(crate) const ROW_WORDS: usize = 4;
/// Words of a Salsa20 state.
pub(crate) const STATE_WORDS: usize = 16;
/// Most headers in a vector.
pub(crate) const MAX_HEADERS: usize = 4;

/// One header's Salsa20 state, row after row. It fills a cache line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub(crate) struct State(pub(crate) [u32; STATE_WORDS]);

impl State {
    /// Nothing but zeros.
    pub(crate) const ZERO: Self = Self([0; STATE_WORDS]);

    /// The place of word `i` of the matrix, which is numbered as in the Salsa20 specification.
    pub(crate) const fn place(i: usize) -> usize {
        let (down, across) = (i / ROW_WORDS, i % ROW_WORDS);
        (down + ROW_WORDS - across) % ROW_WORDS * ROW_WORDS + across
    }
}

/// What scrypt with r = 1 mixes: two states of one header.
pub(crate) type Block = [State; 2];

/// Moves each word of a row one place down; the first becomes the last.
pub(crate) const TURN_1: i32 = 0b00_11_10_01;
/// The same by two places.
pub(crate) const TURN_2: i32 = 0b01_00_11_10;
/// The same by three places.
pub(crate) const TURN_3: i32 = 0b10_01_00_11;

/// One row of each of [`Rows::HEADERS`] headers.
///
/// Implementations are inlined into a function that is compiled for their instruction set. They hold no closure around
/// an instruction: a closure is compiled for the plain processor, and each instruction in it becomes a call.
pub(crate) trait Rows: Copy {
    /// Headers side by side, at most [`MAX_HEADERS`].
    const HEADERS: usize;

    /// Adds word by word, modulo 2^32.
    fn add(self, other: Self) -> Self;

    /// Exclusive or.
    fn xor(self, other: Self) -> Self;

    /// Rotates each word to the left by `LEFT` bits; `RIGHT` is `32 - LEFT`.
    fn rotate<const LEFT: i32, const RIGHT: i32>(self) -> Self;

    /// Moves the words within each row: [`TURN_1`], [`TURN_2`] or [`TURN_3`].
    fn turn<const ORDER: i32>(self) -> Self;

    /// The four rows of the states that `state` gives for the headers `0..HEADERS`.
    fn load<'a>(state: impl Fn(usize) -> &'a State) -> [Self; 4];

    /// Writes the four rows as state number `half` of the first [`Rows::HEADERS`] blocks.
    fn store(rows: [Self; 4], blocks: &mut [Block], half: usize);

    /// The first word of a header's row.
    fn first_word(self, header: usize) -> u32;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_written_down_by_its_diagonals() {
        let mut words = [usize::MAX; STATE_WORDS];
        for i in 0..STATE_WORDS {
            words[State::place(i)] = i;
        }
        assert_eq!(words, [0, 5, 10, 15, 4, 9, 14, 3, 8, 13, 2, 7, 12, 1, 6, 11]);
    }
}
