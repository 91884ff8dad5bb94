//! Every metric of the worker: names with their units, closed labels, one set for each worker of a process.

use crate::{certificates, contexts};
use bus_schemas::heartbeat::LoadReport;
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Recorder, Unit};
use metrics_exporter_prometheus::{
    BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};
use std::collections::BTreeMap;
use worker_core::{DropReason, Lane, Notice, Refusal, Status};

/// Upper bounds of the buckets of [`STOP_SECONDS`], in seconds.
const STOP_BUCKETS: [f64; 8] = [0.0005, 0.001, 0.002, 0.003, 0.005, 0.010, 0.050, 0.250];
const STOP_SECONDS: &str = "dcmf_worker_search_stop_seconds";

/// The metrics of one worker.
#[derive(Debug)]
pub struct Metrics {
    handle: PrometheusHandle,
    hashes: Counter,
    shares_found: Counter,
    blocks_found: Counter,
    published: [(Lane, Counter); 2],
    dropped: BTreeMap<DropReason, Counter>,
    publish_failures: Counter,
    refused: BTreeMap<&'static str, Counter>,
    algorithms_refused: BTreeMap<&'static str, Counter>,
    catalogues_refused: BTreeMap<&'static str, Counter>,
    undecodable: Counter,
    reconnects: Counter,
    joins: Joins,
    read_failures: Counter,
    jobs: Counter,
    thread_failures: Counter,
    heartbeats: Counter,
    signals_lost: Counter,
    permitted_algorithms: Gauge,
    search_threads: Gauge,
    set_point_threads: Gauge,
    outbox: Gauge,
    connected: Gauge,
    ready: Gauge,
    job_sequence: Gauge,
    role_generation: Gauge,
    pool_revision: Gauge,
    node_revision: Gauge,
    cap_percent: Gauge,
    load: [Gauge; 4],
    context_prepared: [Gauge; 2],
    context_bytes: [Gauge; 3],
    /// Time from the order to stop to the thread's answer.
    pub stop_seconds: Histogram,
}

#[derive(Debug)]
struct Joins {
    accepted: Counter,
    refused: Counter,
    failed: Counter,
}

/// Registers under its own recorder, so that no state is global.
struct Register(PrometheusRecorder);

impl Register {
    const METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, Some(module_path!()));

    fn key(name: &'static str, label: Option<(&'static str, &'static str)>) -> Key {
        Key::from_parts(
            name,
            label.map(|(key, value)| Label::new(key, value)).into_iter().collect::<Vec<_>>(),
        )
    }

    fn labelled(
        &self,
        name: &'static str,
        about: &'static str,
        label: Option<(&'static str, &'static str)>,
    ) -> Counter {
        self.0.describe_counter(KeyName::from(name), Some(Unit::Count), about.into());
        let counter = self.0.register_counter(&Self::key(name, label), &Self::METADATA);
        // A series that is there from the start makes its first step visible.
        counter.increment(0);
        counter
    }

    fn counter(&self, name: &'static str, about: &'static str) -> Counter {
        self.labelled(name, about, None)
    }

    fn gauge(&self, name: &'static str, about: &'static str) -> Gauge {
        self.labelled_gauge(name, about, None)
    }

    fn labelled_gauge(
        &self,
        name: &'static str,
        about: &'static str,
        label: Option<(&'static str, &'static str)>,
    ) -> Gauge {
        self.0.describe_gauge(KeyName::from(name), Some(Unit::Count), about.into());
        let gauge = self.0.register_gauge(&Self::key(name, label), &Self::METADATA);
        gauge.set(0.0);
        gauge
    }

    fn histogram(&self, name: &'static str, about: &'static str) -> Histogram {
        self.0.describe_histogram(KeyName::from(name), Some(Unit::Seconds), about.into());
        self.0.register_histogram(&Self::key(name, None), &Self::METADATA)
    }
}

