//! The conformance kit: what every algorithm must do, whatever it computes.
//!
//! ```text
//! conformance::check(&Sha256d, &known_answers, 4096).unwrap();
//! ```
//!
//! It holds the fast path ([`Search`](crate::Search)) against the plain one ([`Algorithm::verify`]), so that only
//! the plain one has to be reviewed for what it computes and the known answers speak for that.

mod random;

use crate::{Algorithm, Finding, InvalidInput, Range, Search, Target};

/// Lengths beyond the longest accepted that are tried as well, in bytes.
const EXCESS_LEN: usize = 80;
/// Budgets with which every scan is repeated and must give the same.
const BUDGETS: [u64; 5] = [1, 2, 7, 64, u64::MAX];

/// A published result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownAnswer {
    /// For the report.
    pub name: String,
    /// The input.
    pub input: Vec<u8>,
    /// The finding.
    pub finding: Vec<u8>,
    /// Position at which a search reports it.
    pub position: u64,
    /// Its hash, little-endian.
    pub hash: [u8; 32],
}

/// What an algorithm does wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// The kit proves nothing without known answers and a range.
    #[error("nothing to check: give at least one known answer and a span of at least 8 positions")]
    NothingToCheck,
    /// A published result is not reproduced.
    #[error("{name}: got {got:02x?}, which is not the published hash")]
    KnownAnswer {
        /// Of the answer.
        name: String,
        /// What the algorithm said.
        got: Result<[u8; 32], InvalidInput>,
    },
    /// A search reports another hash than the plain path, or a finding that the plain path refuses.
    #[error("position {position}: the search reports {searched:02x?}, the plain path says {plain:02x?}")]
    Disagreement {
        /// Where.
        position: u64,
        /// Hash from the search.
        searched: [u8; 32],
        /// Hash from the plain path.
        plain: Result<[u8; 32], InvalidInput>,
    },
    /// Positions were skipped, repeated or reported out of order.
    #[error("{what} (range {start}..{end}, budget {budget})")]
    Coverage {
        /// What went wrong.
        what: &'static str,
        /// First position.
        start: u64,
        /// One past the last position.
        end: u64,
        /// Budget of each call.
        budget: u64,
    },
    /// The findings of a range depend on the target in another way than `hash <= target`.
    #[error("{found} findings meet the target, {wanted} hashes do")]
    Selection {
        /// Reported by the search.
        found: usize,
        /// Hashes not above the target.
        wanted: usize,
    },
    /// A wrong length was accepted or a right one refused.
    #[error("{what} of {len} bytes: accepted is {accepted}")]
    Length {
        /// `input` or `finding`.
        what: &'static str,
        /// Its length.
        len: usize,
        /// What the algorithm did.
        accepted: bool,
    },
    /// Neither accepted nor refused.
    #[error("a panic at the input {input:02x?} with the finding {finding:02x?}")]
    Panic {
        /// The input.
        input: Vec<u8>,
        /// The finding.
        finding: Vec<u8>,
    },
}

type Found = Vec<(Vec<u8>, [u8; 32])>;

/// Checks known answers, agreement of both paths, exact coverage at any budget, selection by target, and lengths; the
/// same for random inputs, ranges and targets, with wide vectors and without; that a small budget is kept; that no bytes make it panic.
///
/// `span` is the number of positions that are scanned at the start, in the middle and at the end of the space, each
/// some thirty times over. An algorithm of several paths is checked once for each.
pub fn check(algorithm: &dyn Algorithm, answers: &[KnownAnswer], span: u64) -> Result<(), Violation> {
    let Some(first) = answers.first().filter(|_| span >= 8) else {
        return Err(Violation::NothingToCheck);
    };
    for answer in answers {
        known_answer(algorithm, answer)?;
    }
    let positions = algorithm.descriptor().positions;
    let span = span.min(positions);
    for start in [0, positions / 2, first.position.min(positions - span), positions - span] {
        let range = Range { next: start.min(positions - span), end: start.min(positions - span) + span };
        let all = agreement(algorithm, &first.input, range)?;
        selection(algorithm, &first.input, range, &all)?;
        splits(algorithm, &first.input, range, &all)?;
        switching(algorithm, &first.input, range, &all)?;
    }
    random::ranges(algorithm, first, span)?;
    random::cancellation(algorithm, &first.input)?;
    outside(algorithm, &first.input)?;
    lengths(algorithm, first)?;
    random::garbage(algorithm, first)
}

