//! Leases: a key that ends by itself unless its holder renews it.
//!
//! A lease is a value of a bucket with a time to live. It is taken only where there is none, and every renewal names
//! the revision that it replaces, so of two that want it one gets it. Its epoch is the time at which the server stored its
//! taking, in milliseconds since the Unix epoch: the next holder's is higher, also where the bucket was made anew in between
//! and its revisions begin again.
//!
//! The time to live is the server's work, and a value that somebody put by hand, or that a server with a full disk cannot
//! end, has none. So who wants a lease looks at it again and again ([`Sighting`]): a value that no renewal has replaced for
//! longer than its time to live, by the looker's own monotonic clock, is nobody's, and is taken by replacing exactly that revision.

use crate::{Delivered, Expect, Kv, KvError, subscribe::is_deletion};
use async_nats::{HeaderMap, HeaderValue, header::NATS_MESSAGE_TTL};
use bytes::Bytes;
use std::time::{Duration, Instant};

/// Shortest time to live that a server can keep.
pub const MIN_LEASE_TTL: Duration = Duration::from_secs(1);
/// Taken off the time to live for clocks of servers that differ.
pub const CLOCK_MARGIN: Duration = Duration::from_millis(200);
/// Header that says whose renewal a value is.
const HOLDER: &str = "Dcmf-Lease-Holder";

/// A value that was not renewed is overdue this long after its time to live.
pub const STALE_MARGIN: Duration = Duration::from_secs(1);
/// Longest time to live that a lease's own header is believed.
pub const MAX_LEASE_TTL: Duration = Duration::from_secs(120);

/// What is remembered of a lease between two looks at it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sighting(Option<(u64, Instant)>);

impl Sighting {
    /// Notes that the lease stood at `revision` at `now`; for how long it has, and whether that is news.
    fn note(&mut self, revision: u64, now: Instant) -> (Duration, bool) {
        match self.0 {
            Some((known, since)) if known == revision => (now.saturating_duration_since(since), false),
            _ => {
                self.0 = Some((revision, now));
                (Duration::ZERO, true)
            }
        }
    }
}

/// Why a lease was not taken or renewed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// A server counts whole seconds.
    #[error("a lease of {0:?} cannot be kept: use whole seconds, at least one")]
    InvalidTtl(Duration),
    /// Someone else has it, or it has ended. Step down at once.
    #[error("the lease {key} of epoch {epoch} is lost")]
    Lost {
        /// The key.
        key: String,
        /// The epoch that has ended.
        epoch: u64,
    },
    /// Whether it was taken or renewed is unknown, or the bucket cannot be reached. What was held stays held until
    /// the time that was told.
    #[error(transparent)]
    Kv(KvError),
}

/// What came of an attempt to take a lease.
#[derive(Debug)]
pub enum Acquired {
    /// It is ours.
    Taken(Lease),
    /// Someone else has it; absent when another got in first.
    Held {
        /// The revision of its last renewal.
        revision: Option<u64>,
        /// It was renewed since the look before, or this was the first look.
        renewed: bool,
        /// What its holder wrote.
        value: Bytes,
    },
}

/// A lease that is held until [`Lease::held_until`].
#[derive(Debug)]
pub struct Lease {
    kv: Kv,
    key: String,
    holder: String,
    ttl: Duration,
    epoch: u64,
    revision: u64,
    held_until: Instant,
}

impl Lease {
    /// Takes the lease `key` for `ttl` if nobody holds it, at the first look. See [`Lease::contend`].
    pub async fn acquire(kv: &Kv, key: &str, value: Bytes, ttl: Duration) -> Result<Acquired, LeaseError> {
        Self::contend(kv, key, value, ttl, &mut Sighting::default()).await
    }

    /// Takes the lease `key` for `ttl` if nobody holds it, or if what stands there was not renewed for longer than it may
    /// live, as `sighting` remembers from look to look. After an error it may be ours without our knowing; it then
    /// ends by itself.
    pub async fn contend(
        kv: &Kv,
        key: &str,
        value: Bytes,
        ttl: Duration,
        sighting: &mut Sighting,
    ) -> Result<Acquired, LeaseError> {
        if ttl < MIN_LEASE_TTL || ttl.subsec_nanos() != 0 {
            return Err(LeaseError::InvalidTtl(ttl));
        }
        let subject = kv.subject(key).map_err(LeaseError::Kv)?;
        let last = kv.bus().last_bytes(kv.stream(), subject).await.map_err(|e| LeaseError::Kv(e.into()))?;
        let expected = match last {
            None => 0,
            Some(last) if is_deletion(last.headers.as_ref()) => last.sequence,
            Some(last) => {
                let (unchanged, renewed) = sighting.note(last.sequence, Instant::now());
                if unchanged <= life(&last, ttl) + STALE_MARGIN {
                    return Ok(Acquired::Held {
                        revision: Some(last.sequence),
                        renewed,
                        value: last.payload,
                    });
                }
                tracing::warn!(key, revision = last.sequence, "a lease that nobody renews is taken");
                last.sequence
            }
        };
        let holder = format!("{:032x}", rand::random::<u128>());
        let (kv, key) = (kv.clone(), key.to_owned());
        let now = Instant::now();
        let mut lease = Self { kv, key, holder, ttl, epoch: 0, revision: expected, held_until: now };
        match lease.write(value).await {
            Ok(()) => {
                lease.epoch = lease.taken_at().await?;
                Ok(Acquired::Taken(lease))
            }
            Err(KvError::RevisionMismatch { .. }) => {
                Ok(Acquired::Held { revision: None, renewed: true, value: Bytes::new() })
            }
            Err(error) => Err(LeaseError::Kv(error)),
        }
    }

