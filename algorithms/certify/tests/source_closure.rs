//! The digest follows everything that is compiled in, and nothing else.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use source_digest::{SourceError, Sources, workspace_root};
use std::{fs, path::Path};
use tempfile::TempDir;

const FILES: &[(&str, &str)] = &[
    (
        "Cargo.toml",
        "[workspace]\nmembers = [\"one\", \"api\"]\n[workspace.package]\nedition = \"2024\"\nversion = \"0.1.0\"\n\
         [workspace.dependencies]\none = { path = \"one\" }\napi = { path = \"api\" }\n\
         hash = { version = \"1\", default-features = false }\nother = \"1\"\n",
    ),
    (
        "Cargo.lock",
        "version = 4\n\
         [[package]]\nname = \"api\"\nversion = \"0.1.0\"\ndependencies = [\"errors\"]\n\
         [[package]]\nname = \"one\"\nversion = \"0.1.0\"\ndependencies = [\"api\", \"hash\", \"hexes\", \"for-arm\", \"builder\"]\n\
         [[package]]\nname = \"hash\"\nversion = \"1.2.3\"\nsource = \"registry+x\"\nchecksum = \"h1\"\ndependencies = [\"deep\"]\n\
         [[package]]\nname = \"deep\"\nversion = \"0.1.0\"\nsource = \"registry+x\"\nchecksum = \"d1\"\ndependencies = [\"hash\"]\n\
         [[package]]\nname = \"errors\"\nversion = \"2.0.0\"\nsource = \"git+https://example.org/e#abc\"\n\
         [[package]]\nname = \"for-arm\"\nversion = \"3.0.0\"\nsource = \"registry+x\"\nchecksum = \"a1\"\n\
         [[package]]\nname = \"builder\"\nversion = \"4.0.0\"\nsource = \"registry+x\"\nchecksum = \"b1\"\n\
         [[package]]\nname = \"hexes\"\nversion = \"5.0.0\"\nsource = \"registry+x\"\nchecksum = \"x1\"\n",
    ),
    (
        "one/Cargo.toml",
        "[package]\nname = \"one\"\nedition.workspace = true\nversion.workspace = true\n\
         [dependencies]\napi.workspace = true\nhash.workspace = true\n\
         [target.'cfg(target_arch = \"aarch64\")'.dependencies]\narm = { package = \"for-arm\", version = \"3\" }\n\
         [build-dependencies]\nbuilder = \"4\"\n[dev-dependencies]\nhexes = \"5\"\n",
    ),
    ("one/src/lib.rs", "pub mod inner;\n"),
    ("one/src/inner/mod.rs", "// inner\n"),
    ("one/build.rs", "fn main() {}\n"),
    ("one/tests/vectors.json", "{}"),
    (
        "api/Cargo.toml",
        "[package]\nname = \"api\"\nedition = \"2024\"\n[dependencies]\nerrors = { git = \"https://example.org/e\" }\n",
    ),
    ("api/src/lib.rs", "// api\n"),
];

fn workspace() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in FILES {
        write(folder.path(), path, text);
    }
    folder
}

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn digest(root: &Path) -> String {
    Sources::of(root, "one").unwrap().manifest.digest()
}

/// The digest after `path` was edited.
fn after(path: &str, edit: impl Fn(&str) -> String) -> String {
    let folder = workspace();
    let old = fs::read_to_string(folder.path().join(path)).unwrap_or_default();
    let new = edit(&old);
    assert_ne!(old, new, "{path}: the edit changes nothing");
    write(folder.path(), path, &new);
    digest(folder.path())
}

#[test]
fn the_manifest_names_every_file_and_pinned_package_of_the_closure() {
    let folder = workspace();
    let manifest = Sources::of(folder.path(), "one").unwrap().manifest;
    let files: Vec<&str> =
        manifest.lines().filter(|line| line.starts_with("file")).map(|line| &line[5 + 64 + 1..]).collect();
    let mut wanted = [
        "api/Cargo.toml",
        "api/src/lib.rs",
        "one/Cargo.toml",
        "one/build.rs",
        "one/src/inner/mod.rs",
        "one/src/lib.rs",
    ];
    let mut sorted = files.clone();
    sorted.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(sorted, wanted);
    let others: Vec<&str> = manifest.lines().filter(|line| !line.starts_with("file")).collect();
    assert_eq!(
        others,
        [
            "edition one 2024",
            "inherited one api {\"path\"=\"api\"}",
            "inherited one hash {\"default-features\"=false,\"version\"=\"1\"}",
            "package builder 4.0.0 registry+x b1",
            "package deep 0.1.0 registry+x d1",
            "package errors 2.0.0 git+https://example.org/e#abc -",
            "package for-arm 3.0.0 registry+x a1",
            "package hash 1.2.3 registry+x h1",
        ]
    );
}

