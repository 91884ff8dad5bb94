//! algorithms/certified.toml is true.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{path::Path, process::Command};

#[test]
fn the_recorded_digests_are_those_of_the_sources_and_of_what_was_compiled() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let check = Command::new(env!("CARGO_BIN_EXE_dcmf-certify"))
        .args(["digest", "--check", "--repository"])
        .arg(root)
        .output()
        .unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
}
