//! Shares from the stream into the ledger: each is refused cheaply or judged, and accounted in the order of the
//! stream, exactly once. Nothing is accounted before everything in front of it.

use super::{
    jobs::{Jobs, Remembered},
    members::Members,
};
use crate::{
    effect::JudgeTask,
    input::{ArrivedShare, JudgedShare, ShareBasis, Verdict},
    time::{MonoMs, Now},
};
use bus_schemas::{
    PoolId, ShareBits, Target, TimestampMs, Work, WorkerId,
    job::Job,
    ledger::{Credit, LedgerRecord, MAX_CREDITS, RefusedShares},
    share::{Finding, Share, ShareRefusal},
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

/// Most shares between arrival and account; the shell reads no more from the stream until there is room.
pub const MAX_PENDING: usize = 65_536;
/// Shares after which a ledger record is written without waiting.
pub const SHARES_PER_RECORD: u64 = 32_768;
/// Longest time from a judgement to its ledger record, milliseconds.
pub const LEDGER_INTERVAL_MS: u64 = 1_000;
/// So many shares are a record worth writing after [`LEDGER_BUSY_INTERVAL_MS`]; fewer wait, since the ledger is kept
/// for ever.
pub const LEDGER_BUSY_SHARES: u64 = 256;
/// Time between two records while very many shares arrive, milliseconds.
pub const LEDGER_BUSY_INTERVAL_MS: u64 = 100;

#[derive(Debug)]
enum State {
    Waiting,
    Decided(Result<(), ShareRefusal>),
}

#[derive(Debug)]
struct Pending {
    sequence: u64,
    worker: WorkerId,
    bits: ShareBits,
    stored_at: TimestampMs,
    block: Option<(Arc<Job>, u16, Finding)>,
    /// Its job was superseded when the stream stored it: it earns something only if it is a block.
    late: bool,
    state: State,
}

#[derive(Debug, Default)]
struct Account {
    credits: BTreeMap<WorkerId, (u64, Work)>,
    refused: BTreeMap<(WorkerId, ShareRefusal), u64>,
    shares: u64,
    shares_to: u64,
    shares_at: TimestampMs,
}

impl Account {
    fn is_full(&self) -> bool {
        self.credits.len() >= MAX_CREDITS
            || self.refused.len() >= MAX_CREDITS
            || self.shares >= SHARES_PER_RECORD
    }
}

/// What the intake asks for.
#[derive(Debug, Default)]
pub(crate) struct Intaken {
    /// To be judged.
    pub(crate) judge: Vec<JudgeTask>,
    /// Refused, for the aggregated events.
    pub(crate) refused: Vec<(WorkerId, ShareRefusal)>,
    /// Shares that are blocks as well.
    pub(crate) blocks: Vec<(bus_schemas::Hash32, Arc<Job>, u16, Finding, WorkerId)>,
}

/// The intake of one pool.
#[derive(Debug)]
pub(crate) struct Intake {
    /// Everything up to this sequence is in the ledger.
    accounted_to: u64,
    /// Highest sequence that arrived.
    arrived_to: u64,
    /// When the stream stored the last share that arrived.
    read_to: TimestampMs,
    pending: VecDeque<Pending>,
    open: Account,
    in_flight: Option<LedgerRecord>,
    last: Option<LedgerRecord>,
    flushed_at: MonoMs,
    strangers: WorkerId,
    /// What tells the stream of shares from another one of its name.
    stream: Option<String>,
    pub(crate) refused_total: u64,
}

impl Intake {
    /// Goes on after the last ledger record, or where it ends in the stream that is there now.
    pub(crate) fn recover(ledger: Option<LedgerRecord>, basis: ShareBasis, now: MonoMs) -> Self {
        let in_ledger = ledger.as_ref().map_or(0, |r| r.shares_to);
        let accounted_to = basis.accounted_to.unwrap_or(in_ledger);
        Self {
            accounted_to,
            arrived_to: accounted_to,
            read_to: TimestampMs(0),
            pending: VecDeque::new(),
            open: Account::default(),
            in_flight: None,
            last: ledger,
            flushed_at: now,
            strangers: WorkerId::strangers(),
            stream: basis.stream,
            refused_total: 0,
        }
    }

    pub(crate) fn accounted_to(&self) -> u64 {
        self.accounted_to
    }

    pub(crate) fn read_to(&self) -> TimestampMs {
        self.read_to
    }

    /// What tells the stream of shares from another one of its name, if it is known.
    pub(crate) fn stream(&self) -> Option<&str> {
        self.stream.as_deref()
    }

    pub(crate) fn arrived_to(&self) -> u64 {
        self.arrived_to
    }

    /// Whether another batch may be read from the stream.
    pub(crate) fn has_room(&self) -> bool {
        self.pending.len() < MAX_PENDING
    }

    pub(crate) fn totals(&self) -> (u64, Work) {
        self.last.as_ref().map_or((0, Work::ZERO), |r| (r.total_shares, r.total_work))
    }

    /// Takes shares in the order of the stream. Those that the ledger has already only refill the memory of findings.
    pub(crate) fn arrive(
        &mut self,
        shares: Vec<ArrivedShare>,
        jobs: &mut Jobs,
        members: &mut Members,
        rate_limit: u32,
        out: &mut Intaken,
    ) {
        for arrived in shares {
            if arrived.sequence <= self.accounted_to {
                // Accounted already: only the memory of findings is refilled, by the same checks as then.
                let _ = admit(&arrived, jobs, members, None);
                continue;
            }
            if arrived.sequence <= self.arrived_to {
                continue;
            }
            self.arrived_to = arrived.sequence;
            self.read_to = self.read_to.max(arrived.stored_at);
            let admitted = admit(&arrived, jobs, members, Some(rate_limit));
            let bits = arrived.share.as_ref().map_or(ShareBits::MIN, |s| s.bits);
            let late = matches!(admitted, Ok(Admitted { late: true, .. }));
            let (state, block) = match (admitted, arrived.share) {
                (Ok(Admitted { job, late }), Some(Share { slot, finding, .. })) => {
                    let target = if late { job.network_target } else { Target::from_share_bits(bits) };
                    let sequence = arrived.sequence;
                    out.judge.push(JudgeTask { sequence, job: job.clone(), slot, finding, target });
                    (State::Waiting, Some((job, slot, finding)))
                }
                (Err(refusal), _) => (State::Decided(Err(refusal)), None),
                (Ok(_), None) => (State::Decided(Err(ShareRefusal::Malformed)), None),
            };
            self.pending.push_back(Pending {
                sequence: arrived.sequence,
                worker: arrived.worker,
                bits,
                stored_at: arrived.stored_at,
                block,
                late,
                state,
            });
        }
        self.settle(members, out);
    }

    /// Takes judgements, in any order.
    pub(crate) fn judged(&mut self, judged: &[JudgedShare], members: &mut Members, out: &mut Intaken) {
        for JudgedShare { sequence, verdict } in judged {
            let Ok(at) = self.pending.binary_search_by_key(sequence, |p| p.sequence) else { continue };
            let Some(pending) = self.pending.get_mut(at) else { continue };
            if !matches!(pending.state, State::Waiting) {
                continue;
            }
            pending.state = State::Decided(match verdict {
                Verdict::Meets { block_hash, block } => {
                    if let Some((job, slot, finding)) = pending.block.take().filter(|_| *block) {
                        out.blocks.push((*block_hash, job, slot, finding, pending.worker.clone()));
                    }
                    Ok(())
                }
                Verdict::Low if pending.late => Err(ShareRefusal::Stale),
                Verdict::Low => Err(ShareRefusal::LowDifficulty),
                Verdict::UnknownAlgorithm => Err(ShareRefusal::UnknownAlgorithm),
                Verdict::Failed => Err(ShareRefusal::NotJudged),
            });
        }
        self.settle(members, out);
    }

    /// Moves what is decided from the front into the open account.
    fn settle(&mut self, members: &mut Members, out: &mut Intaken) {
        while !self.open.is_full() {
            let Some(State::Decided(decided)) = self.pending.front().map(|p| &p.state) else { break };
            let decided = *decided;
            let Some(Pending { sequence, worker, bits, stored_at, .. }) = self.pending.pop_front() else {
                break;
            };
            self.open.shares_to = sequence;
            self.open.shares_at = stored_at;
            self.open.shares += 1;
            match decided {
                Ok(()) => {
                    members.credit(&worker, bits);
                    let credit = self.open.credits.entry(worker).or_default();
                    credit.0 += 1;
                    credit.1 = credit.1.saturating_add(bits.work());
                }
                Err(refusal) => {
                    self.refused_total += 1;
                    // Names that anybody may invent are not worth a line each for ever.
                    let worker =
                        if refusal == ShareRefusal::NotAMember { self.strangers.clone() } else { worker };
                    out.refused.push((worker.clone(), refusal));
                    *self.open.refused.entry((worker, refusal)).or_default() += 1;
                }
            }
        }
    }

    /// The next ledger record, when one is due and none is on its way.
    pub(crate) fn next_record(
        &mut self,
        pool: &PoolId,
        epoch: u64,
        members: &mut Members,
        now: Now,
        out: &mut Intaken,
    ) -> Option<LedgerRecord> {
        let due = now.mono >= self.flushed_at.plus(self.interval());
        if self.in_flight.is_some() || self.open.shares == 0 || !(due || self.open.is_full()) {
            return None;
        }
        let account = std::mem::take(&mut self.open);
        self.flushed_at = now.mono;
        let (shares, work) = self.totals();
        let earned = account.credits.values();
        let (new_shares, new_work) =
            earned.fold((0, Work::ZERO), |(n, w), c| (n + c.0, w.saturating_add(c.1)));
        let credits = account.credits.into_iter();
        let refused = account.refused.into_iter();
        let record = LedgerRecord {
            pool: pool.clone(),
            epoch,
            number: self.last.as_ref().map_or(1, |r| r.number + 1),
            shares_to: account.shares_to,
            shares_stream: self.stream.clone(),
            shares_at_ms: Some(account.shares_at),
            credits: credits.map(|(worker, (shares, work))| Credit { worker, shares, work }).collect(),
            refused: refused
                .map(|((worker, refusal), shares)| RefusedShares { worker, refusal, shares })
                .collect(),
            total_shares: shares + new_shares,
            total_work: work.saturating_add(new_work),
            at_ms: now.wall,
        };
        self.in_flight = Some(record.clone());
        // The account was full: what waits behind it may go on.
        self.settle(members, out);
        Some(record)
    }

    fn interval(&self) -> u64 {
        if self.open.shares >= LEDGER_BUSY_SHARES { LEDGER_BUSY_INTERVAL_MS } else { LEDGER_INTERVAL_MS }
    }

    /// The record on its way is stored.
    pub(crate) fn appended(&mut self, number: u64) {
        if let Some(record) = self.in_flight.take_if(|r| r.number == number) {
            self.accounted_to = record.shares_to;
            self.last = Some(record);
        }
    }

    pub(crate) fn deadline(&self) -> Option<MonoMs> {
        (self.in_flight.is_none() && self.open.shares > 0).then(|| self.flushed_at.plus(self.interval()))
    }

    /// Invariant: what waits is in order and after what is accounted.
    pub(crate) fn check(&self) -> Result<(), String> {
        let mut last = self.open.shares_to.max(self.accounted_to);
        for pending in &self.pending {
            if pending.sequence <= last {
                return Err(format!("share {} waits behind {last}", pending.sequence));
            }
            last = pending.sequence;
        }
        Ok(())
    }
}

/// A share that is worth a hash.
struct Admitted {
    job: Arc<Job>,
    late: bool,
}

/// The cheap checks, everything that needs no hash. A late share is worth one as well: were it the block after which
/// the job was superseded, its finder would be the only one who earns nothing for it.
fn admit(
    arrived: &ArrivedShare,
    jobs: &mut Jobs,
    members: &mut Members,
    rate_limit: Option<u32>,
) -> Result<Admitted, ShareRefusal> {
    let entry = members.get_mut(&arrived.worker).ok_or(ShareRefusal::NotAMember)?;
    if rate_limit.is_some_and(|limit| !entry.shares.take(limit, arrived.stored_at)) {
        return Err(ShareRefusal::RateLimited);
    }
    let share = arrived.share.as_ref().ok_or(ShareRefusal::Malformed)?;
    let known = jobs.find(&share.job).ok_or(ShareRefusal::UnknownJob)?;
    let late = known.is_stale(arrived.stored_at);
    let job = known.job.clone();
    let bits = check_claim(share, &job, entry)?;
    if bits != share.bits {
        return Err(ShareRefusal::WrongDifficulty);
    }
    match jobs.remember(&share.job, share.slot, &share.finding) {
        Remembered::New => Ok(Admitted { job, late }),
        Remembered::Before => Err(ShareRefusal::Duplicate),
        Remembered::Full => Err(ShareRefusal::RateLimited),
    }
}

/// Checks that the finding lies in the subspace that the worker held, and returns the difficulty that held.
pub(crate) fn check_claim(
    share: &Share,
    job: &Job,
    entry: &super::members::Entry,
) -> Result<ShareBits, ShareRefusal> {
    let tenancy = entry.tenancy(share.generation).ok_or(ShareRefusal::WrongSlot)?;
    if tenancy.slot != share.slot || *tenancy.session != share.session {
        return Err(ShareRefusal::WrongSlot);
    }
    let range = job.nonce_range(share.slot).ok_or(ShareRefusal::WrongSlot)?;
    if !range.contains(share.finding.nonce()) {
        return Err(ShareRefusal::NonceOutOfRange);
    }
    job.work.allows(&share.finding)?;
    tenancy.bits_for_job(job.sequence).ok_or(ShareRefusal::WrongDifficulty)
}
