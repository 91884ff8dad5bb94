//! RandomX against a block that a Monero node accepted, and the conformance kit.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use algorithm_api::{
    Algorithm, InvalidInput, Range, Target,
    conformance::{KnownAnswer, check},
    context::{Context, Mode, Progress, Seeded},
};
use algorithm_randomx::{RandomX, SEED_LEN, nonce_offset};
use serde::Deserialize;
use std::{fs, thread};

const MIB: u64 = 1 << 20;
/// What the host has to have left before a test takes a data set, in MiB.
const LEFT_MIB: u64 = 512;

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

fn has_memory_for_a_data_set(randomx: &RandomX) -> bool {
    let text = fs::read_to_string("/proc/meminfo").unwrap();
    let line = text.lines().find(|line| line.starts_with("MemAvailable:")).unwrap();
    let available: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    available / 1024 >= randomx.memory_bytes(Mode::Fast) / MIB + LEFT_MIB
}

fn prepare(context: &dyn Context) {
    while context.advance() != Progress::Ready {
        thread::yield_now();
    }
}

/// A thousand hashes, so the fast mode is the quicker way although its data set takes seconds.
#[test]
fn it_passes_the_kit_and_both_modes_agree_also_in_memory_that_served_another_seed() {
    let (randomx, answer) = (RandomX::new(), answer());
    if !has_memory_for_a_data_set(&randomx) {
        println!("the fast mode is NOT TESTED: no memory for a data set is free");
        return check(&randomx, &[answer], 8).unwrap();
    }
    let other = randomx.begin(&[0xee; SEED_LEN], Mode::Fast).unwrap();
    (0..100).for_each(|_| assert_ne!(other.advance(), Progress::Ready));
    drop(other);

    let context = randomx.begin(&answer.input[..SEED_LEN], Mode::Fast).unwrap();
    assert!(context.algorithm().is_none());
    thread::scope(|scope| {
        scope.spawn(|| prepare(context.as_ref()));
        prepare(context.as_ref());
    });
    let fast = context.algorithm().unwrap();
    for nonce in [0_u32, 1, 222, 1 << 31, u32::MAX] {
        let nonce = nonce.to_le_bytes();
        assert_eq!(fast.verify(&answer.input, &nonce), randomx.verify(&answer.input, &nonce));
    }
    check(fast.as_ref(), &[answer], 8).unwrap();
    let report = context.report();
    assert_eq!(report.mode, Mode::Fast);
    assert!(report.areas.iter().any(|area| area.name == "data set" && area.bytes > 2000 * MIB));
    println!("{report:?}");
}

#[test]
fn a_search_in_light_mode_reports_what_verifying_says_in_calls_of_any_budget() {
    let (randomx, answer) = (RandomX::new(), answer());
    for budget in [1, 3, 8] {
        let mut search = randomx.prepare(&answer.input).unwrap();
        let (mut range, mut found) = (Range { next: 220, end: 225 }, Vec::new());
        while !range.is_empty() {
            search.search(&mut range, budget, &Target::MAX, &mut |f| found.push((f.bytes.to_vec(), f.hash)));
        }
        assert_eq!(found[2], (answer.finding.clone(), answer.hash));
        for (nonce, hash) in found {
            assert_eq!(randomx.verify(&answer.input, &nonce), Ok(hash));
        }
    }
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
