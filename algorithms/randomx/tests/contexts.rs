//! Contexts: prepared by several threads in bounded steps, kept, reported; fast and light agree.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use algorithm_api::{
    Algorithm, Finding, InvalidInput, Range, Target,
    context::{Context, ContextError, Mode, Progress, Seeded},
};
use algorithm_randomx::RandomX;
use std::{fs, sync::Arc, thread};

const MIB: u64 = 1 << 20;
/// What the kernel has to have left before a test takes a data set.
const SPARE_MIB: u64 = 512;

fn prepare(context: &dyn Context) {
    while context.advance() != Progress::Ready {
        thread::yield_now();
    }
}

fn prepare_on_two_threads(context: &dyn Context) {
    thread::scope(|scope| {
        scope.spawn(|| prepare(context));
        prepare(context);
    });
}

fn input(seed: &[u8; 32]) -> Vec<u8> {
    [seed.as_slice(), &[16, 16, 0x91, 0x8a, 0x85, 0xd8, 0x06], &[0x3c; 69]].concat()
}

fn scan(algorithm: &dyn Algorithm, input: &[u8], nonces: std::ops::Range<u64>, budget: u64) -> Vec<[u8; 32]> {
    let mut search = algorithm.prepare(input).unwrap();
    let (mut range, mut hashes) = (Range { next: nonces.start, end: nonces.end }, Vec::new());
    while !range.is_empty() {
        search.search(&mut range, budget, &Target::MAX, &mut |f: Finding<'_>| hashes.push(f.hash));
    }
    hashes
}

fn available_mib() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap();
    let line = text.lines().find(|line| line.starts_with("MemAvailable:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[test]
fn a_fast_context_gives_the_hashes_of_the_light_one_also_after_its_memory_served_another_seed() {
    let randomx = RandomX::new();
    let needed = randomx.memory_bytes(Mode::Fast) / MIB;
    if available_mib() < needed + SPARE_MIB {
        println!("NOT RUN: {needed} MiB of memory are not free");
        return;
    }
    for seed in [[7; 32], [8; 32]] {
        let context = randomx.begin(&seed, Mode::Fast).unwrap();
        assert!(context.algorithm().is_none());
        prepare_on_two_threads(context.as_ref());
        let fast = context.algorithm().unwrap();
        let expected = scan(&randomx, &input(&seed), 5..13, 8);
        assert_eq!(scan(fast.as_ref(), &input(&seed), 5..13, 8), expected);
        assert_eq!(scan(fast.as_ref(), &input(&seed), 5..13, 1), expected);
        let report = context.report();
        assert_eq!((report.mode, context.progress()), (Mode::Fast, Progress::Ready));
        assert!(report.areas.iter().any(|area| area.name == "data set" && area.bytes > 2000 * MIB));
        println!("{report:?}");
    }
    randomx.trim();
}

#[test]
fn threads_that_come_while_another_fills_the_cache_wait_and_all_end_ready() {
    let randomx = RandomX::new();
    let context = randomx.begin(&[9; 32], Mode::Light).unwrap();
    assert!(matches!(context.progress(), Progress::Underway { done: 0, .. }));
    prepare_on_two_threads(context.as_ref());
    assert_eq!(context.progress(), Progress::Ready);
    assert_eq!(context.advance(), Progress::Ready);
    let again = randomx.begin(&[9; 32], Mode::Light).unwrap();
    assert!(Arc::ptr_eq(&context.algorithm().unwrap(), &again.algorithm().unwrap()));
}

#[test]
fn a_context_refuses_inputs_of_another_seed_and_seeds_of_another_length() {
    let randomx = RandomX::new();
    let context = randomx.begin(&[1; 32], Mode::Light).unwrap();
    prepare(context.as_ref());
    let algorithm = context.algorithm().unwrap();
    assert!(algorithm.verify(&input(&[1; 32]), &[0; 4]).is_ok());
    let verdict = algorithm.verify(&input(&[2; 32]), &[0; 4]);
    assert!(matches!(verdict, Err(InvalidInput::Malformed { what: "input", .. })));
    let refused = randomx.begin(&[1; 31], Mode::Light).map(drop);
    assert_eq!(refused, Err(ContextError::SeedLength { len: 31, wanted: 32 }));
}

#[test]
fn hashing_leaves_the_threads_rounding_as_it_was() {
    let third = |x: f64| std::hint::black_box(x) / std::hint::black_box(3.0);
    let before: Vec<u64> = (1..50).map(|n| third(n.into()).to_bits()).collect();
    let randomx = RandomX::new();
    for nonce in 0..8_u32 {
        randomx.verify(&input(&[1; 32]), &nonce.to_le_bytes()).unwrap();
        let after: Vec<u64> = (1..50).map(|n| third(n.into()).to_bits()).collect();
        assert_eq!(before, after);
    }
}
