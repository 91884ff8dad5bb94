//! Every metric of the coordinator: names with their units, closed label sets, one place.

use crate::node_metrics::NodeMetrics;
use bus_schemas::{PoolId, command::PoolStatus, event::EventData, share::ShareRefusal};
use coordinator_core::PoolCapacity;
use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Recorder, SharedString, Unit,
};
use metrics_exporter_prometheus::{
    BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};
use std::time::Duration;

const SHARES: &str = "dcmf_coordinator_shares_total";
const SHARE_WORK: &str = "dcmf_coordinator_share_work_hashes_total";
const JUDGEMENT: &str = "dcmf_coordinator_judgement_seconds";
const JUDGED: &str = "dcmf_coordinator_judged_total";
const BLOCKS: &str = "dcmf_coordinator_blocks_total";
const JOBS: &str = "dcmf_coordinator_jobs_published_total";
const EVENTS_LOST: &str = "dcmf_coordinator_events_lost_total";
const CONFIG_REFUSED: &str = "dcmf_coordinator_config_refused_total";
const UNDECODABLE: &str = "dcmf_coordinator_undecodable_messages_total";
const COMMANDS: &str = "dcmf_coordinator_commands_total";
const MEMBERS: &str = "dcmf_coordinator_members";
const OWNED: &str = "dcmf_coordinator_pool_owned";
const EPOCH: &str = "dcmf_coordinator_pool_epoch";
const HASH_RATE: &str = "dcmf_coordinator_pool_hashes_per_second";
const CAPACITY: &str = "dcmf_coordinator_pool_capacity_percent";
const WANTED: &str = "dcmf_coordinator_pool_wanted_capacity_percent";
const BLOCKS_OPEN: &str = "dcmf_coordinator_blocks_open";
const THROTTLES: &str = "dcmf_coordinator_throttles_live";
/// What is set and not counted.
const GAUGES: [&str; 8] = [MEMBERS, OWNED, EPOCH, HASH_RATE, CAPACITY, WANTED, BLOCKS_OPEN, THROTTLES];
const OVERLOADS: &str = "dcmf_coordinator_overloads_total";

/// Name, unit and meaning of each metric.
pub(crate) const CATALOGUE: [(&str, Option<Unit>, &str); 19] = [
    (SHARES, None, "Shares accounted in the ledger, by pool and outcome"),
    (SHARE_WORK, None, "Work credited, in expected hashes, by pool"),
    (JUDGEMENT, Some(Unit::Seconds), "Time to judge one batch of shares"),
    (JUDGED, None, "Findings judged by hashing"),
    (BLOCKS, None, "Blocks by pool and outcome"),
    (JOBS, None, "Jobs published by pool"),
    (EVENTS_LOST, None, "Events that could not be published"),
    (CONFIG_REFUSED, None, "Configuration edits refused"),
    (UNDECODABLE, None, "Messages that could not be read and were put aside"),
    (COMMANDS, None, "Commands by outcome"),
    (MEMBERS, None, "Members by pool and state"),
    (OWNED, None, "1 while this coordinator owns the pool"),
    (EPOCH, None, "Epoch under which the pool is owned"),
    (HASH_RATE, None, "Sum of what active members report, by pool"),
    (CAPACITY, Some(Unit::Percent), "What the active members have, 100 for each whole one, by pool"),
    (
        WANTED,
        Some(Unit::Percent),
        "What they are wanted to have before backups step in; 0 where it is not judged",
    ),
    (BLOCKS_OPEN, None, "Blocks that no node has decided yet, by pool"),
    (THROTTLES, None, "Throttle orders that live"),
    (OVERLOADS, None, "Times that a pool was given up because a queue was full"),
];

/// Batches of judgements take from microseconds (SHA-256d) to seconds (RandomX in light mode).
const JUDGEMENT_BUCKETS: [f64; 12] = [1e-6, 1e-5, 1e-4, 5e-4, 1e-3, 5e-3, 1e-2, 5e-2, 0.1, 0.5, 1.0, 5.0];

static METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, Some(module_path!()));

/// The metrics of one coordinator; no global state, so that tests run several in one process.
pub(crate) struct Metrics {
    recorder: PrometheusRecorder,
    judgement: Histogram,
    judged: Counter,
    nodes: NodeMetrics,
}

