//! Signals of the main application itself: the latency of its answers, or a number that it tells on the bus.
//!
//! [`estimator`] compares with the time in which nothing was searched; the result goes to the load monitor's
//! [`Slowdown`].

pub mod estimator;
pub mod probe;

use crate::{config::ProbeConfig, load::Slowdown};
use bus_schemas::{WorkerId, latency::Latency, subject::Subject};
use estimator::{Estimator, LIFE_MS};
use nats_adapter::{Bus, Subscription};
use probe::{Answer, InvalidProbe, Probe};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::time::{MissedTickBehavior, interval, timeout};

/// Where a signal goes, and what it needs to know.
#[derive(Debug, Clone)]
pub struct Sink {
    /// The result.
    pub slowdown: Slowdown,
    /// Hundredths of threads that should run now: at zero nothing is searched.
    pub hundredths: Arc<AtomicU32>,
}

struct Signal {
    sink: Sink,
    estimator: Estimator,
    began: Instant,
}

impl Signal {
    fn new(sink: Sink) -> Self {
        Self { sink, estimator: Estimator::default(), began: Instant::now() }
    }

    fn observe(&mut self, latency_us: Option<u64>) {
        let now_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        if let Some(latency_us) = latency_us {
            let searching = self.sink.hundredths.load(Relaxed) > 0;
            self.estimator.observe(latency_us, searching, now_ms);
        }
        self.sink.slowdown.set(self.estimator.percent(now_ms));
    }
}

impl Drop for Signal {
    fn drop(&mut self) {
        self.sink.slowdown.set(None);
    }
}

/// Probes the application for ever; what is asked is dropped with the future.
pub async fn probe(config: ProbeConfig, sink: Sink) -> Result<(), InvalidProbe> {
    let probe = Probe::new(&config.url, config.timeout)?;
    let mut signal = Signal::new(sink);
    let mut ticks = interval(config.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let latency = match probe.ask().await {
            Answer::After(took) => Some(u64::try_from(took.as_micros()).unwrap_or(u64::MAX)),
            Answer::Nobody => None,
        };
        signal.observe(latency);
    }
}

/// The latencies that an application tells.
pub async fn subscribe(bus: &Bus, application: WorkerId) -> Result<Subscription<Latency>, String> {
    bus.subscribe::<Latency>(&Subject::Latency(application)).await.map_err(|error| error.to_string())
}

/// Follows what an application tells until the connection is closed.
pub async fn follow(mut latencies: Subscription<Latency>, sink: Sink) {
    let mut signal = Signal::new(sink);
    loop {
        // Silence must be noticed too: what was told long ago tells nothing.
        match timeout(Duration::from_millis(LIFE_MS / 2), latencies.next()).await {
            Ok(Some(Ok(incoming))) => signal.observe(Some(incoming.message.latency_us)),
            Ok(Some(Err(error))) => {
                tracing::debug!(subject = %error.subject, "a latency cannot be read: {}", error.reason)
            }
            Ok(None) => return,
            Err(_) => signal.observe(None),
        }
    }
}

#[cfg(test)]
mod tests;
