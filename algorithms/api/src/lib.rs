//! What an algorithm is: bytes in, findings out, and the kit that proves a fast path equal to the plain one.
//!
//! This is all that certified code may know: no bus, no clock, no thread, no async. An algorithm scans a range of
//! positions for a bounded budget and comes back; whoever called decides whether, when and how fast to go on.
//!
//! | | input | position | finding |
//! |---|---|---|---|
//! | proof of work | an 80-byte header, its nonce ignored | a nonce, `0..2^32` | the nonce, 4 bytes little-endian |
//! | another search | whatever its job defines | a candidate's number | whatever lets [`Algorithm::verify`] redo it |
//!
//! The worth of a finding is a 256-bit little-endian integer, for proof of work the hash: the lower, the better,
//! and it meets a [`Target`] when it is not above.
//!
//! [`conformance`] is called from the tests of each algorithm in a few lines. [`context`] is for algorithms that
//! prepare much once for many inputs, [`trial`] for those that can be searched in several ways.

pub mod conformance;
pub mod context;
pub mod trial;

use std::{borrow::Cow, ops::RangeInclusive};

/// What an algorithm is called and what it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// Its name: letters, digits and `-`.
    pub id: Cow<'static, str>,
    /// Another version may give another hash for the same input.
    pub version: u32,
    /// Accepted lengths of the input, in bytes.
    pub input_len: RangeInclusive<usize>,
    /// Accepted lengths of a finding, in bytes.
    pub finding_len: RangeInclusive<usize>,
    /// Positions of one input: `0..positions`.
    pub positions: u64,
    /// Working memory of each searching thread, in bytes.
    pub memory_bytes_per_thread: u64,
}

impl Descriptor {
    /// Refuses an input of a wrong length.
    pub fn check_input(&self, input: &[u8]) -> Result<(), InvalidInput> {
        check_len("input", input, &self.input_len)
    }

    /// Refuses a finding of a wrong length.
    pub fn check_finding(&self, finding: &[u8]) -> Result<(), InvalidInput> {
        check_len("finding", finding, &self.finding_len)
    }
}

fn check_len(what: &'static str, bytes: &[u8], wanted: &RangeInclusive<usize>) -> Result<(), InvalidInput> {
    if wanted.contains(&bytes.len()) {
        return Ok(());
    }
    Err(InvalidInput::Length { what, len: bytes.len(), min: *wanted.start(), max: *wanted.end() })
}

/// Why an input or a finding cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidInput {
    /// Too short or too long.
    #[error("{what} of {len} bytes: it must have {min} to {max}")]
    Length {
        /// `input` or `finding`.
        what: &'static str,
        /// Its length in bytes.
        len: usize,
        /// Shortest accepted.
        min: usize,
        /// Longest accepted.
        max: usize,
    },
    /// Of a right length, but not what the algorithm reads.
    #[error("{what} is malformed: {reason}")]
    Malformed {
        /// `input` or `finding`.
        what: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A loaded algorithm does not take it.
    #[error("{what} is refused: {reason}")]
    Refused {
        /// `input` or `finding`.
        what: &'static str,
        /// In the algorithm's own words.
        reason: String,
    },
    /// A loaded algorithm came to grief over it, whoever is to blame.
    #[error("the algorithm failed: {reason}")]
    Failed {
        /// What it did wrong.
        reason: String,
    },
}

/// An algorithm. Its plain form is [`Algorithm::verify`]; what [`Search`] reports must agree with it.
pub trait Algorithm: Send + Sync {
    /// Name, version, sizes.
    fn descriptor(&self) -> &Descriptor;

    /// Does once what is the same for every position of `input`.
    fn prepare(&self, input: &[u8]) -> Result<Box<dyn Search>, InvalidInput>;

    /// Computes the hash of one finding, plainly. Whether it is good enough is the caller's question.
    fn verify(&self, input: &[u8], finding: &[u8]) -> Result<[u8; 32], InvalidInput>;

