//! Whether the store of the bus takes what is written: which stream has refused or not answered, since when, and what
//! mends it.

use bus_schemas::event::EventData;
use coordinator_core::Input;
use nats_adapter::{Bus, KvError, LinkState, PublishError, streams};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

use crate::{health::Health, metrics::Metrics};

/// A stream that takes nothing for this long is told to fail.
pub(crate) const FAILING_AFTER: Duration = Duration::from_secs(3);
/// A stream that nothing was written to for this long after a failure is no longer known to fail.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(120);
/// A bucket that can be written again from memory is made anew after it took nothing for this long.
pub(crate) const REMADE_AFTER: Duration = Duration::from_secs(12);
/// Time between two looks.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Buckets that hold nothing which their writers do not write again within seconds.
const REMAKABLE: [&str; 2] = [streams::KV_LEASES, streams::KV_STATUS];

#[derive(Debug, Clone)]
struct Failing {
    since: Instant,
    last: Instant,
    reason: String,
    /// No answer came although there is a connection: so a server behaves whose disk was full when it wrote last.
    silent: bool,
    told: bool,
    remade: Option<Instant>,
}

/// What is known of each stream. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stores(Arc<Mutex<BTreeMap<String, Failing>>>);

impl Stores {
    fn inner(&self) -> MutexGuard<'_, BTreeMap<String, Failing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The stream took a message.
    pub(crate) fn stored(&self, stream: &str) {
        let mut inner = self.inner();
        if let Some(failing) = inner.get_mut(stream) {
            failing.reason.clear();
        }
    }

    /// The stream did not take a message.
    pub(crate) fn failed(&self, stream: &str, error: &PublishError) {
        let silent = match error {
            PublishError::Timeout { .. } => true,
            PublishError::Refused { .. } | PublishError::NoStream { .. } => false,
            // Says nothing of the store.
            _ => return,
        };
        let now = Instant::now();
        let mut inner = self.inner();
        let failing = inner.entry(stream.to_owned()).or_insert_with(|| Failing {
            since: now,
            last: now,
            reason: String::new(),
            silent,
            told: false,
            remade: None,
        });
        (failing.last, failing.silent, failing.reason) = (now, silent, error.to_string());
    }

    /// What came of an attempt to write.
    pub(crate) fn note<T>(&self, stream: &str, result: &Result<T, PublishError>) {
        match result {
            Ok(_) => self.stored(stream),
            Err(error) => self.failed(stream, error),
        }
    }

    /// What came of an attempt to write to a bucket.
    pub(crate) fn note_kv<T>(&self, stream: &str, result: &Result<T, KvError>) {
        match result {
            Ok(_) | Err(KvError::RevisionMismatch { .. }) => self.stored(stream),
            Err(KvError::Publish(error)) => self.failed(stream, error),
            Err(_) => {}
        }
    }
}

/// What mends a stream that takes nothing.
fn repair(stream: &str, silent: bool) -> String {
    if silent {
        format!(
            "free space on the server's disk; a stream that met a full disk takes nothing until the server is started again \
             (systemctl restart nats-server) or it is restored: nats stream backup {stream} /var/tmp/{stream} && \
             nats stream rm {stream} -f && nats stream restore /var/tmp/{stream}"
        )
    } else {
        format!(
            "free space: nats stream report shows who uses it; then raise max_file_store in the server's file, or the limit of \
             the stream: nats stream edit {stream} --max-bytes=…"
        )
    }
}

/// What to tell and to do about one stream after a look at it.
#[derive(Debug, PartialEq, Eq)]
enum Finding {
    Nothing,
    Failing,
    Recovered,
    Forgotten,
}

fn look(failing: &Failing, now: Instant) -> Finding {
    if failing.reason.is_empty() {
        return Finding::Recovered;
    }
    if now.saturating_duration_since(failing.last) > FORGOTTEN_AFTER {
        return Finding::Forgotten;
    }
    if now.saturating_duration_since(failing.since) >= FAILING_AFTER {
        Finding::Failing
    } else {
        Finding::Nothing
    }
}

