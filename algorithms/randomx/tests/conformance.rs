//! RandomX against a block that a Monero node accepted, and the conformance kit.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use algorithm_api::{
    Algorithm, InvalidInput,
    conformance::{KnownAnswer, check},
};
use algorithm_randomx::{RandomX, SEED_LEN, nonce_offset};
use serde::Deserialize;

#[derive(Deserialize)]
struct Vectors {
    monero_regtest_block: Block,
}

#[derive(Deserialize)]
struct Block {
    hashing_blob_after: String,
    nonce_offset: usize,
    nonce_le_hex: String,
    seed_hash: String,
    pow_hash_raw: String,
}

fn block() -> Block {
    serde_json::from_str::<Vectors>(include_str!("vectors.json")).unwrap().monero_regtest_block
}

fn answer() -> KnownAnswer {
    let block = block();
    let nonce: [u8; 4] = hex::decode(block.nonce_le_hex).unwrap().try_into().unwrap();
    KnownAnswer {
        name: "a block of Monero's regtest".to_owned(),
        input: hex::decode(block.seed_hash + &block.hashing_blob_after).unwrap(),
        finding: nonce.into(),
        position: u32::from_le_bytes(nonce).into(),
        hash: hex::decode(block.pow_hash_raw).unwrap().try_into().unwrap(),
    }
}

#[test]
fn it_passes_the_conformance_kit_in_light_mode() {
    check(&RandomX::new(), &[answer()], 8).unwrap();
}

#[test]
fn the_nonce_stands_where_the_block_has_it_and_its_bytes_in_the_input_are_ignored() {
    let (randomx, answer) = (RandomX::new(), answer());
    let at = SEED_LEN + nonce_offset(&answer.input[SEED_LEN..]).unwrap();
    assert_eq!(at, SEED_LEN + block().nonce_offset);
    assert_eq!(answer.input[at..at + 4], answer.finding);
    let mut other = answer.input;
    other[at..at + 4].fill(0xa5);
    assert_eq!(randomx.verify(&other, &answer.finding), Ok(answer.hash));
}

#[test]
fn a_blob_whose_time_stamp_does_not_end_is_malformed() {
    let mut input = answer().input;
    input[SEED_LEN..].fill(0x80);
    let verdict = RandomX::new().verify(&input, &[0; 4]);
    assert!(matches!(verdict, Err(InvalidInput::Malformed { what: "input", .. })), "{verdict:?}");
}
