//! Plain words, for every processor. Four of them the compiler puts into the vectors that every processor of an
//! architecture has.

use super::Words;

/// A word of some messages.
#[derive(Clone, Copy)]
pub(crate) struct Portable<const LANES: usize>(pub(crate) [u32; LANES]);

impl<const LANES: usize> Words for Portable<LANES> {
    const LANES: usize = LANES;

    #[inline(always)]
    fn of_all(word: u32) -> Self {
        Self([word; LANES])
    }

    #[inline(always)]
    fn count_from(first: u32) -> Self {
        Self(std::array::from_fn(|lane| first.wrapping_add(lane as u32)))
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane].wrapping_add(other.0[lane])))
    }

    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane] ^ other.0[lane]))
    }

    #[inline(always)]
    fn rotate<const RIGHT: i32, const LEFT: i32>(self) -> Self {
        Self(self.0.map(|word| word >> RIGHT | word << LEFT))
    }

    #[inline(always)]
    fn any_up_to(self, top: u32) -> bool {
        self.0.iter().any(|word| *word <= top)
    }
}
