//! A search takes the memory that its descriptor says, at once and never more.
#![allow(missing_docs, unsafe_code, clippy::unwrap_used)]

use algorithm_api::{Algorithm, Range, Target};
use algorithm_scrypt::{HEADER_LEN, Path, Scrypt1024};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// What the descriptor may say too much: it counts what lies on the stack for the time of a call.
const SLACK_BYTES: u64 = 4_096;

thread_local! {
    static HELD: Cell<u64> = const { Cell::new(0) };
    static TAKEN: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: it hands everything on to the system's allocator and counts beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.set(HELD.get().wrapping_add(layout.size() as u64));
        TAKEN.set(TAKEN.get() + 1);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        HELD.set(HELD.get().wrapping_sub(layout.size() as u64));
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn each_path_holds_the_memory_that_its_descriptor_says_and_a_search_takes_no_more() {
    for path in Path::available() {
        let algorithm = Scrypt1024::on(path).unwrap();
        let said = algorithm.descriptor().memory_bytes_per_thread;
        assert!(said <= Scrypt1024::any_path().memory_bytes_per_thread, "{path}");
        let before = HELD.get();
        let mut search = algorithm.prepare(&[7; HEADER_LEN]).unwrap();
        let held = HELD.get().wrapping_sub(before);
        assert!(
            (said - SLACK_BYTES..=said).contains(&held),
            "{path}: {held} bytes are held, {said} are said"
        );
        let taken = TAKEN.get();
        let mut range = Range { next: 0, end: 40 };
        while !range.is_empty() {
            search.search(&mut range, 7, &Target::MAX, &mut |_| {});
        }
        assert_eq!(TAKEN.get(), taken, "{path}: a search takes memory");
    }
}
