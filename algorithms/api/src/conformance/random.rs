//! What nobody thought of: inputs, ranges, budgets and targets from a generator that gives the same ones each time.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{Found, KnownAnswer, Violation, agreement, coverage, scan};
use crate::{Algorithm, Range, Target};

/// Inputs, each with a range, that are searched for several targets.
const RANGES: u64 = 12;
/// Inputs and findings of any length that must be accepted or refused without a panic.
const GARBAGE: u64 = 96;
/// Longest garbage beyond the longest accepted, in bytes.
const EXCESS_LEN: usize = 64;
/// Longest input or finding that is made up, in bytes, where an algorithm accepts any length.
const LONGEST: usize = 4096;
/// Positions of the call that must come back after its budget.
const SMALL_BUDGETS: [u64; 4] = [1, 3, 17, 33];

/// SplitMix64: good enough to be unpredictable to an algorithm and the same on every machine.
struct Generator(u64);

impl Generator {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number below `end`, which is not 0.
    fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }

    fn len_in(&mut self, range: &std::ops::RangeInclusive<usize>) -> usize {
        let end = (*range.end()).min(range.start() + LONGEST);
        range.start() + self.below((end - range.start()) as u64 + 1) as usize
    }
}

/// Searches ranges anywhere, of any length up to an eighth of `span`, for targets around their own hashes.
pub(super) fn ranges(algorithm: &dyn Algorithm, answer: &KnownAnswer, span: u64) -> Result<(), Violation> {
    let descriptor = algorithm.descriptor();
    let mut random = Generator(1);
    for _ in 0..RANGES {
        let len = random.len_in(&descriptor.input_len);
        let mut input = random.bytes(len);
        if algorithm.prepare(&input).is_err() {
            input.clone_from(&answer.input);
        }
        let len = 1 + random.below((span / 8).min(descriptor.positions));
        let next = random.below(descriptor.positions - len + 1);
        let range = Range { next, end: next + len };
        let all = agreement(algorithm, &input, range)?;
        for target in targets(&mut random, &all) {
            let wanted: Found = all.iter().filter(|(_, hash)| target.is_met_by(hash)).cloned().collect();
            let found = scan(algorithm, &input, range, 1 + random.below(len + 2), &target)?;
            if found != wanted {
                return Err(Violation::Selection { found: found.len(), wanted: wanted.len() });
            }
        }
    }
    Ok(())
}

/// The hash of one position; one less; one that differs from it only in its lower half; any.
fn targets(random: &mut Generator, all: &Found) -> Vec<Target> {
    let Some((_, hash)) = all.get(random.below(all.len() as u64) as usize) else { return Vec::new() };
    let mut less = *hash;
    for byte in &mut less {
        let (lower, borrowed) = byte.overflowing_sub(1);
        *byte = lower;
        if !borrowed {
            break;
        }
    }
    let mut near = *hash;
    near[..16].copy_from_slice(&random.bytes(16));
    let mut any = *hash;
    any.copy_from_slice(&random.bytes(32));
    [*hash, less, near, any].map(Target::from_le_bytes).into()
}

/// A call with a small budget comes back after it, however much is left: that is how a search is cancelled.
pub(super) fn cancellation(algorithm: &dyn Algorithm, input: &[u8]) -> Result<(), Violation> {
    let positions = algorithm.descriptor().positions;
    let whole = Range { next: 0, end: u64::MAX };
    for target in [Target::from_le_bytes([0; 32]), Target::MAX] {
        let mut search = algorithm.prepare(input).map_err(|_| Violation::Length {
            what: "input",
            len: input.len(),
            accepted: false,
        })?;
        let mut left = whole;
        for budget in SMALL_BUDGETS {
            let begin = left.next;
            let done = search.search(&mut left, budget, &target, &mut |_| {});
            if done != budget.min(positions - begin) || left.next != begin + done {
                return Err(coverage("a small budget is not what a call scans", whole, budget));
            }
        }
    }
    Ok(())
}

/// Bytes of any length are accepted or refused; what is accepted can be searched and verified.
pub(super) fn garbage(algorithm: &dyn Algorithm, answer: &KnownAnswer) -> Result<(), Violation> {
    let descriptor = algorithm.descriptor();
    let mut random = Generator(2);
    for round in 0..GARBAGE {
        // Half of them of a right length, so that more than the length is looked at.
        let mut garbage = |accepted: &std::ops::RangeInclusive<usize>| {
            let any = 0..=accepted.end().saturating_add(EXCESS_LEN);
            let len = random.len_in(if round % 2 == 0 { accepted } else { &any });
            random.bytes(len)
        };
        let (input, finding) = (garbage(&descriptor.input_len), garbage(&descriptor.finding_len));
        let quiet = catch_unwind(AssertUnwindSafe(|| {
            if let Ok(mut search) = algorithm.prepare(&input) {
                let mut range = Range { next: 0, end: 2 };
                search.search(&mut range, 2, &Target::MAX, &mut |_| {});
            }
            for input in [&input, &answer.input] {
                let _ = algorithm.verify(input, &finding);
            }
            let _ = algorithm.verify(&input, &answer.finding);
        }));
        if quiet.is_err() {
            return Err(Violation::Panic { input, finding });
        }
    }
    Ok(())
}
