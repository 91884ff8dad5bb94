//! The last record of a pool's ledger that can be believed.
//!
//! Anybody who reaches the bus may publish on the ledger's subject, and nothing can be deleted there. What the pool's owners
//! wrote follows one on another: each names the message before it (the header of the expected last sequence, which the
//! server keeps), counts on from the record before, and adds its credits to the totals. What has no such header was no
//! owner's and accounts nothing, readable or not. What has it and cannot be read may be a newer version's and stops the pool,
//! unless a person has declared it void.

use bus_schemas::{Message, PoolId, command::Stuck, ledger::LedgerRecord, subject::Subject};
use nats_adapter::{Bus, Delivered, ReadError, streams};

/// Header by which a person declares a message of the ledger void: its sequence.
pub(crate) const VOID: &str = "Dcmf-Void";
/// Fewest messages of owners that are looked at, if there are so many.
const LOOK_BACK: usize = 16;
/// Sequences that are read at first, of all pools; eight times as many with each further try.
const FIRST_WINDOW: u64 = 128;

/// What the ledger says.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Chain {
    /// The last record that is believed.
    pub(crate) last: Option<LedgerRecord>,
    /// When the ledger stored it, milliseconds since the Unix epoch on the server's clock.
    pub(crate) stored_at_ms: u64,
    /// Sequence of the last message of the subject, whatever it is: what the next record follows.
    pub(crate) end: u64,
    /// Messages behind the last believed record that are no owner's.
    pub(crate) foreign: Vec<Foreign>,
    /// A message that only an owner can have written and that cannot be read.
    pub(crate) unreadable: Option<Foreign>,
}

/// A message that is not believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Foreign {
    pub(crate) sequence: u64,
    pub(crate) reason: String,
}

impl Chain {
    /// What keeps the pool from going on.
    pub(crate) fn stuck(&self, pool: &PoolId) -> Option<Stuck> {
        let Foreign { sequence, reason } = self.unreadable.as_ref()?;
        let subject = Subject::Ledger(pool.clone());
        Some(Stuck {
            reason: format!(
                "message {sequence} of {} was written by an owner of the pool and cannot be read ({reason}); nothing is credited \
                 before it is understood or declared void",
                streams::LEDGER
            ),
            stream: Some(streams::LEDGER.to_owned()),
            sequence: Some(*sequence),
            repair: format!(
                "if a newer version wrote it, update the coordinators; if it is damaged, declare it void: nats pub {subject} \
                 void -H {VOID}:{sequence}"
            ),
        })
    }
}

/// Records that follow one on another.
struct Run {
    last: LedgerRecord,
    stored_at_ms: u64,
    at: u64,
    length: usize,
}

impl Run {
    /// Whether `record` counts on from this run's last one; `gap` says that unreadable ones lie between.
    fn is_followed_by(&self, record: &LedgerRecord, gap: bool) -> bool {
        let new: u64 = record.credits.iter().map(|c| c.shares).sum();
        let next = record.number == self.last.number + 1
            && record.total_shares == self.last.total_shares.saturating_add(new)
            && record.total_work >= self.last.total_work;
        let later = record.number > self.last.number && record.total_shares >= self.last.total_shares;
        next || (gap && later)
    }
}

