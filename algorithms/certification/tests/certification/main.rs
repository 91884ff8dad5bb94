//! What a host believes and what it refuses, with real signatures.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::disallowed_methods, reason = "tests read the files beside them")]

mod codes;
mod documents;
mod minisign_program;
mod people;
mod properties;
mod refusals;
mod registers;
mod roots;
