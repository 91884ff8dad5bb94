//! Algorithms that come over the bus: fetched by digest, permitted before anything is looked at, compiled without haste.
//!
//! A search thread only ever asks [`Components::loaded`]; [`Components::obtain`] is for a task, before the job is handed to a thread.

use crate::idle_class;
use algorithm_component::{Cache, ComponentAlgorithm, NotWanted, Sandbox, Wanted};
use bus_schemas::{job::AlgorithmRef, policy::Priority};
use nats_adapter::{Bus, ObjectError, streams};
use std::{fmt, sync::Arc};
use tokio::sync::{Mutex, oneshot};

/// Says whether a component may run here now, and why not: the host's register of certificates.
pub type Permitted = Arc<dyn Fn(&Wanted) -> Result<(), String> + Send + Sync>;

/// Why there is no component for a job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ComponentError {
    /// The job names no digest, or something else than 32 bytes.
    #[error("the job names a digest of {0} bytes; a component is named by the 32 bytes of its SHA-256")]
    NoDigest(usize),
    /// It may not run here.
    #[error("the component may not run here: {0}")]
    NotPermitted(String),
    /// It cannot be fetched.
    #[error(transparent)]
    Fetch(#[from] ObjectError),
    /// It is not what is wanted, or cannot be loaded.
    #[error(transparent)]
    NotWanted(#[from] NotWanted),
    /// The thread that compiles did not start, or panicked.
    #[error("it could not be compiled: {0}")]
    Thread(String),
}

/// The components of this worker.
pub struct Components {
    bus: Bus,
    cache: Arc<Cache>,
    permitted: Permitted,
    /// One is fetched and compiled at a time.
    turn: Mutex<()>,
}

impl fmt::Debug for Components {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Components").field("cache", &self.cache).finish_non_exhaustive()
    }
}

/// What a job wants, if it names a component.
pub fn wanted(algorithm: &AlgorithmRef) -> Result<Wanted, ComponentError> {
    let digest = algorithm.digest.0.as_slice();
    let digest = digest.try_into().map_err(|_| ComponentError::NoDigest(digest.len()))?;
    Ok(Wanted { id: algorithm.id.as_str().to_owned(), version: algorithm.version, digest })
}

impl Components {
    /// No component is loaded yet. `sandbox` was made by a thread that is not in the idle class.
    pub fn new(bus: Bus, sandbox: Sandbox, permitted: Permitted) -> Self {
        Self { bus, cache: Arc::new(Cache::new(sandbox)), permitted, turn: Mutex::default() }
    }

    /// The component, if it is loaded and still permitted. Quick: for a search thread that begins a unit.
    pub fn loaded(&self, wanted: &Wanted) -> Option<ComponentAlgorithm> {
        if (self.permitted)(wanted).is_err() {
            self.cache.forget(&wanted.digest);
            return None;
        }
        self.cache.get(wanted)
    }

    /// The component; if it is not loaded, it is fetched from the bucket and compiled by a thread of the idle class.
    pub async fn obtain(&self, wanted: &Wanted) -> Result<ComponentAlgorithm, ComponentError> {
        (self.permitted)(wanted).map_err(ComponentError::NotPermitted)?;
        if let Some(component) = self.cache.get(wanted) {
            return Ok(component);
        }
        let _turn = self.turn.lock().await;
        if let Some(component) = self.cache.get(wanted) {
            return Ok(component);
        }
        let name = wanted.object_name();
        let bytes = self.bus.object(streams::COMPONENTS, &name, self.cache.most_bytes()).await?;
        let (cache, wanted) = (Arc::clone(&self.cache), wanted.clone());
        let (done, answer) = oneshot::channel();
        let compile = move || {
            if let Err(error) = idle_class::enter(Priority::Idle) {
                tracing::warn!(%error, "a component is compiled outside the idle class and competes with other programs");
            }
            // Whoever asked may have gone.
            let _ = done.send(cache.load(&wanted, &bytes));
        };
        let thread = std::thread::Builder::new().name("wasm-compile".to_owned());
        thread.spawn(compile).map_err(|error| ComponentError::Thread(error.to_string()))?;
        let loaded = answer.await.map_err(|_| ComponentError::Thread("the thread panicked".to_owned()))?;
        Ok(loaded?)
    }
}
