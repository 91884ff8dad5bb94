//! Components that mean harm: each is stopped, says why, and leaves the host and the others as they were.

use crate::{NATIVES, TIGHT, in_time, search, tight, toy::Toy};
use algorithm_api::{Algorithm, InvalidInput};
use algorithm_component::{Failure, LoadError, Sandbox};
use std::{fs, thread};

const FOREVER: &str = "(loop $again (br $again))";
/// Memory of this process beyond which a bomb has gone off, in bytes: many times what all instances of these tests may have.
const BLAST: u64 = 1 << 30;

fn load_failure(toy: Toy) -> Failure {
    match in_time(move || tight().load(&toy.component())) {
        Err(LoadError::Failed(failure)) => failure,
        other => panic!("{other:?}"),
    }
}

/// What a search says that a toy fails at, and how far it came.
fn search_failure(toy: Toy) -> (u64, String) {
    in_time(move || {
        let algorithm = tight().load(&toy.component()).unwrap();
        let mut prepared = algorithm.prepare(&[1]).unwrap();
        let (done, findings, failure) = search(&mut *prepared);
        assert_eq!(findings, Vec::<Vec<u8>>::new());
        assert_eq!(search(&mut *prepared), (0, findings, failure.clone()), "it is searched after it failed");
        (done, failure.expect("it does not fail"))
    })
}

fn resident_bytes() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[test]
fn an_endless_loop_is_interrupted_wherever_it_is() {
    let good = Toy::default();
    let timed_out = Failure::TimedOut(TIGHT.call_time);
    assert_eq!(
        load_failure(Toy { items: "(start $s) (func $s (loop $again (br $again)))", ..good }),
        timed_out
    );
    assert_eq!(load_failure(Toy { describe: FOREVER, ..good }), timed_out);
    assert_eq!(search_failure(Toy { scan: FOREVER, ..good }), (0, timed_out.to_string()));
    for toy in [Toy { prepare: FOREVER, ..good }, Toy { realloc: FOREVER, ..good }] {
        let refused = in_time(move || tight().load(&toy.component()).unwrap().prepare(&[1]).err());
        assert_eq!(refused, Some(InvalidInput::Failed { reason: timed_out.to_string() }));
    }
    let toy = Toy { verify: FOREVER, ..good };
    let refused = in_time(move || tight().load(&toy.component()).unwrap().verify(&[1], &[1]));
    assert_eq!(refused, Err(InvalidInput::Failed { reason: timed_out.to_string() }));
}

#[test]
fn others_go_on_while_one_loops() {
    in_time(|| {
        let sandbox = tight();
        let evil = sandbox.load(&Toy { scan: FOREVER, ..Toy::default() }.component()).unwrap();
        let good = sandbox.load(&Toy::default().component()).unwrap();
        let mut prepared = good.prepare(&[1]).unwrap();
        let looping = thread::spawn(move || {
            for _ in 0..3 {
                let (done, _, failure) = search(&mut *evil.prepare(&[1]).unwrap());
                assert_eq!((done, failure.is_some()), (0, true));
            }
        });
        while !looping.is_finished() {
            assert_eq!(search(&mut *prepared), (100, Vec::new(), None));
        }
        looping.join().unwrap();
        assert_eq!(search(&mut *good.prepare(&[1]).unwrap()), (100, Vec::new(), None));
    });
}

#[test]
fn a_memory_bomb_gets_no_more_than_it_may_have() {
    let good = Toy::default();
    let (done, reason) = search_failure(Toy { scan: "(call $bomb)", items: BOMB, ..good });
    assert_eq!(done, 0);
    assert!(reason.contains("allowed are 8388608"), "{reason}");
    assert!(matches!(load_failure(Toy { pages: 1000, ..good }), Failure::LimitHit(_)));
    // One that takes no for an answer, and one that asks for ever.
    let modest = Toy { scan: "(drop (memory.grow (i32.const 60000)))", ..good };
    let scanned =
        in_time(move || search(&mut *tight().load(&modest.component()).unwrap().prepare(&[1]).unwrap()));
    assert_eq!(scanned, (100, Vec::new(), None));
    let asking = "(loop $again (drop (memory.grow (i32.const 100))) (br $again))";
    assert_eq!(
        search_failure(Toy { scan: asking, ..good }).1,
        Failure::TimedOut(TIGHT.call_time).to_string()
    );
    assert!(resident_bytes() < BLAST);
}

