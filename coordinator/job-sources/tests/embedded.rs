//! The embedded chain: its rules, and the source over a log.
#![cfg(test)]

use algorithm_api::{Algorithm, Range, Target as AlgorithmTarget};
use algorithm_scrypt::Scrypt1024;
use algorithm_sha256d::Sha256d;
use bus_schemas::{
    Blob, Hash32, Target, TimestampMs,
    config::EmbeddedSource as Config,
    work::{Extranonce, sha256d},
};
use job_sources::{
    Assembly, BoxFuture, FoundBlock, HeaderAssembly, JobSource, Proposal, Solution, SubmitOutcome, Template,
    assembly::NO_EXTRANONCE,
    embedded::{
        Appended, Chain, ChainLog, EmbeddedSource, LogError, MAX_FUTURE_S, Params, Proof, Record, Rejection,
        ReplayError,
    },
};
use proptest::prelude::*;
use std::sync::{Arc, Mutex};

/// Half of all hashes are blocks.
const EASY_BITS: u32 = 0x207f_ffff;
const START_S: u32 = 1_800_000_000;

fn easy() -> Params {
    params(&Sha256d, EASY_BITS)
}

fn params(algorithm: &'static dyn Algorithm, initial_bits: u32) -> Params {
    Params { algorithm: Proof::Native(algorithm), config: Config { initial_bits, ..Config::default() } }
}

fn at(seconds: u32) -> TimestampMs {
    TimestampMs(u64::from(seconds) * 1_000)
}

/// Searches with the algorithm itself until a block is found.
fn mine(algorithm: &dyn Algorithm, template: &Template, roll: u32) -> FoundBlock {
    mine_at(algorithm, template, roll, template.header().unwrap().work.time)
}

fn header(template: &mut Template) -> &mut HeaderAssembly {
    let Assembly::Header(assembly) = &mut template.assembly else { panic!("a header") };
    assembly
}

fn mine_at(algorithm: &dyn Algorithm, template: &Template, roll: u32, time: u32) -> FoundBlock {
    let work = &template.header().unwrap().work;
    let extranonce = Extranonce { farm: 1, epoch: 1, slot: 1, job: 1, roll };
    let header = work.header(extranonce, work.version, time, 0);
    let target = AlgorithmTarget::from_le_bytes(template.network_target.to_le_bytes());
    let mut search = algorithm.prepare(&header).unwrap();
    let mut range = Range { next: 0, end: 1 << 32 };
    let mut nonce = None;
    while nonce.is_none() {
        search.search(&mut range, 16, &target, &mut |finding| {
            nonce.get_or_insert(u32::from_le_bytes(finding.bytes.try_into().unwrap()));
        });
    }
    let nonce = nonce.unwrap();
    template.header().unwrap().block(&Solution { extranonce, version: work.version, time, nonce }).unwrap()
}

/// Mines the next block as if it were `seconds` and makes it the tip.
fn extend(chain: &mut Chain, seconds: u32) -> Record {
    let template = chain.template(at(seconds)).unwrap();
    let record = chain.validate(&mine(&Sha256d, &template, seconds).bytes, at(seconds)).unwrap();
    chain.apply(&record);
    record
}

#[test]
fn blocks_of_both_algorithms_extend_the_chain_and_replay_to_the_same_tip() {
    for algorithm in [&Sha256d as &'static dyn Algorithm, &Scrypt1024] {
        let mut chain = Chain::genesis(params(algorithm, EASY_BITS)).unwrap();
        let mut records = Vec::new();
        for height in 1..=20 {
            let now = START_S + height * 5;
            let template = chain.template(at(now)).unwrap();
            let found = mine(algorithm, &template, height);
            let record = chain.validate(&found.bytes, at(now)).unwrap();
            assert_eq!((record.height, record.hash), (u64::from(height), found.hash));
            assert_eq!(found.height, record.height);
            chain.apply(&record);
            records.push(record);
        }
        let replayed = Chain::replay(params(algorithm, EASY_BITS), &records).unwrap();
        assert_eq!((replayed.height(), replayed.tip()), (20, chain.tip()));
        assert_eq!(replayed.template(at(START_S)), chain.template(at(START_S)));
    }
}

#[test]
fn a_block_is_known_when_it_comes_again_and_another_of_its_height_is_not_the_tip() {
    let mut chain = Chain::genesis(easy()).unwrap();
    let template = chain.template(at(START_S)).unwrap();
    let (first, second) = (mine(&Sha256d, &template, 1), mine(&Sha256d, &template, 2));
    let record = chain.validate(&first.bytes, at(START_S)).unwrap();
    chain.apply(&record);
    assert_eq!(chain.validate(&first.bytes, at(START_S)), Err(Rejection::AlreadyKnown));
    assert_eq!(chain.validate(&second.bytes, at(START_S)), Err(Rejection::NotTip));
}

