//! The host administrator's veto: while a file is there, nothing is searched on this host, whatever the bus says.
//!
//! The file's first line says why. What cannot be looked at counts as a veto: not seeing makes gentle.

use std::{
    fs, io,
    io::{ErrorKind, Read, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Longest text of a veto in bytes; the rest of the file is not read.
pub const MAX_REASON_LEN: usize = 256;
/// Name of the file beside the host's configuration.
const FILE_NAME: &str = "veto";
/// Where it lies when nothing else is said.
const DEFAULT_PATH: &str = "/etc/dcmf/veto";
/// Its name in a user's folder for running programs.
const RUNTIME_NAME: &str = "dcmf-veto";

/// Why the veto could not be put or lifted.
#[derive(Debug, thiserror::Error)]
pub enum VetoError {
    /// The file cannot be written.
    #[error("cannot write the veto file {path}: {source}; run as its owner or set veto_file")]
    Put {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file cannot be removed.
    #[error("cannot remove the veto file {path}: {source}; run as its owner")]
    Lift {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The text is too long.
    #[error("the reason has {len} bytes, the limit is {MAX_REASON_LEN}; say it shorter")]
    TooLong {
        /// Its length.
        len: usize,
    },
}

/// Where the veto file lies when the host's file does not say: beside the host's file, so that whoever may write there
/// may veto; without one in `/etc/dcmf`, or in a user's own folder for running programs.
pub fn default_path(config: Option<&Path>, root: bool, runtime_folder: Option<&Path>) -> PathBuf {
    match (config.and_then(Path::parent), runtime_folder) {
        (Some(folder), _) => folder.join(FILE_NAME),
        (None, Some(folder)) if !root => folder.join(RUNTIME_NAME),
        _ => PathBuf::from(DEFAULT_PATH),
    }
}

/// Puts the veto: the file is there with its whole text or not at all.
pub fn put(path: &Path, reason: &str) -> Result<(), VetoError> {
    if reason.len() > MAX_REASON_LEN {
        return Err(VetoError::TooLong { len: reason.len() });
    }
    let failed = |source| VetoError::Put { path: path.to_owned(), source };
    let name = path.file_name().ok_or_else(|| failed(ErrorKind::InvalidFilename.into()))?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut new = name.to_owned();
    new.push(format!(".{}.new", std::process::id()));
    let new = path.with_file_name(new);
    let written = write(&new, reason).and_then(|()| fs::rename(&new, path));
    written.map_err(|source| {
        // It may never have been made; what matters is the error above.
        let _ = fs::remove_file(&new);
        failed(source)
    })
}

fn write(path: &Path, reason: &str) -> io::Result<()> {
    let mut file = fs::File::create(path)?;
    writeln!(file, "{reason}")?;
    file.sync_all()
}

/// Lifts the veto; false when there was none.
pub fn lift(path: &Path) -> Result<bool, VetoError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(source) => Err(VetoError::Lift { path: path.to_owned(), source }),
    }
}

/// What tells one state of the file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    inode: u64,
    len: u64,
    changed: (i64, i64),
}

/// Looks after the file.
#[derive(Debug)]
pub struct Watch {
    path: PathBuf,
    mark: Option<Mark>,
    reason: Option<String>,
}

impl Watch {
    /// Looks at `path` for the first time.
    pub fn new(path: PathBuf) -> Self {
        let mut watch = Self { path, mark: None, reason: None };
        watch.poll();
        watch
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Looks again: one `stat`, and a read when the file is another one.
    pub fn poll(&mut self) {
        let (mark, reason) = match fs::metadata(&self.path) {
            Ok(found) => {
                let changed = (found.ctime(), found.ctime_nsec());
                let mark = Some(Mark { inode: found.ino(), len: found.len(), changed });
                if mark == self.mark {
                    return;
                }
                // Opening a pipe would wait for its writer.
                let text =
                    if found.is_file() { read(&self.path) } else { "it is no ordinary file".to_owned() };
                (mark, Some(text))
            }
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                (None, None)
            }
            Err(error) => (None, Some(format!("the veto file cannot be looked at: {error}"))),
        };
        self.mark = mark;
        self.reason = reason;
    }

    /// The text of the veto, if there is one.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }
}

fn read(path: &Path) -> String {
    let mut text = Vec::with_capacity(MAX_REASON_LEN);
    let read = fs::File::open(path).and_then(|file| file.take(MAX_REASON_LEN as u64).read_to_end(&mut text));
    if let Err(error) = read {
        return format!("the veto file cannot be read: {error}");
    }
    let text = String::from_utf8_lossy(&text);
    let line: String = text.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).collect();
    let line = line.trim();
    if line.is_empty() { "no reason given".to_owned() } else { bounded(line) }
}

