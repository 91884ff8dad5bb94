//! What JetStream holds of a pool.

use crate::components::ComponentError;
use bus_schemas::{
    Message, PoolId,
    block::BlockRecord,
    job::Job,
    ledger::LedgerRecord,
    member::Member,
    subject::{Subject, filter},
};
use coordinator_core::Recovered;
use nats_adapter::{Bus, KvError, ReadError, WatchEvent, streams};
use std::collections::BTreeMap;

/// What the core gets, and where the writers go on.
pub(crate) struct Found {
    pub(crate) recovered: Recovered,
    pub(crate) positions: Positions,
}

/// The last sequences and revisions that a writer expects.
#[derive(Debug, Clone, Default)]
pub(crate) struct Positions {
    pub(crate) members: BTreeMap<String, u64>,
    pub(crate) job: u64,
    pub(crate) ledger: u64,
}

/// The state of a pool could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecoveryError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Bucket(#[from] KvError),
    #[error(transparent)]
    Component(#[from] ComponentError),
    #[error(
        "the ledger's last record cannot be read: {0}; nothing is credited before a person has looked at it"
    )]
    Ledger(bus_schemas::DecodeError),
}

pub(crate) async fn read(bus: &Bus, pool: &PoolId) -> Result<Found, RecoveryError> {
    let mut positions = Positions::default();
    let members = read_members(bus, pool, &mut positions).await?;

    let mut jobs = Vec::new();
    for delivered in bus.read_all(streams::JOB, Subject::Job(pool.clone())).await? {
        positions.job = delivered.sequence;
        if delivered.payload.is_empty() {
            // The job before was withdrawn.
            continue;
        }
        match Job::decode(&delivered.payload) {
            Ok(job) => jobs.push(job),
            Err(error) => {
                tracing::warn!(%pool, sequence = delivered.sequence, %error, "a kept job is ignored")
            }
        }
    }

    let ledger = match bus.last_bytes(streams::LEDGER, Subject::Ledger(pool.clone())).await? {
        Some(last) => {
            positions.ledger = last.sequence;
            Some(LedgerRecord::decode(&last.payload).map_err(RecoveryError::Ledger)?)
        }
        None => None,
    };

    let mut blocks = Vec::new();
    for delivered in bus.read_last_of_each(streams::BLOCK, filter::blocks(pool)).await? {
        match BlockRecord::decode(&delivered.payload) {
            Ok(b) => blocks.push((b.hash, b.height, b.worker, b.state)),
            Err(error) => {
                tracing::warn!(%pool, sequence = delivered.sequence, %error, "a kept block is ignored")
            }
        }
    }
    Ok(Found { recovered: Recovered { members, jobs, ledger, blocks }, positions })
}

async fn read_members(
    bus: &Bus,
    pool: &PoolId,
    positions: &mut Positions,
) -> Result<Vec<Member>, RecoveryError> {
    let mut members = Vec::new();
    for event in bus.kv(streams::MEMBERS).history_of_all(format!("{pool}.*")).await? {
        match event {
            WatchEvent::Put { key, revision, value } => {
                match Member::decode(&value) {
                    Ok(member) => members.push(member),
                    Err(error) => tracing::warn!(%pool, key, revision, %error, "a kept member is ignored"),
                }
                positions.members.insert(key, revision);
            }
            WatchEvent::Delete { key, revision } => {
                positions.members.insert(key, revision);
            }
            WatchEvent::Initialised | WatchEvent::Restarted => {}
        }
    }
    Ok(members)
}