/// Judges the messages of a pool's subject, oldest first.
pub(crate) fn judge(pool: &PoolId, messages: &[Delivered]) -> Chain {
    let void: Vec<u64> = messages.iter().filter_map(|m| m.header(VOID)?.parse().ok()).collect();
    let mut runs: Vec<Run> = Vec::new();
    let mut unreadable: Option<Foreign> = None;
    let mut gap = false;
    let mut foreign = Vec::new();
    for message in messages {
        let sequence = message.sequence;
        if !message.is_guarded() {
            foreign.push(Foreign { sequence, reason: "no owner of the pool wrote it".to_owned() });
            continue;
        }
        let record = match LedgerRecord::decode(&message.payload) {
            Ok(record) => record,
            Err(_) if void.contains(&sequence) => {
                foreign.push(Foreign { sequence, reason: "it was declared void".to_owned() });
                continue;
            }
            Err(error) => {
                gap = true;
                unreadable = Some(Foreign { sequence, reason: error.to_string() });
                continue;
            }
        };
        if record.pool != *pool {
            foreign.push(Foreign { sequence, reason: format!("it is a record of pool {}", record.pool) });
            continue;
        }
        // The longest run that it follows on; one that follows on none begins its own.
        let stored_at_ms = message.stored_at.0;
        let before = runs.iter_mut().filter(|run| run.is_followed_by(&record, gap)).max_by_key(|r| r.length);
        match before {
            Some(run) => {
                run.length += 1;
                (run.last, run.at, run.stored_at_ms) = (record, sequence, stored_at_ms);
                (gap, unreadable) = (false, None);
            }
            None => runs.push(Run { last: record, stored_at_ms, at: sequence, length: 1 }),
        }
    }
    let end = messages.last().map_or(0, |m| m.sequence);
    // Of runs of one length the one that was there first.
    let best = runs.into_iter().rev().max_by_key(|run| run.length);
    let at = best.as_ref().map_or(0, |run| run.at);
    let orphan =
        |m: &&Delivered| m.sequence > at && m.is_guarded() && LedgerRecord::decode(&m.payload).is_ok();
    for message in messages.iter().filter(orphan) {
        let known = foreign.iter().any(|f| f.sequence == message.sequence);
        if !known {
            let reason = "it does not count on from the records before".to_owned();
            foreign.push(Foreign { sequence: message.sequence, reason });
        }
    }
    foreign.retain(|f| f.sequence > at);
    foreign.sort_by_key(|f| f.sequence);
    let (last, stored_at_ms) = best.map_or((None, 0), |run| (Some(run.last), run.stored_at_ms));
    Chain { last, stored_at_ms, end, foreign, unreadable: unreadable.filter(|u| u.sequence > at) }
}

