//! One header at a time in plain words, for every processor.

use super::{Block, ROW_WORDS, Rows, State};

/// A row of one header.
#[derive(Clone, Copy)]
pub(crate) struct Portable([u32; ROW_WORDS]);

impl Rows for Portable {
    const HEADERS: usize = 1;

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i].wrapping_add(other.0[i])))
    }

    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] ^ other.0[i]))
    }

    #[inline(always)]
    fn rotate<const LEFT: i32, const RIGHT: i32>(self) -> Self {
        Self(self.0.map(|word| word << LEFT | word >> RIGHT))
    }

    #[inline(always)]
    fn turn<const ORDER: i32>(self) -> Self {
        Self(std::array::from_fn(|i| self.0[(ORDER >> (2 * i)) as usize % ROW_WORDS]))
    }

    #[inline(always)]
    fn load<'a>(state: impl Fn(usize) -> &'a State) -> [Self; 4] {
        let words = &state(0).0;
        std::array::from_fn(|row| Self(std::array::from_fn(|i| words[row * ROW_WORDS + i])))
    }

    #[inline(always)]
    fn store(rows: [Self; 4], blocks: &mut [Block], half: usize) {
        blocks[0][half] = State(std::array::from_fn(|i| rows[i / ROW_WORDS].0[i % ROW_WORDS]));
    }

    #[inline(always)]
    fn first_word(self, _header: usize) -> u32 {
        self.0[0]
    }
}
