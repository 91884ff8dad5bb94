//! What a host keeps of certificates over a restart, in one file: the highest serials that it has seen, and the documents that
//! it last believed. Whole or not at all: a record that cannot be read is an error, never an empty one, since an old catalogue
//! could pass for the newest.

use bus_schemas::WorkerId;
use certification::{MAX_CATALOGUE_LEN, MAX_REVOCATIONS_LEN, Seen};
use nix::unistd::Uid;
use serde::{Deserialize, Serialize};
use std::{
    fs,
    io::{self, ErrorKind, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Longest record in bytes: both documents as JSON texts within JSON.
pub const MAX_KEPT_LEN: usize = 3 * (MAX_CATALOGUE_LEN + MAX_REVOCATIONS_LEN);
/// Where it lies when nothing else is said and the worker is root.
const ROOT_FOLDER: &str = "/var/lib/dcmf";
/// Folder of a service, named by systemd.
const SERVICE_FOLDER: &str = "STATE_DIRECTORY";
/// Only the worker's own user may read and write it.
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;

/// Why the record is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeptError {
    /// It is there and cannot be read.
    #[error(
        "cannot read {path}, where this host keeps which certificates it has seen: {reason}; correct that and start the worker again"
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// It is not what a worker writes.
    #[error(
        "{path}, where this host keeps which certificates it has seen, is damaged: {reason}; put a copy back, or remove it if you \
         accept that older certificates could be believed again, and start the worker again"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// It cannot be written.
    #[error(
        "cannot write {path}, where this host keeps which certificates it has seen: {reason}; set state_folder to a folder that \
         the worker may write to"
    )]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
}

/// The record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    format: Format,
    /// The highest serials ever seen.
    pub seen: Seen,
    /// The catalogue last believed, as it came.
    pub catalogue: Option<String>,
    /// The list of revocations last believed.
    pub revocations: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Format {
    #[default]
    #[serde(rename = "dcmf-kept-certificates-1")]
    One,
}

impl Kept {
    /// Reads the record; an empty one only when there is no file.
    pub fn read(path: &Path) -> Result<Self, KeptError> {
        let failed = |reason: String| KeptError::Read { path: path.to_owned(), reason };
        let damaged = |reason: String| KeptError::Damaged { path: path.to_owned(), reason };
        let found = match fs::metadata(path) {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(failed(error.to_string())),
        };
        // Opening a pipe would wait for its writer.
        if !found.is_file() {
            return Err(damaged("it is no ordinary file".to_owned()));
        }
        let limit = u64::try_from(MAX_KEPT_LEN).unwrap_or(u64::MAX);
        let mut bytes = Vec::new();
        let read =
            fs::File::open(path).and_then(|file| file.take(limit.saturating_add(1)).read_to_end(&mut bytes));
        read.map_err(|error| failed(error.to_string()))?;
        if bytes.len() > MAX_KEPT_LEN {
            return Err(damaged(format!("it has more than {MAX_KEPT_LEN} bytes")));
        }
        serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))
    }

    /// Writes the record: after a crash the old one or the new one is there.
    pub fn write(&self, path: &Path) -> Result<(), KeptError> {
        self.replace(path)
            .map_err(|error| KeptError::Write { path: path.to_owned(), reason: error.to_string() })
    }

    fn replace(&self, path: &Path) -> io::Result<()> {
        let name = path.file_name().ok_or(ErrorKind::InvalidFilename)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        fs::DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)?;
        let mut new = name.to_owned();
        new.push(format!(".{}.new", std::process::id()));
        let new = path.with_file_name(new);
        let written = self.write_new(&new).and_then(|()| fs::rename(&new, path));
        if written.is_err() {
            // It may never have been made; what matters is the error.
            let _ = fs::remove_file(&new);
        }
        written?;
        // The name is safe only when the folder is.
        fs::File::open(folder)?.sync_all()
    }

    fn write_new(&self, path: &Path) -> io::Result<()> {
        let options = fs::File::options().write(true).create(true).truncate(true).mode(FILE_MODE).clone();
        let mut file = options.open(path)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()
    }
}