/// Reads as much of the ledger's end as it takes to believe a record.
pub(crate) async fn read(bus: &Bus, pool: &PoolId) -> Result<(Chain, Vec<Delivered>), ReadError> {
    let subject = Subject::Ledger(pool.clone()).to_string();
    let Some(last) = bus.last_bytes(streams::LEDGER, &subject).await? else {
        return Ok((Chain::default(), Vec::new()));
    };
    let mut window = FIRST_WINDOW;
    loop {
        let from = last.sequence.saturating_sub(window).max(1);
        let messages = bus.read_from(streams::LEDGER, subject.clone(), from).await?;
        let guarded = messages.iter().filter(|m| m.is_guarded()).count();
        if guarded >= LOOK_BACK || from == 1 {
            let chain = judge(pool, &messages);
            let wanted = |m: &Delivered| chain.foreign.iter().any(|f| f.sequence == m.sequence);
            let foreign = messages.into_iter().filter(wanted).collect();
            return Ok((chain, foreign));
        }
        window = window.saturating_mul(8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bus_schemas::{TimestampMs, WorkerId, ledger::Credit};
    use nats_adapter::HeaderMap;

    fn pool() -> PoolId {
        PoolId::new("main").unwrap()
    }

    fn record(number: u64) -> LedgerRecord {
        let credit = Credit { worker: WorkerId::new("w1").unwrap(), shares: 1, work: 4.into() };
        LedgerRecord {
            pool: pool(),
            epoch: 1,
            number,
            shares_to: number * 10,
            shares_stream: None,
            shares_at_ms: None,
            credits: vec![credit],
            refused: Vec::new(),
            total_shares: number,
            total_work: (4 * number).into(),
            at_ms: TimestampMs(0),
        }
    }

    fn message(sequence: u64, payload: &[u8], headers: &[(&str, u64)]) -> Delivered {
        let mut map = HeaderMap::new();
        headers.iter().for_each(|(name, value)| map.insert(*name, value.to_string().as_str()));
        Delivered {
            sequence,
            stored_at: TimestampMs(sequence),
            subject: Subject::Ledger(pool()).to_string().into(),
            payload: payload.to_vec().into(),
            headers: (!headers.is_empty()).then_some(map),
        }
    }

    fn ours(sequence: u64, number: u64) -> Delivered {
        let expected = ("Nats-Expected-Last-Subject-Sequence", sequence - 1);
        message(sequence, &record(number).encode().unwrap(), &[expected])
    }

    fn forged(sequence: u64, number: u64) -> Delivered {
        message(sequence, &record(number).encode().unwrap(), &[])
    }

    fn guarded_rubbish(sequence: u64) -> Delivered {
        message(sequence, b"{\"version\":9}", &[("Nats-Expected-Last-Subject-Sequence", sequence - 1)])
    }

    fn number(chain: &Chain) -> Option<u64> {
        chain.last.as_ref().map(|r| r.number)
    }

    #[test]
    fn what_no_owner_wrote_is_passed_over_readable_or_not_and_the_next_record_follows_it() {
        for rubbish in [message(4, b"{\"a\":1}", &[]), message(4, b"", &[]), forged(4, 4), forged(4, 999)] {
            let chain = judge(&pool(), &[ours(1, 1), ours(2, 2), ours(3, 3), rubbish]);
            assert_eq!((number(&chain), chain.end), (Some(3), 4));
            assert_eq!(chain.foreign.iter().map(|f| f.sequence).collect::<Vec<_>>(), [4]);
            assert_eq!(chain.stuck(&pool()), None);
        }
        let only = judge(&pool(), &[message(1, b"{\"a\":1}", &[]), forged(2, 1)]);
        assert_eq!((number(&only), only.end, only.foreign.len()), (None, 2, 2));
    }

    #[test]
    fn a_record_that_does_not_count_on_is_not_believed_although_it_has_the_header() {
        let chain = judge(&pool(), &[ours(1, 1), ours(2, 2), ours(3, 700)]);
        assert_eq!((number(&chain), chain.end), (Some(2), 3));
        assert_eq!(chain.foreign[0].sequence, 3);
        // And what owners wrote behind it is.
        let chain = judge(&pool(), &[ours(1, 700), ours(2, 2), ours(3, 3)]);
        assert_eq!((number(&chain), chain.foreign.len()), (Some(3), 0));
        let mut wrong_total = record(3);
        wrong_total.total_shares = 99;
        let expected = ("Nats-Expected-Last-Subject-Sequence", 2);
        let bad = message(3, &wrong_total.encode().unwrap(), &[expected]);
        assert_eq!(number(&judge(&pool(), &[ours(1, 1), ours(2, 2), bad])), Some(2));
    }

    #[test]
    fn what_an_owner_wrote_and_nobody_can_read_stops_the_pool_until_it_is_declared_void() {
        let messages = [ours(1, 1), ours(2, 2), guarded_rubbish(3), message(4, b"x", &[])];
        let chain = judge(&pool(), &messages);
        let stuck = chain.stuck(&pool()).unwrap();
        assert_eq!((stuck.sequence, stuck.stream.as_deref()), (Some(3), Some(streams::LEDGER)));
        let repair = format!("nats pub {} void -H Dcmf-Void:3", Subject::Ledger(pool()));
        assert!(stuck.repair.contains(&repair), "{}", stuck.repair);

        let voided = [ours(1, 1), ours(2, 2), guarded_rubbish(3), message(4, b"void", &[(VOID, 3)])];
        let chain = judge(&pool(), &voided);
        assert_eq!((chain.stuck(&pool()), number(&chain), chain.end), (None, Some(2), 4));
        // Nobody can declare void what was accounted.
        let kept = judge(&pool(), &[ours(1, 1), ours(2, 2), message(3, b"void", &[(VOID, 2)])]);
        assert_eq!(number(&kept), Some(2));
    }

    #[test]
    fn a_newer_versions_record_between_ours_does_not_stop_the_pool() {
        let chain = judge(&pool(), &[ours(1, 1), guarded_rubbish(2), ours(3, 3)]);
        assert_eq!((number(&chain), chain.stuck(&pool())), (Some(3), None));
    }

    #[test]
    fn a_record_of_another_pool_and_an_empty_ledger_say_nothing() {
        let mut other = record(2);
        other.pool = PoolId::new("other").unwrap();
        let expected = ("Nats-Expected-Last-Subject-Sequence", 1);
        let foreign = message(2, &other.encode().unwrap(), &[expected]);
        assert_eq!(number(&judge(&pool(), &[ours(1, 1), foreign])), Some(1));
        assert_eq!(judge(&pool(), &[]), Chain::default());
    }
}
