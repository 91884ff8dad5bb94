//! Many items at a time: each instruction is decoded once and then applied to [`BATCH`] items in vector registers, by
//! which decoding costs next to nothing and no program has to be compiled.
//!
//! Registers lie transposed: a vector holds one register of several items. The macro `lanes!` makes the code for one
//! instruction set out of its vector type and a dozen operations.
#![allow(unsafe_code)]

use super::superscalar::{Item, Programs};

/// Items of a batch. Their registers take 4 KiB.
pub(super) const BATCH: usize = 64;

/// An instruction set for which there is code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lanes {
    /// Eight items in a vector.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// Four items in a vector.
    #[cfg(target_arch = "x86_64")]
    Avx2,
}

impl Lanes {
    /// All that this processor has, the fastest first.
    pub(crate) fn available() -> Vec<Self> {
        #[cfg_attr(not(target_arch = "x86_64"), allow(unused_mut))]
        let mut available = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq") {
                available.push(Self::Avx512);
            }
            if is_x86_feature_detected!("avx2") {
                available.push(Self::Avx2);
            }
        }
        available
    }

    /// Computes the items from number `first` on into `out`; the cache has a power of two of lines.
    pub(crate) fn fill(self, programs: &Programs, cache: &[Item], first: u64, out: &mut [Item]) {
        let (batches, rest) = out.as_chunks_mut::<BATCH>();
        let mut number = first;
        for batch in batches {
            match self {
                // SAFETY: `available` has found the instructions.
                #[cfg(target_arch = "x86_64")]
                Self::Avx512 => unsafe { avx512::batch(programs, cache, number, batch) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                Self::Avx2 => unsafe { avx2::batch(programs, cache, number, batch) },
            }
            number += BATCH as u64;
        }
        for item in rest {
            *item = programs.item(cache, number);
            number += 1;
        }
    }

    /// For a report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "avx2",
        }
    }
}