#[test]
fn whatever_is_compiled_in_changes_the_digest() {
    let original = digest(workspace().path());
    let append = |old: &str| format!("{old}// edited\n");
    let edits = [
        after("one/src/lib.rs", append),
        after("one/src/inner/mod.rs", append),
        after("one/src/new.rs", append),
        after("one/src/table.bin", append),
        after("one/src/.hidden.rs", append),
        after("one/build.rs", append),
        after("one/Cargo.toml", |old| format!("{old}# edited\n")),
        after("api/src/lib.rs", append),
        after("Cargo.lock", |old| old.replace("h1", "h2")),
        after("Cargo.lock", |old| old.replace("d1", "d2")),
        after("Cargo.lock", |old| old.replace("a1", "a2")),
        after("Cargo.lock", |old| old.replace("b1", "b2")),
        after("Cargo.lock", |old| old.replace("#abc", "#abd")),
        after("Cargo.toml", |old| old.replace("default-features = false", "default-features = true")),
        after("Cargo.toml", |old| old.replace("\"2024\"", "\"2021\"")),
    ];
    for (index, edit) in edits.iter().enumerate() {
        assert_ne!(*edit, original, "edit {index} goes unnoticed");
    }
}

#[test]
fn what_is_not_compiled_in_leaves_the_digest() {
    let original = digest(workspace().path());
    assert_eq!(digest(workspace().path()), original, "another folder");
    assert_eq!(after("one/tests/vectors.json", |_| "[]".to_owned()), original);
    assert_eq!(after("one/examples/rate.rs", |_| "fn main() {}".to_owned()), original);
    assert_eq!(after("Cargo.toml", |old| old.replace("other = \"1\"", "other = \"2\"")), original);
    assert_eq!(after("Cargo.toml", |old| old.replace("0.1.0", "0.2.0")), original);
    assert_eq!(after("Cargo.lock", |old| old.replace("x1", "x2")), original, "a development dependency");
    assert_eq!(after("one/src/lib.rs", |old| old.replace('\n', "\r\n")), original, "a checkout with CRLF");
    assert_eq!(after("one/Cargo.toml", |old| old.replace('\n', "\r\n")), original, "a checkout with CRLF");
}

#[test]
fn what_nothing_pins_is_refused_with_the_reason() {
    let refused = |path: &str, from: &str, to: &str| {
        let folder = workspace();
        let old = fs::read_to_string(folder.path().join(path)).unwrap();
        assert!(old.contains(from));
        write(folder.path(), path, &old.replace(from, to));
        Sources::of(folder.path(), "one").unwrap_err()
    };
    let error = refused("Cargo.lock", "\nchecksum = \"d1\"", "");
    assert!(matches!(&error, SourceError::NotPinned(package) if package == "deep 0.1.0"), "{error}");
    let error = refused("Cargo.lock", "source = \"registry+x\"\nchecksum = \"h1\"\n", "");
    assert!(matches!(&error, SourceError::NotPinned(package) if package == "hash 1.2.3"), "{error}");
    let error = refused("Cargo.lock", "\"api\", \"hash\", ", "\"api\", ");
    assert!(matches!(&error, SourceError::NotLocked { dependency, .. } if dependency == "hash"), "{error}");
    let error = refused("Cargo.lock", "[[package]]", "[[package");
    assert!(matches!(&error, SourceError::Malformed { .. }), "{error}");
    let error = Sources::of(workspace().path(), "two").unwrap_err();
    assert!(matches!(&error, SourceError::UnknownCrate(name) if name == "two"), "{error}");
}

#[test]
#[cfg(unix)]
fn a_link_in_a_crates_folder_is_refused() {
    let folder = workspace();
    std::os::unix::fs::symlink("/etc/hostname", folder.path().join("one/src/link.rs")).unwrap();
    let error = Sources::of(folder.path(), "one").unwrap_err();
    assert!(matches!(error, SourceError::Unusable { .. }), "{error}");
}

#[test]
fn a_folder_outside_the_workspace_is_refused() {
    let (folder, outside) = (workspace(), tempfile::tempdir().unwrap());
    write(outside.path(), "Cargo.toml", "[package]\nname = \"api\"\n");
    let old = fs::read_to_string(folder.path().join("Cargo.toml")).unwrap();
    let elsewhere = format!("path = \"{}\"", outside.path().display());
    write(folder.path(), "Cargo.toml", &old.replace("path = \"api\"", &elsewhere));
    let error = Sources::of(folder.path(), "one").unwrap_err();
    assert!(matches!(error, SourceError::Unusable { .. }), "{error}");
}

#[test]
fn the_root_is_found_from_any_folder_below() {
    let folder = workspace();
    assert_eq!(workspace_root(&folder.path().join("one/src")), Some(folder.path()));
}
