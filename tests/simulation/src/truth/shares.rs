//! Which share earns what: judged once more, by everything that was ever stored, for each ledger record as it is appended.

use super::verdicts::{Claim, OfPool, Verdict};
use crate::server::{
    declared::{LEDGER, SHARE},
    stream::{Stored, Stream},
};
use bus_schemas::{
    Message, PoolId, TimestampMs, Work, WorkerId, ledger::LedgerRecord, share::Share, subject::Subject,
};
use std::collections::{BTreeMap, BTreeSet};

/// A message of the stream of shares.
#[derive(Debug, Clone)]
struct Sent {
    pool: PoolId,
    worker: WorkerId,
    stored_at: TimestampMs,
    share: Option<Share>,
}

/// What the ledger of a pool says, and which messages it accounts for.
#[derive(Debug, Default)]
struct Book {
    records: Vec<(u64, LedgerRecord, Vec<u64>)>,
    accounted: BTreeSet<u64>,
    /// Messages up to this one may wait for the next record: the ledger is another one, and its owner has not written since.
    waits_to: u64,
    /// A backup brought shares back that were destroyed before they were accounted: no record tells that they still wait.
    doubtful: bool,
    /// A second ledger was put in the place of one that was put in its place, or shares came back: nobody can tell any more.
    closed: bool,
    /// Up to where each stream was looked through.
    reached: BTreeMap<String, u64>,
}

/// What came of a record.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Booked {
    pub(crate) credited: u64,
    pub(crate) refused: u64,
    pub(crate) uncertain: u64,
}

/// What a record accounts for, as it truly is.
#[derive(Debug, Default)]
struct Judged {
    uids: Vec<u64>,
    must: BTreeMap<WorkerId, Earned>,
    may: BTreeMap<WorkerId, Earned>,
    refusals: Vec<String>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Earned {
    shares: u64,
    work: Work,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    pub(crate) pools: BTreeMap<PoolId, OfPool>,
    books: BTreeMap<PoolId, Book>,
    /// Every record that was ever stored: a backup may bring any of them back.
    records: BTreeMap<u64, (LedgerRecord, Vec<u64>)>,
    sent: BTreeMap<u64, Sent>,
    streams: BTreeMap<String, BTreeMap<u64, u64>>,
    /// Messages that no stream holds any more and no record accounts for.
    destroyed: BTreeSet<u64>,
}

impl Shares {
    /// A share was stored, or something in its place.
    pub(crate) fn sent(&mut self, stream: &Stream, stored: &Stored) {
        let Ok(Subject::Share(pool, worker)) = stored.subject.parse::<Subject>() else { return };
        let share = Share::decode(&stored.payload).ok();
        let sent = Sent { pool, worker, stored_at: stored.stored_at(), share };
        self.sent.insert(stored.uid, sent);
        self.streams.entry(stream.identity()).or_default().insert(stored.sequence, stored.uid);
    }

    /// The stream of shares is another one now; how many messages are gone for good.
    pub(crate) fn shares_replaced(&mut self, now: Option<&Stream>) -> u64 {
        let mut held = BTreeMap::new();
        if let Some(stream) = now {
            held = stream.from(1, ">").map(|m| (m.sequence, m.uid)).collect();
            self.streams.insert(stream.identity(), held.clone());
        }
        let alive: BTreeSet<u64> = held.values().copied().collect();
        for uid in alive.intersection(&self.destroyed) {
            if let Some(sent) = self.sent.get(uid) {
                self.books.entry(sent.pool.clone()).or_default().doubtful = true;
            }
        }
        let before = self.destroyed.len();
        for uid in self.sent.keys() {
            let accounted = self.books.values().any(|book| book.accounted.contains(uid));
            if !alive.contains(uid) && !accounted {
                self.destroyed.insert(*uid);
            }
        }
        (self.destroyed.len() - before) as u64
    }

