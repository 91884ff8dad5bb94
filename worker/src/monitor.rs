//! The standalone load monitor: on a host that does not mine, a load balancer for instance, it watches an application or
//! the host itself and orders the search elsewhere to make room.
//!
//! [`orders`] and [`alerts`] decide; here are the bus, the probe and the webhook's HTTP server.

pub mod alerts;
pub mod orders;
pub mod receiver;

use crate::{
    affinity,
    config::Flags,
    load::{sources::Sources, text::Ticks},
    signal::probe::{Answer, InvalidProbe, Probe},
};
use bus_schemas::{
    WorkerId,
    id::InvalidId,
    subject::Subject,
    throttle::{Throttle, ThrottleTarget},
};
use clap::Args;
use nats_adapter::{Bus, BusOptions, ConnectError, Expect, HeaderMap};
use orders::{Damped, Orders, cap_of_share, cap_over_limit, of_alerts};
use receiver::Request;
use std::{
    collections::VecDeque,
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, Instant},
};
use tokio::{net::TcpListener, sync::mpsc, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// How often the application is asked and the host measured.
const MEASURE_INTERVAL: Duration = Duration::from_millis(500);
/// Answers whose median is compared with the limit.
const WINDOW_LEN: usize = 5;
/// An answer is waited for as many times the limit, and at least [`LEAST_TIMEOUT`].
const TIMEOUT_LIMITS: u32 = 4;
const LEAST_TIMEOUT: Duration = Duration::from_secs(1);
/// Requests about alerts that wait for the loop.
const REQUEST_LIMIT: usize = 64;
/// How long a monitor that starts goes on trying to connect.
const CONNECT_PATIENCE: Duration = Duration::from_secs(365 * 24 * 3_600);
/// How long the last orders may take to leave.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);
/// Asks the server to forget an order when it ends.
const TTL_HEADER: &str = "Nats-TTL";

/// What to watch and whom to order.
#[derive(Debug, Clone, Args)]
pub struct MonitorFlags {
    /// Whom the orders concern: farm, pool.<pool>, worker.<worker> or label.<key>.<value>
    #[arg(long)]
    pub target: ThrottleTarget,
    /// Name of this monitor, the source of its orders
    #[arg(long)]
    pub name: String,
    /// Ask this application: http://host:port/path
    #[arg(long, requires = "limit_ms")]
    pub probe: Option<String>,
    /// Latency of the application from which on the search makes room; at twice of it nothing is searched
    #[arg(long, requires = "probe", value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub limit_ms: Option<u64>,
    /// Use of this host from which on the search makes room
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=99))]
    pub demand_percent: Option<u8>,
    /// Take webhooks of Alertmanager at this address, POST /alerts; anyone who reaches it can order
    #[arg(long)]
    pub alerts: Option<SocketAddr>,
}

/// Everything that a monitor needs to start.
#[derive(Debug, Clone)]
pub struct MonitorConfig {
    /// Whom its orders concern.
    pub target: ThrottleTarget,
    /// Its name.
    pub name: WorkerId,
    /// NATS servers.
    pub servers: Vec<String>,
    /// File with the NATS user's JWT and seed.
    pub credentials: Option<PathBuf>,
    /// The application to ask, and the latency from which on the search makes room.
    pub probe: Option<(String, Duration)>,
    /// Use of this host from which on the search makes room, percent.
    pub demand_percent: Option<u8>,
    /// Where webhooks are taken.
    pub alerts: Option<SocketAddr>,
}

/// Why a monitor cannot start with its flags.
#[derive(Debug, thiserror::Error)]
pub enum MonitorConfigError {
    /// Its name is no id.
    #[error("--name {name:?} cannot be used: {source}")]
    Name {
        /// As given.
        name: String,
        /// What is wrong.
        source: InvalidId,
    },
    /// It would watch nothing.
    #[error("nothing is to be watched; give --probe with --limit-ms, --demand-percent or --alerts")]
    Nothing,
}