impl Metrics {
    /// A set of its own, all at zero.
    pub fn new() -> Result<Self, BuildError> {
        let builder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Full(STOP_SECONDS.to_owned()), &STOP_BUCKETS)?;
        let r = Register(builder.build_recorder());
        let handle = r.0.handle();
        let dropped = |reason: DropReason| {
            let name = "dcmf_worker_shares_dropped_total";
            (reason, r.labelled(name, "Shares given up, by reason.", Some(("reason", reason.as_str()))))
        };
        let refused = |reason: &'static str| {
            let name = "dcmf_worker_orders_refused_total";
            (reason, r.labelled(name, "Orders not followed, by reason.", Some(("reason", reason))))
        };
        let by_code = |name: &'static str, about: &'static str| {
            let counter = |code| (code, r.labelled(name, about, Some(("code", code))));
            certificates::codes().map(counter).collect()
        };
        let published = |lane: Lane, label| {
            let name = "dcmf_worker_shares_published_total";
            (lane, r.labelled(name, "Shares that the bus has stored, by lane.", Some(("lane", label))))
        };
        let joins = |outcome| {
            let name = "dcmf_worker_joins_total";
            r.labelled(name, "Requests to join, by outcome.", Some(("outcome", outcome)))
        };
        let load = |of| {
            let about = "Share of the host's processor time, or of the time for memory pressure, in percent.";
            r.labelled_gauge("dcmf_worker_load_percent", about, Some(("of", of)))
        };
        let context_prepared = |seed| {
            let about = "How far what an algorithm prepares for a seed (RandomX's data set) is, from 0 to 1.";
            r.labelled_gauge("dcmf_worker_context_prepared_ratio", about, Some(("seed", seed)))
        };
        let context_bytes = |pages| {
            let about = "Memory that was prepared for the current seed, by the pages it lies in.";
            r.labelled_gauge("dcmf_worker_context_bytes", about, Some(("pages", pages)))
        };
        Ok(Self {
            hashes: r.counter("dcmf_worker_hashes_total", "Hashes computed in search."),
            shares_found: r.counter("dcmf_worker_shares_found_total", "Findings that were to be reported."),
            blocks_found: r
                .counter("dcmf_worker_blocks_found_total", "Findings that meet the network target."),
            published: [published(Lane::Share, "share"), published(Lane::Found, "found")],
            dropped: DropReason::ALL.map(dropped).into(),
            publish_failures: r.counter(
                "dcmf_worker_publish_failures_total",
                "Publications that were not confirmed and are repeated.",
            ),
            refused: Refusal::LABELS.map(refused).into(),
            algorithms_refused: by_code(
                "dcmf_worker_algorithms_refused_total",
                "Algorithms of jobs that this host does not run, by code; each change counts once.",
            ),
            catalogues_refused: by_code(
                "dcmf_worker_catalogues_refused_total",
                "Catalogues of certificates that this host does not believe, by code.",
            ),
            undecodable: r.counter("dcmf_worker_undecodable_total", "Messages that could not be read."),
            reconnects: r.counter("dcmf_worker_reconnects_total", "Connections made after the first."),
            joins: Joins { accepted: joins("accepted"), refused: joins("refused"), failed: joins("failed") },
            read_failures: r
                .counter("dcmf_worker_read_failures_total", "Reads of configuration that failed."),
            jobs: r.counter("dcmf_worker_jobs_total", "Jobs that were followed."),
            thread_failures: r.counter("dcmf_worker_thread_failures_total", "Search threads that are gone."),
            heartbeats: r.counter("dcmf_worker_heartbeats_total", "Heartbeats handed to the bus."),
            signals_lost: r
                .counter("dcmf_worker_signals_lost_total", "Heartbeats and good-byes that were not sent."),
            permitted_algorithms: r
                .gauge("dcmf_worker_permitted_algorithms", "Algorithms that certificates permit now."),
            search_threads: r.gauge("dcmf_worker_search_threads", "Threads that search."),
            set_point_threads: r.gauge("dcmf_worker_set_point_threads", "Threads that should search."),
            outbox: r.gauge("dcmf_worker_outbox_shares", "Shares that wait for the bus."),
            connected: r.gauge("dcmf_worker_connected", "1 while the bus is there."),
            ready: r.gauge("dcmf_worker_ready", "1 while connected, configured and with a role."),
            job_sequence: r.gauge("dcmf_worker_job_sequence", "Sequence of the job."),
            role_generation: r.gauge("dcmf_worker_role_generation", "Generation of the role."),
            pool_revision: r
                .gauge("dcmf_worker_pool_config_revision", "Revision of the pool's configuration."),
            cap_percent: r
                .gauge("dcmf_worker_cap_percent", "Share of its time in which each thread may search."),
            load: ["demand", "search", "steal", "memory-pressure"].map(load),
            context_prepared: ["current", "next"].map(context_prepared),
            context_bytes: contexts::PAGES.map(context_bytes),
            node_revision: r
                .gauge("dcmf_worker_node_config_revision", "Revision of the node's configuration."),
            stop_seconds: r.histogram(STOP_SECONDS, "Time from the order to stop to the thread's answer."),
            handle,
        })
    }

    /// All of them in the text format of Prometheus.
    pub fn render(&self) -> String {
        self.handle.run_upkeep();
        self.handle.render()
    }

    /// Takes the gauges, and the counters that the core keeps, from a status.
    pub fn show(&self, status: &Status) {
        self.hashes.absolute(status.hashes_total);
        self.permitted_algorithms.set(status.permitted_algorithms as f64);
        self.search_threads.set(f64::from(status.search_threads));
        self.set_point_threads.set(f64::from(status.set_point.threads));
        self.outbox.set(status.outbox_len as f64);
        self.connected.set(f64::from(u8::from(status.connected)));
        self.ready.set(f64::from(u8::from(crate::http::not_ready(status).is_none())));
        self.job_sequence.set(status.job_sequence.unwrap_or(0) as f64);
        self.role_generation.set(status.generation as f64);
        self.pool_revision.set(status.pool_revision as f64);
        self.node_revision.set(status.node_revision as f64);
        self.cap_percent.set(f64::from(status.set_point.cap_percent));
        if let Some(load) = status.load {
            let LoadReport { demand_percent, search_percent, steal_percent, memory_pressure_percent, .. } =
                load;
            let values = [demand_percent, search_percent, steal_percent, memory_pressure_percent];
            for (gauge, value) in self.load.iter().zip(values) {
                gauge.set(f64::from(value));
            }
        }
    }

    /// Takes how far the preparations are.
    pub fn show_contexts(&self, standing: &contexts::Standing) {
        for (gauge, prepared) in self.context_prepared.iter().zip(standing.prepared) {
            gauge.set(prepared);
        }
        for (gauge, bytes) in self.context_bytes.iter().zip(standing.bytes) {
            gauge.set(bytes as f64);
        }
    }

    /// Counts what a notice tells.
    pub fn count(&self, notice: &Notice) {
        match notice {
            Notice::JoinRefused { .. } => self.joins.refused.increment(1),
            Notice::JoinFailed { .. } => self.joins.failed.increment(1),
            Notice::ReadFailed { .. } => self.read_failures.increment(1),
            Notice::JobApplied { .. } => self.jobs.increment(1),
            Notice::OrderRefused(refusal) => count(&self.refused, refusal.label()),
            Notice::AlgorithmRefused { denied, .. } => count(&self.algorithms_refused, denied.code),
            Notice::CatalogueRefused(denied) => count(&self.catalogues_refused, denied.code),
            Notice::ShareFound { block, .. } => {
                self.shares_found.increment(1);
                self.blocks_found.increment(u64::from(*block));
            }
            Notice::ShareStored { lane } => {
                for (_, counter) in self.published.iter().filter(|(known, _)| known == lane) {
                    counter.increment(1);
                }
            }
            Notice::SharesDropped { reason, count } => {
                if let Some(counter) = self.dropped.get(reason) {
                    counter.increment(*count);
                }
            }
            Notice::PublishFailed { .. } => self.publish_failures.increment(1),
            Notice::ThreadFailed { .. } => self.thread_failures.increment(1),
            Notice::Undecodable { .. } => self.undecodable.increment(1),
            Notice::RoleApplied { .. }
            | Notice::ConfigApplied { .. }
            | Notice::ConfigGone { .. }
            | Notice::ConfigRewound { .. }
            | Notice::OrderRewound { .. }
            | Notice::SetPointChanged(_)
            | Notice::SearchHeld(_) => {}
        }
    }

    /// A join was accepted.
    pub fn joined(&self) {
        self.joins.accepted.increment(1);
    }

    /// The connection was made again so many times.
    pub fn reconnected(&self, times: u64) {
        self.reconnects.increment(times);
    }

    /// A heartbeat was handed to the bus.
    pub fn heartbeat(&self) {
        self.heartbeats.increment(1);
    }

    /// A heartbeat or a good-bye was not sent.
    pub fn signal_lost(&self) {
        self.signals_lost.increment(1);
    }
}

fn count(counters: &BTreeMap<&'static str, Counter>, label: &str) {
    if let Some(counter) = counters.get(label) {
        counter.increment(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_is_there_from_the_start_and_described() {
        let text = Metrics::new().unwrap().render();
        let types: Vec<(&str, &str)> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
        assert!(types.len() >= 24, "{types:?}");
        for (name, kind) in types {
            assert!(name.starts_with("dcmf_worker_"), "{name}");
            assert!(text.contains(&format!("# HELP {name} ")), "{name} is not described");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{name} is a {kind}");
        }
        assert!(text.contains("dcmf_worker_shares_dropped_total{reason=\"stale\"} 0"), "{text}");
    }

    #[test]
    fn two_workers_of_one_process_do_not_share_a_counter() {
        let (a, b) = (Metrics::new().unwrap(), Metrics::new().unwrap());
        a.count(&Notice::ShareStored { lane: Lane::Found });
        assert!(a.render().contains("dcmf_worker_shares_published_total{lane=\"found\"} 1"));
        assert!(b.render().contains("dcmf_worker_shares_published_total{lane=\"found\"} 0"));
    }
}
