//! Contexts: prepared by several threads, shared, and strict about seeds.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use algorithm_api::{
    Algorithm, InvalidInput,
    context::{Context, ContextError, Mode, Progress, Seeded},
};
use algorithm_randomx::RandomX;
use std::{sync::Arc, thread};

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
