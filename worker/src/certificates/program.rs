//! The program that runs, by the digest of its executable.

use certification::{Digest, Subject};
use sha2::{Digest as _, Sha256};
use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

/// Name of the worker in certificates of programs.
pub const PROGRAM: &str = "dcmf-worker";
/// The executable of the calling process, even if another file has its name by now.
const RUNNING: &str = "/proc/self/exe";
/// Bytes that are read at a time.
const PIECE_LEN: usize = 256 * 1024;

/// The executable cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the program {path} to compare it with its certificate: {source}; is /proc there?")]
pub struct ProgramUnreadable {
    /// The executable.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// What a certificate of the running program is about. Reads all of it.
pub fn of_running() -> Result<Subject, ProgramUnreadable> {
    of_executable(Path::new(RUNNING))
}

/// What a certificate of the worker at `path` is about, if it is of this version.
pub fn of_executable(path: &Path) -> Result<Subject, ProgramUnreadable> {
    let hash = hash(path).map_err(|source| ProgramUnreadable { path: path.to_owned(), source })?;
    Ok(Subject::Program {
        name: PROGRAM.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        executable_sha256: hash,
    })
}

fn hash(path: &Path) -> io::Result<Digest> {
    let (mut file, mut hash) = (fs::File::open(path)?, Sha256::new());
    let mut piece = vec![0; PIECE_LEN];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(Digest::from_bytes(hash.finalize().into())),
            len => hash.update(piece.get(..len).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_that_of_the_file_and_that_of_the_running_program_is_its_own() {
        let own = std::env::current_exe().unwrap();
        assert_eq!(of_running().unwrap(), of_executable(&own).unwrap());
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), b"abc").unwrap();
        assert_eq!(of_executable(file.path()).unwrap().digest(), Digest::of(b"abc"));
        assert!(of_executable(Path::new("/nonexistent")).unwrap_err().to_string().contains("/nonexistent"));
    }
}
