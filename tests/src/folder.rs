//! The folder of a run: what its processes write.

use crate::HarnessError;
use std::path::{Path, PathBuf};

/// Where a run writes: removed with the guard, or kept for the next run.
#[derive(Debug)]
pub enum RunFolder {
    /// Removed when dropped.
    Temporary(tempfile::TempDir),
    /// Stays.
    Kept(PathBuf),
}

impl RunFolder {
    /// A new folder that is removed when dropped.
    pub fn temporary() -> Result<Self, HarnessError> {
        let folder = tempfile::Builder::new().prefix("dcmf-").tempdir();
        Ok(Self::Temporary(folder.map_err(HarnessError::io("creating a temporary folder"))?))
    }

    /// The folder at `path`, created where it is not there yet; it outlives the guard.
    pub fn kept(path: impl Into<PathBuf>) -> Result<Self, HarnessError> {
        let path = path.into();
        create(&path)?;
        Ok(Self::Kept(path))
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        match self {
            Self::Temporary(folder) => folder.path(),
            Self::Kept(path) => path,
        }
    }

    /// A folder inside, created where it is not there yet.
    pub fn inner(&self, name: &str) -> Result<PathBuf, HarnessError> {
        let path = self.path().join(name);
        create(&path)?;
        Ok(path)
    }
}

fn create(path: &Path) -> Result<(), HarnessError> {
    std::fs::create_dir_all(path).map_err(HarnessError::io(format!("creating {}", path.display())))
}
