//! The lease of one pool, as the adapter and the shell keep it.

use super::moment;
use crate::{
    bus::{Bus, BusError},
    queue::Queue,
    server::{
        declared::{JOB, LEASES, LEDGER, key_subject},
        stream::{Headers, Stored},
    },
};
use bus_schemas::{
    CoordinatorId, Message, PoolId, TimestampMs, heartbeat, job::Job, ledger::LedgerRecord, subject::Subject,
};
use coordinator_core::{Input, LeaseInput, MonoMs, ownership::LEASE_TTL_MS};

/// Furthest that a server's clock is set back, milliseconds.
const MAX_SET_BACK_MS: u64 = 366 * 86_400_000;
/// Taken off the time to live for clocks of servers that differ, milliseconds.
const CLOCK_MARGIN_MS: u64 = 200;
/// A value that was not renewed is overdue this long after its time to live, milliseconds.
const STALE_MARGIN_MS: u64 = 1_000;

/// What is wanted of a lease.
#[derive(Debug, Clone, Copy)]
pub(super) enum LeaseRequest {
    Acquire,
    Renew(u64),
    Release(u64),
}

/// A lease that is held.
struct Lease {
    holder: u64,
    epoch: u64,
    revision: u64,
    held_until: u64,
}

enum LeaseError {
    Lost,
    Bus,
}

impl From<BusError> for LeaseError {
    fn from(_: BusError) -> Self {
        Self::Bus
    }
}

struct Keeper {
    bus: Bus,
    subject: String,
    id: CoordinatorId,
    /// The revision that was seen, and since when by the own clock.
    sighting: Option<(u64, u64)>,
}

/// Does what is requested, for ever.
pub(super) async fn serve(
    bus: Bus,
    pool: PoolId,
    id: CoordinatorId,
    requests: Queue<LeaseRequest>,
    inputs: Queue<Input>,
) {
    let mut held: Option<Lease> = None;
    let subject = key_subject(LEASES, &pool);
    let mut keeper = Keeper { bus, subject, id, sighting: None };
    loop {
        let answer = match requests.next().await {
            LeaseRequest::Acquire => Some(keeper.acquire(&pool, &mut held).await),
            LeaseRequest::Renew(epoch) => keeper.renewed(epoch, &mut held).await,
            LeaseRequest::Release(epoch) => {
                if let Some(lease) = held.take_if(|l| l.epoch == epoch) {
                    keeper.release(lease).await;
                }
                None
            }
        };
        if let Some(answer) = answer {
            inputs.push(Input::Lease(pool.clone(), answer));
        }
    }
}

impl Keeper {
    fn mono(&self) -> u64 {
        moment(&self.bus.world, self.bus.owner.process).mono.0
    }

    async fn acquire(&mut self, pool: &PoolId, held: &mut Option<Lease>) -> LeaseInput {
        match self.contend().await {
            Ok(Ok(mut lease)) => {
                let last = self.last_epoch(pool).await;
                if last < lease.epoch.saturating_add(MAX_SET_BACK_MS) {
                    lease.epoch = lease.epoch.max(last + 1);
                }
                let input = LeaseInput::Acquired { epoch: lease.epoch, held_until: MonoMs(lease.held_until) };
                *held = Some(lease);
                input
            }
            Ok(Err(renewed)) => LeaseInput::HeldElsewhere { renewed },
            Err(_) => LeaseInput::Unavailable,
        }
    }

    /// Takes the lease if nobody holds it, or if what stands there is overdue; else whether its holder renewed it.
    async fn contend(&mut self) -> Result<Result<Lease, bool>, LeaseError> {
        let last = self.bus.last(LEASES, &self.subject).await?;
        let revision = match last {
            None => 0,
            Some(last) if last.headers.deletes => last.sequence,
            Some(last) => {
                let now = self.mono();
                let (since, renewed) = match self.sighting {
                    Some((known, since)) if known == last.sequence => (since, false),
                    _ => {
                        self.sighting = Some((last.sequence, now));
                        (now, true)
                    }
                };
                let life_ms = last.headers.ttl_s.map_or(LEASE_TTL_MS, |s| s * 1_000).max(LEASE_TTL_MS);
                if now.saturating_sub(since) <= life_ms + STALE_MARGIN_MS {
                    return Ok(Err(renewed));
                }
                last.sequence
            }
        };
        let holder = self.bus.world.with_process(self.bus.owner.process, |p| p.random.draw());
        let mut lease = Lease { holder, epoch: 0, revision, held_until: 0 };
        match self.write(&mut lease).await {
            Ok(()) => {}
            Err(error) if error.is_wrong_last() => return Ok(Err(true)),
            Err(error) => return Err(error.into()),
        }
        let last = self.bus.last(LEASES, &self.subject).await?;
        let last = last.filter(|last| last.sequence == lease.revision).ok_or(LeaseError::Lost)?;
        lease.epoch = last.stored_at().0;
        Ok(Ok(lease))
    }

