//! `Cargo.lock`: which package of which bytes each package stands on.

use crate::{MAX_PACKAGES, SourceError};
use std::path::Path;
use toml::{Table, Value};

/// What `Cargo.lock` says of one package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Registry or git commit; none for a folder.
    pub source: Option<String>,
    /// SHA-256 of its archive, which a registry has.
    pub checksum: Option<String>,
    /// `name`, `name version` or `name version (source)`, whatever is unique.
    pub dependencies: Vec<String>,
}

/// A whole `Cargo.lock`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock(Vec<Package>);

impl Lock {
    /// Reads the text of a `Cargo.lock`; `path` is for the error.
    pub fn parse(text: &str, path: &Path) -> Result<Self, SourceError> {
        let malformed = |reason: String| SourceError::Malformed { path: path.to_owned(), reason };
        let table: Table = text.parse().map_err(|error: toml::de::Error| malformed(error.to_string()))?;
        let packages = match table.get("package") {
            None => &[],
            Some(Value::Array(packages)) => packages.as_slice(),
            Some(_) => return Err(malformed("`package` is no list".to_owned())),
        };
        if packages.len() > MAX_PACKAGES {
            let name = path.display().to_string();
            return Err(SourceError::TooMuch { name, what: "packages", limit: MAX_PACKAGES as u64 });
        }
        let read = |value| package(value).ok_or_else(|| malformed(format!("no package: {value}")));
        packages.iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// The workspace's own package of this name.
    pub fn local(&self, name: &str) -> Option<&Package> {
        self.0.iter().find(|package| package.name == name && package.source.is_none())
    }

    /// What a line of `dependencies` means.
    pub fn find(&self, dependency: &str) -> Option<&Package> {
        let mut words = dependency.split(' ');
        let (name, version, source) = (words.next()?, words.next(), words.next());
        let source = source.and_then(|source| source.strip_prefix('(')?.strip_suffix(')'));
        let mut fitting = self.0.iter().filter(|package| {
            package.name == name
                && version.is_none_or(|version| package.version == version)
                && source.is_none_or(|source| package.source.as_deref().is_some_and(|own| same(own, source)))
        });
        let found = fitting.next()?;
        fitting.next().is_none().then_some(found)
    }
}

/// Within a line of `dependencies` cargo leaves out the commit of a git source.
fn same(own: &str, named: &str) -> bool {
    own == named || own.split('#').next() == Some(named)
}

fn package(value: &Value) -> Option<Package> {
    let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let dependencies = match value.get("dependencies") {
        None => Vec::new(),
        Some(list) => {
            list.as_array()?.iter().map(|name| name.as_str().map(str::to_owned)).collect::<Option<_>>()?
        }
    };
    let (name, version) = (text("name")?, text("version")?);
    Some(Package { name, version, source: text("source"), checksum: text("checksum"), dependencies })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = r#"
version = 4
[[package]]
name = "own"
version = "0.1.0"
dependencies = ["one 1.0.0", "two"]
[[package]]
name = "one"
version = "1.0.0"
source = "registry+index"
checksum = "aa"
[[package]]
name = "one"
version = "2.0.0"
source = "git+https://example.org/one?rev=abc#abcdef"
[[package]]
name = "two"
version = "1.0.0"
source = "registry+index"
checksum = "bb"
"#;

    fn parse(text: &str) -> Result<Lock, SourceError> {
        Lock::parse(text, Path::new("Cargo.lock"))
    }

    #[test]
    fn a_dependency_is_found_by_as_much_as_is_needed_to_tell_it_from_others() {
        let lock = parse(LOCK).unwrap();
        let version = |line: &str| lock.find(line).map(|package| package.version.as_str());
        assert_eq!(version("two"), Some("1.0.0"));
        assert_eq!(version("one 2.0.0"), Some("2.0.0"));
        assert_eq!(version("one 1.0.0 (registry+index)"), Some("1.0.0"));
        assert_eq!(version("one 2.0.0 (git+https://example.org/one?rev=abc)"), Some("2.0.0"));
        for wrong in ["one", "three", "one 3.0.0", "one 1.0.0 (registry+other)", ""] {
            assert_eq!(version(wrong), None, "{wrong:?}");
        }
        assert_eq!(lock.local("own").map(|package| package.dependencies.len()), Some(2));
        assert_eq!(lock.local("two"), None);
    }

    #[test]
    fn what_is_no_lock_file_is_refused() {
        for wrong in [
            "package = 1",
            "[[package]]\nname = 1",
            "[[package]]\nname='a'\nversion='1'\ndependencies=[1]",
            "{",
        ] {
            assert!(matches!(parse(wrong), Err(SourceError::Malformed { .. })), "{wrong}");
        }
        assert_eq!(parse("").unwrap(), Lock(Vec::new()));
    }
}
