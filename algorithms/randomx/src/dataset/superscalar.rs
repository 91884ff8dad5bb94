//! SuperscalarHash: the eight programs of a seed, of which a data set item is the result, and their plain execution.
//! See sections 6 and 7.3 of the RandomX specification.

use super::generator::{Entropy, generate};

/// Programs of a seed; after each the cache is read once.
pub(crate) const PROGRAMS: usize = 8;
/// Registers of a program.
pub(crate) const REGISTERS: usize = 8;

/// A data set item, or a line of the cache.
pub(crate) type Item = [u64; REGISTERS];

/// What an instruction does with its destination `d`, its source register `s` and its constant `c`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// d − s
    Subtract,
    /// d ^ s
    Xor,
    /// d + (s << c)
    AddShifted,
    /// d · s
    Multiply,
    /// d rotated right by c
    Rotate,
    /// d + c
    AddConstant,
    /// d ^ c
    XorConstant,
    /// The upper half of d · s
    MultiplyHigh,
    /// The upper half of d · s, both signed
    MultiplyHighSigned,
    /// d · c
    MultiplyConstant,
}

/// A decoded instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Instruction {
    pub(crate) operation: Operation,
    /// Destination register.
    pub(crate) d: u8,
    /// Source register; the destination where there is none.
    pub(crate) s: u8,
    pub(crate) constant: u64,
}

/// One program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) instructions: Vec<Instruction>,
    /// The register that tells which line of the cache the next program reads.
    pub(crate) address: u8,
}

/// The programs of a seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Programs(pub(crate) [Program; PROGRAMS]);

impl Programs {
    pub(crate) fn of(seed: &[u8]) -> Self {
        let mut entropy = Entropy::new(seed);
        Self(std::array::from_fn(|_| generate(&mut entropy)))
    }

    /// Item `number`, computed plainly.
    pub(crate) fn item(&self, cache: &[Item], number: u64) -> Item {
        let mut registers = first_registers(number);
        let mut address = number;
        for program in &self.0 {
            let line = cache.get(line_of(cache, address)).copied().unwrap_or_default();
            for instruction in &program.instructions {
                execute(&mut registers, *instruction);
            }
            registers.iter_mut().zip(line).for_each(|(register, word)| *register ^= word);
            address = registers.get(usize::from(program.address)).copied().unwrap_or_default();
        }
        registers
    }
}

/// The line of the cache that `address` reads; the cache has a power of two of them.
#[inline]
pub(crate) fn line_of(cache: &[Item], address: u64) -> usize {
    address as usize & (cache.len() - 1)
}

/// Factor of an item's number in the first register.
pub(crate) const FIRST_FACTOR: u64 = 6_364_136_223_846_793_005;
/// What the other registers differ from the first in.
pub(crate) const DIFFERENCES: [u64; REGISTERS] = [
    0,
    9_298_411_001_130_361_340,
    12_065_312_585_734_608_966,
    9_306_329_213_124_626_780,
    5_281_919_268_842_080_866,
    10_536_153_434_571_861_004,
    3_398_623_926_847_679_864,
    9_549_104_520_008_361_294,
];

fn first_registers(number: u64) -> Item {
    let first = number.wrapping_add(1).wrapping_mul(FIRST_FACTOR);
    DIFFERENCES.map(|difference| first ^ difference)
}

fn execute(registers: &mut Item, instruction: Instruction) {
    let Instruction { operation, d, s, constant: c } = instruction;
    let source = registers.get(usize::from(s)).copied().unwrap_or_default();
    let Some(place) = registers.get_mut(usize::from(d)) else { return };
    let d = *place;
    *place = match operation {
        Operation::Subtract => d.wrapping_sub(source),
        Operation::Xor => d ^ source,
        Operation::AddShifted => d.wrapping_add(source << c),
        Operation::Multiply => d.wrapping_mul(source),
        Operation::Rotate => d.rotate_right(c as u32),
        Operation::AddConstant => d.wrapping_add(c),
        Operation::XorConstant => d ^ c,
        Operation::MultiplyHigh => ((u128::from(d) * u128::from(source)) >> 64) as u64,
        Operation::MultiplyHighSigned => {
            ((i128::from(d.cast_signed()) * i128::from(source.cast_signed())) >> 64) as u64
        }
        Operation::MultiplyConstant => d.wrapping_mul(c),
    };
}

/// 2^x / `divisor` for the highest x with a quotient below 2^64; `divisor` is neither zero nor a power of two.
pub(super) fn reciprocal(divisor: u32) -> u64 {
    let x = 63 + 32 - divisor.leading_zeros();
    ((1_u128 << x) / u128::from(divisor.max(1))) as u64
}

#[cfg(test)]
#[allow(unsafe_code)]
mod tests {
    use super::*;
    use crate::library::{Abilities, Cache, Dataset, ITEMS};
    use std::sync::Arc;

    #[test]
    fn the_plain_path_and_every_instruction_set_compute_the_librarys_items() {
        for seed in [[1; 32], [0xa7; 32]] {
            let cache = Cache::reserve(Abilities::find()).unwrap().fill(&seed);
            let dataset = Dataset::reserve(&Arc::default()).unwrap();
            let programs = Programs::of(&seed);
            for (first, count) in [(0, 200), (12_345_678, 200), (ITEMS - 200, 200)] {
                // SAFETY: nobody else knows of this data set.
                let items = unsafe {
                    dataset.fill(&cache, first, count);
                    dataset.items(first, count).to_vec()
                };
                let plain: Vec<_> =
                    (first as u64..).take(count).map(|n| programs.item(cache.lines(), n)).collect();
                assert_eq!(plain, items);
                for lanes in crate::dataset::Lanes::available() {
                    let mut vectors = vec![[0; 8]; count];
                    lanes.fill(&programs, cache.lines(), first as u64, &mut vectors);
                    assert_eq!(vectors, items, "{lanes:?}");
                }
            }
        }
    }

    #[test]
    fn a_reciprocal_is_the_largest_quotient_of_a_power_of_two_that_fits() {
        // Published with the specification's tests.
        assert_eq!(reciprocal(3), 12_297_829_382_473_034_410);
        assert_eq!(reciprocal(13), 11_351_842_506_898_185_609);
        assert_eq!(reciprocal(33), 17_887_751_829_051_686_415);
        assert_eq!(reciprocal(65_537), 18_446_462_603_027_742_720);
        assert_eq!(reciprocal(15_000_001), 10_316_166_306_300_415_204);
        assert_eq!(reciprocal(3_845_182_035), 10_302_264_209_224_146_340);
        assert_eq!(reciprocal(u32::MAX), 9_223_372_039_002_259_456);
    }
}
