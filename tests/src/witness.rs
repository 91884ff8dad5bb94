//! Somebody who sees everything that a pool puts on the bus, from the beginning: buckets and streams forget, a witness
//! does not.

use crate::farm::FarmError;
use bus_schemas::heartbeat::Heartbeat;
use bus_schemas::job::Job;
use bus_schemas::ledger::LedgerRecord;
use bus_schemas::member::Member;
use bus_schemas::subject::{Subject, filter};
use bus_schemas::{Message, PoolId, TimestampMs, WorkerId};
use nats_adapter::{Bus, Delivered, Replay, Subscription, streams};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Messages that are taken at once.
const BATCH: usize = 1_024;
/// Longest wait for a message that is known to be there.
const CATCH_UP: Duration = Duration::from_secs(15);

/// What a witness saw.
#[derive(Debug, Default)]
pub struct Record {
    /// Every share, still in bytes.
    pub shares: Vec<Delivered>,
    /// Every job and when the stream stored it.
    pub jobs: Vec<(Job, TimestampMs)>,
    /// Every place that was decided, in order.
    pub members: Vec<Member>,
    /// Signs of life, as far as they came.
    pub heartbeats: Vec<(WorkerId, Heartbeat)>,
    /// The whole ledger.
    pub ledger: Vec<LedgerRecord>,
}

/// A witness at work.
#[derive(Debug)]
pub struct Witness {
    enough: CancellationToken,
    task: JoinHandle<Result<Record, FarmError>>,
}

struct Eyes {
    bus: Bus,
    pool: PoolId,
    shares: Replay,
    jobs: Replay,
    members: Replay,
    heartbeats: Subscription<Heartbeat>,
    record: Record,
    last_share: u64,
    last_job: u64,
    last_member: u64,
}

impl Witness {
    /// Begins to watch.
    pub async fn start(bus: &Bus, pool: &PoolId) -> Result<Self, FarmError> {
        let members = format!("$KV.{}.{pool}.*", streams::MEMBERS);
        let heartbeats = bus.subscribe(filter::heartbeats(pool)).await;
        let eyes = Eyes {
            shares: bus.replay(streams::SHARE, filter::shares(pool), 1).await?,
            jobs: bus.replay(streams::JOB, Subject::Job(pool.clone()), 1).await?,
            members: bus.replay(streams::KV_MEMBERS, members, 1).await?,
            heartbeats: heartbeats.map_err(|e| FarmError::Subscribe(e.to_string()))?,
            record: Record::default(),
            last_share: 0,
            last_job: 0,
            last_member: 0,
            bus: bus.clone(),
            pool: pool.clone(),
        };
        let enough = CancellationToken::new();
        let task = tokio::spawn(eyes.watch(enough.clone()));
        Ok(Self { enough, task })
    }

    /// Reads what is there to the end and gives it all. Call it when nobody writes any more.
    pub async fn finish(self) -> Result<Record, FarmError> {
        self.enough.cancel();
        match self.task.await {
            Ok(record) => record,
            Err(error) => Err(shape("what the witness saw", error)),
        }
    }
}

fn shape(what: &str, reason: impl ToString) -> FarmError {
    FarmError::Shape { what: what.to_owned(), reason: reason.to_string() }
}

impl Eyes {
    async fn watch(mut self, enough: CancellationToken) -> Result<Record, FarmError> {
        loop {
            tokio::select! {
                () = enough.cancelled() => break,
                batch = self.shares.next_batch(BATCH) => self.take_shares(batch?),
                batch = self.jobs.next_batch(BATCH) => self.take_jobs(batch?)?,
                batch = self.members.next_batch(BATCH) => self.take_members(batch?)?,
                heartbeat = self.heartbeats.next() => self.take_heartbeat(heartbeat)?,
            }
        }
        self.until_the_end().await
    }

    async fn until_the_end(mut self) -> Result<Record, FarmError> {
        let late = |_| shape("the end of a stream", format!("nothing more came for {CATCH_UP:?}"));
        let last = self.bus.stream_bounds(streams::SHARE).await?.last;
        while self.last_share < last {
            let batch = tokio::time::timeout(CATCH_UP, self.shares.next_batch(BATCH)).await;
            self.take_shares(batch.map_err(late)??);
        }
        let last = self.bus.stream_bounds(streams::JOB).await?.last;
        while self.last_job < last {
            let batch = tokio::time::timeout(CATCH_UP, self.jobs.next_batch(BATCH)).await;
            self.take_jobs(batch.map_err(late)??)?;
        }
        let last = self.bus.stream_bounds(streams::KV_MEMBERS).await?.last;
        while self.last_member < last {
            let batch = tokio::time::timeout(CATCH_UP, self.members.next_batch(BATCH)).await;
            self.take_members(batch.map_err(late)??)?;
        }
        let ledger = self.bus.read_all(streams::LEDGER, Subject::Ledger(self.pool.clone())).await?;
        for delivered in ledger {
            let record = LedgerRecord::decode(&delivered.payload);
            self.record.ledger.push(record.map_err(|e| shape("a ledger record", e))?);
        }
        Ok(self.record)
    }

    fn take_shares(&mut self, batch: Vec<Delivered>) {
        self.last_share = batch.last().map_or(self.last_share, |d| d.sequence);
        self.record.shares.extend(batch);
    }

    fn take_jobs(&mut self, batch: Vec<Delivered>) -> Result<(), FarmError> {
        for delivered in batch {
            self.last_job = delivered.sequence;
            if delivered.payload.is_empty() {
                // The job before was withdrawn.
                continue;
            }
            let job = Job::decode(&delivered.payload).map_err(|e| shape("a job", e))?;
            self.record.jobs.push((job, delivered.stored_at));
        }
        Ok(())
    }

    fn take_members(&mut self, batch: Vec<Delivered>) -> Result<(), FarmError> {
        for delivered in batch {
            self.last_member = delivered.sequence;
            self.record.members.push(Member::decode(&delivered.payload).map_err(|e| shape("a member", e))?);
        }
        Ok(())
    }

    fn take_heartbeat(
        &mut self,
        heartbeat: Option<Result<nats_adapter::Incoming<Heartbeat>, nats_adapter::Undecodable>>,
    ) -> Result<(), FarmError> {
        let incoming = heartbeat.ok_or_else(|| shape("heartbeats", "the connection was closed"))?;
        let incoming = incoming.map_err(|e| shape("a heartbeat", e))?;
        if let Subject::Heartbeat(_, worker) = incoming.subject {
            self.record.heartbeats.push((worker, incoming.message));
        }
        Ok(())
    }
}
