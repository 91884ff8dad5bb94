//! Algorithms that are no part of this program: components from the bucket, by which shares are judged.
//!
//! Which one a pool runs, its configuration says by digest, so what the bucket holds is held against that. Certificates are the
//! hosts' business, where work is done; here it is the sandbox that keeps a component from doing harm.

use crate::judge::natives;
use algorithm_api::Algorithm;
use algorithm_component::{Cache, ComponentAlgorithm, Limits, NotWanted, Sandbox, SandboxError, Wanted};
use bus_schemas::{
    TimestampMs,
    job::{AlgorithmRef, Job},
};
use nats_adapter::{Bus, ObjectError, streams};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::task::spawn_blocking;

/// Most components that are kept: one for each pool and one that it ran before. Of more, the one that was asked for the longest
/// time ago is forgotten.
pub const MAX_COMPONENTS: usize = 2 * coordinator_core::MAX_POOLS;

/// Why there is no component for a pool.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ComponentError {
    #[error("the job names a digest of {0} bytes; a component is named by the 32 bytes of its SHA-256")]
    NoDigest(usize),
    #[error(transparent)]
    Fetch(#[from] ObjectError),
    #[error(transparent)]
    NotWanted(#[from] NotWanted),
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    #[error("it could not be compiled: {0}")]
    Thread(#[from] tokio::task::JoinError),
}

impl ComponentError {
    /// Whether another try may end otherwise without anybody doing something.
    fn is_passing(&self) -> bool {
        matches!(self, Self::Fetch(ObjectError::Timeout(_) | ObjectError::Failed { .. }))
    }
}

/// The components of a coordinator.
#[derive(Debug, Default)]
pub struct Components {
    /// The one that was asked for last stands last.
    kept: Mutex<Vec<(Wanted, Arc<ComponentAlgorithm>)>>,
    /// Made when the first component is wanted: not every host lets code be made.
    cache: Mutex<Option<Arc<Cache>>>,
    /// One is fetched and compiled at a time.
    turn: tokio::sync::Mutex<()>,
}

fn wanted(algorithm: &AlgorithmRef) -> Result<Wanted, ComponentError> {
    let digest = algorithm.digest.0.as_slice();
    let digest = digest.try_into().map_err(|_| ComponentError::NoDigest(digest.len()))?;
    Ok(Wanted { id: algorithm.id.as_str().to_owned(), version: algorithm.version, digest })
}

impl Components {
    /// The component, if it is loaded.
    pub fn loaded(&self, algorithm: &AlgorithmRef) -> Option<Arc<dyn Algorithm>> {
        let wanted = wanted(algorithm).ok()?;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let place = kept.iter().rposition(|(known, _)| *known == wanted)?;
        // Who is asked for share after share stands at the end already.
        if place + 1 < kept.len() {
            kept.get_mut(place..)?.rotate_left(1);
        }
        let (_, component) = kept.last()?;
        Some(Arc::clone(component) as _)
    }

    /// The component; if it is not loaded, it is fetched and compiled.
    pub(crate) async fn obtain(
        &self,
        bus: &Bus,
        algorithm: &AlgorithmRef,
    ) -> Result<Arc<dyn Algorithm>, ComponentError> {
        let wanted = wanted(algorithm)?;
        let _turn = self.turn.lock().await;
        if let Some(component) = self.loaded(algorithm) {
            return Ok(component);
        }
        let most = Limits::default().component_len;
        let bytes = bus.object(streams::COMPONENTS, &wanted.object_name(), most).await?;
        let (cache, name) =
            (self.cache.lock().unwrap_or_else(PoisonError::into_inner).clone(), wanted.clone());
        let compile = move || {
            let new =
                || Ok::<_, SandboxError>(Arc::new(Cache::new(Sandbox::new(Limits::default(), natives())?)));
            let cache = cache.map_or_else(new, Ok)?;
            let component = cache.load(&name, &bytes)?;
            Ok::<_, ComponentError>((cache, Arc::new(component)))
        };
        let (cache, component) = spawn_blocking(compile).await??;
        *self.cache.lock().unwrap_or_else(PoisonError::into_inner) = Some(cache);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_COMPONENTS {
            kept.remove(0);
        }
        kept.push((wanted, Arc::clone(&component)));
        Ok(component as _)
    }

    /// Loads what shares of these jobs are judged by, as far as it is there: shares of another are refused.
    pub(crate) async fn obtain_for(
        &self,
        bus: &Bus,
        jobs: &[(Job, TimestampMs)],
    ) -> Result<(), ComponentError> {
        let mut tried: Vec<&AlgorithmRef> = Vec::new();
        // The latest are the ones of which shares may come.
        for algorithm in jobs.iter().rev().map(|(job, _)| &job.algorithm) {
            if algorithm.digest.0.is_empty() || tried.contains(&algorithm) || tried.len() >= MAX_COMPONENTS {
                continue;
            }
            tried.push(algorithm);
            match self.obtain(bus, algorithm).await {
                Ok(_) => {}
                Err(error) if error.is_passing() => return Err(error),
                Err(error) => {
                    tracing::warn!(algorithm = %algorithm.id, %error, "shares of earlier jobs are refused");
                }
            }
        }
        Ok(())
    }
}
