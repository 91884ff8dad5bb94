//! The chain as a pure state machine: blocks in, verdicts out. Time comes in, nothing goes out.

use super::rules::{Link, MAX_FUTURE_S, MEDIAN_SPAN, Params, VERSION, VERSION_MASK, median};
use crate::{
    assembly::{Assembly, HeaderAssembly},
    coinbase::{CoinbasePlan, InvalidCoinbase, check_value},
    source::Template,
};
use algorithm_api::InvalidInput;
use bitcoin::script::Builder;
use bus_schemas::{
    Blob, Hash32, Target, TimestampMs,
    units::InvalidCompact,
    work::{HEADER_LEN, HeaderWork, sha256d},
};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Longest block in bytes.
pub const MAX_BLOCK_LEN: usize = 64 * 1024;
/// Blocks below the tip that are still recognised when they come again.
const REMEMBERED: usize = 1_024;
/// Latest that a share's time may lie ahead of the template's, in seconds.
const MAX_TIME_AHEAD_S: u32 = MAX_FUTURE_S / 2;
/// Bytes of a header before the nonce.
const NONCE_AT: usize = 76;
/// Stands in each coinbase after the extranonce.
const TAG: &str = "/dcmf/";

/// A block as it is kept: a raw block in Bitcoin's serialisation whose only transaction is the coinbase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Height of the block.
    pub height: u64,
    /// SHA-256d of its header, in header order.
    pub hash: Hash32,
    /// The whole block.
    pub block: Blob,
}

