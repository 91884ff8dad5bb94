//! The job source of a pool.

use super::Context;
use crate::{chain_log::StreamLog, components::ComponentError, judge};
use algorithm_api::context::{ContextError, Mode, Progress, Seeded};
use bus_schemas::{
    AlgorithmId, Blob, Hash32,
    config::{NodeEndpoint, PoolConfig, SourceConfig},
    job::{AlgorithmRef, WorkUnit},
};
use coordinator_core::{PoolInput, Template};
use job_sources::{
    JobSource, Limits, NodeAddress, Proposal, SourceError,
    embedded::{EmbeddedSource, Params, Proof},
    gbt::GbtSource,
    monero::MoneroSource,
};
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

/// Pause after a failed attempt.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Pause after a template that was stale when it was proposed.
const STALE_PAUSE: Duration = Duration::from_millis(20);

/// The source in use, for whoever has a block.
pub(crate) type Current = Option<Arc<dyn JobSource>>;

/// Why a source cannot be used; the text goes into an event.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(
        "no algorithm {0} is known here; known are sha256d, scrypt-1024-1-1, blake3 and randomx-v1, and what the pool names as its component"
    )]
    Algorithm(AlgorithmId),
    #[error("the node's credentials {0:?} are not in the coordinator's host file")]
    Credentials(String),
    #[error(transparent)]
    Component(#[from] ComponentError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("the proposed block would be refused: {0}")]
    Proposal(String),
    #[error(
        "{0} does not search what this source hands out; randomx-v1 goes with the source monero, the others with the rest"
    )]
    OtherWork(AlgorithmId),
    #[error("what shares are judged with cannot be prepared: {0}")]
    Context(#[from] ContextError),
    #[error("what shares are judged with cannot be prepared: {0}; this is a defect of the algorithm")]
    Preparation(#[from] tokio::task::JoinError),
}

/// Offers templates to the core until the pool is given up.
pub(crate) async fn run(
    context: Context,
    mut configs: watch::Receiver<PoolConfig>,
    current: watch::Sender<Current>,
) {
    loop {
        let config = configs.borrow_and_update().clone();
        tokio::select! {
            () = follow(&context, &config, &current) => return,
            changed = configs.changed() => if changed.is_err() { return },
        }
        current.send_replace(None);
    }
}

/// Ends only when nobody listens.
async fn follow(context: &Context, config: &PoolConfig, current: &watch::Sender<Current>) {
    let (algorithm, source) = loop {
        match open(context, config).await {
            Ok(opened) => break opened,
            Err(trouble) => {
                if !pause(context, &trouble).await {
                    return;
                }
            }
        }
    };
    current.send_replace(Some(source.clone()));
    let refresh = Duration::from_millis(config.job_refresh_ms.into());
    let mut after: Option<job_sources::Template> = None;
    loop {
        // Asked anew at the refresh, so that the header's time goes on though nothing else changed.
        let asked = tokio::time::timeout(refresh, source.template(after.as_ref())).await;
        let Ok(answer) = asked else {
            after = None;
            continue;
        };
        let offered = match answer {
            Ok(template) => offer(&*source, &template, &algorithm).await.map(|offered| (offered, template)),
            Err(error) => Err(error.into()),
        };
        let goes_on = match offered {
            Ok((Some(offered), template)) => {
                after = Some(template);
                context.tell(PoolInput::Template(Box::new(offered))).await
            }
            Ok((None, _)) => {
                // The node moved on between two calls; one that keeps saying so must not be asked without pause.
                after = None;
                tokio::time::sleep(STALE_PAUSE).await;
                true
            }
            Err(trouble) => pause(context, &trouble).await,
        };
        if !goes_on {
            return;
        }
    }
}

async fn pause(context: &Context, trouble: &Trouble) -> bool {
    tracing::warn!(pool = %context.pool, error = %trouble, "no template");
    let goes_on = context.tell(PoolInput::SourceFailed(trouble.to_string())).await;
    tokio::time::sleep(RETRY_PAUSE).await;
    goes_on
}

/// The template for the core, `None` when its node says that it is stale already.
async fn offer(
    source: &dyn JobSource,
    template: &job_sources::Template,
    algorithm: &AlgorithmRef,
) -> Result<Option<Template>, Trouble> {
    if template.proposals {
        match source.propose(template).await? {
            Proposal::Valid | Proposal::Unsupported => {}
            Proposal::Stale => return Ok(None),
            Proposal::Refused { reason } => return Err(Trouble::Proposal(reason)),
        }
    }
    let work = template.assembly.work();
    if algorithm.digest.0.is_empty() {
        prepare(&algorithm.id, &work).await?;
    }
    let assembly = template.assembly.to_bytes().map_err(SourceError::from)?;
    Ok(Some(Template {
        algorithm: algorithm.clone(),
        work,
        network_target: template.network_target,
        height: template.assembly.height(),
        assembly: Blob(assembly),
    }))
}

/// Makes ready what shares of this work are judged with before there are any: the seed's context now, the next seed's
/// behind it.
async fn prepare(id: &AlgorithmId, work: &WorkUnit) -> Result<(), Trouble> {
    let seeded = judge::algorithm(id).and_then(|algorithm| algorithm.seeded());
    match (seeded, work.seeds()) {
        (None, None) => Ok(()),
        (Some(seeded), Some((seed, next))) => {
            ready(seeded, *seed).await?;
            if let Some(next) = next.copied() {
                tokio::spawn(async move {
                    if let Err(error) = ready(seeded, next).await {
                        tracing::warn!(%error, "the next seed is prepared when its time has come");
                    }
                });
            }
            Ok(())
        }
        _ => Err(Trouble::OtherWork(id.clone())),
    }
}

/// Prepares a light context, which the algorithm keeps; at once when it is there.
async fn ready(seeded: &'static dyn Seeded, seed: Hash32) -> Result<(), Trouble> {
    let prepare = move || -> Result<(), ContextError> {
        let context = seeded.begin(&seed.0, Mode::Light)?;
        while context.advance() != Progress::Ready {
            // Another thread is at it.
            std::thread::park_timeout(STALE_PAUSE);
        }
        Ok(())
    };
    Ok(tokio::task::spawn_blocking(prepare).await??)
}

/// What a pool runs, as jobs name it, and the proof of work by which its shares are judged.
async fn algorithm(context: &Context, config: &PoolConfig) -> Result<(AlgorithmRef, Proof), Trouble> {
    if let Some(wanted) = config.component_algorithm() {
        let component = context.components.obtain(&context.bus, &wanted).await?;
        return Ok((wanted, Proof::Loaded(component)));
    }
    let id = config.algorithm.clone();
    let native = judge::algorithm(&id).ok_or_else(|| Trouble::Algorithm(id.clone()))?;
    let version = native.descriptor().version;
    Ok((AlgorithmRef { id, version, digest: Blob::default() }, Proof::Native(native)))
}

/// The source, and how its jobs name their algorithm.
async fn open(context: &Context, config: &PoolConfig) -> Result<(AlgorithmRef, Arc<dyn JobSource>), Trouble> {
    let (wanted, algorithm) = algorithm(context, config).await?;
    let source: Arc<dyn JobSource> = match &config.source {
        SourceConfig::Embedded(chain) => {
            let log = StreamLog::new(context.bus.clone(), context.pool.clone());
            Arc::new(EmbeddedSource::open(Params { algorithm, config: chain.clone() }, log).await?)
        }
        SourceConfig::GetBlockTemplate(nodes) => {
            let addresses = addresses(context, &nodes.nodes)?;
            Arc::new(GbtSource::new(nodes, addresses, Limits::default())?)
        }
        SourceConfig::Monero(nodes) => {
            let addresses = addresses(context, &nodes.nodes)?;
            Arc::new(MoneroSource::new(nodes, addresses, Limits::default())?)
        }
    };
    Ok((wanted, source))
}

/// The nodes with what lies about them in the host's file.
fn addresses(context: &Context, nodes: &[NodeEndpoint]) -> Result<Vec<NodeAddress>, Trouble> {
    let address = |node: &NodeEndpoint| {
        let known = |name: &String| {
            let known = context.credentials.get(name).cloned();
            known.ok_or_else(|| Trouble::Credentials(name.clone()))
        };
        let credentials = node.credentials.as_ref().map(known).transpose()?;
        Ok(NodeAddress { url: node.url.clone(), credentials })
    };
    nodes.iter().map(address).collect()
}
