//! Every path finds in any range, with any budgets and any target, what the plain way finds.
#![allow(missing_docs, clippy::unwrap_used)]

use algorithm_api::{Algorithm, Range, Search, Target};
use algorithm_scrypt::{HEADER_LEN, Path, Scrypt1024};
use proptest::prelude::*;

const POSITIONS: u64 = 1 << 32;
/// More than two batches of the widest path.
const MAX_LEN: u64 = 40;

type Found = Vec<(Vec<u8>, [u8; 32])>;

fn plain(header: &[u8], positions: std::ops::Range<u64>) -> Found {
    let hash = |position: u64| {
        let nonce = (position as u32).to_le_bytes().to_vec();
        let hash = Scrypt1024.verify(header, &nonce).unwrap();
        (nonce, hash)
    };
    positions.map(hash).collect()
}

fn scan(search: &mut dyn Search, mut range: Range, budgets: &[u64], target: &Target) -> Found {
    let mut found = Found::new();
    let wanted = range;
    for budget in budgets.iter().copied().chain([u64::MAX]) {
        let before = range;
        let done = search.search(&mut range, budget, target, &mut |f| found.push((f.bytes.to_vec(), f.hash)));
        assert_eq!(done, before.len().min(budget));
        assert_eq!(range, Range { next: before.next + done, end: wanted.end });
    }
    found
}

#[test]
fn a_trial_takes_of_the_paths_with_the_widest_vectors_the_quicker_one() {
    let best = Path::best().name();
    let kind = best.split('-').next().unwrap();
    let tried: Vec<_> =
        Path::available().filter(|path| path.name().split('-').next() == Some(kind)).collect();
    for (favoured, path) in tried.iter().enumerate() {
        // Asked before and after each turn; those of the favoured are quick.
        let asked = std::cell::Cell::new(0);
        let clock = || {
            let [turn, after] = [asked.get() / 2, asked.get() % 2];
            asked.set(asked.get() + 1);
            let length = if turn % tried.len() == favoured { 3 } else { 7 };
            std::time::Duration::from_millis(1_000 * turn as u64 + after as u64 * length)
        };
        assert_eq!(Scrypt1024::fastest(clock).path(), *path);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(32) })]

    #[test]
    fn a_search_finds_what_the_plain_way_finds(
        header in prop::collection::vec(any::<u8>(), HEADER_LEN),
        start in prop_oneof![0..64_u64, 0..POSITIONS, POSITIONS - MAX_LEN..POSITIONS],
        len in 0..MAX_LEN,
        budgets in prop::collection::vec(0..MAX_LEN, 0..8),
        rank in any::<prop::sample::Index>(),
        random_target in prop::option::of(any::<[u8; 32]>()),
    ) {
        let end = (start + len).min(POSITIONS);
        let all = plain(&header, start..end);
        // A target that is one of the hashes is met by that hash and not by the next better one.
        let bytes = random_target.or_else(|| (!all.is_empty()).then(|| rank.get(&all).1)).unwrap_or([0x7f; 32]);
        let target = Target::from_le_bytes(bytes);
        let wanted: Found = all.into_iter().filter(|(_, hash)| target.is_met_by(hash)).collect();
        for path in Path::available() {
            let mut search = Scrypt1024::on(path).unwrap().prepare(&header).unwrap();
            let range = Range { next: start, end };
            prop_assert_eq!(&scan(&mut *search, range, &budgets, &target), &wanted, "{}", path);
        }
    }

    #[test]
    fn a_search_may_go_anywhere_next(
        header in prop::collection::vec(any::<u8>(), HEADER_LEN),
        places in prop::collection::vec((0..30_u64, 0..9_u64), 1..6),
    ) {
        let all = plain(&header, 0..40);
        for path in Path::available() {
            let mut search = Scrypt1024::on(path).unwrap().prepare(&header).unwrap();
            for (start, len) in &places {
                let range = Range { next: *start, end: start + len };
                let wanted = &all[*start as usize..(start + len) as usize];
                prop_assert_eq!(&scan(&mut *search, range, &[], &Target::MAX), wanted, "{}", path);
            }
        }
    }
}