    /// Renews the lease and gives the time until which it is certainly held. On [`LeaseError::Kv`] it may be tried
    /// again while it is held; on [`LeaseError::Lost`] it is over.
    pub async fn renew(&mut self, value: Bytes) -> Result<Instant, LeaseError> {
        match self.write(value.clone()).await {
            Ok(()) => return Ok(self.held_until),
            Err(KvError::RevisionMismatch { .. }) => {}
            Err(error) => return Err(LeaseError::Kv(error)),
        }
        // A renewal whose acknowledgement was lost leaves a revision behind that is ours all the same.
        let known = self.revision;
        self.adopt().await?;
        if self.revision == known {
            return Err(self.lost());
        }
        match self.write(value).await {
            Ok(()) => Ok(self.held_until),
            Err(KvError::RevisionMismatch { .. }) => Err(self.lost()),
            Err(error) => Err(LeaseError::Kv(error)),
        }
    }

    /// Gives the lease up, if it is still ours, so that another need not wait for its end.
    pub async fn release(mut self) -> Result<(), LeaseError> {
        self.adopt().await?;
        let expect = Expect::LastSubjectSequence(self.revision);
        match self.kv.remove(&self.key, expect).await {
            Ok(_) => Ok(()),
            Err(KvError::RevisionMismatch { .. }) => Err(self.lost()),
            Err(error) => Err(LeaseError::Kv(error)),
        }
    }

    /// The fencing number. It stays while the lease is renewed.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Makes the fencing number at least this: the next one where the last is known, since a server's clock may be set back.
    pub fn raise_epoch(&mut self, at_least: u64) {
        self.epoch = self.epoch.max(at_least);
    }

    /// When the server stored our value.
    async fn taken_at(&self) -> Result<u64, LeaseError> {
        let subject = self.kv.subject(&self.key).map_err(LeaseError::Kv)?;
        let last = self.kv.bus().last_bytes(self.kv.stream(), subject).await;
        let last = last.map_err(|e| LeaseError::Kv(e.into()))?.filter(|last| last.sequence == self.revision);
        Ok(last.ok_or_else(|| self.lost())?.stored_at.0)
    }

    /// Until when the lease is certainly held, on this machine's monotonic clock: [`CLOCK_MARGIN`] less than its time
    /// to live from the moment before the last successful renewal was sent.
    pub fn held_until(&self) -> Instant {
        self.held_until
    }

    /// Writes the value with its time to live over the known revision.
    async fn write(&mut self, value: Bytes) -> Result<(), KvError> {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_TTL, HeaderValue::from(self.ttl.as_secs()));
        headers.insert(HOLDER, self.holder.as_str());
        let sent = Instant::now();
        let stored =
            self.kv.write(&self.key, value, headers, Expect::LastSubjectSequence(self.revision)).await?;
        self.revision = stored.sequence;
        self.held_until = sent + self.ttl.saturating_sub(CLOCK_MARGIN);
        Ok(())
    }

    /// Finds the revision of our own last renewal.
    async fn adopt(&mut self) -> Result<(), LeaseError> {
        let subject = self.kv.subject(&self.key).map_err(LeaseError::Kv)?;
        let last = self.kv.bus().last_bytes(self.kv.stream(), subject).await;
        let last = last.map_err(|e| LeaseError::Kv(e.into()))?.ok_or_else(|| self.lost())?;
        match last.header(HOLDER) {
            Some(holder) if holder != self.holder => return Err(self.lost()),
            None if is_deletion(last.headers.as_ref()) => return Err(self.lost()),
            // No holder wrote what has no holder's name. While the lease is held nobody else may take it, so it is ours still.
            None => {
                tracing::warn!(key = self.key, revision = last.sequence, "a value put by hand is replaced")
            }
            Some(_) => {}
        }
        self.revision = last.sequence;
        Ok(())
    }

    fn lost(&self) -> LeaseError {
        LeaseError::Lost { key: self.key.clone(), epoch: self.epoch }
    }
}

/// How long a value may live without being renewed: as its holder said, and `ttl` where no holder wrote it.
fn life(value: &Delivered, ttl: Duration) -> Duration {
    let said = value.header(HOLDER).and(value.header(NATS_MESSAGE_TTL.as_ref()));
    let said = said.and_then(|text| text.trim_end_matches('s').parse().ok()).map(Duration::from_secs);
    said.map_or(ttl, |said| said.clamp(ttl, MAX_LEASE_TTL.max(ttl)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_that_stays_grows_old_and_another_begins_anew() {
        let (mut sighting, start) = (Sighting::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(sighting.note(7, at(0)), (Duration::ZERO, true));
        assert_eq!(sighting.note(7, at(5)), (Duration::from_secs(5), false));
        assert_eq!(sighting.note(9, at(6)), (Duration::ZERO, true));
        assert_eq!(sighting.note(9, at(8)), (Duration::from_secs(2), false));
        // A bucket that was made anew counts from the beginning.
        assert_eq!(sighting.note(1, at(9)), (Duration::ZERO, true));
    }
}