/// Takes page after page, writes to each, and traps when there is none.
const BOMB: &str = "(func $bomb (local $page i32)
    (loop $again
        (local.set $page (memory.grow (i32.const 1)))
        (if (i32.eq (local.get $page) (i32.const -1)) (then unreachable))
        (i32.store (i32.shl (local.get $page) (i32.const 16)) (i32.const 1))
        (br $again)))";

#[test]
fn a_table_bomb_gets_no_more_than_it_may_have() {
    let good = Toy::default();
    assert!(matches!(load_failure(Toy { items: "(table 9000000 funcref)", ..good }), Failure::LimitHit(_)));
    let items = "(table $t 1 funcref)
        (func $bomb (loop $again
            (br_if $again (i32.ne (table.grow $t (ref.null func) (i32.const 4096)) (i32.const -1)))
            unreachable))";
    let (_, reason) = search_failure(Toy { items, scan: "(call $bomb)", ..good });
    assert!(reason.contains("allowed are 65536"), "{reason}");
    let tables = "(table 1 funcref) (table 1 funcref) (table 1 funcref) (table 1 funcref) (table 1 funcref)
        (table 1 funcref) (table 1 funcref) (table 1 funcref) (table 1 funcref)";
    assert!(matches!(load_failure(Toy { items: tables, ..good }), Failure::LimitHit(_)));
    assert!(resident_bytes() < BLAST);
}

#[test]
fn handles_without_end_are_not_given() {
    let (_, reason) = search_failure(Toy {
        scan: "(loop $again (drop (call $new (i32.const 1))) (br $again))",
        ..Toy::default()
    });
    assert!(reason.contains("handle"), "{reason}");
}

#[test]
fn recursion_without_end_traps() {
    let (_, reason) =
        search_failure(Toy { items: "(func $deep (call $deep))", scan: "(call $deep)", ..Toy::default() });
    assert!(reason.contains("stack"), "{reason}");
}

#[test]
fn a_trap_ends_one_instance() {
    let (done, reason) = search_failure(Toy { scan: "unreachable", ..Toy::default() });
    assert_eq!(done, 0);
    assert!(reason.starts_with("it trapped"), "{reason}");
    let divides = "(i32.store (i32.const 0) (i32.div_u (i32.const 1) (i32.const 0)))";
    assert!(search_failure(Toy { scan: divides, ..Toy::default() }).1.contains("divide"));
    assert!(
        search_failure(Toy { scan: "(i32.store (i32.const -1) (i32.const 0))", ..Toy::default() })
            .1
            .contains("out of bounds")
    );
    assert!(matches!(load_failure(Toy { describe: "unreachable", ..Toy::default() }), Failure::Trapped(_)));
}

#[test]
fn a_verification_that_fails_does_not_spoil_the_next() {
    in_time(|| {
        // Traps where the finding has one byte, by its length in the last parameter.
        let verify = "(if (i32.eq (local.get 3) (i32.const 1)) (then unreachable))";
        let algorithm = tight().load(&Toy { verify, ..Toy::default() }.component()).unwrap();
        for _ in 0..20 {
            assert!(matches!(algorithm.verify(&[1], &[1]), Err(InvalidInput::Failed { .. })));
            assert_eq!(algorithm.verify(&[1], &[1, 2]), Ok([0; 32]));
        }
    });
}

/// Makes `scan` report `findings`, whose list of records stands at 256.
fn reports(findings: &'static str) -> String {
    let (done, reason) = search_failure(Toy { scan: findings, pages: 100, ..Toy::default() });
    assert_eq!(done, 0);
    reason
}

