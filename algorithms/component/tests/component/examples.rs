//! The example guests, built from their sources, against known answers and the conformance kit.

use crate::{NATIVES, guests};
use algorithm_api::{
    Algorithm, Range, Target,
    conformance::{KnownAnswer, check},
};
use algorithm_component::{Limits, Sandbox};
use algorithm_sha256d::Sha256d;
use serde::Deserialize;
use std::{path::Path, sync::OnceLock};

/// Of `sha256d-wasm`, which hashes itself, and of `sha256d-kernel`, which lets the host hash.
pub fn components() -> &'static [Vec<u8>; 2] {
    static BUILT: OnceLock<[Vec<u8>; 2]> = OnceLock::new();
    let workspace = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/guests"));
    BUILT.get_or_init(|| ["sha256d-wasm", "sha256d-kernel"].map(|name| guests::build(workspace, name)))
}

#[derive(Deserialize)]
struct Vectors {
    sha256d: Vec<Published>,
}

#[derive(Deserialize)]
struct Published {
    name: String,
    header: String,
    hash_raw_le: String,
}

fn answers() -> Vec<KnownAnswer> {
    let text = include_str!("../../../sha256d/tests/vectors.json");
    let vectors: Vectors = serde_json::from_str(text).unwrap();
    let answer = |published: Published| {
        let input = hex::decode(published.header).unwrap();
        let nonce: [u8; 4] = input[76..].try_into().unwrap();
        KnownAnswer {
            name: published.name,
            finding: nonce.into(),
            position: u32::from_le_bytes(nonce).into(),
            hash: hex::decode(published.hash_raw_le).unwrap().try_into().unwrap(),
            input,
        }
    };
    vectors.sha256d.into_iter().map(answer).collect()
}

#[test]
fn both_examples_pass_the_conformance_kit_with_known_answers_on_wasm32_target() {
    let sandbox = Sandbox::new(Limits::default(), &NATIVES).unwrap();
    let answers = answers();
    assert!(answers.len() >= 5);
    for (bytes, id) in components().iter().zip(["sha256d-wasm", "sha256d-kernel"]) {
        let algorithm = sandbox.load(bytes).unwrap();
        assert_eq!(algorithm.descriptor().id, id);
        assert_eq!(check(&algorithm, &answers, 256), Ok(()), "{id}");
    }
}

#[test]
fn a_search_finds_what_the_native_one_finds_on_wasm32_target() {
    let sandbox = Sandbox::new(Limits::default(), &NATIVES).unwrap();
    let input = &answers()[0].input;
    // About one in 2^12 meets it, so that batches grow beyond the room for findings of one call.
    let mut target = [0xff; 32];
    target[30..].copy_from_slice(&[0x0f, 0x00]);
    let target = Target::from_le_bytes(target);
    let found = |algorithm: &dyn Algorithm| {
        let (mut range, mut found) = (Range { next: 77, end: 1_000_077 }, Vec::new());
        let mut search = algorithm.prepare(input).unwrap();
        let mut sink =
            |finding: algorithm_api::Finding<'_>| found.push((finding.bytes.to_vec(), finding.hash));
        assert_eq!(search.search(&mut range, u64::MAX, &target, &mut sink), 1_000_000);
        found
    };
    let wanted = found(&Sha256d);
    assert!(wanted.len() > 100, "{} findings", wanted.len());
    for bytes in components() {
        assert_eq!(found(&sandbox.load(bytes).unwrap()), wanted);
    }
}
