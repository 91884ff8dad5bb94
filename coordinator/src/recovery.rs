//! What JetStream holds of a pool.
//!
//! Anybody who reaches the bus may write next to what owners wrote. What is not theirs is passed over here, put aside and
//! told; the positions at which writers go on count it all the same.

use crate::{
    components::ComponentError,
    ledger_chain::{self, Chain},
};
use bus_schemas::{
    Message, PoolId, TimestampMs,
    block::BlockRecord,
    command::Stuck,
    event::EventData,
    job::Job,
    ledger::LedgerRecord,
    member::Member,
    subject::{Subject, filter},
};
use coordinator_core::{Recovered, ShareBasis, Trouble};
use nats_adapter::{Bus, Delivered, KvError, ReadError, StreamBounds, streams};
use std::collections::BTreeMap;

/// Most messages of one recovery that are put aside; the others are only passed over.
const MAX_DEAD_LETTERS: usize = 16;

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
    #[error("{}", .0.reason)]
    Stuck(Stuck),
}

impl From<RecoveryError> for Trouble {
    fn from(error: RecoveryError) -> Self {
        match error {
            RecoveryError::Stuck(stuck) => Self::stuck(stuck),
            error => Self::of(format!("its state cannot be read: {error}")),
        }
    }
}

pub(crate) async fn read(bus: &Bus, pool: &PoolId) -> Result<Found, RecoveryError> {
    let mut positions = Positions::default();
    let mut aside = Aside { bus, left: MAX_DEAD_LETTERS, news: Vec::new() };
    let members = read_members(bus, pool, &mut positions, &mut aside).await?;
    let members_at = bus.stream_moment(streams::KV_MEMBERS).await?.now;

    let mut jobs = Vec::new();
    for delivered in bus.read_all(streams::JOB, Subject::Job(pool.clone())).await? {
        positions.job = delivered.sequence;
        if delivered.payload.is_empty() {
            // The job before was withdrawn.
            continue;
        }
        match Job::decode(&delivered.payload) {
            Ok(job) if delivered.is_guarded() && job.pool == *pool => jobs.push((job, delivered.stored_at)),
            Ok(_) => aside.put(streams::JOB, &delivered, "no owner of the pool wrote it").await,
            Err(error) => aside.put(streams::JOB, &delivered, &error.to_string()).await,
        }
    }

    let (chain, foreign) = ledger_chain::read(bus, pool).await?;
    if let Some(stuck) = chain.stuck(pool) {
        return Err(RecoveryError::Stuck(stuck));
    }
    for (delivered, found) in foreign.iter().zip(&chain.foreign) {
        aside.put(streams::LEDGER, delivered, &found.reason).await;
    }
    positions.ledger = chain.end;
    let bounds = bus.stream_bounds(streams::SHARE).await?;
    let shares = share_basis(bus, &chain, &bounds).await?;
    rebase(&mut jobs, chain.last.as_ref(), &bounds, shares.accounted_to);
    if let (Some(goes_on_after), Some(record)) = (shares.accounted_to, &chain.last) {
        aside.news.push(EventData::StreamReplaced {
            stream: streams::SHARE.to_owned(),
            known_to: record.shares_to,
            goes_on_after,
            reason: format!(
                "it was created at {} and ends at {}",
                bounds.created_at().to_rfc3339(),
                bounds.last
            ),
        });
    }
    let blocks = read_blocks(bus, pool, &mut aside).await?;
    let (ledger, news) = (chain.last, aside.news);
    let recovered = Recovered { members, members_at, jobs, ledger, shares, news, blocks };
    Ok(Found { recovered, positions })
}

/// Puts aside what is passed over.
struct Aside<'a> {
    bus: &'a Bus,
    left: usize,
    news: Vec<EventData>,
}

impl Aside<'_> {
    async fn put(&mut self, stream: &str, message: &Delivered, reason: &str) {
        let (subject, sequence) = (message.subject.to_string(), message.sequence);
        tracing::warn!(subject, sequence, stream, reason, "a kept message is passed over");
        if self.left == 0 {
            return;
        }
        self.left -= 1;
        self.bus.dead_letter(stream, &message.undecodable(reason)).await;
        let reason = format!("sequence {sequence} of {stream}: {reason}");
        self.news.push(EventData::MessageUndecodable { subject, reason, count: 1 });
    }
}

/// Where accounting goes on in the stream of shares that is there now. `accounted_to` is told only when that is another
/// stream than the last record counts in.
async fn share_basis(bus: &Bus, chain: &Chain, bounds: &StreamBounds) -> Result<ShareBasis, ReadError> {
    let stream = Some(bounds.identity());
    let Some(record) = &chain.last else { return Ok(ShareBasis { stream, accounted_to: None }) };
    if !is_replaced(record, bounds) {
        return Ok(ShareBasis { stream, accounted_to: None });
    }
    let accounted = |share: &Delivered| is_accounted(record, chain.stored_at_ms, bounds, share);
    let accounted_to = bus.end_of_prefix(streams::SHARE, bounds, accounted).await?;
    Ok(ShareBasis { stream, accounted_to: Some(accounted_to) })
}

