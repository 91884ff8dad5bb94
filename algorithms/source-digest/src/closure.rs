//! Which files and packages a crate is compiled from.

use crate::{Lock, MAX_BYTES, MAX_DEPTH, MAX_FILES, Manifest, Package, SourceError};
use std::{
    collections::BTreeSet,
    fs,
    path::{Component, Path, PathBuf},
};
use toml::{Table, Value};

/// Folders of a crate whose files are in no library.
pub const LEFT_OUT: [&str; 5] = ["benches", "examples", "fuzz", "target", "tests"];

/// Tables of a `Cargo.toml` that bring code into a library.
const COMPILED: [&str; 2] = ["dependencies", "build-dependencies"];

/// The nearest folder above `folder` that has a `Cargo.lock`: a workspace's root.
pub fn workspace_root(folder: &Path) -> Option<&Path> {
    folder.ancestors().find(|folder| folder.join("Cargo.lock").is_file())
}

/// A crate's manifest and where it comes from.
#[derive(Debug, Clone)]
pub struct Sources {
    /// The lines.
    pub manifest: Manifest,
    /// Folders of the workspace's crates whose files are in it.
    pub folders: Vec<PathBuf>,
}

impl Sources {
    /// Of the crate `package` in the workspace at `root`.
    pub fn of(root: &Path, package: &str) -> Result<Self, SourceError> {
        let workspace = Workspace::read(root)?;
        let folder =
            workspace.folder_of(package).ok_or_else(|| SourceError::UnknownCrate(package.to_owned()))?;
        let mut walk = Walk::new(&workspace, package);
        walk.waiting.push(folder);
        while let Some(folder) = walk.waiting.pop() {
            walk.local(&folder)?;
        }
        Ok(Self { manifest: walk.manifest, folders: walk.folders.into_iter().collect() })
    }
}

/// What all crates of the workspace share.
struct Workspace {
    root: PathBuf,
    lock: Lock,
    dependencies: Table,
    edition: Option<String>,
}

impl Workspace {
    fn read(root: &Path) -> Result<Self, SourceError> {
        let path = root.join("Cargo.lock");
        let lock = Lock::parse(&read_text(&path)?, &path)?;
        let own = read_table(&root.join("Cargo.toml"))?;
        let shared = |key: &str| own.get("workspace").and_then(|workspace| workspace.get(key));
        let dependencies = shared("dependencies").and_then(Value::as_table).cloned().unwrap_or_default();
        let edition = shared("package").and_then(|package| package.get("edition")?.as_str());
        let edition = edition.map(str::to_owned);
        let root = fs::canonicalize(root).map_err(read_error(root))?;
        Ok(Self { root, lock, dependencies, edition })
    }

    fn folder_of(&self, package: &str) -> Option<PathBuf> {
        let named = |(key, entry): &(&String, &Value)| name_of(key, entry) == package;
        let (_, entry) = self.dependencies.iter().find(named)?;
        entry.get("path")?.as_str().map(|path| self.root.join(path))
    }
}

/// The name of the package that a dependency's entry means.
fn name_of<'a>(key: &'a str, entry: &'a Value) -> &'a str {
    entry.get("package").and_then(Value::as_str).unwrap_or(key)
}

struct Walk<'a> {
    workspace: &'a Workspace,
    /// Of whom, for errors.
    package: String,
    manifest: Manifest,
    folders: BTreeSet<PathBuf>,
    waiting: Vec<PathBuf>,
    packages: BTreeSet<(String, String, String)>,
    files: usize,
    bytes: u64,
}

impl<'a> Walk<'a> {
    fn new(workspace: &'a Workspace, package: &str) -> Self {
        Self {
            workspace,
            package: package.to_owned(),
            manifest: Manifest::default(),
            folders: BTreeSet::new(),
            waiting: Vec::new(),
            packages: BTreeSet::new(),
            files: 0,
            bytes: 0,
        }
    }

    /// Takes in a crate of the workspace.
    fn local(&mut self, folder: &Path) -> Result<(), SourceError> {
        let folder = fs::canonicalize(folder).map_err(read_error(folder))?;
        if !self.folders.insert(folder.clone()) {
            return Ok(());
        }
        let path = folder.join("Cargo.toml");
        let table = read_table(&path)?;
        let package = table.get("package").and_then(Value::as_table);
        let name = package.and_then(|package| package.get("name")?.as_str());
        let name = name.ok_or_else(|| malformed(&path, "it has no package.name"))?;
        let inherits = package.and_then(|package| package.get("edition")?.get("workspace")?.as_bool());
        if let (Some(true), Some(edition)) = (inherits, &self.workspace.edition) {
            self.manifest.add_edition(name, edition);
        }
        self.files_of(&folder, 0)?;
        let targets = table.get("target").and_then(Value::as_table);
        let targets = targets.into_iter().flat_map(Table::values).filter_map(Value::as_table);
        for of_target in std::iter::once(&table).chain(targets) {
            for kind in COMPILED {
                for (key, entry) in of_target.get(kind).and_then(Value::as_table).into_iter().flatten() {
                    self.dependency(name, &folder, key, entry)?;
                }
            }
        }
        Ok(())
    }

