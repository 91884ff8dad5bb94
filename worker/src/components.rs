//! Algorithms that come over the bus: fetched by digest, permitted before anything is looked at, compiled without haste.
//!
//! A search thread only ever asks [`Components::loaded`]; [`Components::obtain`] is for a task, before the job is handed to a thread.

use crate::{algorithms::MEMORY_HARD_FROM, certificates::Certificates, idle_class};
use algorithm_api::Algorithm;
use algorithm_component::{Cache, ComponentAlgorithm, Limits, NotWanted, Sandbox, SandboxError, Wanted};
use bus_schemas::{job::AlgorithmRef, policy::Priority};
use certification::{Digest, Subject};
use nats_adapter::{Bus, ObjectError, streams};
use std::{
    fmt,
    ops::RangeInclusive,
    sync::{Arc, Mutex as BlockingMutex, MutexGuard, PoisonError},
};
use tokio::{
    sync::{Mutex, mpsc, oneshot},
    task::spawn_blocking,
};
use worker_core::{Denied, Input, Offered};

/// Code of a component that cannot be fetched.
const UNAVAILABLE: &str = "component-unavailable";
/// Code of a component that is not what the job names, or that does not work here.
const UNUSABLE: &str = "component-unusable";
/// The codes that are given here.
pub const CODES: [&str; 2] = [UNAVAILABLE, UNUSABLE];
/// Length of what a component is to report, in bytes: the nonce of a share.
const FINDING_LEN: usize = 4;

/// Says whether a component may run here now, and why not: the host's register of certificates.
pub type Permitted = Arc<dyn Fn(&Wanted) -> Result<(), Denied> + Send + Sync>;

/// Gives what was loaded for a job.
pub type Loaded = Arc<dyn Fn(&AlgorithmRef) -> Option<ComponentAlgorithm> + Send + Sync>;

/// Why there is no component for a job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ComponentError {
    /// The job names no digest, or something else than 32 bytes.
    #[error("the job names a digest of {0} bytes; a component is named by the 32 bytes of its SHA-256")]
    NoDigest(usize),
    /// It may not run here.
    #[error("the component may not run here: {reason}", reason = .0.reason)]
    NotPermitted(Denied),
    /// It cannot be fetched.
    #[error(transparent)]
    Fetch(#[from] ObjectError),
    /// It is not what is wanted, or cannot be loaded.
    #[error(transparent)]
    NotWanted(#[from] NotWanted),
    /// There are no components on this host.
    #[error("{0}")]
    Sandbox(String),
    /// It finds something else than nonces.
    #[error("the component reports {} to {} bytes a finding, a share has a nonce of {FINDING_LEN}", .0.start(), .0.end())]
    Findings(RangeInclusive<usize>),
    /// The thread that compiles did not start, or panicked.
    #[error("it could not be compiled: {0}")]
    Thread(String),
}

impl From<SandboxError> for ComponentError {
    fn from(error: SandboxError) -> Self {
        Self::Sandbox(error.to_string())
    }
}

impl From<ComponentError> for Denied {
    fn from(error: ComponentError) -> Self {
        let code = match error {
            ComponentError::NotPermitted(denied) => return denied,
            ComponentError::Fetch(_) => UNAVAILABLE,
            _ => UNUSABLE,
        };
        Self { code, reason: error.to_string() }
    }
}

/// The components of this worker.
pub struct Components {
    bus: Bus,
    limits: Limits,
    permitted: Permitted,
    held: BlockingMutex<Held>,
    /// One is fetched and compiled at a time.
    turn: Mutex<()>,
}

#[derive(Default)]
struct Held {
    /// Native algorithms that components may call.
    kernels: Vec<&'static dyn Algorithm>,
    /// Made when the first component is wanted: not every host lets code be made.
    cache: Option<Arc<Cache>>,
}

impl fmt::Debug for Components {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Components").field("cache", &self.held().cache).finish_non_exhaustive()
    }
}

/// What a job wants, if it names a component.
pub fn wanted(algorithm: &AlgorithmRef) -> Result<Wanted, ComponentError> {
    let digest = algorithm.digest.0.as_slice();
    let digest = digest.try_into().map_err(|_| ComponentError::NoDigest(digest.len()))?;
    Ok(Wanted { id: algorithm.id.as_str().to_owned(), version: algorithm.version, digest })
}

/// What the certificates of a component are about.
pub fn subject(wanted: &Wanted) -> Subject {
    let Wanted { id, version, digest } = wanted.clone();
    Subject::Component { id, version, artifact_sha256: Digest::from_bytes(digest) }
}