/// Why a block does not extend the chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// It is in the chain already.
    #[error("the block is in the chain already")]
    AlreadyKnown,
    /// It builds on another block than the tip.
    #[error("the block does not build on the tip")]
    NotTip,
    /// Not a header followed by exactly one transaction.
    #[error("malformed block: {0}")]
    Malformed(&'static str),
    /// Other version bits than those that may be rolled.
    #[error("version {version:08x} differs from {VERSION:08x} outside of the bits that may be rolled")]
    Version {
        /// As claimed.
        version: u32,
    },
    /// The compact target is not the one that the chain demands.
    #[error("bits are {bits:08x}, the chain demands {wanted:08x}")]
    Bits {
        /// As claimed.
        bits: u32,
        /// Demanded.
        wanted: u32,
    },
    /// Not later than the median of the last blocks.
    #[error("time {time} is not later than the median time past {median}")]
    TimeTooOld {
        /// As claimed.
        time: u32,
        /// The median.
        median: u32,
    },
    /// Too far ahead of the clock.
    #[error("time {time} is more than {MAX_FUTURE_S} s ahead of {now}")]
    TimeTooNew {
        /// As claimed.
        time: u32,
        /// The clock.
        now: u32,
    },
    /// The header does not commit to the coinbase.
    #[error("the merkle root is not the coinbase's id")]
    MerkleRoot,
    /// The coinbase pays something else than the chain's reward, or is none.
    #[error("the block's {0}")]
    Coinbase(#[from] InvalidCoinbase),
    /// The coinbase does not begin with the block's height (BIP 34).
    #[error("the coinbase does not begin with height {0}")]
    CoinbaseHeight(u64),
    /// The coinbase does not pay the chain's script, and nothing else.
    #[error("the coinbase does not pay exactly the chain's payout script")]
    CoinbasePayout,
    /// Not enough work.
    #[error("the hash does not meet the target")]
    HighHash,
    /// The algorithm does not take the header.
    #[error("proof of work: {0}")]
    Work(#[from] InvalidInput),
}

/// Whether a block's work is looked at: a proposal has none.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Work {
    Demanded,
    Ignored,
}

/// The chain's tip and as much of its past as its rules look at.
#[derive(Debug, Clone)]
pub struct Chain {
    params: Params,
    easiest: Target,
    /// The newest last; never empty.
    links: VecDeque<Link>,
    tip: Link,
    /// Up to this height the past that the rules look at is not known, see [`Chain::follow`].
    unknown_past_to: u64,
}

impl Chain {
    /// A chain of its genesis block alone.
    pub fn genesis(params: Params) -> Result<Self, InvalidCompact> {
        let easiest = Target::from_compact(params.config.initial_bits)?;
        let tip = params.genesis();
        Ok(Self { params, easiest, links: VecDeque::from([tip]), tip, unknown_past_to: 0 })
    }

    /// The chain that all `records` make. Each is checked against every rule but the clock and its work: the log took
    /// only proven blocks, and proving a year of scrypt again would take minutes where a takeover has seconds.
    pub fn replay<'a>(
        params: Params,
        records: impl IntoIterator<Item = &'a Record>,
    ) -> Result<Self, ReplayError> {
        let mut chain = Self::genesis(params)?;
        for record in records {
            chain.follow(record)?;
        }
        Ok(chain)
    }

    /// Takes over a block that was appended to the chain's log, perhaps by another coordinator.
    ///
    /// A log forgets its oldest blocks in time. Its first one is then taken as it stands, and difficulty and time are
    /// believed until as much of the past is known as their rules look at.
    pub fn follow(&mut self, record: &Record) -> Result<(), ReplayError> {
        if self.tip.height == 0 && record.height > 1 {
            let refused = |reason| ReplayError::Record { height: record.height, reason };
            return self.anchor(record).map_err(refused);
        }
        let forever = TimestampMs(u64::MAX);
        let checked = self
            .check(&record.block.0, forever, Work::Ignored)
            .map_err(|reason| ReplayError::Record { height: record.height, reason })?;
        self.apply(&checked);
        Ok(())
    }

    fn anchor(&mut self, record: &Record) -> Result<(), Rejection> {
        let (head, body) = split(&record.block.0)?;
        let header = Header(head);
        self.check_body(header, body, record.height)?;
        let hash = sha256d(head);
        self.tip = Link { hash, height: record.height, time: header.word(68), bits: header.word(72) };
        self.links = VecDeque::from([self.tip]);
        let looked_at = u64::from(self.params.config.retarget_interval).max(MEDIAN_SPAN as u64);
        self.unknown_past_to = record.height.saturating_add(looked_at + 1);
        Ok(())
    }

    /// Height of the newest block.
    pub fn height(&self) -> u64 {
        self.tip.height
    }

    /// Hash of the newest block in header order.
    pub fn tip(&self) -> Hash32 {
        Hash32(self.tip.hash)
    }

    /// What to mine on top of the tip.
    pub fn template(&self, now: TimestampMs) -> Result<Template, InvalidCoinbase> {
        let config = &self.params.config;
        let bits = self.next_bits();
        let min_time = self.median_time_past().saturating_add(1);
        let time = seconds(now).max(min_time);
        let (coinbase_prefix, coinbase_suffix) = CoinbasePlan {
            height: self.height() + 1,
            auxiliary: &[],
            tag: TAG,
            reward: config.reward,
            payout: &config.payout_script.0,
            commitment: None,
        }
        .halves()?;
        let work = HeaderWork {
            version: VERSION,
            version_mask: VERSION_MASK,
            prev_hash: self.tip(),
            coinbase_prefix,
            coinbase_suffix,
            merkle_branch: Vec::new(),
            bits,
            time,
            min_time,
            max_time: time.saturating_add(MAX_TIME_AHEAD_S),
        };
        Ok(Template {
            assembly: Assembly::Header(HeaderAssembly {
                work,
                height: self.height() + 1,
                reward: config.reward,
                coinbase_witness: false,
                transactions: Vec::new(),
                extension: Blob::default(),
            }),
            network_target: Target::from_compact(bits).unwrap_or(self.easiest),
            origin: super::source::ORIGIN.to_owned(),
            longpoll: None,
            proposals: true,
        })
    }

    /// Checks a block against every rule and makes a record of it; the chain does not change.
    pub fn validate(&self, block: &[u8], now: TimestampMs) -> Result<Record, Rejection> {
        self.check(block, now, Work::Demanded)
    }

    /// Checks a block against every rule but its work.
    pub fn validate_proposal(&self, block: &[u8], now: TimestampMs) -> Result<Record, Rejection> {
        self.check(block, now, Work::Ignored)
    }

    /// Makes a record of this state's [`Chain::validate`] the new tip. A record of another state is ignored.
    pub fn apply(&mut self, record: &Record) {
        let Some(header) = record.block.0.first_chunk::<HEADER_LEN>().map(Header) else { return };
        if header.prev_hash() != self.tip.hash || record.height != self.tip.height + 1 {
            return;
        }
        self.tip =
            Link { hash: record.hash.0, height: record.height, time: header.word(68), bits: header.word(72) };
        self.links.push_back(self.tip);
        let wanted = REMEMBERED.max(self.params.config.retarget_interval as usize + 2).max(MEDIAN_SPAN);
        if self.links.len() > wanted {
            self.links.pop_front();
        }
    }

    fn check(&self, block: &[u8], now: TimestampMs, work: Work) -> Result<Record, Rejection> {
        let (head, body) = split(block)?;
        let header = Header(head);
        let hash = sha256d(head);
        if self.links.iter().rev().any(|link| link.hash == hash) {
            return Err(Rejection::AlreadyKnown);
        }
        if header.prev_hash() != self.tip.hash {
            return Err(Rejection::NotTip);
        }
        let height = self.height() + 1;
        if work == Work::Demanded || height > self.unknown_past_to {
            self.check_header(header, seconds(now))?;
        }
        self.check_body(header, body, height)?;
        if work == Work::Demanded {
            let proof = self.params.algorithm.verify(head, &head[NONCE_AT..])?;
            if !Target::from_compact(header.word(72)).is_ok_and(|target| target.is_met_by(&proof)) {
                return Err(Rejection::HighHash);
            }
        }
        Ok(Record { height, hash: Hash32(hash), block: Blob(block.to_vec()) })
    }

    fn check_body(&self, header: Header<'_>, body: &[u8], height: u64) -> Result<(), Rejection> {
        let [1, coinbase @ ..] = body else {
            return Err(Rejection::Malformed("it does not hold exactly one transaction"));
        };
        self.check_coinbase(coinbase, height)?;
        if header.merkle_root() != sha256d(coinbase) {
            return Err(Rejection::MerkleRoot);
        }
        Ok(())
    }

    fn check_header(&self, header: Header<'_>, now: u32) -> Result<(), Rejection> {
        let (version, time, bits) = (header.word(0), header.word(68), header.word(72));
        if (version ^ VERSION) & !VERSION_MASK != 0 {
            return Err(Rejection::Version { version });
        }
        let wanted = self.next_bits();
        if bits != wanted {
            return Err(Rejection::Bits { bits, wanted });
        }
        let median = self.median_time_past();
        if time <= median {
            return Err(Rejection::TimeTooOld { time, median });
        }
        if time > now.saturating_add(MAX_FUTURE_S) {
            return Err(Rejection::TimeTooNew { time, now });
        }
        Ok(())
    }

    fn check_coinbase(&self, coinbase: &[u8], height: u64) -> Result<(), Rejection> {
        let config = &self.params.config;
        let transaction = check_value(coinbase, config.reward)?;
        let [input] = transaction.input.as_slice() else {
            return Err(Rejection::Malformed("its transaction is no coinbase"));
        };
        if !transaction.is_coinbase()
            || !(2..=crate::coinbase::MAX_SCRIPT_SIG_LEN).contains(&input.script_sig.len())
        {
            return Err(Rejection::Malformed("its transaction is no coinbase"));
        }
        let wanted = Builder::new().push_int(height.try_into().unwrap_or(i64::MAX));
        if !input.script_sig.as_bytes().starts_with(wanted.as_bytes()) {
            return Err(Rejection::CoinbaseHeight(height));
        }
        match transaction.output.as_slice() {
            [output] if output.script_pubkey.as_bytes() == config.payout_script.0 => Ok(()),
            _ => Err(Rejection::CoinbasePayout),
        }
    }

    fn median_time_past(&self) -> u32 {
        median(self.links.iter().rev().map(|link| link.time))
    }

    fn next_bits(&self) -> u32 {
        let height = self.height() + 1;
        let Some(start) = self.params.period_start(height) else { return self.tip.bits };
        let gaps = self.tip.height - start;
        let first = self.links.iter().rev().find(|link| link.height == start);
        match (first, Target::from_compact(self.tip.bits)) {
            (Some(first), Ok(last)) if gaps > 0 => {
                let took = u64::from(self.tip.time.saturating_sub(first.time));
                self.params.retarget(last, gaps, took, self.easiest).to_compact()
            }
            _ => self.tip.bits,
        }
    }
}