/// Bytes that are no text became longer when they were replaced.
fn bounded(line: &str) -> String {
    line.get(..line.floor_char_boundary(MAX_REASON_LEN)).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(watch: &mut Watch) -> Option<&str> {
        watch.poll();
        watch.reason()
    }

    #[test]
    fn a_veto_is_seen_with_its_text_until_it_is_lifted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/folder/veto");
        let mut watch = Watch::new(path.clone());
        assert_eq!(watch.reason(), None);
        put(&path, "backup until six").unwrap();
        assert_eq!(seen(&mut watch), Some("backup until six"));
        put(&path, "backup until nine").unwrap();
        assert_eq!(seen(&mut watch), Some("backup until nine"));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no half-written file stays");
        assert!(lift(&path).unwrap());
        assert_eq!(seen(&mut watch), None);
        assert!(!lift(&path).unwrap());
    }

    #[test]
    fn whatever_stands_at_the_place_of_the_file_is_a_veto() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("veto");
        for (content, wanted) in [
            (&b""[..], "no reason given"),
            (b"\n\nsecond", "no reason given"),
            (b"  one\ttwo \nthree", "onetwo"),
            (b"\x1b[31mred\x07", "[31mred"),
        ] {
            fs::write(&path, content).unwrap();
            assert_eq!(Watch::new(path.clone()).reason(), Some(wanted), "{content:?}");
        }
        for content in [vec![b'x'; 100_000], vec![0xff; 100_000]] {
            fs::write(&path, content).unwrap();
            assert!(Watch::new(path.clone()).reason().is_some_and(|text| text.len() <= MAX_REASON_LEN));
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(Watch::new(path).reason().is_some_and(|text| text.contains("no ordinary file")));
    }

    #[test]
    fn a_file_that_cannot_be_looked_at_is_a_veto_and_a_missing_folder_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        std::os::unix::fs::symlink(&a, &b).unwrap();
        std::os::unix::fs::symlink(&b, &a).unwrap();
        let told = Watch::new(a);
        assert!(told.reason().is_some_and(|text| text.contains("cannot be looked at")), "{told:?}");
        assert_eq!(Watch::new(folder.path().join("no/such/folder")).reason(), None);
    }

    #[test]
    fn what_cannot_be_put_or_lifted_is_told_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let inside = file.join("veto");
        let put_inside = put(&inside, "").unwrap_err().to_string();
        assert!(put_inside.contains("cannot write the veto file"), "{put_inside}");
        assert!(lift(&inside).unwrap_err().to_string().contains("cannot remove the veto file"));
        assert!(put(&file, &"x".repeat(300)).unwrap_err().to_string().contains("say it shorter"));
        assert!(put(Path::new("/"), "").is_err());
    }

    #[test]
    fn without_a_word_in_the_host_file_the_veto_lies_where_its_administrator_may_write() {
        for (config, root, runtime, wanted) in [
            (Some("/etc/dcmf/worker.toml"), true, Some("/run/user/0"), "/etc/dcmf/veto"),
            (Some("/home/a/w.toml"), false, Some("/run/user/7"), "/home/a/veto"),
            (Some("w.toml"), false, None, "veto"),
            (None, true, Some("/run/user/0"), "/etc/dcmf/veto"),
            (None, false, Some("/run/user/7"), "/run/user/7/dcmf-veto"),
            (None, false, None, "/etc/dcmf/veto"),
        ] {
            let path = default_path(config.map(Path::new), root, runtime.map(Path::new));
            assert_eq!(path, Path::new(wanted));
        }
    }
}
