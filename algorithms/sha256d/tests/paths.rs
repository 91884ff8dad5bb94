//! Every path of this processor finds exactly what the plain form says, whatever range and target.
#![cfg(test)]

use algorithm_api::{Algorithm, Range, Target};
use algorithm_sha256d::{Path, Sha256d};
use proptest::prelude::*;
use std::{cell::Cell, time::Duration};

type Found = Vec<(u32, [u8; 32])>;

/// What one call on a path reports, and how many positions it says that it scanned.
fn search(path: Path, header: &[u8], mut range: Range, budget: u64, target: &Target) -> (Found, u64) {
    let mut found = Found::new();
    let mut search = Sha256d::on(path).unwrap().prepare(header).unwrap();
    let done = search.search(&mut range, budget, target, &mut |finding| {
        found.push((u32::from_le_bytes(finding.bytes.try_into().unwrap()), finding.hash));
    });
    (found, done)
}

/// What the plain form says of `len` positions from `first` on.
fn plain(header: &[u8], first: u32, len: u32, target: &Target) -> Found {
    (first..=first + (len - 1))
        .map(|nonce| (nonce, Sha256d.verify(header, &nonce.to_le_bytes()).unwrap()))
        .filter(|(_, hash)| target.is_met_by(hash))
        .collect()
}

/// A target whose top word is `top` and whose other bytes are all `rest`.
fn target(top: u32, rest: u8) -> Target {
    let mut target = [rest; 32];
    target[28..].copy_from_slice(&top.to_le_bytes());
    Target::from_le_bytes(target)
}

/// `len` positions from `first` on, or from as far before it as they need.
fn range(first: u32, len: u32) -> Range {
    let first = u64::from(first.min(u32::MAX - len));
    Range { next: first, end: first + u64::from(len) }
}

#[test]
fn the_portable_path_is_always_there_and_the_default_takes_the_first() {
    let available: Vec<_> = Path::available().collect();
    assert_eq!(available.last(), Some(&Path::Portable));
    assert_eq!(available.first(), Some(&Path::best()));
}

#[test]
fn a_path_that_this_processor_cannot_go_is_refused_by_name() {
    for path in Path::ALL.into_iter().filter(|path| !path.is_available()) {
        let refused = Sha256d::on(path).unwrap_err().to_string();
        assert!(refused.contains(path.name()), "{refused}");
    }
}

#[test]
fn the_last_nonces_are_found_by_each_path_and_nothing_after_them() {
    let header = [0x33; 80];
    for path in Path::available() {
        for len in 1..=40 {
            let range = Range { next: (1 << 32) - len, end: u64::MAX };
            let (found, done) = search(path, &header, range, u64::MAX, &Target::MAX);
            assert_eq!(done, len);
            assert_eq!(found, plain(&header, (range.next) as u32, len as u32, &Target::MAX), "{path} {len}");
        }
    }
}

#[test]
fn a_target_between_two_hashes_of_equal_top_words_is_told_apart_by_the_other_words() {
    let header = [0x44; 80];
    for path in Path::available() {
        for (nonce, hash) in plain(&header, 5, 40, &Target::MAX) {
            let range = Range { next: nonce.into(), end: u64::from(nonce) + 1 };
            for byte in 0..32 {
                let [mut above, mut below] = [hash; 2];
                above[byte] = above[byte].saturating_add(1);
                below[byte] = below[byte].saturating_sub(1);
                let meets = |bytes| search(path, &header, range, 1, &Target::from_le_bytes(bytes)).0.len();
                assert_eq!(meets(above), 1, "{path} {nonce} {byte}");
                assert_eq!(meets(below), usize::from(hash[byte] == 0), "{path} {nonce} {byte}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn any_range_budget_and_target_give_what_the_plain_form_gives(
        header in prop::collection::vec(any::<u8>(), 80),
        first in any::<u32>(),
        len in 1_u32..200,
        budget in 1_u64..250,
        top in prop_oneof![Just(u32::MAX), Just(0), any::<u32>(), (0_u32..32).prop_map(|bits| u32::MAX >> bits)],
        rest in any::<u8>(),
    ) {
        let (target, range) = (target(top, rest), range(first, len));
        let scanned = budget.min(len.into());
        let wanted = plain(&header, range.next as u32, scanned as u32, &target);
        for path in Path::available() {
            let (found, done) = search(path, &header, range, budget, &target);
            prop_assert_eq!(done, scanned);
            prop_assert_eq!(&found, &wanted, "{}", path);
        }
    }
}

#[test]
fn of_all_paths_the_one_that_needs_least_time_is_the_fastest() {
    let paths: Vec<_> = Path::available().collect();
    let tried = paths.len().saturating_sub(1).max(1);
    for (favoured, path) in paths.iter().enumerate().take(tried) {
        // Asked twice a turn, before and after; every third turn of the favoured is quick, all others are slow.
        let asked = Cell::new(0);
        let clock = || {
            let [turn, after] = [asked.get() / 2, asked.get() % 2];
            asked.set(asked.get() + 1);
            let is_quick = turn % tried == favoured && turn / tried == 2;
            Duration::from_millis(1_000 * turn as u64 + after as u64 * if is_quick { 3 } else { 7 })
        };
        assert_eq!(Path::fastest(clock), *path);
    }
}

#[test]
fn of_paths_that_need_as_much_the_first_is_the_fastest() {
    let asked = Cell::new(0_u64);
    let clock = || {
        asked.set(asked.get() + 1);
        // Each turn is a little shorter than the one before.
        Duration::from_micros(1_000 * asked.get() - asked.get() * asked.get() / 16)
    };
    assert_eq!(Some(Path::fastest(clock)), Path::available().next());
}

#[test]
fn without_wide_vectors_a_processor_with_sha_instructions_uses_them_and_another_its_best() {
    let with = [Path::ShaNi, Path::ArmSha2].into_iter().find(|path| path.is_available());
    assert_eq!(Path::narrow(), with.unwrap_or(Path::best()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// Long enough for paths that work on many batches in one go, and with findings in the middle of them.
    #[test]
    fn long_ranges_with_few_findings_give_on_each_path_what_the_portable_path_gives(
        header in prop::collection::vec(any::<u8>(), 80),
        first in any::<u32>(),
        len in 300_u32..40_000,
        bits in 12_u32..16,
    ) {
        let (target, range) = (target(u32::MAX >> bits, 0xff), range(first, len));
        let wanted = search(Path::Portable, &header, range, u64::MAX, &target);
        for path in Path::available() {
            prop_assert_eq!(&search(path, &header, range, u64::MAX, &target), &wanted, "{}", path);
        }
    }
}
