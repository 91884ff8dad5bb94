//! BLAKE3 against known answers and the conformance kit, on each path of this processor.
#![allow(missing_docs, clippy::unwrap_used)]

use algorithm_api::{
    Algorithm,
    conformance::{KnownAnswer, check},
};
use algorithm_blake3::{Blake3, Path};
use serde::Deserialize;

#[derive(Deserialize)]
struct Vectors {
    blake3_80: Vec<Computed>,
}

#[derive(Deserialize)]
struct Computed {
    name: String,
    header: String,
    hash_le: String,
}

fn answers() -> Vec<KnownAnswer> {
    let vectors: Vectors = serde_json::from_str(include_str!("vectors.json")).unwrap();
    let answer = |computed: Computed| {
        let input = hex::decode(computed.header).unwrap();
        let nonce: [u8; 4] = input[76..].try_into().unwrap();
        KnownAnswer {
            name: computed.name,
            finding: nonce.into(),
            position: u32::from_le_bytes(nonce).into(),
            hash: hex::decode(computed.hash_le).unwrap().try_into().unwrap(),
            input,
        }
    };
    vectors.blake3_80.into_iter().map(answer).collect()
}

#[test]
fn every_path_passes_the_conformance_kit_with_known_answers() {
    let answers = answers();
    assert!(answers.len() >= 5);
    for path in Path::available() {
        assert_eq!(check(&Blake3::on(path).unwrap(), &answers, 4096), Ok(()), "{path}");
    }
    check(&Blake3, &answers, 64).unwrap();
}

#[test]
fn the_nonce_bytes_of_the_input_are_ignored() {
    let header = answers().remove(0).input;
    let mut other = header.clone();
    other[76..].fill(0xa5);
    assert_eq!(Blake3.verify(&header, &[1, 2, 3, 4]), Blake3.verify(&other, &[1, 2, 3, 4]));
    assert_ne!(Blake3.verify(&header, &[1, 2, 3, 4]), Blake3.verify(&header, &[1, 2, 3, 5]));
}

#[test]
fn only_paths_that_the_processor_can_go_are_had_and_the_portable_one_always_is() {
    assert!(Path::Portable.is_available());
    for path in Path::ALL {
        assert_eq!(Blake3::on(path).is_some(), path.is_available(), "{path}");
    }
    assert_eq!(Path::available().next(), Some(Path::best()));
}