impl MonitorFlags {
    /// Takes the servers from the worker's flags.
    pub fn config(self, flags: &Flags) -> Result<MonitorConfig, MonitorConfigError> {
        let probe = self.probe.zip(self.limit_ms.map(Duration::from_millis));
        if probe.is_none() && self.demand_percent.is_none() && self.alerts.is_none() {
            return Err(MonitorConfigError::Nothing);
        }
        let name = WorkerId::new(self.name.as_str())
            .map_err(|source| MonitorConfigError::Name { name: self.name, source })?;
        let default = || vec![crate::config::DEFAULT_SERVER.to_owned()];
        Ok(MonitorConfig {
            target: self.target,
            name,
            servers: if flags.servers.is_empty() { default() } else { flags.servers.clone() },
            credentials: flags.credentials.clone(),
            probe,
            demand_percent: self.demand_percent,
            alerts: self.alerts,
        })
    }
}

/// Why a monitor ended or did not start.
#[derive(Debug, thiserror::Error)]
pub enum MonitorError {
    /// The address for webhooks cannot be used.
    #[error(
        "cannot listen on {address}: {source}; choose another --alerts or end the program that listens there"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The application cannot be asked.
    #[error(transparent)]
    Probe(#[from] InvalidProbe),
    /// The login was refused.
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

/// Watches and orders until `shutdown`, and then lifts what it measured. What alerts order stands: they fire still.
pub async fn run(config: MonitorConfig, shutdown: CancellationToken) -> Result<(), MonitorError> {
    let ended = CancellationToken::new();
    let _end = ended.clone().drop_guard();
    let (sender, mut alerts) = mpsc::channel(REQUEST_LIMIT);
    if let Some(address) = config.alerts {
        let listen = |source| MonitorError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let local = listener.local_addr().map_err(listen)?;
        tracing::info!("webhooks of Alertmanager at http://{local}/alerts");
        let served = receiver::serve(listener, config.target.clone(), sender.clone(), ended);
        tokio::spawn(async move {
            if let Err(error) = served.await {
                tracing::error!(%error, "webhooks are not taken any more");
            }
        });
    }
    let measures = Measures::new(&config)?;
    let options = BusOptions {
        credentials: config.credentials.clone(),
        patience: CONNECT_PATIENCE,
        ..BusOptions::new(format!("monitor {}", config.name), config.servers.clone())
    };
    let bus = tokio::select! {
        connected = Bus::connect(options) => connected?,
        () = shutdown.cancelled() => return Ok(()),
    };
    tracing::info!(target = %config.target, name = %config.name, "monitor");
    let mut desk = Desk { config, bus, orders: Orders::default(), began: Instant::now(), measures };
    let mut ticks = tokio::time::interval(MEASURE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            // The sender here keeps the channel open where no webhooks are taken.
            Some(request) = alerts.recv() => desk.take(request).await,
            _ = ticks.tick() => desk.measure().await,
        }
        desk.give().await;
    }
    drop(sender);
    desk.end().await;
    Ok(())
}

struct Measures {
    probe: Option<(Probe, Duration)>,
    answers: VecDeque<u64>,
    latency_cap: Damped,
    sources: Sources,
    ticks: Option<(Instant, Ticks)>,
    demand_cap: Damped,
}

impl Measures {
    fn new(config: &MonitorConfig) -> Result<Self, InvalidProbe> {
        let probe = |(url, limit): &(String, Duration)| {
            let timeout = (*limit * TIMEOUT_LIMITS).max(LEAST_TIMEOUT);
            Probe::new(url, timeout).map(|probe| (probe, *limit))
        };
        Ok(Self {
            probe: config.probe.as_ref().map(probe).transpose()?,
            answers: VecDeque::with_capacity(WINDOW_LEN),
            latency_cap: Damped::default(),
            sources: Sources::open(),
            ticks: None,
            demand_cap: Damped::default(),
        })
    }

    /// Asks once; the cap and its reason.
    async fn latency(&mut self, now_ms: u64) -> Option<(u8, String)> {
        let (probe, limit) = self.probe.as_ref()?;
        match probe.ask().await {
            Answer::After(took) => {
                self.answers.push_back(u64::try_from(took.as_micros()).unwrap_or(u64::MAX))
            }
            // Nobody to make room for.
            Answer::Nobody => self.answers.clear(),
        }
        if self.answers.len() > WINDOW_LEN {
            self.answers.pop_front();
        }
        let mut sorted: Vec<u64> = self.answers.iter().copied().collect();
        sorted.sort_unstable();
        let median = sorted.get(sorted.len() / 2).copied().unwrap_or(0);
        let limit_us = u64::try_from(limit.as_micros()).unwrap_or(u64::MAX);
        let cap = self.latency_cap.follow(cap_over_limit(median, limit_us), now_ms);
        let reason = format!("answers take {} ms, the limit is {} ms", median / 1_000, limit.as_millis());
        Some((cap, reason))
    }