#[test]
fn a_hash_above_the_target_is_no_block() {
    let chain = Chain::genesis(params(&Sha256d, 0x1d00_ffff)).unwrap();
    let template = chain.template(at(START_S)).unwrap();
    let work = &template.header().unwrap().work;
    let solution = Solution { extranonce: NO_EXTRANONCE, version: work.version, time: work.time, nonce: 0 };
    let block = template.header().unwrap().block(&solution).unwrap();
    assert_eq!(chain.validate(&block.bytes, at(START_S)), Err(Rejection::HighHash));
    assert!(chain.validate_proposal(&block.bytes, at(START_S)).is_ok());
}

#[test]
fn times_at_the_median_or_too_far_ahead_are_refused_and_those_beside_are_not() {
    let mut chain = Chain::genesis(easy()).unwrap();
    for _ in 0..12 {
        extend(&mut chain, START_S);
    }
    let template = chain.template(at(START_S)).unwrap();
    let median = template.header().unwrap().work.min_time - 1;
    let verdict = |time, now| chain.validate(&mine_at(&Sha256d, &template, 7, time).bytes, at(now));
    assert_eq!(verdict(median, START_S), Err(Rejection::TimeTooOld { time: median, median }));
    assert!(verdict(median + 1, START_S).is_ok());
    let time = START_S + MAX_FUTURE_S + 1;
    assert_eq!(verdict(time, START_S), Err(Rejection::TimeTooNew { time, now: START_S }));
    assert!(verdict(time - 1, START_S).is_ok());
}

#[test]
fn a_clock_that_stands_still_still_gives_valid_templates() {
    let mut chain = Chain::genesis(easy()).unwrap();
    for height in 1..=60 {
        assert_eq!(extend(&mut chain, START_S).height, height);
    }
}

#[test]
fn version_bits_may_be_rolled_inside_the_mask_only() {
    let chain = Chain::genesis(easy()).unwrap();
    let template = chain.template(at(START_S)).unwrap();
    let verdict = |version| {
        let mut rolled = template.clone();
        header(&mut rolled).work.version = version;
        chain.validate(&mine(&Sha256d, &rolled, 1).bytes, at(START_S)).map(|record| record.height)
    };
    assert_eq!(verdict(0x2000_2000), Ok(1));
    assert_eq!(verdict(0x2000_0001), Err(Rejection::Version { version: 0x2000_0001 }));
}

/// Mines the template after `change` has spoilt it.
fn spoilt(change: impl Fn(&mut Template)) -> Rejection {
    let chain = Chain::genesis(easy()).unwrap();
    let mut template = chain.template(at(START_S)).unwrap();
    change(&mut template);
    chain.validate(&mine(&Sha256d, &template, 3).bytes, at(START_S)).unwrap_err()
}

#[test]
fn a_coinbase_of_another_value_payee_or_height_is_refused() {
    let reward = Config::default().reward;
    let more = spoilt(|template| {
        header(template).reward += 1;
        let suffix = &mut header(template).work.coinbase_suffix.0;
        let at = suffix.windows(8).position(|bytes| bytes == reward.to_le_bytes()).unwrap();
        suffix[at..at + 8].copy_from_slice(&(reward + 1).to_le_bytes());
    });
    assert!(matches!(more, Rejection::Coinbase(_)), "{more}");
    let payee = spoilt(|template| {
        let suffix = &mut header(template).work.coinbase_suffix.0;
        let script = suffix.len() - 5;
        suffix[script] = 0x52;
    });
    assert_eq!(payee, Rejection::CoinbasePayout);
    let height = spoilt(|template| {
        let prefix = &mut header(template).work.coinbase_prefix.0;
        let script = prefix.iter().position(|byte| *byte == 0x51).unwrap();
        prefix[script] = 0x52;
    });
    assert_eq!(height, Rejection::CoinbaseHeight(1));
}

#[test]
fn easier_bits_than_the_chain_demands_are_refused() {
    let refused = spoilt(|template| {
        header(template).work.bits = 0x2100_ffff;
        template.network_target = Target::MAX;
    });
    assert_eq!(refused, Rejection::Bits { bits: 0x2100_ffff, wanted: EASY_BITS });
}

#[test]
fn a_merkle_root_of_something_else_is_refused() {
    let refused = spoilt(|template| header(template).work.merkle_branch = vec![Hash32([1; 32])]);
    assert_eq!(refused, Rejection::MerkleRoot);
}

