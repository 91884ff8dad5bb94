//! The benchmark's own application: HTTP/1.1 with a thread for each connection and a fixed piece of work for each
//! request, and spinners that saturate a machine.

use crate::bench::thread_cpu;
use std::{
    hint::black_box,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

/// Work of one request.
pub const WORK: Duration = Duration::from_micros(500);
/// Most connections at a time, and so most threads.
pub const MAX_CONNECTIONS: usize = 64;
/// Longest request, in bytes.
const MAX_REQUEST_LEN: usize = 4 * 1024;
/// The whole answer.
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nok\n";
/// How long each round of the calibration works.
const CALIBRATION_ROUND: Duration = Duration::from_millis(20);
/// Rounds of the calibration; the fastest counts, since what disturbs only slows.
const CALIBRATION_ROUNDS: usize = 9;
/// Rounds of mixing between two looks at the clock.
const CALIBRATION_STEP: u64 = 10_000;

/// Mixes an integer: work that only computes and that no compiler can shorten.
pub fn work(rounds: u64) -> u64 {
    let mut state = rounds | 1;
    for _ in 0..rounds {
        state = black_box(state ^ (state >> 13)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31);
    }
    black_box(state)
}

/// How many rounds of [`work`] take so much processor time.
pub fn calibrate(time: Duration) -> u64 {
    let round = || {
        let (begun, mut rounds) = (thread_cpu(), 0);
        loop {
            work(CALIBRATION_STEP);
            rounds += CALIBRATION_STEP;
            let spent = thread_cpu().saturating_sub(begun);
            if spent >= CALIBRATION_ROUND {
                return rounds as f64 / spent.as_secs_f64();
            }
        }
    };
    let fastest = (0..CALIBRATION_ROUNDS).map(|_| round()).fold(0.0, f64::max);
    (fastest * time.as_secs_f64()) as u64
}

/// Answers on `listener` until the process ends; each answer costs `rounds` of [`work`].
pub fn serve(listener: &TcpListener, rounds: u64) -> io::Result<()> {
    static OPEN: AtomicU64 = AtomicU64::new(0);
    for stream in listener.incoming() {
        let stream = stream?;
        if OPEN.fetch_add(1, Ordering::AcqRel) >= MAX_CONNECTIONS as u64 {
            OPEN.fetch_sub(1, Ordering::AcqRel);
            continue;
        }
        thread::Builder::new().name("connection".to_owned()).spawn(move || {
            if let Err(error) = answer(stream, rounds) {
                tracing::warn!(%error, "a connection ended");
            }
            OPEN.fetch_sub(1, Ordering::AcqRel);
        })?;
    }
    Ok(())
}

fn answer(mut stream: TcpStream, rounds: u64) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut request = [0; MAX_REQUEST_LEN];
    let mut len = 0;
    loop {
        let room = request.get_mut(len..).unwrap_or_default();
        match stream.read(room)? {
            0 if len == 0 => return Ok(()),
            0 => return Err(io::Error::other("a request is cut off or too long")),
            more => len += more,
        }
        if request.get(..len).is_some_and(|request| request.ends_with(b"\r\n\r\n")) {
            work(rounds);
            stream.write_all(ANSWER)?;
            len = 0;
        }
    }
}

/// Uses up so many processors until the process ends.
pub fn spin(threads: usize) -> io::Result<()> {
    let spinner = || {
        loop {
            work(CALIBRATION_STEP);
        }
    };
    for _ in 1..threads {
        thread::Builder::new().name("spinner".to_owned()).spawn(spinner)?;
    }
    spinner()
}