/// `batch` for one instruction set. In scope must be: `V`, the vector; `LANES`, items in it; and, each with this
/// target feature, `load store prefetch splat add sub xor shift_left rotate_right mul mul_high mul_high_signed` and
/// `transpose`, which turns `LANES` vectors of `LANES` words round.
#[cfg(target_arch = "x86_64")]
macro_rules! lanes {
    ($feature:literal) => {
        /// Vectors that hold one register of all items of a batch.
        const VECTORS: usize = BATCH / LANES;
        /// Vectors that an item fills.
        const PARTS: usize = REGISTERS / LANES;

        type State = [[V; VECTORS]; REGISTERS];

        /// Computes the items from number `first` on.
        #[target_feature(enable = $feature)]
        pub(super) fn batch(programs: &Programs, cache: &[Item], first: u64, out: &mut [Item; BATCH]) {
            let mut addresses: [u64; BATCH] = std::array::from_fn(|n| first + n as u64);
            let mut state = begin(&addresses);
            for program in &programs.0 {
                let lines = addresses.map(|address| line_of(cache, address));
                run(&mut state, program, cache, &lines);
                mix(&mut state, cache, &lines);
                let register = &state[usize::from(program.address) % REGISTERS];
                for (words, v) in addresses.as_chunks_mut::<LANES>().0.iter_mut().zip(register) {
                    store(words, *v);
                }
            }
            finish(&state, out);
        }

        #[inline]
        #[target_feature(enable = $feature)]
        fn begin(numbers: &[u64; BATCH]) -> State {
            let mut state = [[splat(0); VECTORS]; REGISTERS];
            for (v, numbers) in numbers.as_chunks::<LANES>().0.iter().enumerate() {
                let one = mul(add(load(numbers), splat(1)), splat(FIRST_FACTOR));
                for (register, difference) in state.iter_mut().zip(DIFFERENCES) {
                    register[v] = xor(one, splat(difference));
                }
            }
            state
        }

        /// Runs one program, and has the lines brought near that are mixed in after it.
        #[inline]
        #[target_feature(enable = $feature)]
        fn run(state: &mut State, program: &Program, cache: &[Item], lines: &[usize; BATCH]) {
            let mut ahead = lines.iter();
            for instruction in &program.instructions {
                if let Some(line) = ahead.next().and_then(|line| cache.get(*line)) {
                    prefetch(line);
                }
                let (d, s) = (usize::from(instruction.d) % REGISTERS, usize::from(instruction.s) % REGISTERS);
                let c = instruction.constant;
                macro_rules! each {
                    ($v:ident => $result:expr) => {
                        for $v in 0..VECTORS {
                            state[d][$v] = $result;
                        }
                    };
                }
                match instruction.operation {
                    Operation::Subtract => each!(v => sub(state[d][v], state[s][v])),
                    Operation::Xor => each!(v => xor(state[d][v], state[s][v])),
                    Operation::AddShifted => each!(v => add(state[d][v], shift_left(state[s][v], c))),
                    Operation::Multiply => each!(v => mul(state[d][v], state[s][v])),
                    Operation::Rotate => each!(v => rotate_right(state[d][v], c)),
                    Operation::AddConstant => each!(v => add(state[d][v], splat(c))),
                    Operation::XorConstant => each!(v => xor(state[d][v], splat(c))),
                    Operation::MultiplyHigh => each!(v => mul_high(state[d][v], state[s][v])),
                    Operation::MultiplyHighSigned => each!(v => mul_high_signed(state[d][v], state[s][v])),
                    Operation::MultiplyConstant => each!(v => mul(state[d][v], splat(c))),
                }
            }
        }

        /// Mixes each item's line of the cache in.
        #[inline]
        #[target_feature(enable = $feature)]
        fn mix(state: &mut State, cache: &[Item], lines: &[usize; BATCH]) {
            for (v, lines) in lines.as_chunks::<LANES>().0.iter().enumerate() {
                for part in 0..PARTS {
                    let words = lines.map(|line| load(&cache[line].as_chunks::<LANES>().0[part]));
                    for (n, column) in transpose(words).into_iter().enumerate() {
                        let register = &mut state[part * LANES + n];
                        register[v] = xor(register[v], column);
                    }
                }
            }
        }

        #[inline]
        #[target_feature(enable = $feature)]
        fn finish(state: &State, out: &mut [Item; BATCH]) {
            for (v, items) in out.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
                for part in 0..PARTS {
                    let columns = std::array::from_fn(|n| state[part * LANES + n][v]);
                    for (item, words) in items.iter_mut().zip(transpose(columns)) {
                        store(&mut item.as_chunks_mut::<LANES>().0[part], words);
                    }
                }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::superscalar::{Instruction, Operation, Program};

    /// Lines of a small cache.
    const LINES: usize = 1 << 10;

    /// Words of a fixed sequence.
    fn words(seed: u64) -> impl Iterator<Item = u64> {
        (seed..).map(|n| {
            n.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29).wrapping_mul(0xbf58_476d_1ce4_e5b9)
        })
    }

    fn cache() -> Vec<Item> {
        let mut words = words(1);
        let mut item = || std::array::from_fn(|_| words.next().unwrap());
        (0..LINES).map(|_| item()).collect()
    }

    #[test]
    fn each_instruction_set_computes_the_items_of_the_plain_path_at_any_number_and_length() {
        let cache = cache();
        for seed in [b"a".as_slice(), b"test key 000", &[0xff; 32]] {
            let programs = Programs::of(seed);
            for (first, len) in
                [(0, 1), (0, BATCH), (7, BATCH + 5), (34_078_000, 3 * BATCH), (u64::MAX >> 2, 70)]
            {
                let plain: Vec<_> = (first..).take(len).map(|number| programs.item(&cache, number)).collect();
                for lanes in Lanes::available() {
                    let mut items = vec![[0; 8]; len];
                    lanes.fill(&programs, &cache, first, &mut items);
                    assert_eq!(items, plain, "{lanes:?}");
                }
            }
        }
    }

    #[test]
    fn each_operation_is_the_same_in_all_lanes_also_at_the_ends_of_its_range() {
        let cache = cache();
        let all = [
            Operation::Subtract,
            Operation::Xor,
            Operation::AddShifted,
            Operation::Multiply,
            Operation::Rotate,
            Operation::AddConstant,
            Operation::XorConstant,
            Operation::MultiplyHigh,
            Operation::MultiplyHighSigned,
            Operation::MultiplyConstant,
        ];
        for operation in all {
            for constant in
                [1, 2, 3, 63, u64::MAX, 1 << 63, i64::MAX as u64, 0xffff_ffff, 0xffff_ffff_0000_0000]
            {
                let constant = match operation {
                    Operation::AddShifted => constant % 4,
                    Operation::Rotate => constant % 63 + 1,
                    _ => constant,
                };
                // Makes one register all ones or small, so that the ends of the range meet in the next instruction.
                let set = |d, constant| {
                    let clear = Instruction { operation: Operation::Xor, d, s: d, constant: 0 };
                    [clear, Instruction { operation: Operation::AddConstant, d, s: d, constant }]
                };
                let tested = Instruction { operation, d: 3, s: 4, constant };
                let itself = Instruction { operation, d: 5, s: 5, constant };
                let instructions = [set(4, constant), [tested, itself]].concat();
                let program = Program { instructions, address: 3 };
                let programs = Programs(std::array::from_fn(|_| program.clone()));
                for lanes in Lanes::available() {
                    let mut items = vec![[0; 8]; BATCH];
                    lanes.fill(&programs, &cache, 0, &mut items);
                    let plain: Vec<_> = (0..BATCH as u64).map(|n| programs.item(&cache, n)).collect();
                    assert_eq!(items, plain, "{lanes:?} {operation:?} {constant:#x}");
                }
            }
        }
    }
}