fn split(block: &[u8]) -> Result<(&[u8; HEADER_LEN], &[u8]), Rejection> {
    if block.len() > MAX_BLOCK_LEN {
        return Err(Rejection::Malformed("it is longer than any block"));
    }
    block.split_first_chunk().ok_or(Rejection::Malformed("it is shorter than a header"))
}

/// Why a log is not a chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// The chain's first bits are no target.
    #[error(transparent)]
    Bits(#[from] InvalidCompact),
    /// A record that no chain of these parameters holds at its place.
    #[error(
        "the kept block at height {height} does not belong to this chain: {reason}; were the parameters changed?"
    )]
    Record {
        /// As recorded.
        height: u64,
        /// What is wrong with it.
        reason: Rejection,
    },
}

fn seconds(at: TimestampMs) -> u32 {
    (at.0 / 1_000).try_into().unwrap_or(u32::MAX)
}

/// Fields of a raw header.
#[derive(Clone, Copy)]
struct Header<'a>(&'a [u8; HEADER_LEN]);

impl Header<'_> {
    fn word(self, at: usize) -> u32 {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&self.0[at..at + 4]);
        u32::from_le_bytes(bytes)
    }

    fn hash(self, at: usize) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(&self.0[at..at + 32]);
        bytes
    }

    fn prev_hash(self) -> [u8; 32] {
        self.hash(4)
    }

    fn merkle_root(self) -> [u8; 32] {
        self.hash(36)
    }
}
