//! Who searches: a path of an algorithm by itself, or what `whole_worker.rs` and `peer.rs` have.

use crate::{bench::thread_cpu, coordinator::Failure};
use algorithm_api::{Algorithm, Range, Target};
use algorithm_blake3::Blake3;
use algorithm_scrypt::Scrypt1024;
use algorithm_sha256d::Sha256d;
use bus_schemas::ShareBits;
use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

/// Everything that is measured.
pub(super) const ALGORITHMS: [&str; 3] = ["sha256d", "scrypt-1024-1-1", "blake3"];
/// Difficulty of what counts as a finding, in bits: rare, and yet looked for as in a real pool.
pub(super) const BITS: u8 = 24;
/// Length of a block's header in bytes.
const HEADER_LEN: usize = 80;
/// Processor time of one call, about.
const CALL: Duration = Duration::from_millis(2);

/// What was searched in one turn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Searched {
    pub(super) hashes: f64,
    pub(super) cpu: Duration,
    pub(super) clock: Duration,
}

impl Searched {
    pub(super) fn per_cpu_second(&self) -> f64 {
        self.hashes / self.cpu.as_secs_f64()
    }

    pub(super) fn per_second(&self) -> f64 {
        self.hashes / self.clock.as_secs_f64()
    }
}

/// One that searches when it is its turn.
pub(super) trait Contender {
    /// Its name in the figures.
    fn name(&self) -> String;

    /// What it is called if it is somebody else's program.
    fn peer(&self) -> Option<&str> {
        None
    }

    /// Searches on `threads` threads for about `length`.
    fn search(&mut self, threads: usize, length: Duration) -> Result<Searched, Failure>;
}

fn target() -> Target {
    Target::from_le_bytes(bus_schemas::Target::from_share_bits(ShareBits::new(BITS)).to_le_bytes())
}

/// A path of an algorithm, and nothing around it.
pub(super) struct OnPath {
    name: String,
    algorithm: Arc<dyn Algorithm>,
    /// What every input begins with.
    seed: Vec<u8>,
    /// Length of what stands behind the seed, in bytes.
    len: usize,
}

impl OnPath {
    /// An algorithm whose inputs have `len` bytes behind a seed.
    pub(super) fn of(name: String, algorithm: Arc<dyn Algorithm>, seed: Vec<u8>, len: usize) -> Self {
        Self { name, algorithm, seed, len }
    }

    /// Those that this processor can go.
    pub(super) fn all(algorithm: &str) -> Vec<Self> {
        fn on<A: Algorithm + 'static>(name: &'static str, algorithm: Option<A>) -> Option<OnPath> {
            Some(OnPath::of(name.to_owned(), Arc::new(algorithm?), Vec::new(), HEADER_LEN))
        }
        match algorithm {
            "sha256d" => algorithm_sha256d::Path::available()
                .filter_map(|path| on(path.name(), Sha256d::on(path).ok()))
                .collect(),
            "scrypt-1024-1-1" => algorithm_scrypt::Path::available()
                .filter_map(|path| on(path.name(), Scrypt1024::on(path)))
                .collect(),
            "blake3" => algorithm_blake3::Path::available()
                .filter_map(|path| on(path.name(), Blake3::on(path)))
                .collect(),
            _ => Vec::new(),
        }
    }

    /// One thread's part: hashes and the processor time that they took.
    fn run(&self, number: usize, length: Duration) -> Result<(u64, Duration), String> {
        let descriptor = self.algorithm.descriptor();
        let mut input = self.seed.clone();
        input.resize(self.seed.len() + self.len, number as u8);
        let mut search = self.algorithm.prepare(&input).map_err(|error| error.to_string())?;
        let mut range = Range { next: 0, end: descriptor.positions };
        let (target, mut hashes, mut budget) = (target(), 0, 1);
        let (begun, cpu) = (Instant::now(), thread_cpu());
        while begun.elapsed() < length {
            if range.is_empty() {
                range.next = 0;
            }
            let before = thread_cpu();
            let done = search.search(&mut range, budget, &target, &mut |_| ());
            let took = thread_cpu().saturating_sub(before).max(Duration::from_nanos(1));
            hashes += done;
            let fitting = done as f64 * CALL.as_secs_f64() / took.as_secs_f64();
            budget = (fitting as u64).clamp(1, budget * 4);
        }
        Ok((hashes, thread_cpu().saturating_sub(cpu)))
    }
}

impl Contender for OnPath {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn search(&mut self, threads: usize, length: Duration) -> Result<Searched, Failure> {
        let (begun, this) = (Instant::now(), &*self);
        let parts: Vec<Result<_, String>> = thread::scope(|scope| {
            let threads: Vec<_> =
                (0..threads).map(|number| scope.spawn(move || this.run(number, length))).collect();
            let joined = threads.into_iter().map(|thread| thread.join());
            joined.map(|joined| joined.unwrap_or_else(|_| Err("a thread has panicked".to_owned()))).collect()
        });
        let clock = begun.elapsed();
        let (mut hashes, mut cpu) = (0, Duration::ZERO);
        for part in parts {
            let (more, took) = part?;
            hashes += more;
            cpu += took;
        }
        Ok(Searched { hashes: hashes as f64, cpu, clock })
    }
}
