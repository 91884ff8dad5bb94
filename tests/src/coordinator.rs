//! A coordinator inside this process: the product's own `run`, on a bus of the test's choice.

use crate::wait::{self, Overdue};
use bus_schemas::{
    PoolId, ShareBits,
    command::PoolStatus,
    config::{ConfigKey, EmbeddedSource, PoolConfig, SourceConfig},
    job::Job,
    ledger::LedgerRecord,
    policy::LoadPolicy,
    subject::Subject,
};
use nats_adapter::{Bus, streams};
use std::{error::Error, time::Duration};
use tokio::{sync::oneshot, task::JoinHandle};

/// Longest wait for a coordinator to do something.
pub const COORDINATOR_DEADLINE: Duration = Duration::from_secs(30);

/// Anything that keeps a coordinator from being started or stopped.
pub type Failure = Box<dyn Error + Send + Sync>;

/// A coordinator that runs; dropped, it is gone as if it had been killed.
#[derive(Debug)]
pub struct InProcess {
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), coordinator::RunError>>,
    _folder: tempfile::TempDir,
}

impl Drop for InProcess {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl InProcess {
    /// Starts coordinator `id` on the server at `url`; `more` are further lines of its host file.
    pub fn start(url: &str, id: &str, more: &str) -> Result<Self, Failure> {
        Self::start_with(url, id, more, coordinator::tasks::Faults::default())
    }

    /// Like [`InProcess::start`], with what is to break.
    pub fn start_with(
        url: &str,
        id: &str,
        more: &str,
        faults: coordinator::tasks::Faults,
    ) -> Result<Self, Failure> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("coordinator.toml");
        std::fs::write(&path, format!("id = \"{id}\"\nfarm = 7\nservers = [\"{url}\"]\n{more}"))?;
        let config = coordinator::HostConfig::read(&path)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async move { drop(stopped.await) };
        let task = tokio::spawn(coordinator::run_with(config, shutdown, faults));
        Ok(Self { stop: Some(stop), task, _folder: folder })
    }

    /// Waits until it ends by itself: why.
    pub async fn ended(mut self) -> Result<Result<(), coordinator::RunError>, Failure> {
        Ok((&mut self.task).await?)
    }

    /// Ends it in order.
    pub async fn stop(mut self) -> Result<(), Failure> {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        Ok((&mut self.task).await??)
    }
}

/// A pool in which every hash is a share and none is a block, and nobody is lost for being silent.
pub fn every_hash_is_a_share() -> PoolConfig {
    PoolConfig {
        load: LoadPolicy::never(),
        initial_share_bits: ShareBits::MIN,
        min_share_bits: ShareBits::MIN,
        max_share_bits: ShareBits::MIN,
        share_rate_limit: 10_000_000,
        source: SourceConfig::Embedded(EmbeddedSource {
            initial_bits: 0x1d00_ffff,
            ..EmbeddedSource::default()
        }),
        heartbeat_interval_ms: 600_000,
        ..PoolConfig::default()
    }
}

/// Puts a pool's configuration as soon as the coordinator has made its bucket.
pub async fn put_pool(bus: &Bus, pool: &PoolId, config: &PoolConfig) -> Result<(), Failure> {
    let json = serde_json::to_vec(config)?;
    let key = ConfigKey::Pool(pool.clone());
    wait::until(COORDINATOR_DEADLINE, "a bucket for the configuration", async || {
        bus.kv(streams::CONFIG).put(&key, json.clone().into()).await.ok()
    })
    .await?;
    Ok(())
}

/// Waits until a coordinator with an epoch above `after` owns the pool and has published a job of it.
pub async fn owned(bus: &Bus, pool: &PoolId, after: u64) -> Result<PoolStatus, Overdue> {
    wait::until(COORDINATOR_DEADLINE, format!("an owner of pool {pool} after epoch {after}"), async || {
        let status = bus.kv(streams::STATUS).get(pool).await.ok()??;
        let status: PoolStatus = serde_json::from_slice(&status.value).ok()?;
        let job = job(bus, pool).await.ok()?;
        (status.epoch > after && job.epoch == status.epoch).then_some(status)
    })
    .await
}

/// The current job.
pub async fn job(bus: &Bus, pool: &PoolId) -> Result<Job, Failure> {
    let job = bus.last::<Job>(streams::JOB, Subject::Job(pool.clone())).await?;
    Ok(job.ok_or("the pool has no job")?.message)
}

/// Shares credited since the ledger began.
pub async fn credited(bus: &Bus, pool: &PoolId) -> Result<u64, Failure> {
    let last = bus.last::<LedgerRecord>(streams::LEDGER, Subject::Ledger(pool.clone())).await?;
    Ok(last.map_or(0, |entry| entry.message.total_shares))
}

/// Every record of the ledger.
pub async fn ledger(bus: &Bus, pool: &PoolId) -> Result<Vec<LedgerRecord>, Failure> {
    let all = bus.read_all(streams::LEDGER, Subject::Ledger(pool.clone())).await?;
    let decode = |d: &nats_adapter::Delivered| Ok(d.decode::<LedgerRecord>()?.message);
    all.iter().map(decode).collect()
}
