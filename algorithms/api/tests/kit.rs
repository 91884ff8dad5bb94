//! The kit lets a right algorithm pass and catches each way of being wrong.
#![cfg(test)]

use algorithm_api::{
    Algorithm, Descriptor, Finding, InvalidInput, Range, Search, Target,
    conformance::{KnownAnswer, Violation, check},
};
use std::borrow::Cow;

#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    WrongHash,
    FastPathDiffers,
    SkipsFirstOfEachCall,
    RepeatsFirstOfEachCall,
    IgnoresBudget,
    IgnoresEnd,
    ForgetsToAdvance,
    StrictlyBelowTarget,
    ComparesBigEndian,
    AcceptsShortInput,
    AcceptsLongFinding,
    RefusesItsInput,
    WrongForOtherInputs,
    WrongOffTheBeatenTrack,
    KeepsNoSmallBudget,
    PanicsAtAByte,
    WrongWithoutWideVectors,
}

/// Multiplies and adds, which is enough to be a function of position and input.
struct Toy(Fault);

struct ToySearch(Fault, u8, bool);

const POSITIONS: u64 = 1 << 32;
static TOY: Descriptor = Descriptor {
    id: Cow::Borrowed("toy"),
    version: 1,
    input_len: 4..=4,
    finding_len: 8..=8,
    positions: POSITIONS,
    memory_bytes_per_thread: 0,
};

fn hash(seed: u8, position: u64) -> [u8; 32] {
    let mut out = [seed; 32];
    let word = position.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
    out[24..].copy_from_slice(&word);
    out[..8].copy_from_slice(&word);
    out
}

impl Algorithm for Toy {
    fn descriptor(&self) -> &Descriptor {
        &TOY
    }

    fn prepare(&self, input: &[u8]) -> Result<Box<dyn Search>, InvalidInput> {
        if self.0 != Fault::AcceptsShortInput {
            TOY.check_input(input)?;
        }
        if self.0 == Fault::RefusesItsInput {
            return Err(InvalidInput::Malformed { what: "input", reason: "out of spite" });
        }
        Ok(Box::new(ToySearch(self.0, input.first().copied().unwrap_or(0), false)))
    }

    fn verify(&self, input: &[u8], finding: &[u8]) -> Result<[u8; 32], InvalidInput> {
        TOY.check_input(input)?;
        assert!(self.0 != Fault::PanicsAtAByte || input[0] % 16 != 9, "an input that nobody thought of");
        if self.0 != Fault::AcceptsLongFinding || finding.len() < 8 {
            TOY.check_finding(finding)?;
        }
        let position = u64::from_le_bytes(finding[..8].try_into().unwrap());
        Ok(hash(input[0], position + u64::from(self.0 == Fault::WrongHash)))
    }
}

