//! How fast this machine hashes: `cargo run --release -p dcmf-algorithm-randomx --example randomx-rate -- [fast|light]
//! [threads] [seconds]`. Prints the context's preparation, what was obtained, and hashes a second in several rounds.
#![allow(missing_docs, clippy::print_stdout)]

use algorithm_api::{
    Algorithm, Range, Target,
    context::{Context, Mode, Progress},
};
use algorithm_randomx::RandomX;
use std::{
    error::Error,
    fs,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

const ROUNDS: u64 = 5;
const SEED: [u8; 32] = [0x5e; 32];

/// Processor time of the calling thread.
fn thread_time() -> Result<Duration, Box<dyn Error + Send + Sync>> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos = text.split(' ').next().unwrap_or_default().parse()?;
    Ok(Duration::from_nanos(nanos))
}

/// Runs `work` on each of `threads` threads; wall seconds, processor seconds, and the sum of what they return.
fn measure<F>(threads: u64, work: F) -> Result<(f64, f64, u64), Box<dyn Error + Send + Sync>>
where
    F: Fn(u64) -> u64 + Sync,
{
    let began = Instant::now();
    let timed = |n| {
        let before = thread_time()?;
        let sum = work(n);
        Ok::<_, Box<dyn Error + Send + Sync>>((thread_time()? - before, sum))
    };
    let results: Vec<_> = thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|n| scope.spawn(move || timed(n))).collect();
        handles.into_iter().map(|handle| handle.join()).collect()
    });
    let (mut processor, mut sum) = (0.0, 0);
    for result in results {
        let (time, count) = result.map_err(|_| "a thread has panicked")??;
        processor += time.as_secs_f64();
        sum += count;
    }
    Ok((began.elapsed().as_secs_f64(), processor, sum))
}

fn prepare(context: &dyn Context) -> u64 {
    let mut steps = 0;
    loop {
        match context.advance() {
            Progress::Ready => return steps,
            Progress::Waiting => thread::yield_now(),
            Progress::Underway { .. } => steps += 1,
        }
    }
}

fn search(algorithm: &dyn Algorithm, thread: u64, end: &AtomicBool) -> u64 {
    let mut input = [0x11; 32 + 76];
    input[..32].copy_from_slice(&SEED);
    let Ok(mut search) = algorithm.prepare(&input) else { return 0 };
    let mut range = Range { next: thread << 24, end: (thread + 1) << 24 };
    let hard = Target::from_le_bytes([0; 32]);
    let mut hashes = 0;
    while !end.load(Ordering::Relaxed) {
        hashes += search.search(&mut range, 1, &hard, &mut |_| {});
    }
    hashes
}

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut arguments = std::env::args().skip(1);
    let mode = if arguments.next().as_deref() == Some("light") { Mode::Light } else { Mode::Fast };
    let threads: u64 = arguments.next().map_or(Ok(1), |text| text.parse())?;
    let seconds: u64 = arguments.next().map_or(Ok(3), |text| text.parse())?;
    let randomx = RandomX::new();
    let seeded = randomx.seeded().ok_or("no contexts")?;
    let context = seeded.begin(&SEED, mode)?;
    let (wall, processor, _) = measure(threads, |_| prepare(context.as_ref()))?;
    println!("{mode}, {threads} threads: prepared in {wall:.2} s, {processor:.2} CPU-s");
    let algorithm = context.algorithm().ok_or("not ready")?;
    for round in 0..ROUNDS {
        let end = AtomicBool::new(false);
        let (wall, processor, hashes) = thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_secs(seconds));
                end.store(true, Ordering::Relaxed);
            });
            measure(threads, |n| search(algorithm.as_ref(), n + round * threads, &end))
        })?;
        let (a, b) = (hashes as f64 / wall, hashes as f64 / processor);
        println!("round {round}: {a:.1} hashes a second, {b:.1} a CPU-second");
    }
    println!("{:#?}", context.report());
    Ok(())
}
