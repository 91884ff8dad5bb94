//! One digest over everything that an algorithm is compiled from: what a certificate of a native algorithm is about.
//!
//! | line of the [`Manifest`] | of what |
//! |---|---|
//! | `file <sha256> <path>` | each file of the crate's folder and of the workspace's crates that it stands on, except [`LEFT_OUT`] |
//! | `edition <crate> <edition>` | the language edition, where the crate inherits it from the workspace |
//! | `inherited <crate> <dependency> <entry>` | the workspace's entry (version, features) of a dependency that the crate inherits |
//! | `package <name> <version> <source> <checksum>` | each package of the closure in `Cargo.lock`, build dependencies included, development ones not |
//!
//! The digest is SHA-256 over [`HEADING`] and the sorted lines, so two manifests can be compared with `diff`. Paths are from the
//! workspace's root, and `\r\n` counts as `\n` where the compiler and cargo read it so (`.rs`, `.toml`): the same commit gives the
//! same digest wherever and however it was checked out.
//!
//! [`for_build_script`] puts the digests of what is being compiled into a program, so that a program compiled from edited sources
//! cannot pass for the certified one. The closure holds what any target may need and what the other crates of the workspace switch
//! on: it may be too large, never too small.

mod build_script;
mod closure;
mod lock;
mod manifest;

pub use build_script::for_build_script;
pub use closure::{LEFT_OUT, Sources, workspace_root};
pub use lock::{Lock, Package};
pub use manifest::{HEADING, Manifest, file_digest};

use std::path::PathBuf;

/// Most files of one closure.
pub const MAX_FILES: usize = 4096;
/// Most bytes of all files of one closure.
pub const MAX_BYTES: u64 = 64 << 20;
/// Deepest folder below a crate's own.
pub const MAX_DEPTH: usize = 16;
/// Most packages of a `Cargo.lock`.
pub const MAX_PACKAGES: usize = 8192;

/// Why there is no digest.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A file or folder cannot be read.
    #[error("cannot read {path}: {source}; check the checkout")]
    Read {
        /// What.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// What.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A `Cargo.toml` or `Cargo.lock` is not what cargo writes.
    #[error("{path} is not usable: {reason}; does `cargo metadata` read it?")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The workspace has no such crate.
    #[error(
        "{0} is no crate of this workspace: it needs an entry with a path under [workspace.dependencies]"
    )]
    UnknownCrate(String),
    /// `Cargo.lock` does not have a dependency.
    #[error("Cargo.lock has no {dependency}, which {package} needs; run `cargo check` and commit Cargo.lock")]
    NotLocked {
        /// Who needs it.
        package: String,
        /// What is not there.
        dependency: String,
    },
    /// The bytes of a dependency are pinned by nothing.
    #[error(
        "{0} is neither of the workspace nor pinned by a checksum or commit in Cargo.lock: take it from a registry"
    )]
    NotPinned(String),
    /// A folder holds something that has no stable bytes or name.
    #[error("{path}: {reason}; an algorithm's folder holds plain files only")]
    Unusable {
        /// What.
        path: PathBuf,
        /// Why.
        reason: &'static str,
    },
    /// More than a limit allows.
    #[error("{what} of {name}: more than {limit}")]
    TooMuch {
        /// The crate or file.
        name: String,
        /// What there is too much of.
        what: &'static str,
        /// How much is allowed.
        limit: u64,
    },
    /// The caller is no build script.
    #[error("the variable {0} is not set: call this from a build script")]
    NoBuildScript(&'static str),
}
