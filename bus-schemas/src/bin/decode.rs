//! `dcmf-decode`: one message of the bus on stdin, one line of JSON on stdout.
//!
//! For the `nats` program, which hands each message to a command: docs/commands.md.

use bus_schemas::decode::{MAX_INPUT_LEN, to_json};
use std::{
    io::{self, Read, Write},
    process::ExitCode,
};

const USAGE: &str = "usage: dcmf-decode [--subject SUBJECT] < MESSAGE
Prints one message of the bus as a line of JSON. Without a subject every type is tried.";

/// Exit code of a message that cannot be shown.
const UNREADABLE: u8 = 1;
/// Exit code of wrong arguments.
const MISUSED: u8 = 2;

fn main() -> ExitCode {
    match decode(std::env::args().skip(1)) {
        Ok(code) => code,
        // Nobody reads any more.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => complain(&format!("dcmf-decode: {error}"), UNREADABLE),
    }
}

fn decode(mut arguments: impl Iterator<Item = String>) -> io::Result<ExitCode> {
    let subject = match (arguments.next().as_deref(), arguments.next(), arguments.next()) {
        (None, ..) => None,
        (Some("--subject"), Some(subject), None) => Some(subject),
        (Some("-h" | "--help"), None, _) => {
            writeln!(io::stdout(), "{USAGE}")?;
            return Ok(ExitCode::SUCCESS);
        }
        _ => return Ok(complain(USAGE, MISUSED)),
    };
    let mut bytes = Vec::new();
    io::stdin().take(MAX_INPUT_LEN as u64 + 1).read_to_end(&mut bytes)?;
    match to_json(subject.as_deref(), &bytes) {
        Ok(json) => writeln!(io::stdout(), "{json}").map(|()| ExitCode::SUCCESS),
        Err(error) => Ok(complain(&format!("dcmf-decode: {error}"), UNREADABLE)),
    }
}

fn complain(text: &str, code: u8) -> ExitCode {
    // Without a place to complain to, the exit code still tells.
    let _ = writeln!(io::stderr(), "{text}");
    ExitCode::from(code)
}
