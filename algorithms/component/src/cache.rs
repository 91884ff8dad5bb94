//! The components that were loaded last, by the digest of their bytes.

use crate::{ComponentAlgorithm, LoadError, Sandbox, digest, error::hex, limits::MAX_LOADED};
use algorithm_api::Algorithm;
use std::sync::{Mutex, PoisonError};

/// Which component is wanted: what a job names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// What it has to call itself.
    pub id: String,
    /// The version that it has to say.
    pub version: u32,
    /// SHA-256 of its bytes.
    pub digest: [u8; 32],
}

impl Wanted {
    /// The name under which its bytes are stored.
    pub fn object_name(&self) -> String {
        hex(&self.digest)
    }
}

/// Why a component is not what is wanted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotWanted {
    /// The bytes are others.
    #[error(
        "the component has the digest {}, wanted is {}; store the one that was certified",
        hex(found),
        hex(wanted)
    )]
    Digest {
        /// Of the bytes.
        found: [u8; 32],
        /// What the job names.
        wanted: [u8; 32],
    },
    /// The right bytes call themselves otherwise.
    #[error(
        "the component is {found_id} version {found_version}, the job wants {id} version {version}; name it rightly in the pool"
    )]
    Identity {
        /// What it calls itself.
        found_id: String,
        /// Its version.
        found_version: u32,
        /// What the job names.
        id: String,
        /// What the job names.
        version: u32,
    },
    /// It cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// Loads components and keeps the few that were asked for last.
#[derive(Debug)]
pub struct Cache {
    sandbox: Sandbox,
    /// The one that was asked for last stands last.
    loaded: Mutex<Vec<([u8; 32], ComponentAlgorithm)>>,
}

impl Cache {
    /// Nothing is loaded yet.
    pub fn new(sandbox: Sandbox) -> Self {
        Self { sandbox, loaded: Mutex::default() }
    }

    /// The component, if it is loaded and is what is wanted.
    pub fn get(&self, wanted: &Wanted) -> Option<ComponentAlgorithm> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let place = loaded.iter().position(|(digest, _)| *digest == wanted.digest)?;
        let entry = loaded.remove(place);
        let component = entry.1.clone();
        loaded.push(entry);
        check_identity(&component, wanted).is_ok().then_some(component)
    }

    /// Longest component that is loaded, in bytes: who fetches one need not take more.
    pub fn most_bytes(&self) -> usize {
        self.sandbox.limits().component_len
    }

    /// Checks that `bytes` are what is wanted, compiles them on the calling thread and keeps what came of it.
    pub fn load(&self, wanted: &Wanted, bytes: &[u8]) -> Result<ComponentAlgorithm, NotWanted> {
        let found = digest(bytes);
        if found != wanted.digest {
            return Err(NotWanted::Digest { found, wanted: wanted.digest });
        }
        if let Some(component) = self.get(wanted) {
            return Ok(component);
        }
        let component = self.sandbox.load(bytes)?;
        check_identity(&component, wanted)?;
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.retain(|(digest, _)| *digest != found);
        if loaded.len() >= MAX_LOADED {
            loaded.remove(0);
        }
        loaded.push((found, component.clone()));
        Ok(component)
    }

    /// Forgets a component, for instance since it is not permitted any more. What was begun with it is the caller's to end.
    pub fn forget(&self, digest: &[u8; 32]) {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner).retain(|(known, _)| known != digest);
    }
}

fn check_identity(component: &ComponentAlgorithm, wanted: &Wanted) -> Result<(), NotWanted> {
    let descriptor = component.descriptor();
    if descriptor.id == wanted.id && descriptor.version == wanted.version {
        return Ok(());
    }
    Err(NotWanted::Identity {
        found_id: descriptor.id.to_string(),
        found_version: descriptor.version,
        id: wanted.id.clone(),
        version: wanted.version,
    })
}
