//! Components in the sandbox: the examples, and all kinds of evil.
#![cfg(test)]
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cached;
mod examples;
mod guests;
mod hostile;
mod loading;
mod toy;

use algorithm_api::{Algorithm, Range, Search, Target};
use algorithm_blake3::Blake3;
use algorithm_component::{Limits, Sandbox};
use algorithm_scrypt::Scrypt1024;
use algorithm_sha256d::Sha256d;
use std::{sync::mpsc, thread, time::Duration};

/// All native algorithms that can be kernels.
const NATIVES: [&dyn Algorithm; 3] = [&Sha256d, &Scrypt1024, &Blake3];

/// After so long a test has failed, whatever the load of the machine.
const DEADLINE: Duration = Duration::from_secs(120);

/// Little of everything, so that a test ends soon.
const TIGHT: Limits =
    Limits { memory_bytes: 8 << 20, call_time: Duration::from_millis(100), component_len: 1 << 20 };

fn tight() -> Sandbox {
    Sandbox::new(TIGHT, &[]).unwrap()
}

/// What `work` returns, unless it does not come back.
fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, answer) = mpsc::channel();
    let worker = thread::spawn(move || {
        let _ = done.send(work());
    });
    let answer = answer.recv_timeout(DEADLINE).expect("it panicked, or did not come back in time");
    worker.join().unwrap();
    answer
}

/// Searches a hundred positions for anything: how many were scanned, the findings, and why no more.
fn search(search: &mut dyn Search) -> (u64, Vec<Vec<u8>>, Option<String>) {
    let mut range = Range { next: 0, end: 100 };
    let mut findings = Vec::new();
    let done = search.search(&mut range, u64::MAX, &Target::MAX, &mut |f| findings.push(f.bytes.to_vec()));
    assert_eq!(range.next, done);
    (done, findings, search.failure())
}