/// Whether the stream is another one than that which the record counts in.
fn is_replaced(record: &LedgerRecord, bounds: &StreamBounds) -> bool {
    let other = record.shares_stream.as_ref().is_some_and(|known| *known != bounds.identity());
    other || record.shares_to > bounds.last
}

/// Whether a share of the stream that is there now is accounted by the record. A restored stream holds what the former one
/// held, with its stamps and sequences; whatever was stored since it was created is new.
fn is_accounted(
    record: &LedgerRecord,
    record_stored_ms: u64,
    bounds: &StreamBounds,
    share: &Delivered,
) -> bool {
    let at = record.shares_at_ms.map_or(record_stored_ms, |at| at.0);
    let restored = share.stored_at < bounds.created_at();
    let known = restored || record.shares_stream.as_deref() == Some(&bounds.identity());
    known && (share.stored_at.0 < at || (share.stored_at.0 == at && share.sequence <= record.shares_to))
}

/// Jobs say after which sequence their shares come. In another stream than theirs that is its beginning, or as before in what
/// was restored of theirs, up to `restored_to`.
fn rebase(
    jobs: &mut [(Job, TimestampMs)],
    record: Option<&LedgerRecord>,
    bounds: &StreamBounds,
    restored_to: Option<u64>,
) {
    let identity = bounds.identity();
    for (job, _) in jobs {
        let theirs = job.shares_stream.as_deref();
        if theirs == Some(&identity) || (theirs.is_none() && restored_to.is_none()) {
            continue;
        }
        let as_accounted = record.is_some_and(|record| record.shares_stream == job.shares_stream);
        job.shares_after = match restored_to {
            Some(restored) if as_accounted => job.shares_after.min(restored),
            _ => 0,
        };
    }
}

async fn read_members(
    bus: &Bus,
    pool: &PoolId,
    positions: &mut Positions,
    aside: &mut Aside<'_>,
) -> Result<Vec<(Member, TimestampMs)>, RecoveryError> {
    let mut members = Vec::new();
    for kept in bus.kv(streams::MEMBERS).kept(format!("{pool}.*")).await? {
        positions.members.insert(kept.key.clone(), kept.revision);
        let Some(value) = kept.value else { continue };
        let reason = match Member::decode(&value) {
            Ok(member) if kept.guarded && format!("{}.{}", member.pool, member.worker) == kept.key => {
                members.push((member, kept.stored_at));
                continue;
            }
            Ok(_) => "no owner of the pool wrote it".to_owned(),
            Err(error) => error.to_string(),
        };
        tracing::warn!(%pool, key = kept.key, revision = kept.revision, reason, "a kept member is passed over");
        if aside.left > 0 {
            aside.left -= 1;
            let subject = Subject::Role(pool.clone(), bus_schemas::WorkerId::strangers()).to_string();
            let reason = format!("revision {} of {} {}: {reason}", kept.revision, streams::MEMBERS, kept.key);
            aside.news.push(EventData::MessageUndecodable { subject, reason, count: 1 });
        }
    }
    Ok(members)
}

/// The last state of each block that can be read; what nobody can read hides none.
async fn read_blocks(
    bus: &Bus,
    pool: &PoolId,
    aside: &mut Aside<'_>,
) -> Result<
    Vec<(bus_schemas::Hash32, u64, bus_schemas::WorkerId, bus_schemas::block::BlockState)>,
    RecoveryError,
