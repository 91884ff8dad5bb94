//! scrypt(1024,1,1) against Litecoin's published headers and the conformance kit, on each path of this processor.
#![allow(missing_docs, clippy::unwrap_used)]

use algorithm_api::{
    Algorithm,
    conformance::{KnownAnswer, check},
};
use algorithm_scrypt::{Path, Scrypt1024};
use serde::Deserialize;

#[derive(Deserialize)]
struct Vectors {
    scrypt_1024_1_1: Vec<Published>,
}

#[derive(Deserialize)]
struct Published {
    name: String,
    header: String,
    pow_hash_display_be: String,
}

fn answers() -> Vec<KnownAnswer> {
    let vectors: Vectors = serde_json::from_str(include_str!("vectors.json")).unwrap();
    let answer = |p: Published| {
        let input = hex::decode(p.header).unwrap();
        let nonce: [u8; 4] = input[76..].try_into().unwrap();
        let mut hash: [u8; 32] = hex::decode(p.pow_hash_display_be).unwrap().try_into().unwrap();
        hash.reverse();
        KnownAnswer {
            name: p.name,
            finding: nonce.into(),
            position: u32::from_le_bytes(nonce).into(),
            hash,
            input,
        }
    };
    vectors.scrypt_1024_1_1.into_iter().map(answer).collect()
}

#[test]
fn every_path_passes_the_conformance_kit_with_published_headers() {
    let answers = answers();
    assert!(answers.len() >= 5);
    for path in Path::available() {
        let checked = check(&Scrypt1024::on(path).unwrap(), &answers, 64);
        assert_eq!(checked, Ok(()), "{path}");
    }
    check(&Scrypt1024, &answers, 64).unwrap();
}

#[test]
fn the_nonce_bytes_of_the_input_are_ignored() {
    let header = answers().remove(0).input;
    let mut other = header.clone();
    other[76..].fill(0xa5);
    assert_eq!(Scrypt1024.verify(&header, &[1, 2, 3, 4]), Scrypt1024.verify(&other, &[1, 2, 3, 4]));
    assert_ne!(Scrypt1024.verify(&header, &[1, 2, 3, 4]), Scrypt1024.verify(&header, &[1, 2, 3, 5]));
}

#[test]
fn only_paths_that_the_processor_can_go_are_had_and_the_portable_one_always_is() {
    assert!(Path::Portable.is_available());
    for path in Path::ALL {
        assert_eq!(Scrypt1024::on(path).is_some(), path.is_available(), "{path}");
    }
    assert_eq!(Path::available().next(), Some(Path::best()));
}
