//! The log of an embedded chain in JetStream: the expected last sequence makes the stream the judge of which of two
//! blocks was first.

use bus_schemas::{Blob, Message, PoolId, block::ChainRecord, subject::Subject};
use job_sources::{
    BoxFuture,
    embedded::{Appended, ChainLog, LogError, Record},
};
use nats_adapter::{Bus, Expect, PublishError, streams};
use tokio::sync::Mutex;

/// The blocks of one pool's chain.
pub(crate) struct StreamLog {
    bus: Bus,
    pool: PoolId,
    /// Sequence and height of the last block that was seen.
    last: Mutex<(u64, u64)>,
}

fn unavailable(error: impl std::fmt::Display) -> LogError {
    LogError::Unavailable(error.to_string())
}

impl StreamLog {
    pub(crate) fn new(bus: Bus, pool: PoolId) -> Self {
        Self { bus, pool, last: Mutex::default() }
    }

    async fn try_append(&self, record: &Record) -> Result<Appended, LogError> {
        let mut last = self.last.lock().await;
        if record.height != last.1 + 1 {
            return Ok(Appended::Conflict);
        }
        let bytes = rmp_serde::to_vec_named(record).map_err(unavailable)?;
        let message = ChainRecord { height: record.height, hash: record.hash, record: Blob(bytes) };
        let id = record.hash.to_display_hex();
        let subject = Subject::Chain(self.pool.clone());
        let expect = Expect::LastSubjectSequence(last.0);
        match self.bus.publish_stored(&subject, &message, Some(&id), expect).await {
            Ok(stored) => {
                *last = (stored.sequence, record.height);
                Ok(Appended::Kept)
            }
            Err(PublishError::WrongLastSequence { .. }) => Ok(Appended::Conflict),
            Err(error) => Err(unavailable(error)),
        }
    }

    async fn try_read(&self, height: u64) -> Result<Vec<Record>, LogError> {
        let mut last = self.last.lock().await;
        let subject = Subject::Chain(self.pool.clone());
        let tip = self.bus.last_bytes(streams::CHAIN, &subject).await.map_err(unavailable)?;
        match tip {
            Some(tip) if tip.sequence > last.0 || last.1 > height => {}
            _ => return Ok(Vec::new()),
        }
        let mut records = Vec::new();
        for delivered in self.bus.read_all(streams::CHAIN, subject.to_string()).await.map_err(unavailable)? {
            let message = ChainRecord::decode(&delivered.payload).map_err(unavailable)?;
            if message.height > height {
                records.push(rmp_serde::from_slice(&message.record.0).map_err(unavailable)?);
            }
            *last = (delivered.sequence, message.height);
        }
        Ok(records)
    }
}

impl ChainLog for StreamLog {
    fn append<'a>(&'a self, record: &'a Record) -> BoxFuture<'a, Result<Appended, LogError>> {
        Box::pin(self.try_append(record))
    }

    fn read_above(&self, height: u64) -> BoxFuture<'_, Result<Vec<Record>, LogError>> {
        Box::pin(self.try_read(height))
    }
}
