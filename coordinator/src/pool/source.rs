//! The job source of a pool.

use super::{
    Context,
    origin::{ENVELOPE_LEN, Origin},
};
use crate::{chain_log::StreamLog, components::ComponentError, judge};
use algorithm_api::context::{ContextError, Mode, Progress, Seeded};
use bus_schemas::{
    AlgorithmId, Blob, Hash32,
    config::{NodeEndpoint, PoolConfig, SourceConfig},
    job::{AlgorithmRef, WorkUnit},
    node_status::NodeStatus,
};
use coordinator_core::{NodeFacts, PoolInput, Template};
use job_sources::{
    JobSource, Limits, NodeAddress, NodeHealth, Proposal, SourceError,
    embedded::{EmbeddedSource, Params, Proof},
    gbt::GbtSource,
    monero::MoneroSource,
};
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

/// Pause after a failed attempt.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Time between two looks at how the nodes do.
const HEALTH_INTERVAL: Duration = Duration::from_secs(1);

/// Pause after a template that was stale when it was proposed.
const STALE_PAUSE: Duration = Duration::from_millis(20);

/// How long a source is left alone whose templates the bus cannot hold.
const TOO_LARGE_PAUSE: Duration = Duration::from_secs(10);

/// A source that was opened.
#[derive(Clone)]
pub(crate) struct Opened {
    /// As it is configured.
    pub(crate) config: Arc<SourceConfig>,
    /// Where blocks go.
    pub(crate) source: Arc<dyn JobSource>,
}

/// The source in use, for whoever has a block.
pub(crate) type Current = Option<Opened>;

/// Why a source cannot be used; the text goes into an event.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
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
    #[error("the embedded chain has no nodes")]
    NoNodes,
    #[error("the template cannot be written: {0}")]
    Origin(#[from] super::origin::OriginError),
    #[error("what shares are judged with cannot be prepared: {0}")]
    Context(#[from] ContextError),
    #[error(
        "a block of this template takes {bytes} bytes and the NATS server carries {max}; raise max_payload in its configuration"
    )]
    TooLarge { bytes: usize, max: usize },
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
        let pace = configs.clone();
        let ended = tokio::select! {
            () = follow(&context, &config, pace, &current) => true,
            changed = another(&mut configs, &config) => !changed,
        };
        if let Some(former) = current.send_replace(None) {
            former.source.rest();
        }
        if ended {
            return;
        }
    }
}

/// Waits for a configuration with another source; `false` when there will be none.
async fn another(configs: &mut watch::Receiver<PoolConfig>, config: &PoolConfig) -> bool {
    loop {
        if configs.changed().await.is_err() {
            return false;
        }
        let new = configs.borrow_and_update();
        if (&new.source, &new.algorithm, &new.component)
            != (&config.source, &config.algorithm, &config.component)
        {
            return true;
        }
    }
}

/// Ends only when nobody listens. `pace` tells how often a job is renewed.
async fn follow(
    context: &Context,
    config: &PoolConfig,
    mut pace: watch::Receiver<PoolConfig>,
    current: &watch::Sender<Current>,
) {
    let (algorithm, opened) = loop {
        match open(context, config).await {
            Ok(opened) => break opened,
            Err(trouble) => {
                if !pause(context, &trouble).await {
                    return;
                }
            }
        }
    };
    current.send_replace(Some(opened.clone()));
    let source = opened.source;
    let mut after: Option<job_sources::Template> = None;
    loop {
        let refresh = Duration::from_millis(pace.borrow_and_update().job_refresh_ms.into());
        // Asked anew at the refresh, so that the header's time goes on though nothing else changed.
        let asked = tokio::select! {
            asked = tokio::time::timeout(refresh, source.template(after.as_ref())) => asked,
            changed = pace.changed() => if changed.is_err() { return } else { continue },
        };
        let Ok(answer) = asked else {
            after = None;
            continue;
        };
        let offered = match answer {
            Ok(template) => {
                let offered = offer(context, &opened.config, &*source, &template, &algorithm).await;
                offered.map(|offered| (offered, template))
            }
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

/// Tells the core how the nodes do, until nobody listens.
pub(crate) async fn watch_nodes(context: Context, current: watch::Receiver<Current>) {
    let mut ticks = tokio::time::interval(HEALTH_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(opened) = current.borrow().clone() else { continue };
        let facts = opened.source.health().into_iter().map(facts).collect();
        if !context.tell(PoolInput::Nodes(facts)).await {
            return;
        }
    }
}

fn facts(health: NodeHealth) -> NodeFacts {
    let NodeHealth { node, last_error, standing, height, answered_ago, behind, .. } = health;
    let answered_ms_ago = answered_ago.map(|ago| ago.as_millis().try_into().unwrap_or(u64::MAX));
    NodeFacts { status: NodeStatus { node, standing, height, answered_ms_ago, last_error }, behind }
}

async fn pause(context: &Context, trouble: &Trouble) -> bool {
    // Once for each state in an event; here only for those who look closely.
    tracing::debug!(pool = %context.pool, error = %trouble, "no template");
    let goes_on = context.tell(PoolInput::SourceFailed(trouble.to_string())).await;
    let pause = if matches!(trouble, Trouble::TooLarge { .. }) { TOO_LARGE_PAUSE } else { RETRY_PAUSE };
    tokio::time::sleep(pause).await;
    goes_on
}

/// The template for the core, `None` when its node says that it is stale already.
async fn offer(
    context: &Context,
    config: &Arc<SourceConfig>,
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
    let assembly = Origin { source: (**config).clone(), assembly: Blob(assembly) }.to_bytes()?;
    let (bytes, max) = (assembly.len() + ENVELOPE_LEN, context.bus.max_payload());
    if bytes > max {
        return Err(Trouble::TooLarge { bytes, max });
    }
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
async fn open(context: &Context, config: &PoolConfig) -> Result<(AlgorithmRef, Opened), Trouble> {
    let (wanted, algorithm) = algorithm(context, config).await?;
    let source = match &config.source {
        SourceConfig::Embedded(chain) => {
            let log = StreamLog::new(context.clone());
            Arc::new(EmbeddedSource::open(Params { algorithm, config: chain.clone() }, log).await?)
        }
        nodes => open_nodes(context, nodes)?,
    };
    Ok((wanted, Opened { config: Arc::new(config.source.clone()), source }))
}

/// A source of nodes; nothing is asked of them yet.
pub(crate) fn open_nodes(context: &Context, config: &SourceConfig) -> Result<Arc<dyn JobSource>, Trouble> {
    Ok(match config {
        SourceConfig::GetBlockTemplate(nodes) => {
            let source = GbtSource::new(nodes, addresses(context, &nodes.nodes)?, Limits::default())?;
            Arc::new(source.remembering(context.abandoned.clone()))
        }
        SourceConfig::Monero(nodes) => {
            Arc::new(MoneroSource::new(nodes, addresses(context, &nodes.nodes)?, Limits::default())?)
        }
        SourceConfig::Embedded(_) => return Err(Trouble::NoNodes),
    })
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
