//! What the design forbids and the compiler lets through: dependency arrows, impure cores, subjects outside the contract.
#![allow(clippy::unwrap_used, clippy::panic, reason = "the functions beside the tests are tests too")]

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use system_tests::parts::repository;

/// Each folder with a package, and the folders of the packages it may depend on.
const ARROWS: &[(&str, &[&str])] = &[
    ("bus-schemas", &[]),
    ("algorithms/api", &[]),
    ("algorithms/sha256d", &["algorithms/api"]),
    ("algorithms/scrypt", &["algorithms/api"]),
    ("algorithms/randomx", &["algorithms/api"]),
    ("algorithms/blake3", &["algorithms/api"]),
    ("algorithms/component", &["algorithms/api"]),
    ("algorithms/source-digest", &[]),
    ("algorithms/certification", &[]),
    ("algorithms/certify", &["algorithms/*"]),
    ("nats", &["bus-schemas"]),
    ("coordinator/core", &["bus-schemas"]),
    ("coordinator/job-sources", &["bus-schemas", "algorithms/*"]),
    ("coordinator", &["bus-schemas", "algorithms/*", "nats", "coordinator/core", "coordinator/job-sources"]),
    ("worker/core", &["bus-schemas"]),
    ("worker", &["bus-schemas", "algorithms/*", "nats", "worker/core"]),
    ("tests", &["*"]),
    ("tests/simulation", &["bus-schemas", "coordinator/core", "worker/core"]),
];

/// Packages that decide or define only: the same input gives the same output, today and in a simulation.
const PURE: &[&str] = &[
    "bus-schemas",
    "algorithms/api",
    "algorithms/sha256d",
    "algorithms/scrypt",
    "algorithms/randomx",
    "algorithms/blake3",
    "algorithms/certification",
    "coordinator/core",
    "worker/core",
    "tests/simulation",
];

/// Packages whose rules hold for their tests too, and that have a `clippy.toml` of their own.
const CORES: &[&str] = &["coordinator/core", "worker/core"];

/// Crates that bring a runtime, a socket, a clock, randomness or a metric, at any depth.
const IMPURE: &[&str] = &[
    "async-nats",
    "async-std",
    "axum",
    "getrandom",
    "hyper",
    "metrics",
    "mio",
    "nix",
    "rand",
    "rand_core",
    "reqwest",
    "smol",
    "sysinfo",
    "time",
    "tokio",
    "tokio-util",
    "tracing",
];

/// What a core's `clippy.toml` must ban.
const BANNED_METHODS: &[&str] =
    &["std::time::Instant::now", "std::time::SystemTime::now", "std::thread::sleep"];
const BANNED_TYPES: &[&str] = &["std::collections::HashMap", "std::collections::HashSet"];

/// Names that say nothing about what is inside.
const EMPTY_NAMES: &[&str] =
    &["common", "helper", "helpers", "manager", "managers", "misc", "util", "utils", "utilities"];

const MAX_LINES: usize = 600;
/// A file may be longer when its module documentation goes on to say why.
const LONG_BECAUSE: &str = "Long because";

fn workspace() -> Metadata {
    MetadataCommand::new().manifest_path(repository().join("Cargo.toml")).no_deps().exec().unwrap()
}

fn folder(package: &Package) -> &str {
    let folder = package.manifest_path.parent().unwrap();
    folder.strip_prefix(repository().to_str().unwrap()).unwrap().as_str()
}

fn in_folder<'a>(workspace: &'a Metadata, wanted: &str) -> &'a Package {
    let packages = workspace.workspace_packages();
    packages
        .into_iter()
        .find(|package| folder(package) == wanted)
        .unwrap_or_else(|| panic!("no package in {wanted}"))
}

/// The names of all crates that end up in `package`, itself included, with exactly the features that it asks for.
fn linked_by(package: &Package) -> BTreeSet<String> {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--edges", "normal", "--prefix", "none", "--format", "{p}", "--package"])
        .arg(package.name.as_str())
        .current_dir(repository())
        .output()
        .unwrap();
    let lines = String::from_utf8(tree.stdout).unwrap();
    let names: BTreeSet<String> =
        lines.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect();
    let complaint = String::from_utf8_lossy(&tree.stderr);
    assert!(names.contains(package.name.as_str()), "cargo tree of {}: {complaint}", package.name);
    names
}

fn fits(pattern: &str, folder: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == folder, |prefix| folder.starts_with(prefix))
}