/// Follows the retargeting with blocks that need no search: a chain under `hashes_per_second`.
fn bits_under(hashes_per_second: u64, blocks: u32) -> (Vec<u32>, Vec<Target>) {
    let algorithm = &Sha256d;
    let mut chain = Chain::genesis(params(algorithm, EASY_BITS)).unwrap();
    let (mut now_ms, mut times, mut targets) = (u64::from(START_S) * 1_000, Vec::new(), Vec::new());
    for roll in 0..blocks {
        let template = chain.template(TimestampMs(now_ms)).unwrap();
        let work = u64::try_from(template.network_target.work().0).unwrap();
        now_ms += work * 1_000 / hashes_per_second;
        let template = chain.template(TimestampMs(now_ms)).unwrap();
        let record = chain.validate(&mine(algorithm, &template, roll).bytes, TimestampMs(now_ms)).unwrap();
        chain.apply(&record);
        times.push(template.header().unwrap().work.time);
        targets.push(template.network_target);
    }
    (times, targets)
}

#[test]
fn under_a_steady_hash_rate_blocks_settle_at_the_wanted_spacing() {
    // 512 hashes a second want a target 2560 times harder than an even chance for 5 s a block.
    let (times, targets) = bits_under(512, 240);
    let last = &times[times.len() - 60..];
    let spacing = f64::from(last[59] - last[0]) / 59.0;
    assert!((4.5..=5.5).contains(&spacing), "{spacing} s a block");
    assert!(targets.windows(2).all(|two| two[1].0 <= two[0].0 << 2 && two[1].0 >= two[0].0 >> 3));
}

#[test]
fn a_log_of_other_parameters_or_with_a_gap_is_refused() {
    let mut chain = Chain::genesis(easy()).unwrap();
    let records: Vec<_> = (0..3).map(|n| extend(&mut chain, START_S + n)).collect();
    let mut other = easy();
    other.config.reward += 1;
    let refused = Chain::replay(other, &records).unwrap_err();
    assert_eq!(refused, ReplayError::Record { height: 1, reason: Rejection::NotTip });
    let refused = Chain::replay(easy(), [&records[0], &records[2]]).unwrap_err();
    assert_eq!(refused, ReplayError::Record { height: 3, reason: Rejection::NotTip });
}

#[test]
fn a_log_that_forgot_its_oldest_blocks_leads_to_the_same_tip_and_the_same_next_block() {
    let config = Config { initial_bits: EASY_BITS, retarget_interval: 4, ..Config::default() };
    let params = || Params { algorithm: Proof::Native(&Sha256d), config: config.clone() };
    let mut chain = Chain::genesis(params()).unwrap();
    // Blocks come too fast, so the difficulty rises from retarget to retarget.
    let records: Vec<_> = (0..40).map(|n| extend(&mut chain, START_S + n)).collect();
    assert_ne!(chain.template(at(START_S)).unwrap().header().unwrap().work.bits, EASY_BITS);
    for forgotten in [1, 5, 11, 20] {
        let replayed = Chain::replay(params(), &records[forgotten..]).unwrap();
        assert_eq!((replayed.height(), replayed.tip()), (40, chain.tip()), "{forgotten}");
        assert_eq!(replayed.template(at(START_S + 40)), chain.template(at(START_S + 40)), "{forgotten}");
    }
    // What is not this chain's is refused all the same.
    let mut other = params();
    other.config.reward += 1;
    assert!(matches!(Chain::replay(other, &records[5..]), Err(ReplayError::Record { height: 6, .. })));
    let gap = [&records[5], &records[6], &records[8]];
    assert_eq!(
        Chain::replay(params(), gap).unwrap_err(),
        ReplayError::Record { height: 9, reason: Rejection::NotTip }
    );
}

#[test]
fn a_record_of_another_state_is_not_applied() {
    let mut chain = Chain::genesis(easy()).unwrap();
    let first = extend(&mut chain, START_S);
    extend(&mut chain, START_S);
    let tip = chain.tip();
    chain.apply(&first);
    assert_eq!((chain.height(), chain.tip()), (2, tip));
}

proptest! {
    #[test]
    fn any_bytes_are_refused_and_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let chain = Chain::genesis(easy()).unwrap();
        prop_assert!(chain.validate(&bytes, at(START_S)).is_err());
        // The same behind a header that passes.
        let template = chain.template(at(START_S)).unwrap();
        let mut block = mine(&Sha256d, &template, 9).bytes;
        block.truncate(81);
        block.append(&mut bytes);
        prop_assert!(chain.validate(&block, at(START_S)).is_err());
    }
}

#[test]
fn no_flipped_bit_of_a_block_passes() {
    let chain = Chain::genesis(params(&Sha256d, 0x1f00_ffff)).unwrap();
    let template = chain.template(at(START_S)).unwrap();
    let block = mine(&Sha256d, &template, 4).bytes;
    for bit in 0..block.len() * 8 {
        let mut flipped = block.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(chain.validate(&flipped, at(START_S)).is_err(), "bit {bit}");
    }
}

/// A log in memory that behaves as the stream does: one block for each height, in order.
#[derive(Clone, Default)]
struct MemoryLog(Arc<Mutex<Vec<Record>>>);

