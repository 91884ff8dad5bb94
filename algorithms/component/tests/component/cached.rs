//! Loaded components are kept by digest, few of them, and never handed out as something else.

use crate::{
    tight,
    toy::{ID, Toy},
};
use algorithm_component::{Cache, NotWanted, Wanted, digest};

fn wanted(bytes: &[u8]) -> Wanted {
    Wanted { id: ID.to_owned(), version: 2, digest: digest(bytes) }
}

/// Toys that differ in a number, each with its bytes.
fn toys(count: u64) -> Vec<Vec<u8>> {
    (1..=count).map(|positions| Toy { positions, ..Toy::default() }.component()).collect()
}

#[test]
fn only_the_last_few_components_stay_loaded() {
    let (cache, toys) = (Cache::new(tight()), toys(5));
    for bytes in &toys[..4] {
        cache.load(&wanted(bytes), bytes).unwrap();
    }
    assert!(cache.get(&wanted(&toys[0])).is_some());
    cache.load(&wanted(&toys[4]), &toys[4]).unwrap();
    // The first was asked for since, so that the second is the one that goes.
    let kept: Vec<bool> = toys.iter().map(|bytes| cache.get(&wanted(bytes)).is_some()).collect();
    assert_eq!(kept, [true, false, true, true, true]);
    cache.forget(&digest(&toys[0]));
    assert!(cache.get(&wanted(&toys[0])).is_none());
}

#[test]
fn a_component_of_another_digest_id_or_version_is_refused_loaded_or_not() {
    let (cache, toys) = (Cache::new(tight()), toys(2));
    let right = wanted(&toys[0]);
    let refused = cache.load(&right, &toys[1]).unwrap_err();
    assert_eq!(refused, NotWanted::Digest { found: digest(&toys[1]), wanted: right.digest });
    for _ in 0..2 {
        for other in
            [Wanted { version: 3, ..right.clone() }, Wanted { id: "toy-3".to_owned(), ..right.clone() }]
        {
            assert!(cache.get(&other).is_none());
            assert!(matches!(cache.load(&other, &toys[0]), Err(NotWanted::Identity { .. })));
        }
        cache.load(&right, &toys[0]).unwrap();
    }
}
