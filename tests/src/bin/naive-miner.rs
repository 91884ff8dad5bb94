//! What `make bench-idle` compares the worker with: see [`system_tests::bench::idle::naive`].

use clap::Parser;
use system_tests::bench::idle::naive;

/// Hashes with one thread for each processor, finds nothing and tells nobody.
#[derive(Debug, Parser)]
struct Arguments {
    /// For instance sha256d
    #[arg(long)]
    algorithm: String,
    /// Stop all threads while others use more percent of the machine
    #[arg(long)]
    stop_above: Option<u8>,
}

fn main() -> std::io::Result<()> {
    let Arguments { algorithm, stop_above } = Arguments::parse();
    naive::mine(&algorithm, stop_above)
}