impl Metrics {
    pub(crate) fn new() -> Result<Self, BuildError> {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Full(JUDGEMENT.to_owned()), &JUDGEMENT_BUCKETS)?
            .build_recorder();
        for (name, unit, about) in CATALOGUE {
            let (name, about) = (KeyName::from_const_str(name), SharedString::const_str(about));
            match name.as_str() {
                JUDGEMENT => recorder.describe_histogram(name, unit, about),
                gauge if GAUGES.contains(&gauge) => recorder.describe_gauge(name, unit, about),
                _ => recorder.describe_counter(name, unit, about),
            }
        }
        let judgement = recorder.register_histogram(&Key::from_static_name(JUDGEMENT), &METADATA);
        let judged = recorder.register_counter(&Key::from_static_name(JUDGED), &METADATA);
        Ok(Self { recorder, judgement, judged, nodes: NodeMetrics::default() })
    }

    pub(crate) fn handle(&self) -> PrometheusHandle {
        self.recorder.handle()
    }

    /// What a scrape gets.
    pub(crate) fn render(&self) -> String {
        let mut text = self.handle().render();
        self.nodes.render(&mut text);
        text
    }

    fn counter(&self, name: &'static str, labels: Vec<Label>) -> Counter {
        self.recorder.register_counter(&Key::from_parts(name, labels), &METADATA)
    }

    fn gauge(&self, name: &'static str, labels: Vec<Label>) -> Gauge {
        self.recorder.register_gauge(&Key::from_parts(name, labels), &METADATA)
    }

    pub(crate) fn judged(&self, count: usize, time: Duration) {
        self.judgement.record(time);
        self.judged.increment(count as u64);
    }

    pub(crate) fn accounted(&self, record: &bus_schemas::ledger::LedgerRecord) {
        let pool = pool_label(&record.pool);
        let credited = record.credits.iter().map(|c| c.shares).sum();
        self.counter(SHARES, vec![pool.clone(), Label::from_static_parts("outcome", "credited")])
            .increment(credited);
        let work = record.credits.iter().map(|c| u64::try_from(c.work.0).unwrap_or(u64::MAX)).sum();
        self.counter(SHARE_WORK, vec![pool.clone()]).increment(work);
        for refused in &record.refused {
            let outcome = Label::from_static_parts("outcome", ShareRefusal::as_str(refused.refusal));
            self.counter(SHARES, vec![pool.clone(), outcome]).increment(refused.shares);
        }
    }

    /// Counts what an event tells.
    pub(crate) fn event(&self, pool: &str, event: &EventData) {
        let pool = Label::new("pool", pool.to_owned());
        let block = |outcome| vec![pool.clone(), Label::from_static_parts("outcome", outcome)];
        match event {
            EventData::BlockFound { .. } => self.counter(BLOCKS, block("found")).increment(1),
            EventData::BlockAccepted { .. } => self.counter(BLOCKS, block("accepted")).increment(1),
            EventData::BlockRefused { .. } => self.counter(BLOCKS, block("refused")).increment(1),
            EventData::BlockWaiting { .. } => self.counter(BLOCKS, block("waiting")).increment(1),
            EventData::BlockUnkept { .. } => self.counter(BLOCKS, block("unkept")).increment(1),
            EventData::JobPublished { .. } => self.counter(JOBS, vec![pool]).increment(1),
            EventData::ConfigRefused { .. } => self.counter(CONFIG_REFUSED, Vec::new()).increment(1),
            EventData::MessageUndecodable { count, .. } => {
                self.counter(UNDECODABLE, vec![pool]).increment(*count)
            }
            EventData::PoolOwned { epoch, .. } => {
                self.gauge(OWNED, vec![pool.clone()]).set(1.0);
                self.gauge(EPOCH, vec![pool]).set(*epoch as f64);
            }
            EventData::PoolDisowned { .. } => {
                self.nodes.end(pool.value());
                self.gauge(OWNED, vec![pool]).set(0.0);
            }
            _ => {}
        }
    }

    pub(crate) fn status(&self, pool: &PoolId, status: &PoolStatus) {
        let label = pool_label(pool);
        for (state, count) in [("active", status.active), ("backup", status.backup), ("lost", status.lost)] {
            self.gauge(MEMBERS, vec![label.clone(), Label::from_static_parts("state", state)]).set(count);
        }
        self.gauge(BLOCKS_OPEN, vec![label.clone()]).set(status.blocks_open as f64);
        self.gauge(HASH_RATE, vec![label]).set(status.hash_rate.0 as f64);
        self.nodes.set(pool, &status.nodes);
    }

    pub(crate) fn capacity(&self, pool: &PoolId, capacity: Option<PoolCapacity>) {
        let (percent, wanted) = capacity.map_or((0, 0), |c| (c.percent, c.wanted));
        self.gauge(CAPACITY, vec![pool_label(pool)]).set(percent);
        self.gauge(WANTED, vec![pool_label(pool)]).set(wanted);
    }

    pub(crate) fn throttles(&self, live: usize) {
        self.gauge(THROTTLES, Vec::new()).set(live as f64);
    }

    pub(crate) fn command(&self, outcome: &'static str) {
        self.counter(COMMANDS, vec![Label::from_static_parts("outcome", outcome)]).increment(1);
    }

    pub(crate) fn event_lost(&self) {
        self.counter(EVENTS_LOST, Vec::new()).increment(1);
    }

    pub(crate) fn overloaded(&self, pool: &PoolId) {
        self.counter(OVERLOADS, vec![pool_label(pool)]).increment(1);
    }
}

fn pool_label(pool: &PoolId) -> Label {
    Label::new("pool", pool.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_says_its_unit_or_that_it_counts() {
        for (name, ..) in CATALOGUE {
            assert!(
                GAUGES.contains(&name) || name.ends_with("_total") || name.ends_with("_seconds"),
                "{name}"
            );
        }
    }

    #[test]
    fn what_the_ledger_says_is_what_is_exported() {
        let metrics = Metrics::new().unwrap();
        let worker = bus_schemas::WorkerId::new("w1").unwrap();
        metrics.accounted(&bus_schemas::ledger::LedgerRecord {
            pool: PoolId::new("main").unwrap(),
            epoch: 1,
            number: 1,
            shares_to: 3,
            credits: vec![bus_schemas::ledger::Credit { worker: worker.clone(), shares: 2, work: 8.into() }],
            refused: vec![bus_schemas::ledger::RefusedShares {
                worker,
                refusal: ShareRefusal::Stale,
                shares: 1,
            }],
            total_shares: 2,
            total_work: 8.into(),
            at_ms: bus_schemas::TimestampMs(0),
        });
        let text = metrics.handle().render();
        assert!(
            text.contains(r#"dcmf_coordinator_shares_total{pool="main",outcome="credited"} 2"#),
            "{text}"
        );
        assert!(text.contains(r#"dcmf_coordinator_shares_total{pool="main",outcome="stale"} 1"#), "{text}");
        assert!(text.contains(r#"dcmf_coordinator_share_work_hashes_total{pool="main"} 8"#), "{text}");
    }
}