    async fn write(&self, lease: &mut Lease) -> Result<(), BusError> {
        let now = moment(&self.bus.world, self.bus.owner.process);
        let value = heartbeat::Lease { coordinator: self.id.clone(), renewed_at_ms: now.wall };
        let headers = Headers {
            expected: Some(lease.revision),
            ttl_s: Some(LEASE_TTL_MS / 1_000),
            holder: Some(lease.holder),
            ..Headers::default()
        };
        let value = value.encode().unwrap_or_default();
        let ack = self.bus.publish(&self.subject, value, headers).await?;
        lease.revision = ack.sequence;
        lease.held_until = now.mono.0 + LEASE_TTL_MS - CLOCK_MARGIN_MS;
        Ok(())
    }

    async fn renewed(&self, epoch: u64, held: &mut Option<Lease>) -> Option<LeaseInput> {
        let lease = held.as_mut().filter(|l| l.epoch == epoch)?;
        match self.renew(lease).await {
            Ok(()) => Some(LeaseInput::Renewed { held_until: MonoMs(lease.held_until) }),
            Err(LeaseError::Lost) => {
                *held = None;
                Some(LeaseInput::Lost { epoch, reason: "another coordinator holds the lease".to_owned() })
            }
            Err(LeaseError::Bus) => None,
        }
    }

    async fn renew(&self, lease: &mut Lease) -> Result<(), LeaseError> {
        match self.write(lease).await {
            Ok(()) => return Ok(()),
            Err(error) if error.is_wrong_last() => {}
            Err(error) => return Err(error.into()),
        }
        let known = lease.revision;
        self.adopt(lease).await?;
        if lease.revision == known {
            return Err(LeaseError::Lost);
        }
        match self.write(lease).await {
            Ok(()) => Ok(()),
            Err(error) if error.is_wrong_last() => Err(LeaseError::Lost),
            Err(error) => Err(error.into()),
        }
    }

    /// Finds the revision of our own last renewal.
    async fn adopt(&self, lease: &mut Lease) -> Result<(), LeaseError> {
        let last = self.bus.last(LEASES, &self.subject).await?.ok_or(LeaseError::Lost)?;
        match last.headers.holder {
            Some(holder) if holder != lease.holder => return Err(LeaseError::Lost),
            None if last.headers.deletes => return Err(LeaseError::Lost),
            _ => {}
        }
        lease.revision = last.sequence;
        Ok(())
    }

    async fn release(&self, mut lease: Lease) {
        if self.adopt(&mut lease).await.is_err() {
            return;
        }
        let headers = Headers { expected: Some(lease.revision), deletes: true, ..Headers::default() };
        let _ = self.bus.publish(&self.subject, Vec::new(), headers).await;
    }

    /// The highest epoch that the pool's orders and records tell of.
    async fn last_epoch(&self, pool: &PoolId) -> u64 {
        let job = self.bus.last(JOB, Subject::Job(pool.clone())).await;
        let record = self.bus.last(LEDGER, Subject::Ledger(pool.clone())).await;
        let of = |stored: Result<Option<Stored>, BusError>, epoch: fn(&[u8]) -> Option<u64>| {
            stored.ok().flatten().and_then(|s| epoch(&s.payload)).unwrap_or(0)
        };
        let job = of(job, |bytes| Job::decode(bytes).ok().map(|job| job.epoch));
        job.max(of(record, |bytes| LedgerRecord::decode(bytes).ok().map(|record| record.epoch)))
    }
}

/// How old a message is by the server's clock.
pub(super) fn age_ms(now_us: u64, stored_at: TimestampMs) -> u64 {
    TimestampMs(now_us / 1_000).since(stored_at)
}
