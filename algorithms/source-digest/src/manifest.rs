//! The lines that are digested.

use sha2::{Digest, Sha256};
use std::{collections::BTreeSet, fmt};

/// First line of what is digested; another number means other rules.
pub const HEADING: &str = "dcmf source digest 1";

/// Files that the compiler and cargo read the same with either line ending.
const EITHER_LINE_ENDING: [&str; 2] = [".rs", ".toml"];

/// What an algorithm is compiled from, one line each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifest(BTreeSet<String>);

impl Manifest {
    /// Of these files: paths from the workspace's root, with `/`, and their bytes.
    pub fn of_files<'a>(files: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        let mut manifest = Self::default();
        files.into_iter().for_each(|(path, bytes)| manifest.add_file(path, bytes));
        manifest
    }

    /// Adds a file.
    pub fn add_file(&mut self, path: &str, bytes: &[u8]) {
        self.add(format!("file {} {path}", file_digest(path, bytes)));
    }

    /// Adds the edition that a crate inherits.
    pub(crate) fn add_edition(&mut self, package: &str, edition: &str) {
        self.add(format!("edition {package} {edition}"));
    }

    /// Adds the workspace's entry of a dependency.
    pub(crate) fn add_inherited(&mut self, package: &str, dependency: &str, entry: &toml::Value) {
        self.add(format!("inherited {package} {dependency} {}", canonical(entry)));
    }

    /// Adds a package that is pinned by `Cargo.lock`.
    pub(crate) fn add_package(&mut self, name: &str, version: &str, source: &str, checksum: &str) {
        self.add(format!("package {name} {version} {source} {checksum}"));
    }

    /// A line holds no line break of its own: names with one would make two manifests look alike.
    fn add(&mut self, line: String) {
        self.0.insert(line.replace(['\n', '\r'], "\u{fffd}"));
    }

    /// SHA-256 over [`HEADING`] and the sorted lines, each ended by `\n`; lower-case hex.
    pub fn digest(&self) -> String {
        hex::encode(Sha256::digest(self.to_string()))
    }

    /// The lines, sorted, without the heading.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADING}")?;
        self.lines().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// SHA-256 of a file, in which `\r\n` counts as `\n` where the compiler and cargo read it so; lower-case hex.
pub fn file_digest(path: &str, bytes: &[u8]) -> String {
    let mut hash = Sha256::new();
    if EITHER_LINE_ENDING.iter().any(|ending| path.ends_with(ending)) {
        let mut rest = bytes;
        while let Some(at) = rest.windows(2).position(|pair| pair == b"\r\n") {
            hash.update(&rest[..at]);
            rest = &rest[at + 1..];
        }
        hash.update(rest);
    } else {
        hash.update(bytes);
    }
    hex::encode(hash.finalize())
}

/// A value on one line, keys sorted, whatever order the parser kept.
fn canonical(value: &toml::Value) -> String {
    match value {
        toml::Value::Table(table) => {
            let mut entries: Vec<String> =
                table.iter().map(|(key, value)| format!("{key:?}={}", canonical(value))).collect();
            entries.sort();
            format!("{{{}}}", entries.join(","))
        }
        toml::Value::Array(values) => {
            format!("[{}]", values.iter().map(canonical).collect::<Vec<_>>().join(","))
        }
        toml::Value::String(text) => format!("{text:?}"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_what_sha256sum_gives_for_the_manifest() {
        let manifest = Manifest::of_files([("b/src/lib.rs", b"two".as_slice()), ("a/Cargo.toml", b"one")]);
        let text = "dcmf source digest 1\n\
            file 3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3 b/src/lib.rs\n\
            file 7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed a/Cargo.toml\n";
        assert_eq!(manifest.to_string(), text);
        assert_eq!(manifest.digest(), hex::encode(Sha256::digest(text)));
    }

    #[test]
    fn the_order_in_which_files_are_found_does_not_matter_but_each_name_and_byte_does() {
        let files = [("x/a.rs", b"1".as_slice()), ("x/b.rs", b"2")];
        let digest = Manifest::of_files(files).digest();
        assert_eq!(Manifest::of_files(files.into_iter().rev()).digest(), digest);
        for other in [
            vec![("x/a.rs", b"2".as_slice()), ("x/b.rs", b"1")],
            vec![("x/a.rs", b"1"), ("x/c.rs", b"2")],
            vec![("x/a.rs", b"1")],
            vec![("x/a.rs", b"1"), ("x/b.rs", b"2"), ("x/c.rs", b"")],
        ] {
            assert_ne!(Manifest::of_files(other.clone()).digest(), digest, "{other:?}");
        }
    }

    #[test]
    fn a_line_ending_counts_only_where_somebody_could_see_the_difference() {
        let unix = file_digest("a.rs", b"one\n\ntwo\r three\n");
        assert_eq!(unix, file_digest("a.rs", b"one\r\n\r\ntwo\r three\r\n"));
        assert_ne!(unix, file_digest("a.rs", b"one\n\ntwo\n three\n"));
        assert_ne!(file_digest("a.json", b"one\n"), file_digest("a.json", b"one\r\n"));
    }

    #[test]
    fn an_inherited_entry_reads_the_same_in_any_order_of_its_keys() {
        let read = |text: &str| canonical(&toml::Value::Table(text.parse().unwrap()));
        let first = read("version = \"0.12\"\nfeatures = [\"std\"]\ndefault-features = false");
        assert_eq!(first, read("default-features = false\nfeatures = [\"std\"]\nversion = \"0.12\""));
        assert_eq!(first, "{\"default-features\"=false,\"features\"=[\"std\"],\"version\"=\"0.12\"}");
    }

    #[test]
    fn a_line_break_in_a_name_makes_no_second_line() {
        let manifest = Manifest::of_files([("a\nfile 00 b", b"".as_slice())]);
        assert_eq!(manifest.lines().count(), 1);
        assert_eq!(manifest.to_string().lines().count(), 2);
    }
}