/// Looks after the streams: tells what fails and what recovers, and makes anew what can be.
pub(crate) async fn watch(
    bus: Bus,
    stores: Stores,
    replicas: usize,
    (health, metrics): (Health, Arc<Metrics>),
    inputs: mpsc::Sender<Input>,
) {
    let mut interval = tokio::time::interval(LOOK_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let known: Vec<_> = stores.inner().iter().map(|(name, f)| (name.clone(), f.clone())).collect();
        for (stream, failing) in known {
            let now = Instant::now();
            let age = now.saturating_duration_since(failing.since);
            let ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
            let key = format!("store-{stream}");
            let event = match look(&failing, now) {
                Finding::Nothing => continue,
                Finding::Failing => {
                    let seconds = age.as_secs();
                    health
                        .bad(&key, format!("{stream} takes no messages for {seconds} s: {}", failing.reason));
                    metrics.store_failing(&stream, true);
                    remake(&bus, &stores, &stream, &failing, replicas).await;
                    if failing.told {
                        continue;
                    }
                    if let Some(failing) = stores.inner().get_mut(&stream) {
                        failing.told = true;
                    }
                    let (reason, repair) = (failing.reason, repair(&stream, failing.silent));
                    tracing::error!(stream, reason, repair, "the store takes no messages");
                    EventData::StoreFailing { stream, reason, failing_ms: ms, repair }
                }
                Finding::Recovered | Finding::Forgotten => {
                    stores.inner().remove(&stream);
                    health.good(&key);
                    metrics.store_failing(&stream, false);
                    if !failing.told {
                        continue;
                    }
                    tracing::info!(stream, ms, "the store takes messages again");
                    EventData::StoreRecovered { stream, failed_ms: ms }
                }
            };
            if inputs.send(Input::News { id: None, event }).await.is_err() {
                return;
            }
        }
    }
}

/// A server that met a full disk writes to the stream no more, whatever space there is, until it is started again. A bucket
/// that holds only what is written again is deleted and made anew instead: then it is written to again.
async fn remake(bus: &Bus, stores: &Stores, stream: &str, failing: &Failing, replicas: usize) {
    let connected = bus.link().borrow().state == LinkState::Connected;
    let now = Instant::now();
    let begin = failing.remade.unwrap_or(failing.since);
    let due = now.saturating_duration_since(begin) >= REMADE_AFTER;
    if !REMAKABLE.contains(&stream) || !failing.silent || !due || !connected {
        return;
    }
    if let Some(failing) = stores.inner().get_mut(stream) {
        failing.remade = Some(now);
    }
    // Only one that answers for its stream is a server that lives; and if another coordinator made it anew, it is another one.
    let Ok(bounds) = bus.stream_bounds(stream).await else { return };
    if let Err(error) = bus.stream_bounds(streams::LEDGER).await {
        return tracing::warn!(%error, stream, "not made anew: the server does not answer for the ledger");
    }
    let age = bounds.created_at();
    tracing::warn!(stream, created_ms = age.0, "the bucket takes nothing; it is made anew");
    if let Err(error) = bus.jetstream().delete_stream(stream).await {
        return tracing::warn!(%error, stream, "the bucket cannot be deleted");
    }
    if let Err(error) = nats_adapter::ensure(bus, replicas, nats_adapter::Action::Create).await {
        tracing::warn!(%error, stream, "the bucket cannot be made again yet");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeout() -> PublishError {
        PublishError::Timeout { subject: "x".to_owned() }
    }

    fn known(stores: &Stores) -> Failing {
        stores.inner().get("S").unwrap().clone()
    }

    #[test]
    fn a_stream_fails_after_a_while_and_recovers_with_the_first_message_that_it_takes() {
        let stores = Stores::default();
        stores.failed("S", &timeout());
        let failing = known(&stores);
        assert_eq!(look(&failing, failing.since), Finding::Nothing);
        assert_eq!(look(&failing, failing.since + FAILING_AFTER), Finding::Failing);
        assert_eq!(look(&failing, failing.last + FORGOTTEN_AFTER * 2), Finding::Forgotten);
        stores.stored("S");
        assert_eq!(look(&known(&stores), Instant::now()), Finding::Recovered);
    }

    #[test]
    fn what_says_nothing_of_the_store_is_not_held_against_it() {
        let stores = Stores::default();
        stores.failed("S", &PublishError::Disconnected { subject: "x".to_owned() });
        stores.failed("S", &PublishError::Busy { subject: "x".to_owned() });
        assert!(stores.inner().is_empty());
    }

    #[test]
    fn the_repair_names_the_stream() {
        assert!(repair("DCMF_EVT", true).contains("nats stream restore /var/tmp/DCMF_EVT"));
        assert!(repair("DCMF_LEDGER", false).contains("nats stream edit DCMF_LEDGER"));
    }
}