/// The record of one worker of this host.
pub fn file_in(folder: &Path, worker: &WorkerId) -> PathBuf {
    folder.join(format!("{worker}.certificates.json"))
}

/// The folder when the host's file does not name one: the service's own, else that of the system for root and of the user for
/// others.
pub fn default_folder() -> PathBuf {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    folder_of(
        variable(SERVICE_FOLDER),
        Uid::effective().is_root(),
        variable("XDG_STATE_HOME"),
        variable("HOME"),
    )
}

fn folder_of(
    service: Option<PathBuf>,
    root: bool,
    user_state: Option<PathBuf>,
    home: Option<PathBuf>,
) -> PathBuf {
    let user = || user_state.or_else(|| home.map(|home| home.join(".local/state"))).map(|f| f.join("dcmf"));
    match service {
        Some(folder) => folder,
        None if root => PathBuf::from(ROOT_FOLDER),
        None => user().unwrap_or_else(|| PathBuf::from(ROOT_FOLDER)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(serial: u64) -> Kept {
        Kept {
            seen: Seen { catalogue: serial, revocations: 0 },
            catalogue: Some("{\"body\":\"…\"}".to_owned()),
            ..Kept::default()
        }
    }

    #[test]
    fn a_record_is_read_back_whole_and_a_host_that_kept_nothing_has_seen_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/folder/w1.certificates.json");
        assert_eq!(Kept::read(&path).unwrap(), Kept::default());
        for serial in [5, 6] {
            kept(serial).write(&path).unwrap();
            assert_eq!(Kept::read(&path).unwrap(), kept(serial));
        }
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no half-written file stays");
    }

    #[test]
    fn a_damaged_record_is_an_error_and_never_an_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record");
        let whole = serde_json::to_vec(&kept(5)).unwrap();
        let other_format =
            String::from_utf8(whole.clone()).unwrap().replace("certificates-1", "certificates-2");
        for bytes in [&b""[..], b"{}", b"null", &whole[..whole.len() - 1], other_format.as_bytes()] {
            fs::write(&path, bytes).unwrap();
            let error = Kept::read(&path).unwrap_err();
            assert!(matches!(error, KeptError::Damaged { .. }), "{error}");
        }
        fs::write(&path, vec![b' '; MAX_KEPT_LEN + 1]).unwrap();
        assert!(Kept::read(&path).unwrap_err().to_string().contains("more than"));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(Kept::read(&path).unwrap_err().to_string().contains("no ordinary file"));
        assert!(matches!(Kept::read(&path.join("a\0b")), Err(KeptError::Read { .. })));
    }

    #[test]
    fn a_record_that_cannot_be_written_leaves_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record");
        fs::create_dir(&path).unwrap();
        let error = kept(5).write(&path).unwrap_err().to_string();
        assert!(error.contains("set state_folder"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no half-written file stays");
        fs::remove_dir(&path).unwrap();
        fs::write(&path, "").unwrap();
        assert!(kept(5).write(&path.join("record")).is_err());
    }

    #[test]
    fn the_record_lies_in_the_services_folder_else_the_systems_or_the_users() {
        let some = |path: &str| Some(PathBuf::from(path));
        for (service, root, state, home, wanted) in [
            (some("/var/lib/private/x"), false, some("/s"), some("/h"), "/var/lib/private/x"),
            (None, true, some("/s"), some("/root"), "/var/lib/dcmf"),
            (None, false, some("/s"), some("/h"), "/s/dcmf"),
            (None, false, None, some("/h"), "/h/.local/state/dcmf"),
            (None, false, None, None, "/var/lib/dcmf"),
        ] {
            assert_eq!(folder_of(service, root, state, home), Path::new(wanted));
        }
    }
}
