//! The main application of `make bench-idle`: see [`system_tests::bench::idle::application`].

use clap::Parser;
use std::{io::Write, net::TcpListener};
use system_tests::bench::idle::{application, processor_time::processors};

/// Serves HTTP with a fixed piece of work for each request, or saturates the machine.
#[derive(Debug, Parser)]
enum Arguments {
    /// Serve on loopback
    Serve {
        /// TCP port
        #[arg(long)]
        port: u16,
    },
    /// Use up all processors, with twice as many threads
    Spin,
}

fn main() -> std::io::Result<()> {
    match Arguments::parse() {
        Arguments::Serve { port } => {
            let rounds = application::calibrate(application::WORK);
            let listener = TcpListener::bind(("127.0.0.1", port))?;
            writeln!(std::io::stdout(), "serving with {rounds} rounds of work for each request")?;
            application::serve(&listener, rounds)
        }
        Arguments::Spin => application::spin(2 * processors()),
    }
}