impl ChainLog for MemoryLog {
    fn append<'a>(&'a self, record: &'a Record) -> BoxFuture<'a, Result<Appended, LogError>> {
        let mut records = self.0.lock().unwrap();
        let next = records.len() as u64 + 1 == record.height;
        if next {
            records.push(record.clone());
        }
        Box::pin(async move { Ok(if next { Appended::Kept } else { Appended::Conflict }) })
    }

    fn read_above(&self, height: u64) -> BoxFuture<'_, Result<Vec<Record>, LogError>> {
        let records = self.0.lock().unwrap();
        let batch = records.iter().filter(|record| record.height > height).take(2).cloned().collect();
        Box::pin(async move { Ok(batch) })
    }
}

async fn submit(source: &EmbeddedSource<MemoryLog>, block: &FoundBlock) -> SubmitOutcome {
    source.submit(block).await.reports.remove(0).outcome.unwrap()
}

#[tokio::test]
async fn a_submitted_block_is_kept_gives_a_new_template_and_is_known_when_it_comes_again() {
    let log = MemoryLog::default();
    let source = EmbeddedSource::open(easy(), log.clone()).await.unwrap();
    let template = source.template(None).await.unwrap();
    assert_eq!(source.propose(&template).await.unwrap(), Proposal::Valid);
    let block = mine(&Sha256d, &template, 1);
    let (next, outcome) = tokio::join!(source.template(Some(&template)), submit(&source, &block));
    assert_eq!(outcome, SubmitOutcome::Accepted);
    let next = next.unwrap();
    assert_eq!(next.header().unwrap().work.prev_hash, block.hash);
    assert_eq!(next.assembly.height(), 2);
    assert_eq!(log.0.lock().unwrap()[0].block, Blob(block.bytes.clone()));
    assert_eq!(submit(&source, &block).await, SubmitOutcome::AlreadyKnown);
    assert_eq!(source.propose(&template).await.unwrap(), Proposal::Stale);
    let other = mine(&Sha256d, &template, 2);
    assert_eq!(submit(&source, &other).await, SubmitOutcome::NotTip);
}

#[tokio::test]
async fn of_two_sources_on_one_log_only_one_gets_the_height_and_the_other_follows() {
    let log = MemoryLog::default();
    let one = EmbeddedSource::open(easy(), log.clone()).await.unwrap();
    let two = EmbeddedSource::open(easy(), log.clone()).await.unwrap();
    let template = one.template(None).await.unwrap();
    let (ours, theirs) = (mine(&Sha256d, &template, 1), mine(&Sha256d, &template, 2));
    assert_eq!(submit(&one, &ours).await, SubmitOutcome::Accepted);
    assert_eq!(submit(&two, &theirs).await, SubmitOutcome::NotTip);
    assert_eq!(submit(&two, &ours).await, SubmitOutcome::AlreadyKnown);
    assert_eq!(two.template(None).await.unwrap().header().unwrap().work.prev_hash, ours.hash);
    assert_eq!(log.0.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_source_that_is_opened_again_stands_at_the_tip() {
    let log = MemoryLog::default();
    let first = EmbeddedSource::open(easy(), log.clone()).await.unwrap();
    let mut tip = Hash32::default();
    for roll in 0..5 {
        let block = mine(&Sha256d, &first.template(None).await.unwrap(), roll);
        assert_eq!(submit(&first, &block).await, SubmitOutcome::Accepted);
        tip = block.hash;
    }
    drop(first);
    let again = EmbeddedSource::open(easy(), log).await.unwrap();
    let template = again.template(None).await.unwrap();
    assert_eq!((template.header().unwrap().work.prev_hash, template.assembly.height()), (tip, 6));
    assert_eq!(again.health()[0].failures, 0);
}

#[tokio::test]
async fn a_block_that_breaks_a_rule_is_refused_with_the_reason_and_not_kept() {
    let log = MemoryLog::default();
    let source = EmbeddedSource::open(easy(), log.clone()).await.unwrap();
    let template = source.template(None).await.unwrap();
    let mut block = mine(&Sha256d, &template, 1);
    block.bytes[0] ^= 1;
    let SubmitOutcome::Refused { reason } = submit(&source, &block).await else { panic!("must be refused") };
    assert!(reason.contains("version"), "{reason}");
    assert!(log.0.lock().unwrap().is_empty());
}

#[test]
fn the_block_hash_is_sha256d_of_the_header_whatever_the_work_is() {
    let chain = Chain::genesis(params(&Scrypt1024, EASY_BITS)).unwrap();
    let found = mine(&Scrypt1024, &chain.template(at(START_S)).unwrap(), 1);
    assert_eq!(found.hash.0, sha256d(&found.bytes[..80]));
}
