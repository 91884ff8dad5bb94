//! The host around the search: its load monitor, the scheduling group and processors of the search threads, the veto.

use crate::{
    config::{self, Config, ProbeConfig},
    group::{MemoryLimit, SearchGroup, share::Weight},
    load::{Report, Sampler, Slowdown, Watched},
    placement::Placement,
    search::{SearchPool, Settle},
    signal::{self, Sink},
    veto,
};
use bus_schemas::WorkerId;
use nats_adapter::Bus;
use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicU32},
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::MissedTickBehavior,
};
use worker_core::{GroupReport, Input};

/// Reports of the load monitor that wait for the loop; samples that find no room are dropped and counted.
const REPORT_LIMIT: usize = 64;
/// Processors that stay free of search threads on a host with many: a place to land on for the main application.
pub const BUFFER_PROCESSORS: usize = 1;
/// Time between two looks at what the search's group gets.
const CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// Time between two looks at the processors that there are.
const PROCESSORS_INTERVAL: Duration = Duration::from_secs(2);

/// The application's latency cannot be followed.
#[derive(Debug, thiserror::Error)]
#[error("cannot follow the latency of {application}: {reason}; check the connection and the permissions")]
pub struct SignalFailed {
    /// Whose.
    pub application: WorkerId,
    /// What the client said.
    pub reason: String,
}

/// See the module's documentation. Dropped, the monitor ends and the group is removed.
#[derive(Debug)]
pub struct Surroundings {
    /// Hundredths of threads that should run now.
    pub hundredths: Arc<AtomicU32>,
    /// The main application's own signal.
    pub slowdown: Slowdown,
    group: Arc<SearchGroup>,
    sampler: Option<Sampler>,
    placement: Arc<Placement>,
    /// Search threads as the processors allow them, where the administrator chose no number.
    follow_processors: Option<u16>,
    _memory: Option<MemoryLimit>,
}

impl Surroundings {
    /// Makes the group and chooses the processors.
    pub fn new(config: &Config) -> Self {
        let group = Arc::new(SearchGroup::open(&config.group, Weight::Idle));
        let memory = config.max_memory_mib.map(MemoryLimit::set);
        if let Some(memory) = &memory {
            tracing::info!(limited = memory.limited, "memory: {}", memory.detail);
        }
        let placement = Placement::new(config.pin, config.max_threads, BUFFER_PROCESSORS);
        Self {
            hundredths: Arc::default(),
            slowdown: Slowdown::default(),
            group,
            sampler: None,
            placement: Arc::new(placement),
            follow_processors: config.follow_processors.then_some(config.max_threads),
            _memory: memory,
        }
    }

    /// What each search thread does when it begins: it moves into the group and onto its processor.
    pub fn settle(&self) -> Settle {
        let (group, placement) = (Arc::clone(&self.group), Arc::clone(&self.placement));
        Arc::new(move |index| {
            let tid = nix::unistd::gettid().as_raw();
            if let Err(error) = group.add(tid) {
                tracing::warn!(%error, "a search thread is not in its group");
            }
            placement.settle(index, tid);
        })
    }

    /// Starts to watch: what is found becomes inputs. What is returned ends with the load monitor: without it nothing may be
    /// searched, so the worker ends too and is started again by its host.
    pub fn watch(
        &mut self,
        search: &SearchPool,
        veto_file: PathBuf,
        inputs: &mpsc::Sender<Input>,
        tasks: &mut JoinSet<()>,
    ) -> std::io::Result<oneshot::Receiver<()>> {
        let (gone, ended) = oneshot::channel();
        let (reports, mut told) = mpsc::channel(REPORT_LIMIT);
        let watched = Watched {
            threads: search.ids(),
            hundredths: Arc::clone(&self.hundredths),
            slowdown: self.slowdown.clone(),
            veto: Some(veto::Watch::new(veto_file)),
        };
        self.sampler = Some(Sampler::start(watched, reports)?);
        let sender = inputs.clone();
        tasks.spawn(async move {
            let _gone = gone;
            while let Some(report) = told.recv().await {
                let input = match report {
                    Report::Load(sample) => Input::Load(sample),
                    Report::Veto(veto) => Input::Veto(veto),
                };
                if sender.send(input).await.is_err() {
                    return;
                }
            }
        });
        tasks.spawn(self.follow_processors(search, inputs.clone()));
        let (group, sender) = (Arc::clone(&self.group), inputs.clone());
        tasks.spawn(async move {
            let mut checks = tokio::time::interval(CHECK_INTERVAL);
            checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                checks.tick().await;
                let crate::group::GroupReport { gentle, idle, share_permille, detail } = group.check();
                let report = GroupReport { gentle, idle, share_permille, detail };
                if sender.send(Input::Group(report)).await.is_err() {
                    return;
                }
            }
        });
        Ok(ended)
    }

    /// Looks every two seconds whether processors came or went: threads move, and there are as many as processors where the
    /// administrator chose no number.
    fn follow_processors(
        &self,
        search: &SearchPool,
        inputs: mpsc::Sender<Input>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (placement, threads, lookout) = (Arc::clone(&self.placement), search.ids(), search.lookout());
        let mut known = self.follow_processors;
        async move {
            let mut looks = tokio::time::interval(PROCESSORS_INTERVAL);
            looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                looks.tick().await;
                lookout.count_processors();
                if placement.follow(&threads) {
                    tracing::info!(
                        "the processors of this process are others now; search threads have moved"
                    );
                }
                let now = config::processors();
                if known.is_some_and(|known| known != now) {
                    known = Some(now);
                    tracing::info!(threads = now, "search threads follow the processors of this process");
                    if inputs.send(Input::HostThreads(now)).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Follows the main application's own signal: the probe if one is configured, else what it tells on the bus.
    pub async fn listen(
        &self,
        bus: &Bus,
        probe: Option<ProbeConfig>,
        application: Option<WorkerId>,
        tasks: &mut JoinSet<()>,
    ) -> Result<(), SignalFailed> {
        let sink = Sink { slowdown: self.slowdown.clone(), hundredths: Arc::clone(&self.hundredths) };
        if let Some(probe) = probe {
            tasks.spawn(async move {
                if let Err(error) = signal::probe(probe, sink).await {
                    tracing::error!(%error, "the application is not probed");
                }
            });
        } else if let Some(application) = application {
            let told = signal::subscribe(bus, application.clone()).await;
            let told = told.map_err(|reason| SignalFailed { application, reason })?;
            tasks.spawn(signal::follow(told, sink));
        }
        Ok(())
    }

    /// What the load monitor counts of itself.
    pub fn sampler(&self) -> Option<&Sampler> {
        self.sampler.as_ref()
    }
}