#[test]
fn packages_depend_on_each_other_only_as_the_design_allows() {
    let workspace = workspace();
    let folders: BTreeMap<&str, &str> = workspace
        .workspace_packages()
        .iter()
        .map(|package| (package.name.as_str(), folder(package)))
        .collect();
    let mut wrong = Vec::new();
    for package in workspace.workspace_packages() {
        let from = folder(package);
        let Some((_, allowed)) = ARROWS.iter().find(|(folder, _)| *folder == from) else {
            wrong.push(format!("{from} is in no row of ARROWS: which packages may it use?"));
            continue;
        };
        for dependency in &package.dependencies {
            let counts = dependency.kind != DependencyKind::Development || CORES.contains(&from);
            let Some(to) = folders.get(dependency.name.as_str()).filter(|_| counts) else { continue };
            if !allowed.iter().any(|pattern| fits(pattern, to)) {
                wrong.push(format!("{from} -> {to}"));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new(), "arrows that the design does not have");
}

#[test]
fn pure_packages_reach_no_runtime_clock_or_random_source() {
    let workspace = workspace();
    let mut wrong = Vec::new();
    for from in PURE {
        let linked = linked_by(in_folder(&workspace, from));
        wrong.extend(
            linked
                .iter()
                .filter(|name| IMPURE.contains(&name.as_str()))
                .map(|name| format!("{from} -> {name}")),
        );
    }
    assert_eq!(wrong, Vec::<String>::new(), "pure packages must not link these");
}

#[test]
fn what_a_farm_is_compiled_of_is_not_compiled_once_more_for_the_tests() {
    let of_run =
        ["dcmf-coordinator", "dcmf-worker", "dcmf-system-tests"].map(|name| format!("--package={name}"));
    let of_run: Vec<&str> = of_run.iter().map(String::as_str).chain(["--edges=normal,build"]).collect();
    let (run, test) = (compiled(&of_run), compiled(&["--workspace", "--edges=normal,build,dev"]));
    let again: Vec<_> = run.difference(&test).collect();
    assert!(again.is_empty(), "make test has other features of what make run compiles: {again:#?}");
}

/// Every package of a selection with its features, as `cargo tree` tells them.
fn compiled(selection: &[&str]) -> BTreeSet<String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(repository()).args(["tree", "--locked", "--offline", "--no-dedupe", "--prefix=none"]);
    let told = cargo.args(["--format={p} [{f}]"]).args(selection).output().unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    String::from_utf8(told.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn cores_forbid_clocks_sleeping_and_unordered_maps_to_themselves() {
    let read = |path: PathBuf| -> toml::Table { fs::read_to_string(path).unwrap().parse().unwrap() };
    let root = read(repository().join("clippy.toml"));
    for core in CORES {
        let own = read(repository().join(core).join("clippy.toml"));
        for (key, value) in &root {
            assert_eq!(
                own.get(key),
                Some(value),
                "{core}/clippy.toml replaces the root's, so it must repeat {key}"
            );
        }
        for (list, wanted) in [("disallowed-methods", BANNED_METHODS), ("disallowed-types", BANNED_TYPES)] {
            let entries = own[list].as_array().unwrap();
            for path in wanted {
                let entry = entries.iter().find(|entry| entry["path"].as_str() == Some(path));
                let entry = entry.unwrap_or_else(|| panic!("{core}/clippy.toml: {list} lacks {path}"));
                assert!(entry.get("reason").is_some(), "{core}/clippy.toml: {path} has no reason");
            }
        }
    }
}

#[test]
fn no_subject_is_spelled_outside_the_contract() {
    let subject = concat!("dcmf", ".v1");
    let spelled: Vec<String> = rust_files()
        .into_iter()
        .filter(|path| !path.starts_with("bus-schemas"))
        .flat_map(|path| {
            let lines: Vec<String> = read(&path).lines().map(str::to_owned).collect();
            let hits = lines.into_iter().enumerate().filter(|(_, line)| code_of(line).contains(subject));
            hits.map(|(index, line)| format!("{}:{}: {}", path.display(), index + 1, line.trim()))
                .collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(spelled, Vec::<String>::new(), "subjects are built and parsed by bus-schemas");
}

#[test]
fn rust_files_are_short_or_say_why_not() {
    let long: Vec<String> = rust_files()
        .into_iter()
        .filter_map(|path| {
            let text = read(&path);
            let explained = text.lines().any(|line| line.starts_with("//!") && line.contains(LONG_BECAUSE));
            let lines = text.lines().count();
            (lines > MAX_LINES && !explained).then(|| format!("{}: {lines} lines", path.display()))
        })
        .collect();
    assert_eq!(long, Vec::<String>::new(), "split it, or write `//! {LONG_BECAUSE} …`");
}

#[test]
fn no_folder_or_module_has_an_empty_name() {
    let mut empty = BTreeSet::new();
    for path in rust_files() {
        for part in
            path.with_extension("").components().map(|part| part.as_os_str().to_string_lossy().into_owned())
        {
            if EMPTY_NAMES.contains(&part.as_str()) {
                empty.insert(path.display().to_string());
            }
        }
    }
    assert_eq!(empty, BTreeSet::new(), "name a module after what it does");
}

/// A line without its comment, unless the slashes stand inside an address such as `nats://`.
fn code_of(line: &str) -> &str {
    let comment = line.match_indices("//").find(|(at, _)| !line[..*at].ends_with(':'));
    comment.map_or(line, |(at, _)| &line[..at])
}

fn read(path: &Path) -> String {
    fs::read_to_string(repository().join(path)).unwrap()
}

/// Every Rust file of the checkout, as paths from its root.
fn rust_files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![repository().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let (path, name) = (entry.path(), entry.file_name());
            let is_folder = entry.file_type().unwrap().is_dir();
            if is_folder && name != "target" && !name.to_string_lossy().starts_with('.') {
                folders.push(path);
            } else if !is_folder && path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path.strip_prefix(repository()).unwrap().to_owned());
            }
        }
    }
    assert!(files.len() > ARROWS.len(), "the search for Rust files went wrong: {files:?}");
    files
}