impl Search for ToySearch {
    fn search(
        &mut self,
        range: &mut Range,
        budget: u64,
        target: &Target,
        sink: &mut dyn FnMut(Finding<'_>),
    ) -> u64 {
        let before = *range;
        let budget = match self.0 {
            Fault::IgnoresBudget => u64::MAX,
            Fault::KeepsNoSmallBudget if range.len() > 1 << 20 => budget.max(16),
            _ => budget,
        };
        let positions = if self.0 == Fault::IgnoresEnd { u64::MAX } else { POSITIONS };
        let mut scanned = range.take(budget.min(1 << 20), positions);
        let done = scanned.end - scanned.start;
        match self.0 {
            Fault::SkipsFirstOfEachCall => scanned.start += 1,
            Fault::ForgetsToAdvance if done == 1 && before.len() > 1 => range.next = before.next + 2,
            Fault::RepeatsFirstOfEachCall if done > 0 => {
                sink(Finding { bytes: &scanned.start.to_le_bytes(), hash: hash(self.1, scanned.start) });
            }
            _ => {}
        }
        for position in scanned {
            let mut hash = hash(self.1, position);
            if self.0 == Fault::FastPathDiffers && position % 11 == 10
                || self.0 == Fault::WrongWithoutWideVectors && self.2
            {
                hash[0] ^= 1;
            }
            let middle = POSITIONS / 2;
            let beaten = !(200..=POSITIONS - 200).contains(&position) || position.abs_diff(middle) < 200;
            if self.0 == Fault::WrongForOtherInputs && self.1 != 3
                || self.0 == Fault::WrongOffTheBeatenTrack && !beaten
            {
                hash[7] ^= 1;
            }
            let meets = match self.0 {
                Fault::StrictlyBelowTarget => target.is_met_by(&hash) && target.to_le_bytes() != hash,
                Fault::ComparesBigEndian => hash <= target.to_le_bytes(),
                _ => target.is_met_by(&hash),
            };
            if meets {
                sink(Finding { bytes: &position.to_le_bytes(), hash });
            }
        }
        done
    }

    fn avoid_wide_vectors(&mut self, avoid: bool) {
        self.2 = avoid;
    }
}

fn outcome(fault: Fault) -> Result<(), Violation> {
    let answer = KnownAnswer {
        name: "toy".into(),
        input: vec![3; 4],
        finding: 77_u64.to_le_bytes().into(),
        position: 77,
        hash: hash(3, 77),
    };
    check(&Toy(fault), &[answer], 100)
}

#[test]
fn a_right_algorithm_passes() {
    assert_eq!(outcome(Fault::None), Ok(()));
}

#[test]
fn a_check_of_nothing_does_not_pass() {
    assert_eq!(check(&Toy(Fault::None), &[], 100), Err(Violation::NothingToCheck));
}

#[test]
fn a_plain_path_that_computes_something_else_is_caught() {
    assert!(matches!(outcome(Fault::WrongHash), Err(Violation::KnownAnswer { .. })));
}

#[test]
fn a_fast_path_that_differs_at_some_positions_is_caught() {
    assert!(matches!(outcome(Fault::FastPathDiffers), Err(Violation::Disagreement { .. })));
}

#[test]
fn skipped_repeated_or_wrongly_counted_positions_are_caught() {
    for fault in [
        Fault::SkipsFirstOfEachCall,
        Fault::RepeatsFirstOfEachCall,
        Fault::IgnoresBudget,
        Fault::IgnoresEnd,
        Fault::ForgetsToAdvance,
        Fault::WrongWithoutWideVectors,
    ] {
        assert!(matches!(outcome(fault), Err(Violation::Coverage { .. })), "{:?}", outcome(fault));
    }
}

#[test]
fn a_target_that_is_compared_wrongly_is_caught() {
    assert!(outcome(Fault::StrictlyBelowTarget).is_err());
    assert!(matches!(outcome(Fault::ComparesBigEndian), Err(Violation::Selection { .. })));
}

#[test]
fn wrong_lengths_that_pass_and_right_ones_that_do_not_are_caught() {
    assert!(matches!(outcome(Fault::AcceptsShortInput), Err(Violation::Length { what: "input", .. })));
    assert!(matches!(outcome(Fault::AcceptsLongFinding), Err(Violation::Length { what: "finding", .. })));
    assert!(matches!(
        outcome(Fault::RefusesItsInput),
        Err(Violation::Length { what: "input", accepted: false, .. })
    ));
}

#[test]
fn what_is_wrong_only_for_inputs_or_ranges_that_nobody_listed_is_caught() {
    for fault in [Fault::WrongForOtherInputs, Fault::WrongOffTheBeatenTrack] {
        assert!(matches!(outcome(fault), Err(Violation::Disagreement { .. })), "{:?}", outcome(fault));
    }
}

#[test]
fn a_call_that_does_not_come_back_after_a_small_budget_is_caught() {
    assert!(matches!(outcome(Fault::KeepsNoSmallBudget), Err(Violation::Coverage { budget: 1, .. })));
}

#[test]
fn a_panic_is_caught_and_reported_with_what_caused_it() {
    match outcome(Fault::PanicsAtAByte) {
        Err(Violation::Panic { input, .. }) => assert_eq!(input[0] % 16, 9),
        other => panic!("{other:?}"),
    }
}