    /// The ledger is another one now.
    pub(crate) fn ledger_replaced(&mut self, now: Option<&Stream>) {
        let newest = self.sent.keys().next_back().copied().unwrap_or(0);
        for book in self.books.values_mut() {
            book.waits_to = newest;
            book.records.clear();
            book.reached.clear();
        }
        for message in now.into_iter().flat_map(|ledger| ledger.from(1, ">")) {
            if let Some((record, uids)) = self.records.get(&message.uid)
                && let Some(book) = self.books.get_mut(&record.pool)
            {
                book.records.push((message.uid, record.clone(), uids.clone()));
            }
        }
        for book in self.books.values_mut() {
            book.accounted = book.records.iter().flat_map(|(_, _, uids)| uids.iter().copied()).collect();
        }
        for (pool, of) in &mut self.pools {
            let accounted = self.books.get(pool).map(|book| &book.accounted);
            of.forget_credits(|uid| accounted.is_some_and(|accounted| accounted.contains(&uid)));
        }
    }

    /// A record was stored on the ledger of a pool by somebody who knew what it follows.
    pub(crate) fn recorded(&mut self, stored: &Stored) -> Result<Option<Booked>, String> {
        let Ok(Subject::Ledger(pool)) = stored.subject.parse::<Subject>() else { return Ok(None) };
        if !stored.is_guarded() || self.books.get(&pool).is_some_and(|book| book.closed) {
            return Ok(None);
        }
        let record = LedgerRecord::decode(&stored.payload)
            .map_err(|error| format!("an owner's record of {LEDGER} cannot be read: {error}"))?;
        match self.book(&pool, record, stored.uid) {
            Ok(booked) => Ok(Some(booked)),
            Err(error) => {
                let book = self.books.entry(pool).or_default();
                book.closed = book.doubtful || book.waits_to > 0;
                if book.closed { Ok(None) } else { Err(error) }
            }
        }
    }

    fn book(&mut self, pool: &PoolId, record: LedgerRecord, uid: u64) -> Result<Booked, String> {
        let before = self.books.entry(pool.clone()).or_default().records.last();
        follows(before.map(|(_, r, _)| r), &record)?;
        let Judged { uids, must, may, refusals } = self.judge(pool, &record)?;
        compare(&record, uids.len() as u64, &must, &may).map_err(|error| {
            format!("{error}; refused are {:?}, truly refused {refusals:?}", record.refused)
        })?;
        let book = self.books.entry(pool.clone()).or_default();
        book.waits_to = 0;
        book.reached.insert(record.shares_stream.clone().unwrap_or_default(), record.shares_to);
        book.accounted.extend(uids.iter().copied());
        let credited: u64 = record.credits.iter().map(|c| c.shares).sum();
        let uncertain = may.values().map(|e| e.shares).sum();
        let booked = Booked { credited, refused: uids.len() as u64 - credited, uncertain };
        self.records.insert(uid, (record.clone(), uids.clone()));
        book.records.push((uid, record, uids));
        Ok(booked)
    }

    /// Judges what a record accounts for that none before did.
    fn judge(&mut self, pool: &PoolId, record: &LedgerRecord) -> Result<Judged, String> {
        let Self { pools, books, sent, streams, .. } = self;
        let (book, of) = (books.entry(pool.clone()).or_default(), pools.entry(pool.clone()).or_default());
        let stream = record.shares_stream.clone().unwrap_or_default();
        let held = streams
            .get(&stream)
            .ok_or_else(|| format!("record {} counts in a stream {stream} that never was", record.number))?;
        let from = book.reached.get(&stream).copied().unwrap_or(0) + 1;
        let mut judged = Judged::default();
        for uid in held.range(from..=record.shares_to).map(|(_, uid)| *uid) {
            let Some(message) = sent.get(&uid).filter(|m| m.pool == *pool) else { continue };
            if book.accounted.contains(&uid) {
                continue;
            }
            judged.uids.push(uid);
            let claim = Claim {
                uid,
                stream: &stream,
                worker: &message.worker,
                stored_at: message.stored_at,
                share: message.share.as_ref(),
            };
            let earned = match of.judge(&claim) {
                Verdict::Must => judged.must.entry(message.worker.clone()).or_default(),
                Verdict::May => judged.may.entry(message.worker.clone()).or_default(),
                Verdict::MustNot(why) => {
                    judged.refusals.push(format!("{uid} of {}: {why}", message.worker));
                    continue;
                }
            };
            earned.shares += 1;
            let work = message.share.as_ref().map_or(Work::ZERO, |s| s.bits.work());
            earned.work = earned.work.saturating_add(work);
        }
        Ok(judged)
    }

