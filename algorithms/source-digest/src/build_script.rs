//! Digests of what is being compiled, for the program that it is compiled into.

use crate::{SourceError, Sources, workspace_root};
use std::{env, fmt::Write, fs, path::PathBuf};

/// File in `OUT_DIR` that [`for_build_script`] writes.
const FILE: &str = "source_digests.rs";

/// Called from a build script: writes `source_digests.rs` with the source digest of each of the crates `packages`, as
///
/// ```text
/// pub static SOURCE_DIGESTS: &[(&str, &str)] = &[("dcmf-algorithm-sha256d", "ab12…"), …];
/// ```
///
/// and tells cargo to run the script again when one of the digested files changes: the condition on which it compiles the crate
/// again. The program takes it in with `include!(concat!(env!("OUT_DIR"), "/source_digests.rs"))`.
pub fn for_build_script(packages: &[&str]) -> Result<(), SourceError> {
    let own = folder("CARGO_MANIFEST_DIR")?;
    let root = workspace_root(&own).ok_or_else(|| SourceError::Malformed {
        path: own.clone(),
        reason: "no folder above it has a Cargo.lock".to_owned(),
    })?;
    let mut table = String::from(
        "/// Crates and the digests of the sources that they were compiled from.\n\
         pub static SOURCE_DIGESTS: &[(&str, &str)] = &[\n",
    );
    for name in ["Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", root.join(name).display());
    }
    for package in packages {
        let sources = Sources::of(root, package)?;
        for folder in &sources.folders {
            println!("cargo::rerun-if-changed={}", folder.display());
        }
        // Writing to a string cannot fail.
        let _ = writeln!(table, "    ({package:?}, {:?}),", sources.manifest.digest());
    }
    table.push_str("];\n");
    let path = folder("OUT_DIR")?.join(FILE);
    fs::write(&path, table).map_err(|source| SourceError::Write { path, source })
}

fn folder(variable: &'static str) -> Result<PathBuf, SourceError> {
    env::var_os(variable).map(PathBuf::from).ok_or(SourceError::NoBuildScript(variable))
}