#[test]
fn garbage_is_not_believed() {
    for (evil, wanted) in [
        ("(i64.store (i32.const 128) (local.get $next))", "asked for 0..1"),
        ("(i64.store (i32.const 128) (i64.const 1000))", "it is at 1000"),
        ("(i64.store (i32.const 128) (i64.const -1))", "asked for 0..1"),
        // One finding of no bytes; of a byte at another position.
        ("(i32.store (i32.const 140) (i32.const 1))", "finding of 0 bytes"),
        (
            "(i32.store (i32.const 140) (i32.const 1)) (i64.store (i32.const 256) (i64.const 77))",
            "a finding at 77",
        ),
        // The same finding twice: the records lie one behind the other, all zeros but for the length.
        (
            "(i32.store (i32.const 140) (i32.const 2)) (i32.store (i32.const 268) (i32.const 1))
             (i32.store (i32.const 316) (i32.const 1))",
            "a finding at 0",
        ),
        ("(i32.store (i32.const 140) (i32.const 300))", "300 findings"),
        // Lists that do not fit anywhere, and that would if each byte were counted once.
        ("(i32.store (i32.const 140) (i32.const 10000000))", "garbage"),
        ("(i32.store (i32.const 140) (i32.const -1))", "garbage"),
        ("(i32.store (i32.const 136) (i32.const -8)) (i32.store (i32.const 140) (i32.const 1))", "garbage"),
        ("(i32.store (i32.const 140) (i32.const 100000))", "exhausted"),
        (
            "(i32.store (i32.const 140) (i32.const 1)) (i32.store (i32.const 268) (i32.const 6000000))",
            "exhausted",
        ),
    ] {
        let reason = reports(evil);
        assert!(reason.starts_with("its answer is garbage") && reason.contains(wanted), "{evil}: {reason}");
    }
    assert!(resident_bytes() < BLAST);
}

#[test]
fn a_reason_of_a_guest_is_cut_and_tamed() {
    // The result of `prepare` is an error, whose text is 60,000 times the character 27 (escape).
    let prepare = "(memory.fill (i32.const 1024) (i32.const 27) (i32.const 60000))
        (i32.store (i32.const 64) (i32.const 1)) (i32.store (i32.const 68) (i32.const 1024))
        (i32.store (i32.const 72) (i32.const 60000)) (return (i32.const 64))";
    let toy = Toy { prepare, ..Toy::default() };
    let refused = in_time(move || tight().load(&toy.component()).unwrap().prepare(&[1]).err());
    assert_eq!(refused, Some(InvalidInput::Refused { what: "input", reason: " ".repeat(200) }));
}

#[test]
fn a_guest_that_calls_a_kernel_for_ever_is_interrupted() {
    in_time(|| {
        let sandbox = Sandbox::new(TIGHT, &NATIVES).unwrap();
        let toy = Toy {
            imports: IMPORT,
            items: KERNEL,
            scan: "(loop $again (call $hash) (br $again))",
            ..Toy::default()
        };
        let mut prepared = sandbox.load(&toy.component()).unwrap().prepare(&[1]).unwrap();
        let (done, _, failure) = search(&mut *prepared);
        assert_eq!((done, failure), (0, Some(Failure::TimedOut(TIGHT.call_time).to_string())));
    });
}

const IMPORT: &str = r#"(import "dcmf:algorithm/kernels@1.0.0" "sha256d-scan"
    (func $kernel (param i32 i32 i64 i64 i64 i64 i64 i64 i64 i32 i32)))"#;

/// Calls a kernel for all it can give, with the header that stands at 1024.
const KERNEL: &str = r#"(func $hash
    (call $kernel (i32.const 1024) (i32.const 80) (i64.const 0) (i64.const -1) (i64.const -1)
        (i64.const 0) (i64.const 0) (i64.const 0) (i64.const 0) (i32.const -1) (i32.const 320)))"#;