> {
    let read = |delivered: &Delivered| {
        let record = BlockRecord::decode(&delivered.payload).ok().filter(|b| b.pool == *pool)?;
        let subject = Subject::Block(pool.clone(), bus_schemas::event::block_id(record.hash)).to_string();
        // An owner's have an id, see `blocks.rs`; and a block's hash is its subject.
        (delivered.message_id().is_some() && *delivered.subject == *subject).then_some(record)
    };
    let mut blocks = Vec::new();
    for last in bus.read_last_of_each(streams::BLOCK, filter::blocks(pool)).await? {
        let record = match read(&last) {
            Some(record) => Some(record),
            None => {
                aside.put(streams::BLOCK, &last, "it is no record of a block, or no owner wrote it").await;
                let all = bus.read_all(streams::BLOCK, last.subject.to_string()).await?;
                all.iter().rev().find_map(read)
            }
        };
        blocks.extend(record.map(|b| (b.hash, b.height, b.worker, b.state)));
    }
    Ok(blocks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bus_schemas::{WorkerId, examples};

    const CREATED_MS: u64 = 5_000_000;

    fn bounds(last: u64) -> StreamBounds {
        StreamBounds { first: 1, last, messages: last, created_ns: i128::from(CREATED_MS) * 1_000_000 }
    }

    fn record(stream: Option<&str>, shares_to: u64, at: Option<u64>) -> LedgerRecord {
        LedgerRecord {
            pool: PoolId::new("main").unwrap(),
            epoch: 1,
            number: 1,
            shares_to,
            shares_stream: stream.map(str::to_owned),
            shares_at_ms: at.map(TimestampMs),
            credits: Vec::new(),
            refused: Vec::new(),
            total_shares: 0,
            total_work: 0.into(),
            at_ms: TimestampMs(0),
        }
    }

    fn share(sequence: u64, stored_at: u64) -> Delivered {
        Delivered {
            sequence,
            stored_at: TimestampMs(stored_at),
            subject: String::from(Subject::Share(PoolId::new("main").unwrap(), WorkerId::new("w1").unwrap()))
                .into(),
            payload: bytes::Bytes::new(),
            headers: None,
        }
    }

    #[test]
    fn a_stream_is_another_one_by_its_stamp_and_by_an_end_that_lies_before_what_is_accounted() {
        let own = bounds(10).identity();
        assert!(!is_replaced(&record(Some(&own), 10, Some(9)), &bounds(10)));
        assert!(is_replaced(&record(Some("1"), 10, Some(9)), &bounds(1_000)), "whatever came since");
        assert!(is_replaced(&record(Some(&own), 11, Some(9)), &bounds(10)));
        assert!(is_replaced(&record(None, 11, None), &bounds(10)), "a record of a version before");
        assert!(!is_replaced(&record(None, 10, None), &bounds(10)));
    }

    #[test]
    fn of_a_restored_stream_what_was_accounted_counts_no_more_and_the_rest_does() {
        let record = record(Some("1"), 400, Some(4_000));
        let accounted = |s: &Delivered| is_accounted(&record, 0, &bounds(900), s);
        for (sequence, at, wanted) in [
            (1, 1_000, true),
            (400, 4_000, true),
            // In the same millisecond, behind the last accounted one.
            (401, 4_000, false),
            // Kept in the backup, never accounted.
            (402, 4_001, false),
            // Stored since the stream was created, under sequences that were used before.
            (399, CREATED_MS, false),
            (1, CREATED_MS + 1, false),
        ] {
            assert_eq!(accounted(&share(sequence, at)), wanted, "{sequence} at {at}");
        }
    }

    #[test]
    fn in_a_stream_that_was_made_anew_nothing_is_accounted_although_the_clock_was_set_back() {
        let record = record(Some("1"), 400, Some(CREATED_MS + 60_000));
        assert!(!is_accounted(&record, 0, &bounds(3), &share(1, CREATED_MS + 1)));
    }

    #[test]
    fn jobs_of_the_former_stream_begin_where_the_new_one_does() {
        let mut job = examples::job().unwrap();
        (job.shares_after, job.shares_stream) = (990, Some("1".to_owned()));
        let mut jobs = [(job, TimestampMs(0))];
        rebase(&mut jobs, Some(&record(Some("1"), 1_000, Some(1))), &bounds(5), Some(0));
        assert_eq!(jobs[0].0.shares_after, 0);
        jobs[0].0.shares_after = 990;
        rebase(&mut jobs, Some(&record(Some("1"), 1_000, Some(1))), &bounds(500), Some(400));
        assert_eq!(jobs[0].0.shares_after, 400);
        jobs[0].0.shares_stream = Some(bounds(5).identity());
        rebase(&mut jobs, Some(&record(Some("1"), 1_000, Some(1))), &bounds(500), Some(0));
        assert_eq!(jobs[0].0.shares_after, 400, "it counts in this stream");
        // The ledger counts in the new stream already, the job is still one of the former.
        jobs[0].0.shares_stream = Some("1".to_owned());
        let own = bounds(500).identity();
        rebase(&mut jobs, Some(&record(Some(&own), 7, Some(1))), &bounds(500), None);
        assert_eq!(jobs[0].0.shares_after, 0);
    }

    #[test]
    fn nobody_is_forgotten_while_a_stream_may_hold_what_it_sent() {
        let declared = streams::declared(1).unwrap();
        for name in [streams::SHARE, streams::FOUND] {
            let stream = declared.iter().find(|stream| stream.name == name).unwrap();
            let kept = u64::try_from(stream.max_age.as_millis()).unwrap();
            assert!((1..coordinator_core::pool::FORGET_AFTER_MS).contains(&kept), "{name}: {kept} ms");
        }
    }
}