fn known_answer(algorithm: &dyn Algorithm, answer: &KnownAnswer) -> Result<(), Violation> {
    let wrong = |got| Violation::KnownAnswer { name: answer.name.clone(), got };
    let plain = algorithm.verify(&answer.input, &answer.finding);
    if plain != Ok(answer.hash) {
        return Err(wrong(plain));
    }
    let range = Range { next: answer.position, end: answer.position + 1 };
    match scan(algorithm, &answer.input, range, 1, &Target::from_le_bytes(answer.hash))?.as_slice() {
        [(finding, hash)] if *finding == answer.finding && *hash == answer.hash => Ok(()),
        [(_, hash)] => Err(wrong(Ok(*hash))),
        _ => Err(coverage("a published finding is not found at its position", range, 1)),
    }
}

fn coverage(what: &'static str, range: Range, budget: u64) -> Violation {
    Violation::Coverage { what, start: range.next, end: range.end, budget }
}

/// Scans `range` in calls of `budget` and checks the accounting of each.
fn scan(
    algorithm: &dyn Algorithm,
    input: &[u8],
    range: Range,
    budget: u64,
    target: &Target,
) -> Result<Found, Violation> {
    scan_with(algorithm, input, range, budget, target, &mut |_| {})
}

/// The same, with `before_call` before each call.
fn scan_with(
    algorithm: &dyn Algorithm,
    input: &[u8],
    range: Range,
    budget: u64,
    target: &Target,
    before_call: &mut dyn FnMut(&mut dyn Search),
) -> Result<Found, Violation> {
    let mut search = algorithm.prepare(input).map_err(|_| Violation::Length {
        what: "input",
        len: input.len(),
        accepted: false,
    })?;
    let (mut found, mut left) = (Found::new(), range);
    while !left.is_empty() {
        let before = left;
        let reported = found.len();
        before_call(&mut *search);
        let done = search
            .search(&mut left, budget, target, &mut |f: Finding<'_>| found.push((f.bytes.to_vec(), f.hash)));
        if done != before.len().min(budget) || left.next != before.next + done || left.end != before.end {
            return Err(coverage("a call did not scan exactly its budget or what was left", range, budget));
        }
        if (found.len() - reported) as u64 > done {
            return Err(coverage("a call reports more findings than positions", range, budget));
        }
    }
    if search.search(&mut left, budget, target, &mut |_| found.clear()) != 0 {
        return Err(coverage("an exhausted range is scanned again", range, budget));
    }
    Ok(found)
}

fn agreement(algorithm: &dyn Algorithm, input: &[u8], range: Range) -> Result<Found, Violation> {
    let all = scan(algorithm, input, range, u64::MAX, &Target::MAX)?;
    if all.len() as u64 != range.len() {
        return Err(coverage(
            "the easiest target does not give one finding for each position",
            range,
            u64::MAX,
        ));
    }
    for (position, (finding, searched)) in (range.next..).zip(&all) {
        let plain = algorithm.verify(input, finding);
        if plain != Ok(*searched) {
            return Err(Violation::Disagreement { position, searched: *searched, plain });
        }
    }
    let mut distinct: Vec<_> = all.iter().map(|(finding, _)| finding).collect();
    distinct.sort();
    distinct.dedup();
    if distinct.len() != all.len() {
        return Err(coverage("two positions report the same finding", range, u64::MAX));
    }
    Ok(all)
}

fn selection(algorithm: &dyn Algorithm, input: &[u8], range: Range, all: &Found) -> Result<(), Violation> {
    let mut ranked: Vec<_> = all.iter().map(|(_, hash)| *hash).collect();
    ranked.sort_by(|a, b| a.iter().rev().cmp(b.iter().rev()));
    for rank in [0, ranked.len() / 8, ranked.len() / 2, ranked.len().saturating_sub(1)] {
        let Some(target) = ranked.get(rank).copied().map(Target::from_le_bytes) else { continue };
        let wanted: Found = all.iter().filter(|(_, hash)| target.is_met_by(hash)).cloned().collect();
        for budget in BUDGETS {
            let found = scan(algorithm, input, range, budget, &target)?;
            if found != wanted {
                return Err(Violation::Selection { found: found.len(), wanted: wanted.len() });
            }
        }
    }
    let none = Target::from_le_bytes([0; 32]);
    let wanted = all.iter().filter(|(_, hash)| none.is_met_by(hash)).count();
    let found = scan(algorithm, input, range, u64::MAX, &none)?.len();
    if found == wanted { Ok(()) } else { Err(Violation::Selection { found, wanted }) }
}

fn splits(algorithm: &dyn Algorithm, input: &[u8], range: Range, all: &Found) -> Result<(), Violation> {
    for at in [1, 3, range.len() / 2, range.len() - 1] {
        let middle = range.next + at;
        let mut joined =
            scan(algorithm, input, Range { next: range.next, end: middle }, u64::MAX, &Target::MAX)?;
        joined.extend(scan(
            algorithm,
            input,
            Range { next: middle, end: range.end },
            u64::MAX,
            &Target::MAX,
        )?);
        if joined != *all {
            return Err(coverage("two halves of a range do not give what the range gives", range, u64::MAX));
        }
    }
    Ok(())
}

/// With wide vectors in every other call only, the same is found.
fn switching(algorithm: &dyn Algorithm, input: &[u8], range: Range, all: &Found) -> Result<(), Violation> {
    let budget = (range.len() / 5).max(1);
    let mut avoid = false;
    let found = scan_with(algorithm, input, range, budget, &Target::MAX, &mut |search| {
        avoid = !avoid;
        search.avoid_wide_vectors(avoid);
    })?;
    if found == *all {
        Ok(())
    } else {
        Err(coverage("another choice of vectors gives other findings", range, budget))
    }
}

/// Ranges that are empty or lie beyond the last position.
fn outside(algorithm: &dyn Algorithm, input: &[u8]) -> Result<(), Violation> {
    let positions = algorithm.descriptor().positions;
    let mut search = algorithm.prepare(input).map_err(|_| Violation::Length {
        what: "input",
        len: input.len(),
        accepted: false,
    })?;
    for (range, wanted) in [
        (Range { next: 0, end: 0 }, 0),
        (Range { next: 9, end: 3 }, 0),
        (Range { next: positions - 2, end: u64::MAX }, 2),
        (Range { next: positions, end: u64::MAX }, 0),
        (Range { next: u64::MAX, end: u64::MAX }, 0),
    ] {
        let (mut left, mut findings) = (range, 0);
        let done = search.search(&mut left, u64::MAX, &Target::MAX, &mut |_| findings += 1);
        if (done, findings) != (wanted, wanted) || !left.is_empty() {
            return Err(coverage("positions that do not exist are scanned", range, u64::MAX));
        }
    }
    let (mut untouched, range) = (Range { next: 0, end: 8 }, Range { next: 0, end: 8 });
    if search.search(&mut untouched, 0, &Target::MAX, &mut |_| {}) != 0 || untouched != range {
        return Err(coverage("a budget of nothing scans something", range, 0));
    }
    Ok(())
}

fn lengths(algorithm: &dyn Algorithm, answer: &KnownAnswer) -> Result<(), Violation> {
    let descriptor = algorithm.descriptor();
    let pad = |bytes: &[u8], len: usize| -> Vec<u8> { bytes.iter().copied().cycle().take(len).collect() };
    for len in 0..=answer.input.len() + EXCESS_LEN {
        let input = pad(&answer.input, len);
        let wanted = descriptor.input_len.contains(&len);
        for accepted in [algorithm.prepare(&input).is_ok(), algorithm.verify(&input, &answer.finding).is_ok()]
        {
            // An input of a right length may still be malformed; one of a wrong length must never pass.
            if accepted && !wanted || !accepted && len == answer.input.len() {
                return Err(Violation::Length { what: "input", len, accepted });
            }
        }
    }
    for len in 0..=answer.finding.len() + EXCESS_LEN {
        let accepted = algorithm.verify(&answer.input, &pad(&answer.finding, len)).is_ok();
        if accepted && !descriptor.finding_len.contains(&len) || !accepted && len == answer.finding.len() {
            return Err(Violation::Length { what: "finding", len, accepted });
        }
    }
    Ok(())
}
