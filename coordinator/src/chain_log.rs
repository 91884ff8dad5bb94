//! The log of an embedded chain in JetStream: the expected last sequence makes the stream the judge of which of two
//! blocks was first.
//!
//! What no coordinator appended is passed over. A stream that was made anew or restored is another chain: the source that
//! knows the former one is given up with the pool, and the next term begins from what is there.

use crate::pool::{Context, persist};
use bus_schemas::{Blob, Message, block::ChainRecord, command::Stuck, subject::Subject};
use coordinator_core::Trouble;
use job_sources::{
    BoxFuture,
    embedded::{Appended, ChainLog, LogError, Record},
};
use nats_adapter::{Delivered, Expect, PublishError, streams};
use tokio::sync::Mutex;

/// The blocks of one pool's chain.
pub(crate) struct StreamLog {
    context: Context,
    /// Sequence and height of the last block that was seen.
    last: Mutex<(u64, u64)>,
}

fn unavailable(error: impl std::fmt::Display) -> LogError {
    LogError::Unavailable(error.to_string())
}

impl StreamLog {
    pub(crate) fn new(context: Context) -> Self {
        Self { context, last: Mutex::default() }
    }

    fn subject(&self) -> Subject {
        Subject::Chain(self.context.pool.clone())
    }

    /// The chain is not the one that was read.
    async fn replaced(&self, known: u64, found: u64) -> LogError {
        let stream = streams::CHAIN;
        let reason = format!("{stream} ends at {found} after {known}: it was made anew or restored");
        self.context.give_up(Trouble::of(reason.clone())).await;
        LogError::Unavailable(reason)
    }

    async fn try_append(&self, record: &Record) -> Result<Appended, LogError> {
        let mut last = self.last.lock().await;
        if record.height != last.1 + 1 {
            return Ok(Appended::Conflict);
        }
        let bytes = rmp_serde::to_vec_named(record).map_err(unavailable)?;
        let message = ChainRecord { height: record.height, hash: record.hash, record: Blob(bytes) };
        let id = record.hash.to_display_hex();
        let expect = Expect::LastSubjectSequence(last.0);
        let result = self.context.bus.publish_stored(self.subject(), &message, Some(&id), expect).await;
        self.context.stores.note(streams::CHAIN, &result);
        match result {
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
        let (bus, subject) = (&self.context.bus, self.subject().to_string());
        let tip = bus.last_bytes(streams::CHAIN, &subject).await.map_err(unavailable)?;
        let end = tip.as_ref().map_or(0, |tip| tip.sequence);
        if end < last.0 {
            return Err(self.replaced(last.0, end).await);
        }
        if end == last.0 && last.1 <= height {
            return Ok(Vec::new());
        }
        let mut records = Vec::new();
        for delivered in bus.read_all(streams::CHAIN, subject).await.map_err(unavailable)? {
            let known = delivered.sequence <= last.0;
            match block(&delivered) {
                Ok((at, record)) => {
                    if at > height {
                        records.push(record);
                    }
                    *last = (delivered.sequence.max(last.0), at);
                }
                Err(Unusable::Foreign(reason)) => {
                    if !known {
                        persist::put_aside(&self.context, streams::CHAIN, &delivered, &reason).await;
                    }
                    last.0 = last.0.max(delivered.sequence);
                }
                Err(Unusable::Unreadable(reason)) => {
                    let (stream, sequence) = (streams::CHAIN, delivered.sequence);
                    let reason = format!("block {sequence} of {stream} cannot be read: {reason}");
                    let repair = format!(
                        "if a newer version wrote it, update the coordinators; if it is damaged: nats stream rmm {stream} \
                         {sequence} -f"
                    );
                    let (stream, sequence) = (Some(stream.to_owned()), Some(sequence));
                    let stuck = Stuck { reason: reason.clone(), stream, sequence, repair };
                    self.context.give_up(Trouble::stuck(stuck)).await;
                    return Err(LogError::Unavailable(reason));
                }
            }
        }
        Ok(records)
    }
}

/// A message that is no block of the chain.
enum Unusable {
    /// No coordinator wrote it.
    Foreign(String),
    /// A coordinator wrote it, and this version cannot read it.
    Unreadable(String),
}

/// The block of a message, with its height.
fn block(delivered: &Delivered) -> Result<(u64, Record), Unusable> {
    if !delivered.is_guarded() {
        return Err(Unusable::Foreign("no coordinator appended it".to_owned()));
    }
    let unreadable = |error: &dyn std::fmt::Display| Unusable::Unreadable(error.to_string());
    let message = ChainRecord::decode(&delivered.payload).map_err(|e| unreadable(&e))?;
    let record = rmp_serde::from_slice(&message.record.0).map_err(|e| unreadable(&e))?;
    Ok((message.height, record))
}

impl ChainLog for StreamLog {
    fn append<'a>(&'a self, record: &'a Record) -> BoxFuture<'a, Result<Appended, LogError>> {
        Box::pin(self.try_append(record))
    }

    fn read_above(&self, height: u64) -> BoxFuture<'_, Result<Vec<Record>, LogError>> {
        Box::pin(self.try_read(height))
    }
}