impl Components {
    /// No component is loaded yet, and there are no kernels.
    pub fn new(bus: Bus, limits: Limits, permitted: Permitted) -> Self {
        Self { bus, limits, permitted, held: BlockingMutex::default(), turn: Mutex::default() }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on components may call these native algorithms and no others. What was loaded with others is forgotten; a unit
    /// that is being searched with it goes on to its end.
    pub fn offer_kernels(&self, kernels: Vec<&'static dyn Algorithm>) {
        let mut held = self.held();
        if !held.kernels.iter().map(|k| k.descriptor()).eq(kernels.iter().map(|k| k.descriptor())) {
            *held = Held { kernels, cache: None };
        }
    }

    /// The component, if it is loaded and still permitted. Quick: for a search thread that begins a unit.
    pub fn loaded(&self, wanted: &Wanted) -> Option<ComponentAlgorithm> {
        let cache = self.held().cache.clone()?;
        if (self.permitted)(wanted).is_err() {
            cache.forget(&wanted.digest);
            return None;
        }
        cache.get(wanted)
    }

    /// [`Components::loaded`] for the search threads.
    pub fn loader(self: &Arc<Self>) -> Loaded {
        let components = Arc::clone(self);
        Arc::new(move |algorithm| components.loaded(&wanted(algorithm).ok()?))
    }

    /// The component; if it is not loaded, it is fetched from the bucket and compiled by a thread of the idle class.
    pub async fn obtain(&self, wanted: &Wanted) -> Result<ComponentAlgorithm, ComponentError> {
        let thread = |error: tokio::task::JoinError| ComponentError::Thread(error.to_string());
        let (permitted, asked) = (Arc::clone(&self.permitted), wanted.clone());
        // Signatures take their time.
        let judged = spawn_blocking(move || permitted(&asked)).await.map_err(thread)?;
        judged.map_err(ComponentError::NotPermitted)?;
        let _turn = self.turn.lock().await;
        let cache = self.cache().await?;
        if let Some(component) = cache.get(wanted) {
            return Ok(component);
        }
        let name = wanted.object_name();
        let bytes = self.bus.object(streams::COMPONENTS, &name, self.limits.component_len).await?;
        let wanted = wanted.clone();
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

    /// The cache over a sandbox with the kernels of now.
    async fn cache(&self) -> Result<Arc<Cache>, ComponentError> {
        let (kernels, cache) = {
            let held = self.held();
            (held.kernels.clone(), held.cache.clone())
        };
        if let Some(cache) = cache {
            return Ok(cache);
        }
        let limits = self.limits;
        // Not in the idle class: the thread that interrupts inherits it.
        let (kernels, made) =
            spawn_blocking(move || Sandbox::new(limits, &kernels).map(|sandbox| (kernels, sandbox)))
                .await
                .map_err(|error| ComponentError::Thread(error.to_string()))??;
        let cache = Arc::new(Cache::new(made));
        let mut held = self.held();
        if held.kernels.iter().map(|k| k.descriptor()).eq(kernels.iter().map(|k| k.descriptor())) {
            held.cache = Some(Arc::clone(&cache));
        }
        Ok(cache)
    }
}

/// Obtains what a job wants, has its certificates judged from now on, and tells the core.
pub async fn answer(
    components: Arc<Components>,
    certificates: Certificates,
    algorithm: AlgorithmRef,
    inputs: mpsc::Sender<Input>,
) {
    let input = match offered(&components, &certificates, &algorithm).await {
        Ok(offered) => Input::AlgorithmObtained(offered),
        Err(error) => Input::AlgorithmDenied { algorithm, denied: error.into() },
    };
    // The loop that is gone wants no news.
    let _ = inputs.send(input).await;
}

async fn offered(
    components: &Components,
    certificates: &Certificates,
    algorithm: &AlgorithmRef,
) -> Result<Offered, ComponentError> {
    let wanted = wanted(algorithm)?;
    let component = components.obtain(&wanted).await?;
    let descriptor = component.descriptor();
    if descriptor.finding_len != (FINDING_LEN..=FINDING_LEN) {
        return Err(ComponentError::Findings(descriptor.finding_len.clone()));
    }
    // Only what is permitted is watched, so that nobody fills the list with names.
    let denied = |denial: crate::certificates::Denial| ComponentError::NotPermitted(denial.into());
    certificates.watch(subject(&wanted)).await.map_err(denied)?;
    let AlgorithmRef { id, version, digest } = algorithm.clone();
    let memory_hard = descriptor.memory_bytes_per_thread >= MEMORY_HARD_FROM;
    Ok(Offered { id, version, digest, memory_hard })
}
