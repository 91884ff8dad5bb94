//! What the streams hold of a pool.

use super::ledger_chain::{self, Chain};
use crate::{
    bus::{Bus, BusError},
    server::{
        Bounds,
        declared::{BLOCK, JOB, LEDGER, MEMBERS, SHARE, key_of, key_subject},
        stream::Stored,
    },
};
use bus_schemas::{
    Hash32, Message, PoolId, TimestampMs, WorkerId,
    block::{BlockRecord, BlockState},
    event::EventData,
    job::Job,
    ledger::LedgerRecord,
    member::Member,
    subject::{Subject, filter},
};
use coordinator_core::{Recovered, ShareBasis, Trouble};
use std::collections::BTreeMap;

/// Fewest messages of owners that are looked at, if there are so many.
const LOOK_BACK: usize = 16;
/// Sequences of the ledger that are read at first.
const FIRST_WINDOW: u64 = 128;

/// What the core gets, and where the writers go on.
pub(super) struct Found {
    pub(super) recovered: Recovered,
    pub(super) positions: Positions,
}

/// The last sequences and revisions that a writer expects.
#[derive(Debug, Clone, Default)]
pub(super) struct Positions {
    pub(super) members: BTreeMap<String, u64>,
    pub(super) job: u64,
    pub(super) ledger: u64,
}

pub(super) async fn read(bus: &Bus, pool: &PoolId) -> Result<Found, Trouble> {
    let failed = |error: BusError| Trouble::of(format!("its state cannot be read: {error:?}"));
    let mut positions = Positions::default();
    let members = read_members(bus, pool, &mut positions).await.map_err(failed)?;
    let mut jobs = Vec::new();
    for stored in bus.read_from(JOB, Subject::Job(pool.clone()).to_string(), 1).await.map_err(failed)? {
        positions.job = stored.sequence;
        if let Ok(job) = Job::decode(&stored.payload)
            && stored.is_guarded()
            && job.pool == *pool
        {
            jobs.push((job, stored.stored_at()));
        }
    }
    let chain = read_chain(bus, pool).await.map_err(failed)?;
    if let Some(sequence) = chain.unreadable {
        return Err(Trouble::of(format!("message {sequence} of the ledger cannot be read")));
    }
    positions.ledger = chain.end;
    let bounds = bus.bounds(SHARE).await.map_err(failed)?;
    let shares = share_basis(bus, &chain, bounds).await.map_err(failed)?;
    rebase(&mut jobs, chain.last.as_ref(), bounds, shares.accounted_to);
    let mut news = Vec::new();
    if let (Some(goes_on_after), Some(record)) = (shares.accounted_to, &chain.last) {
        let (known_to, stream) = (record.shares_to, SHARE.to_owned());
        news.push(EventData::StreamReplaced { stream, known_to, goes_on_after, reason: String::new() });
    }
    let blocks = read_blocks(bus, pool).await.map_err(failed)?;
    let members_at = TimestampMs(bounds.now_us / 1_000);
    let recovered = Recovered { members, members_at, jobs, ledger: chain.last, shares, news, blocks };
    Ok(Found { recovered, positions })
}

async fn read_chain(bus: &Bus, pool: &PoolId) -> Result<Chain, BusError> {
    let subject = Subject::Ledger(pool.clone()).to_string();
    let Some(last) = bus.last(LEDGER, &subject).await? else { return Ok(Chain::default()) };
    let mut window = FIRST_WINDOW;
    loop {
        let from = last.sequence.saturating_sub(window).max(1);
        let messages = bus.read_from(LEDGER, subject.clone(), from).await?;
        let guarded = messages.iter().filter(|m| m.is_guarded()).count();
        if guarded >= LOOK_BACK || from == 1 {
            return Ok(ledger_chain::judge(pool, &messages));
        }
        window = window.saturating_mul(8);
    }
}

async fn share_basis(bus: &Bus, chain: &Chain, bounds: Bounds) -> Result<ShareBasis, BusError> {
    let stream = Some(bounds.identity());
    let Some(record) = &chain.last else { return Ok(ShareBasis { stream, accounted_to: None }) };
    let other = record.shares_stream.as_ref().is_some_and(|known| *known != bounds.identity());
    if !(other || record.shares_to > bounds.last) {
        return Ok(ShareBasis { stream, accounted_to: None });
    }
    let accounted = |share: &Stored| is_accounted(record, chain.stored_at_ms, bounds, share);
    let accounted_to = end_of_prefix(bus, bounds, accounted).await?;
    Ok(ShareBasis { stream, accounted_to: Some(accounted_to) })
}

fn is_accounted(record: &LedgerRecord, record_stored_ms: u64, bounds: Bounds, share: &Stored) -> bool {
    let at = record.shares_at_ms.map_or(record_stored_ms, |at| at.0);
    let restored = share.stored_at().0 < bounds.created_ms();
    let known = restored || record.shares_stream.as_deref() == Some(&bounds.identity());
    let stored_at = share.stored_at().0;
    known && (stored_at < at || (stored_at == at && share.sequence <= record.shares_to))
}

/// The last sequence for which `belongs` holds, given that it holds up to some place and for nothing behind it.
async fn end_of_prefix(
    bus: &Bus,
    bounds: Bounds,
    belongs: impl Fn(&Stored) -> bool,
) -> Result<u64, BusError> {
    let (mut known, mut open) = (bounds.first.saturating_sub(1), bounds.last);
    while known < open {
        let middle = known + (open - known).div_ceil(2);
        match bus.at_or_after(SHARE, middle).await? {
            Some(found) if belongs(&found) => known = found.sequence.min(open),
            Some(_) | None => open = middle - 1,
        }
    }
    let holds = match bus.at_or_after(SHARE, known.max(1)).await? {
        Some(found) => found.sequence <= known && belongs(&found),
        None => false,
    };
    Ok(if holds { known } else { 0 })
}

fn rebase(
    jobs: &mut [(Job, TimestampMs)],
    record: Option<&LedgerRecord>,
    bounds: Bounds,
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
) -> Result<Vec<(Member, TimestampMs)>, BusError> {
    let mut members = Vec::new();
    for kept in bus.read_from(MEMBERS, key_subject(MEMBERS, format!("{pool}.*")), 1).await? {
        let key = key_of(MEMBERS, &kept.subject).to_owned();
        positions.members.insert(key.clone(), kept.sequence);
        if kept.headers.deletes {
            continue;
        }
        if let Ok(member) = Member::decode(&kept.payload)
            && kept.is_guarded()
            && format!("{}.{}", member.pool, member.worker) == key
        {
            members.push((member, kept.stored_at()));
        }
    }
    Ok(members)
}

async fn read_blocks(bus: &Bus, pool: &PoolId) -> Result<Vec<(Hash32, u64, WorkerId, BlockState)>, BusError> {
    let mut blocks = Vec::new();
    for last in bus.read_last_of_each(BLOCK, filter::blocks(pool)).await? {
        let record = BlockRecord::decode(&last.payload).ok().filter(|b| b.pool == *pool);
        blocks.extend(record.map(|b| (b.hash, b.height, b.worker, b.state)));
    }
    Ok(blocks)
}
