//! Vectors that hold the same word of several messages, and what BLAKE3 does with them.
//!
//! Each implementation is one instruction set; none knows what is computed.

mod portable;
#[cfg(target_arch = "x86_64")]
pub(crate) mod x86;

pub(crate) use portable::Portable;

/// The same word of each of [`Words::LANES`] messages.
///
/// Implementations are inlined into a function that is compiled for their instruction set. They, and what is written
/// with them, hold no closure around an instruction: a closure is compiled for the plain processor, and each
/// instruction in it becomes a call.
pub(crate) trait Words: Copy {
    /// Messages side by side.
    const LANES: usize;

    /// A word that all messages have.
    fn of_all(word: u32) -> Self;

    /// `first`, `first + 1` and so on; after the highest word comes zero.
    fn count_from(first: u32) -> Self;

    /// Adds word by word, modulo 2^32.
    fn add(self, other: Self) -> Self;

    /// Exclusive or.
    fn xor(self, other: Self) -> Self;

    /// Rotates each word to the right by `RIGHT` bits; `LEFT` is `32 - RIGHT`.
    fn rotate<const RIGHT: i32, const LEFT: i32>(self) -> Self;

    /// Whether any word is not above `top`.
    fn any_up_to(self, top: u32) -> bool;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_word_that_is_not_above_is_enough_and_words_are_unsigned() {
        for (first, top, met) in [
            (5, 4, false),
            (5, 5, true),
            (5, 8, true),
            (u32::MAX - 1, 0, true),
            (u32::MAX - 3, u32::MAX - 4, false),
            (u32::MAX - 3, u32::MAX - 3, true),
            (0x7fff_fffe, 0x7fff_fffd, false),
            (0x8000_0000, 0x7fff_ffff, false),
        ] {
            assert_eq!(Portable::<4>::count_from(first).any_up_to(top), met, "{first:#x} {top:#x}");
        }
    }
}
