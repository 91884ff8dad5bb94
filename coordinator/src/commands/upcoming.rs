//! When the windows of a configuration that was put come next.

use bus_schemas::{
    TimestampMs,
    config::{NodeConfig, PoolConfig, parse_strict},
    schedule::{Schedule, WindowOccurrences},
};

/// Times of each window that are told.
const COUNT: usize = 5;

/// Of the schedules of a pool and its labels.
pub(super) async fn of_pool(config: serde_json::Value) -> Vec<WindowOccurrences> {
    told(move || {
        let Ok(config) = parse_strict::<PoolConfig>(config.to_string().as_bytes()) else { return Vec::new() };
        let own = config.schedule.into_iter().map(|schedule| ("pool".to_owned(), schedule));
        let labels = config.labels.into_iter().filter_map(|label| {
            label.schedule.map(|schedule| (format!("label {}={}", label.key, label.value), schedule))
        });
        own.chain(labels).collect()
    })
    .await
}

/// Of the schedule of a node.
pub(super) async fn of_node(config: serde_json::Value) -> Vec<WindowOccurrences> {
    told(move || {
        let config = parse_strict::<NodeConfig>(config.to_string().as_bytes());
        let schedule = config.ok().and_then(|config| config.schedule);
        schedule.into_iter().map(|schedule| ("node".to_owned(), schedule)).collect()
    })
    .await
}

/// Nothing else waits for it: rare times are looked for far ahead.
async fn told(
    schedules: impl FnOnce() -> Vec<(String, Schedule)> + Send + 'static,
) -> Vec<WindowOccurrences> {
    let now = TimestampMs(crate::run::wall());
    let look = move || {
        let of = |(name, schedule): (String, Schedule)| schedule.upcoming(&name, now, COUNT).ok();
        schedules().into_iter().filter_map(of).flatten().collect()
    };
    // What was put is put, whatever becomes of this.
    tokio::task::spawn_blocking(look).await.unwrap_or_else(|error| {
        tracing::error!(%error, "the times of a schedule are not told; this is a defect of the program");
        Vec::new()
    })
}
