//! `dcmf-certify digest`: what the native algorithms are compiled from.

use crate::{
    algorithms::{ALGORITHMS, Certifiable},
    cli::DigestCommand,
    failure::Failure,
    files,
    output::{self, say},
};
use certification::Digest;
use serde::Deserialize;
use source_digest::{Sources, workspace_root};
use std::{
    env,
    fmt::Write,
    path::{Path, PathBuf},
};

/// The list that is compared with the sources, from the checkout's root.
const CERTIFIED: &str = "algorithms/certified.toml";
/// Longest such list in bytes.
const MAX_CERTIFIED_LEN: usize = 64 << 10;
/// How to make it anew.
const RENEW: &str = "cargo run -p dcmf-certify -- digest --write";

/// The list as TOML.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Certified {
    #[serde(default)]
    algorithm: Vec<Entry>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    version: u32,
    source_sha256: Digest,
}

/// Prints, writes or compares.
pub(crate) fn run(command: &DigestCommand) -> Result<(), Failure> {
    let root = repository(command.repository.as_deref())?;
    let wanted = |entry: &&Certifiable| command.algorithm.as_deref().is_none_or(|id| entry.id() == id);
    if let Some(id) = &command.algorithm {
        crate::algorithms::find(id)?;
    }
    if command.manifest {
        for entry in ALGORITHMS.iter().filter(wanted) {
            output::write(format_args!("{}", Sources::of(&root, entry.package)?.manifest));
        }
        return Ok(());
    }
    let all = ALGORITHMS.iter().map(|entry| of_sources(&root, entry)).collect::<Result<Vec<_>, _>>()?;
    if command.write {
        files::replace(&root.join(CERTIFIED), &text(&all))?;
        say!("{CERTIFIED} written");
    } else if command.check {
        check(&root, &all)?;
    } else {
        for entry in all.iter().filter(|entry| command.algorithm.as_deref().is_none_or(|id| entry.id == id)) {
            say!("{} {} {}", entry.source_sha256, entry.id, entry.version);
        }
    }
    Ok(())
}

fn repository(named: Option<&Path>) -> Result<PathBuf, Failure> {
    let here = match named {
        Some(folder) => folder.to_owned(),
        None => env::current_dir().map_err(|source| Failure::Read { path: ".".into(), source })?,
    };
    let none =
        || Failure::Usage(format!("{} lies in no checkout; name one with --repository", here.display()));
    workspace_root(&here).map(Path::to_owned).ok_or_else(none)
}

fn of_sources(root: &Path, entry: &Certifiable) -> Result<Entry, Failure> {
    let digest = Sources::of(root, entry.package)?.manifest.digest();
    let source_sha256 = digest.parse().map_err(Failure::Usage)?;
    let descriptor = entry.algorithm.descriptor();
    Ok(Entry { id: descriptor.id.to_string(), version: descriptor.version, source_sha256 })
}

fn text(entries: &[Entry]) -> String {
    let mut text = format!(
        "# What each native algorithm is compiled from: `dcmf-certify digest --manifest ID` prints every line of it.\n\
         # A certificate names the same digest. Renew after a change: {RENEW}\n"
    );
    for Entry { id, version, source_sha256 } in entries {
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "\n[[algorithm]]\nid = \"{id}\"\nversion = {version}\nsource_sha256 = \"{source_sha256}\"\n"
        );
    }
    text
}

fn check(root: &Path, all: &[Entry]) -> Result<(), Failure> {
    let path = root.join(CERTIFIED);
    let recorded: Certified = toml::from_str(&files::read_text(&path, MAX_CERTIFIED_LEN)?)
        .map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))?;
    let mut differing = Vec::new();
    for (entry, compiled) in all.iter().zip(ALGORITHMS) {
        if !recorded.algorithm.contains(entry) {
            differing.push(format!("{} version {} is now {}", entry.id, entry.version, entry.source_sha256));
        }
        let compiled = compiled.compiled_digest()?;
        if compiled != entry.source_sha256 {
            differing
                .push(format!("{}: this program was compiled from {compiled}; build it again", entry.id));
        }
    }
    if recorded.algorithm.len() != all.len() {
        differing.push(format!("it lists {} algorithms, there are {}", recorded.algorithm.len(), all.len()));
    }
    if differing.is_empty() {
        say!("{CERTIFIED} agrees with the sources");
        return Ok(());
    }
    Err(Failure::Differs(format!(
        "{CERTIFIED} does not agree with the sources:\n  {}\nIf the change is meant, renew the list with\n  {RENEW}\n\
         and have the algorithm certified anew: until then no worker runs it.",
        differing.join("\n  ")
    )))
}
