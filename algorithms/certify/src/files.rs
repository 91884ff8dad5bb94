//! Files, read with a limit and replaced whole.

use crate::failure::Failure;
use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// Largest component or executable, in bytes.
pub(crate) const MAX_ARTIFACT_LEN: usize = 1 << 30;
/// Mode of files that everybody may read.
const PUBLIC: u32 = 0o644;
/// Mode of files that only their owner may read.
const SECRET: u32 = 0o600;

/// The bytes of a file of at most `limit` bytes.
pub(crate) fn read(path: &Path, limit: usize) -> Result<Vec<u8>, Failure> {
    let unreadable = |source| Failure::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > limit {
        return Err(Failure::TooLarge { path: path.to_owned(), limit });
    }
    Ok(bytes)
}

/// The text of a file of at most `limit` bytes.
pub(crate) fn read_text(path: &Path, limit: usize) -> Result<String, Failure> {
    let no_text = |_| Failure::Usage(format!("{} is no text", path.display()));
    String::from_utf8(read(path, limit)?).map_err(no_text)
}

/// Replaces a file, or makes it; whoever reads it sees the old or the new one.
pub(crate) fn replace(path: &Path, text: &str) -> Result<(), Failure> {
    let unwritable = |source| Failure::Write { path: path.to_owned(), source };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .permissions(Permissions::from_mode(PUBLIC))
        .tempfile_in(folder)
        .map_err(unwritable)?;
    file.write_all(text.as_bytes()).map_err(unwritable)?;
    file.as_file().sync_all().map_err(unwritable)?;
    file.persist(path).map_err(|error| unwritable(error.error))?;
    Ok(())
}

/// Refuses a path where something is.
pub(crate) fn must_be_free(path: &Path) -> Result<(), Failure> {
    match fs::symlink_metadata(path) {
        Ok(_) => Err(Failure::Exists { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(Failure::Read { path: path.to_owned(), source }),
    }
}

/// A file that did not exist, for everybody to read or for its owner alone.
pub(crate) struct Fresh {
    path: PathBuf,
    file: File,
}

impl Fresh {
    pub(crate) fn public(path: &Path) -> Result<Self, Failure> {
        Self::create(path, PUBLIC)
    }

    pub(crate) fn secret(path: &Path) -> Result<Self, Failure> {
        Self::create(path, SECRET)
    }

    fn create(path: &Path, mode: u32) -> Result<Self, Failure> {
        let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
        match opened {
            Ok(file) => Ok(Self { path: path.to_owned(), file }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(Failure::Exists { path: path.to_owned() })
            }
            Err(source) => Err(Failure::Write { path: path.to_owned(), source }),
        }
    }

    pub(crate) fn write(mut self, text: &str) -> Result<(), Failure> {
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_all());
        written.map_err(|source| Failure::Write { path: self.path, source })
    }
}