    fn dependency(
        &mut self,
        package: &str,
        folder: &Path,
        key: &str,
        entry: &Value,
    ) -> Result<(), SourceError> {
        let not_locked = |dependency: &str| SourceError::NotLocked {
            package: package.to_owned(),
            dependency: dependency.to_owned(),
        };
        let workspace = self.workspace;
        let inherited = entry.get("workspace").and_then(Value::as_bool) == Some(true);
        let (entry, base) = if inherited {
            let shared = workspace.dependencies.get(key).ok_or_else(|| not_locked(key))?;
            self.manifest.add_inherited(package, key, shared);
            (shared, workspace.root.as_path())
        } else {
            (entry, folder)
        };
        if let Some(path) = entry.get("path").and_then(Value::as_str) {
            self.waiting.push(base.join(path));
            return Ok(());
        }
        let name = name_of(key, entry);
        let locked = workspace.lock.local(package).ok_or_else(|| not_locked(package))?;
        let lines = locked.dependencies.iter().filter(|line| line.split(' ').next() == Some(name));
        let mut found = false;
        for line in lines {
            found = true;
            self.pinned(workspace.lock.find(line).ok_or_else(|| not_locked(line))?)?;
        }
        if found { Ok(()) } else { Err(not_locked(name)) }
    }

    /// Takes in a package from elsewhere and all that it stands on.
    fn pinned(&mut self, first: &'a Package) -> Result<(), SourceError> {
        let mut waiting = vec![first];
        while let Some(package) = waiting.pop() {
            let not_pinned = || SourceError::NotPinned(format!("{} {}", package.name, package.version));
            let source = package.source.as_deref().ok_or_else(not_pinned)?;
            let is_commit = source.starts_with("git+") && source.contains('#');
            let checksum = package.checksum.as_deref().or(is_commit.then_some("-")).ok_or_else(not_pinned)?;
            let identity = (package.name.clone(), package.version.clone(), source.to_owned());
            if !self.packages.insert(identity) {
                continue;
            }
            self.manifest.add_package(&package.name, &package.version, source, checksum);
            for line in &package.dependencies {
                let dependency = self.workspace.lock.find(line).ok_or_else(|| SourceError::NotLocked {
                    package: package.name.clone(),
                    dependency: line.clone(),
                })?;
                waiting.push(dependency);
            }
        }
        Ok(())
    }

    fn files_of(&mut self, folder: &Path, depth: usize) -> Result<(), SourceError> {
        if depth > MAX_DEPTH {
            return Err(self.too_much("folders in folders", MAX_DEPTH as u64));
        }
        for entry in fs::read_dir(folder).map_err(read_error(folder))? {
            let entry = entry.map_err(read_error(folder))?;
            let path = entry.path();
            let kind = entry.file_type().map_err(read_error(&path))?;
            let left_out = depth == 0 && LEFT_OUT.iter().any(|name| entry.file_name() == *name);
            if kind.is_dir() {
                if !left_out {
                    self.files_of(&path, depth + 1)?;
                }
            } else if kind.is_file() {
                self.file(&path)?;
            } else {
                return Err(SourceError::Unusable { path, reason: "neither a file nor a folder" });
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path) -> Result<(), SourceError> {
        self.files += 1;
        if self.files > MAX_FILES {
            return Err(self.too_much("files", MAX_FILES as u64));
        }
        self.bytes += fs::metadata(path).map_err(read_error(path))?.len();
        if self.bytes > MAX_BYTES {
            return Err(self.too_much("bytes", MAX_BYTES));
        }
        let name = self.name_of_file(path)?;
        let bytes = fs::read(path).map_err(read_error(path))?;
        self.manifest.add_file(&name, &bytes);
        Ok(())
    }

    /// A path from the root, with `/` on every system.
    fn name_of_file(&self, path: &Path) -> Result<String, SourceError> {
        let unusable = |reason| SourceError::Unusable { path: path.to_owned(), reason };
        let below = path
            .strip_prefix(&self.workspace.root)
            .map_err(|_| unusable("not below the workspace's root"))?;
        let mut name = String::new();
        for part in below.components() {
            let Component::Normal(part) = part else {
                return Err(unusable("not below the workspace's root"));
            };
            let part = part.to_str().ok_or_else(|| unusable("its name is not UTF-8"))?;
            if part.chars().any(char::is_control) {
                return Err(unusable("its name has a control character"));
            }
            if !name.is_empty() {
                name.push('/');
            }
            name.push_str(part);
        }
        Ok(name)
    }

    fn too_much(&self, what: &'static str, limit: u64) -> SourceError {
        SourceError::TooMuch { name: self.package.clone(), what, limit }
    }
}

fn read_error(path: &Path) -> impl Fn(std::io::Error) -> SourceError {
    move |source| SourceError::Read { path: path.to_owned(), source }
}

fn malformed(path: &Path, reason: impl ToString) -> SourceError {
    SourceError::Malformed { path: path.to_owned(), reason: reason.to_string() }
}

fn read_text(path: &Path) -> Result<String, SourceError> {
    fs::read_to_string(path).map_err(read_error(path))
}

fn read_table(path: &Path) -> Result<Table, SourceError> {
    read_text(path)?.parse().map_err(|error: toml::de::Error| malformed(path, error.message()))
}