    /// Measures this host; the cap and its reason.
    fn demand(&mut self, engage_percent: u8, now_ms: u64) -> Option<(u8, String)> {
        let (now, ticks) = (Instant::now(), self.sources.ticks()?);
        let (before, old) = self.ticks.replace((now, ticks))?;
        // Of all that are online, not of those that this process may use: the ticks are the whole host's.
        let processors = self.sources.processors().unwrap_or_else(affinity::usable);
        let permille = use_permille(ticks.busy.saturating_sub(old.busy), now - before, processors);
        let cap = cap_of_share(permille, u64::from(engage_percent) * 10);
        let cap = self.demand_cap.follow(cap, now_ms);
        let reason = format!("{} % of this host is used, the limit is {engage_percent} %", permille / 10);
        Some((cap, reason))
    }
}

/// Share of the host that was used, thousandths.
fn use_permille(busy_ticks: u64, within: Duration, processors: u16) -> u64 {
    let ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX).max(1);
    // A tick is 10 ms.
    let busy_ms = busy_ticks.saturating_mul(10);
    let share = busy_ms.saturating_mul(1_000) / ms.saturating_mul(processors.max(1).into()).max(1);
    // Ticks are counted late.
    share.min(1_000)
}

struct Desk {
    config: MonitorConfig,
    bus: Bus,
    orders: Orders,
    began: Instant,
    measures: Measures,
}

impl Desk {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    async fn take(&self, Request { orders, done }: Request) {
        let mut told = Ok(());
        for alert in orders {
            tracing::info!(target = %alert.target, cap_percent = alert.cap, "{}", alert.reason);
            let order = of_alerts(self.config.name.as_str(), &alert);
            told = self.publish(&alert.target, &order).await;
            if told.is_err() {
                break;
            }
        }
        // Whoever asked may be gone.
        let _ = done.send(told);
    }

    async fn measure(&mut self) {
        let now_ms = self.now_ms();
        let latency = self.measures.latency(now_ms).await;
        let demand = self.config.demand_percent.and_then(|percent| self.measures.demand(percent, now_ms));
        for (kind, measured) in [("latency", latency), ("demand", demand)] {
            let Some((cap, reason)) = measured else { continue };
            let source = format!("{}-{kind}", self.config.name);
            self.orders.set(&self.config.target, &source, cap, &reason);
        }
    }

    /// Gives what is due. What the bus does not take stays due.
    async fn give(&mut self) {
        let now_ms = self.now_ms();
        for (target, order) in self.orders.due(now_ms) {
            match self.publish(&target, &order).await {
                Ok(()) => {
                    tracing::debug!(%target, cap_percent = order.cap_percent, source = order.source, "ordered");
                    self.orders.given(&target, &order, now_ms);
                }
                Err(error) => {
                    tracing::warn!("an order is not given and tried again: {error}");
                    return;
                }
            }
        }
    }

    async fn publish(&self, target: &ThrottleTarget, order: &Throttle) -> Result<(), String> {
        use bus_schemas::Message;
        let bytes = order.encode().map_err(|error| error.to_string())?;
        let mut headers = HeaderMap::new();
        headers.insert(TTL_HEADER, order.ttl_seconds.to_string());
        let subject = Subject::Throttle(target.clone());
        let stored = self.bus.publish_bytes_stored(subject, bytes.into(), headers, Expect::None);
        stored.await.map(drop).map_err(|error| error.to_string())
    }

    /// Lifts everything and leaves.
    async fn end(mut self) {
        self.orders.lift_all();
        if tokio::time::timeout(FLUSH_LIMIT, self.give()).await.is_err() {
            tracing::warn!("orders may stand until they end by themselves");
        }
        self.bus.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_use_of_a_host_is_told_of_all_its_processors() {
        let second = Duration::from_secs(1);
        for (busy, processors, wanted) in [
            (0, 2, 0),
            (100, 2, 500),
            (200, 2, 1_000),
            (3_200, 32, 1_000),
            (100, 1, 1_000),
            (210, 2, 1_000),
            (100, 0, 1_000),
        ] {
            assert_eq!(use_permille(busy, second, processors), wanted, "{busy} {processors}");
        }
        assert_eq!(use_permille(u64::MAX, Duration::ZERO, 1), 1_000);
    }
}