    /// How many books were closed.
    pub(crate) fn closed(&self) -> u64 {
        self.books.values().filter(|book| book.closed).count() as u64
    }

    /// Whether everything is accounted for that the stream took before then, of pools that are not lost.
    pub(crate) fn check_accounted(
        &self,
        stream: &Stream,
        before_us: u64,
        is_lost: impl Fn(&PoolId) -> bool,
    ) -> Result<(), String> {
        let old = stream.from(1, ">").filter(|m| m.stamp_us < before_us);
        for (uid, sent) in old.filter_map(|m| Some((m.uid, self.sent.get(&m.uid)?))) {
            let book = self.books.get(&sent.pool);
            let done = |book: &Book| book.closed || uid <= book.waits_to || book.accounted.contains(&uid);
            if !book.is_some_and(done) && !is_lost(&sent.pool) {
                return Err(format!(
                    "message {uid} of {SHARE} by {} of {}, stored {} ms before, is never accounted for",
                    sent.worker,
                    sent.pool,
                    TimestampMs(before_us / 1_000).since(sent.stored_at)
                ));
            }
        }
        Ok(())
    }
}

/// Records count on from one another; of two owners one writes.
fn follows(before: Option<&LedgerRecord>, record: &LedgerRecord) -> Result<(), String> {
    let (number, total, work, epoch) =
        before.map_or((0, 0, Work::ZERO, 0), |r| (r.number, r.total_shares, r.total_work, r.epoch));
    let new: u64 = record.credits.iter().map(|c| c.shares).sum();
    let earned = record.credits.iter().fold(work, |sum, c| sum.saturating_add(c.work));
    let right = record.number == number + 1
        && record.total_shares == total + new
        && record.total_work == earned
        && record.epoch >= epoch;
    if right {
        return Ok(());
    }
    Err(format!(
        "record {} of epoch {} with {} shares in all does not count on from record {number} of epoch {epoch} with {total}",
        record.number, record.epoch, record.total_shares
    ))
}

fn compare(
    record: &LedgerRecord,
    messages: u64,
    must: &BTreeMap<WorkerId, Earned>,
    may: &BTreeMap<WorkerId, Earned>,
) -> Result<(), String> {
    let number = record.number;
    let credited: u64 = record.credits.iter().map(|c| c.shares).sum();
    let refused: u64 = record.refused.iter().map(|r| r.shares).sum();
    if credited + refused != messages {
        return Err(format!(
            "record {number} accounts for {credited} + {refused} shares up to {}, the stream holds {messages} that were not accounted for",
            record.shares_to
        ));
    }
    let workers: BTreeSet<_> = must.keys().chain(record.credits.iter().map(|c| &c.worker)).collect();
    for worker in workers {
        let least = must.get(worker).copied().unwrap_or_default();
        let open = may.get(worker).copied().unwrap_or_default();
        let has = record.credits.iter().find(|c| c.worker == *worker);
        let (shares, work) = has.map_or((0, Work::ZERO), |c| (c.shares, c.work));
        let most = (least.shares + open.shares, least.work.saturating_add(open.work));
        if shares < least.shares || shares > most.0 || work < least.work || work > most.1 {
            return Err(format!(
                "record {number} credits {worker} with {shares} shares worth {work:?}; true are {} worth {:?}, and {} more may be",
                least.shares, least.work, open.shares
            ));
        }
    }
    Ok(())
}
