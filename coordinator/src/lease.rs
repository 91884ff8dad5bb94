//! The lease of one pool: requests in order, answers as inputs.

use bus_schemas::{
    CoordinatorId, Message, PoolId, TimestampMs, heartbeat, job::Job, ledger::LedgerRecord, subject::Subject,
};
use coordinator_core::{Input, LeaseInput, ownership::LEASE_TTL_MS};
use nats_adapter::{Acquired, Bus, Lease, LeaseError, Sighting, streams};
use std::time::Duration;
use tokio::sync::mpsc;

use crate::{
    run::{Clock, wall},
    stores::Stores,
};

/// Most requests that wait for one lease.
pub(crate) const LEASE_BACKLOG: usize = 16;

/// Furthest that a server's clock is set back, milliseconds: an epoch that is further ahead was invented by somebody.
const MAX_SET_BACK_MS: u64 = 366 * 86_400_000;

/// What is wanted of a lease.
#[derive(Debug, Clone, Copy)]
pub(crate) enum LeaseRequest {
    Acquire,
    Renew(u64),
    Release(u64),
}

/// Does what is requested, until nobody requests any more.
pub(crate) async fn serve(
    bus: Bus,
    pool: PoolId,
    id: CoordinatorId,
    clock: Clock,
    stores: Stores,
    mut requests: mpsc::Receiver<LeaseRequest>,
    inputs: mpsc::Sender<Input>,
) {
    let mut held: Option<Lease> = None;
    let mut sighting = Sighting::default();
    while let Some(request) = requests.recv().await {
        let answer = match request {
            LeaseRequest::Acquire => {
                let kept = Kept { held: &mut held, sighting: &mut sighting, stores: &stores };
                Some(acquire(&bus, &pool, &id, clock, kept).await)
            }
            LeaseRequest::Renew(epoch) => renew(&id, clock, epoch, &mut held, &stores).await,
            LeaseRequest::Release(epoch) => {
                if let Some(lease) = held.take_if(|l| l.epoch() == epoch)
                    && let Err(error) = lease.release().await
                {
                    tracing::warn!(%pool, %error, "the lease was not released; it ends by itself");
                }
                None
            }
        };
        if let Some(answer) = answer
            && inputs.send(Input::Lease(pool.clone(), answer)).await.is_err()
        {
            return;
        }
    }
}

fn value(id: &CoordinatorId) -> Option<bytes::Bytes> {
    let lease = heartbeat::Lease { coordinator: id.clone(), renewed_at_ms: TimestampMs(wall()) };
    lease.encode().ok().map(Into::into)
}

/// What is remembered from one attempt to the next.
struct Kept<'a> {
    held: &'a mut Option<Lease>,
    sighting: &'a mut Sighting,
    stores: &'a Stores,
}

/// Notes what an answer says of the store.
fn note<T>(stores: &Stores, result: &Result<T, LeaseError>) {
    match result {
        Ok(_) | Err(LeaseError::Lost { .. }) => stores.stored(streams::KV_LEASES),
        Err(LeaseError::Kv(error)) => stores.note_kv(streams::KV_LEASES, &Err::<(), _>(error.clone())),
        Err(LeaseError::InvalidTtl(_)) => {}
    }
}

async fn acquire(bus: &Bus, pool: &PoolId, id: &CoordinatorId, clock: Clock, kept: Kept<'_>) -> LeaseInput {
    let Some(value) = value(id) else { return LeaseInput::Unavailable };
    let kv = bus.kv(streams::LEASES);
    let ttl = Duration::from_millis(LEASE_TTL_MS);
    let result = Lease::contend(&kv, pool.as_str(), value, ttl, kept.sighting).await;
    // Looking at a lease that somebody holds writes nothing.
    if !matches!(result, Ok(Acquired::Held { .. })) {
        note(kept.stores, &result);
    }
    match result {
        Ok(Acquired::Taken(mut lease)) => {
            let last = last_epoch(bus, pool).await;
            if last < lease.epoch().saturating_add(MAX_SET_BACK_MS) {
                lease.raise_epoch(last + 1);
            }
            let input =
                LeaseInput::Acquired { epoch: lease.epoch(), held_until: clock.mono_of(lease.held_until()) };
            *kept.held = Some(lease);
            input
        }
        Ok(Acquired::Held { renewed, .. }) => LeaseInput::HeldElsewhere { renewed },
        Err(error) => {
            tracing::warn!(%pool, %error, "the lease could not be asked for");
            LeaseInput::Unavailable
        }
    }
}

/// The highest epoch that the pool's orders and records tell of, 0 where they tell of none.
async fn last_epoch(bus: &Bus, pool: &PoolId) -> u64 {
    let job = bus.last::<Job>(streams::JOB, Subject::Job(pool.clone())).await;
    let record = bus.last::<LedgerRecord>(streams::LEDGER, Subject::Ledger(pool.clone())).await;
    let job = job.ok().flatten().map_or(0, |entry| entry.message.epoch);
    job.max(record.ok().flatten().map_or(0, |entry| entry.message.epoch))
}

async fn renew(
    id: &CoordinatorId,
    clock: Clock,
    epoch: u64,
    held: &mut Option<Lease>,
    stores: &Stores,
) -> Option<LeaseInput> {
    let lease = held.as_mut().filter(|l| l.epoch() == epoch)?;
    let result = lease.renew(value(id)?).await;
    note(stores, &result);
    match result {
        Ok(held_until) => Some(LeaseInput::Renewed { held_until: clock.mono_of(held_until) }),
        Err(LeaseError::Lost { .. }) => {
            *held = None;
            Some(LeaseInput::Lost { epoch, reason: "another coordinator holds the lease".to_owned() })
        }
        Err(error) => {
            tracing::warn!(%error, "the lease could not be renewed; it is tried again while it is held");
            None
        }
    }
}