    /// The same algorithm with contexts, if it has any: see [`context`].
    fn seeded(&self) -> Option<&dyn context::Seeded> {
        None
    }
}

/// A prepared input.
pub trait Search: Send {
    /// Scans from `range.next` on, at most `budget` positions and not past `range.end` or the algorithm's last
    /// position (to which `range.end` is lowered). Calls `sink` once for each position whose hash meets `target`,
    /// in order, advances `range.next` past what was scanned and returns how many positions that were.
    fn search(
        &mut self,
        range: &mut Range,
        budget: u64,
        target: &Target,
        sink: &mut dyn FnMut(Finding<'_>),
    ) -> u64;

    /// Says whether to do from now on without wide vectors (AVX2, AVX-512): on some processors whoever runs within
    /// milliseconds after them runs at a lower clock. What is found stays the same. By default nothing changes, which is
    /// right for an algorithm that has no wide vectors or would be many times slower without.
    fn avoid_wide_vectors(&mut self, _avoid: bool) {}

    /// Why [`Search::search`] scanned less than it was asked for and will scan no more. What is compiled in never stops short.
    fn failure(&self) -> Option<String> {
        None
    }
}

/// Positions still to be scanned: `next..end`. The caller keeps it, so a search can stop and go on anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// First position that was not scanned yet.
    pub next: u64,
    /// One past the last position.
    pub end: u64,
}

impl Range {
    /// Nothing is left.
    pub fn is_empty(&self) -> bool {
        self.next >= self.end
    }

    /// Positions left.
    pub fn len(&self) -> u64 {
        self.end.saturating_sub(self.next)
    }

    /// Lowers `end` to `positions` and takes at most `budget` positions off the front: what every
    /// [`Search::search`] scans in one call.
    pub fn take(&mut self, budget: u64, positions: u64) -> std::ops::Range<u64> {
        self.end = self.end.min(positions);
        let first = self.next;
        self.next += self.len().min(budget);
        first..self.next
    }
}

/// Something that meets the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finding<'a> {
    /// What [`Algorithm::verify`] needs to redo it; for proof of work the nonce, little-endian.
    pub bytes: &'a [u8],
    /// Its worth, a little-endian integer.
    pub hash: [u8; 32],
}

/// Highest hash that is good enough, a 256-bit little-endian integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target([u8; 32]);

impl Target {
    /// Every hash meets it.
    pub const MAX: Self = Self([0xff; 32]);

    /// Reads a little-endian integer.
    pub const fn from_le_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The little-endian integer.
    pub const fn to_le_bytes(self) -> [u8; 32] {
        self.0
    }

    /// Whether `hash` is not above the target.
    #[inline]
    pub fn is_met_by(&self, hash: &[u8; 32]) -> bool {
        hash.iter().rev().le(self.0.iter().rev())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_equal_to_the_target_meets_it_and_one_more_does_not() {
        let mut bytes = [0; 32];
        bytes[31] = 2;
        let target = Target::from_le_bytes(bytes);
        assert!(target.is_met_by(&bytes));
        bytes[0] = 1;
        assert!(!target.is_met_by(&bytes));
        bytes[31] = 1;
        bytes[0] = 0xff;
        assert!(target.is_met_by(&bytes));
        assert!(Target::MAX.is_met_by(&[0xff; 32]));
    }

    #[test]
    fn taking_from_a_range_never_passes_its_end_the_budget_or_the_last_position() {
        let mut range = Range { next: 5, end: 100 };
        assert_eq!(range.take(3, 10), 5..8);
        assert_eq!(range, Range { next: 8, end: 10 });
        assert_eq!(range.take(u64::MAX, 10), 8..10);
        assert_eq!(range.take(1, 10), 10..10);
        let mut beyond = Range { next: u64::MAX - 1, end: u64::MAX };
        assert_eq!(beyond.take(u64::MAX, 10).count(), 0);
        assert!(beyond.is_empty());
    }
}
