//! SHA-256d against published headers and the conformance kit.
#![cfg(test)]

use algorithm_api::{
    Algorithm, Range, Target,
    conformance::{KnownAnswer, check},
};
use algorithm_sha256d::{Path, Sha256d};
use serde::Deserialize;

#[derive(Deserialize)]
struct Vectors {
    sha256d: Vec<Published>,
    negative: Negative,
}

#[derive(Deserialize)]
struct Published {
    name: String,
    header: String,
    hash_raw_le: String,
}

#[derive(Deserialize)]
struct Negative {
    header: String,
    hash_display_be: String,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("vectors.json")).unwrap()
}

fn answers() -> Vec<KnownAnswer> {
    let answer = |p: Published| {
        let input = hex::decode(p.header).unwrap();
        let nonce: [u8; 4] = input[76..].try_into().unwrap();
        KnownAnswer {
            name: p.name,
            finding: nonce.into(),
            position: u32::from_le_bytes(nonce).into(),
            hash: hex::decode(p.hash_raw_le).unwrap().try_into().unwrap(),
            input,
        }
    };
    vectors().sha256d.into_iter().map(answer).collect()
}

#[test]
fn it_passes_the_conformance_kit_with_published_headers() {
    let answers = answers();
    assert!(answers.len() >= 5);
    check(&Sha256d, &answers, 4096).unwrap();
}

#[test]
fn each_path_of_this_processor_passes_the_conformance_kit() {
    for path in Path::available() {
        check(&Sha256d::on(path).unwrap(), &answers(), 1024)
            .unwrap_or_else(|wrong| panic!("{path}: {wrong}"));
    }
}

#[test]
fn the_header_after_a_block_has_the_published_hash_and_is_no_block() {
    let Negative { header, hash_display_be } = vectors().negative;
    let header = hex::decode(header).unwrap();
    let mut hash = Sha256d.verify(&header, &header[76..]).unwrap();
    let target = {
        let mut le = [0; 32];
        le[23..26].copy_from_slice(&[0xf2, 0xb9, 0x44]);
        Target::from_le_bytes(le)
    };
    assert!(!target.is_met_by(&hash));
    hash.reverse();
    assert_eq!(hex::encode(hash), hash_display_be);
}

#[test]
fn the_nonce_bytes_of_the_input_are_ignored() {
    let header = answers().remove(0).input;
    let mut other = header.clone();
    other[76..].fill(0xa5);
    let found = |input: &[u8]| {
        let mut found = Vec::new();
        let mut range = Range { next: 1000, end: 1100 };
        let mut search = Sha256d.prepare(input).unwrap();
        search.search(&mut range, u64::MAX, &Target::MAX, &mut |f| found.push(f.hash));
        found
    };
    assert_eq!(found(&header), found(&other));
    assert_eq!(Sha256d.verify(&header, &[1, 2, 3, 4]), Sha256d.verify(&other, &[1, 2, 3, 4]));
}
