//! What is made of a daemon's template, held against the `monero` library: another implementation of the same formats.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use bus_schemas::{
    share::{CryptoNoteFinding, Finding},
    work::Extranonce,
};
use job_sources::{
    Assembly, Template,
    assembly::AssemblyError,
    monero::{InvalidTemplate, TemplateAnswer},
};
use monero::{Block, cryptonote::hash::Hash};
use proptest::prelude::*;
use serde_json::Value;

const EXTRANONCE: Extranonce = Extranonce { farm: 1, epoch: 2, slot: 3, job: 4, roll: 5 };

fn vector() -> Value {
    let all: Value = serde_json::from_str(include_str!("vectors.json")).unwrap();
    all["monero_regtest_block"].clone()
}

/// The block that a live daemon offered, with the 18 reserved bytes that we ask for in place of 16, and so many more
/// transactions.
fn block(transactions: u8) -> Block {
    let bytes = hex::decode(vector()["template_blob"].as_str().unwrap()).unwrap();
    let mut block: Block = monero::consensus::deserialize(&bytes).unwrap();
    let extra = &mut block.miner_tx.prefix.extra.0;
    let field = extra.len() - 18;
    assert_eq!(extra[field..field + 2], [2, 16]);
    extra[field + 1] = 18;
    extra.extend([0, 0]);
    block.tx_hashes = (1..=transactions).map(|n| Hash([n; 32])).collect();
    block
}

fn answer(block: &Block) -> TemplateAnswer {
    let vector = vector();
    let paid = block.miner_tx.prefix.outputs.iter().map(|output| output.amount.0).sum();
    TemplateAnswer {
        blocktemplate_blob: hex::encode(monero::consensus::serialize(block)),
        blockhashing_blob: hex::encode(block.serialize_hashable()),
        difficulty: vector["difficulty"].as_u64().unwrap(),
        difficulty_top64: 0,
        expected_reward: paid,
        height: vector["height"].as_u64().unwrap(),
        prev_hash: hex::encode(block.header.prev_id.0),
        reserved_offset: vector["reserved_offset"].as_u64().unwrap() as usize,
        seed_hash: vector["seed_hash"].as_str().unwrap().to_owned(),
        next_seed_hash: String::new(),
    }
}

/// Spoils an answer.
type Change = fn(&mut TemplateAnswer);

fn template(answer: TemplateAnswer) -> Result<Template, InvalidTemplate> {
    answer.into_template("http://daemon")
}

#[test]
fn a_finding_makes_the_block_that_the_library_reads_back_with_our_extranonce_and_the_same_id() {
    for transactions in 0..9 {
        let offered = block(transactions);
        let template = template(answer(&offered)).unwrap();
        let finding = Finding::CryptoNote(CryptoNoteFinding { roll: 5, nonce: 0xdead_beef });
        let found = template.assembly.block(EXTRANONCE, &finding).unwrap();
        let read: Block = monero::consensus::deserialize(&found.bytes).unwrap();
        assert_eq!(found.hash.to_display_hex(), hex::encode(read.id().0));
        assert_eq!((read.header.nonce, &read.tx_hashes), (0xdead_beef, &offered.tx_hashes));
        assert!(read.miner_tx.prefix.extra.0.ends_with(&EXTRANONCE.to_bytes()));
        assert_eq!(read.miner_tx.prefix.outputs, offered.miner_tx.prefix.outputs);

        // What is hashed is what the library would hash of that block, behind the seed.
        let work = template.assembly.work();
        let input = work.input_over(&work.root(EXTRANONCE), &finding).unwrap();
        assert_eq!(input.as_ref()[32..], read.serialize_hashable());
        assert_eq!(hex::encode(&input.as_ref()[..32]), vector()["seed_hash"]);

        let kept = Assembly::from_bytes(&template.assembly.to_bytes().unwrap()).unwrap();
        assert_eq!(kept.block(EXTRANONCE, &finding), Ok(found));
    }
}

#[test]
fn a_finding_of_another_kind_of_work_makes_no_block() {
    let template = template(answer(&block(0))).unwrap();
    let finding = bus_schemas::examples::share().unwrap().finding;
    assert_eq!(template.assembly.block(EXTRANONCE, &finding), Err(AssemblyError::OtherWork));
}

#[test]
fn a_template_whose_promises_do_not_hold_is_refused_for_its_own_reason() {
    let refused = |change: Change| {
        let mut answer = answer(&block(2));
        change(&mut answer);
        template(answer).unwrap_err()
    };
    assert!(matches!(refused(|t| t.expected_reward += 1), InvalidTemplate::Value { .. }));
    for offset in [0, 125, 127, 1 << 20] {
        let mut answer = answer(&block(0));
        answer.reserved_offset = offset;
        assert_eq!(template(answer), Err(InvalidTemplate::Reserved { offset }));
    }
    let hashing_blob = refused(|t| t.blockhashing_blob.replace_range(..2, "0f"));
    assert!(matches!(hashing_blob, InvalidTemplate::HashingBlob { .. }));
    assert!(matches!(refused(|t| t.blocktemplate_blob.truncate(200)), InvalidTemplate::Block(_)));
    assert!(matches!(refused(|t| t.difficulty = 0), InvalidTemplate::Work(_)));
    let fields: [(&str, Change); 5] = [
        ("prev_hash", |t| t.prev_hash.replace_range(..2, "00")),
        ("difficulty", |t| t.difficulty_top64 = 1),
        ("seed_hash", |t| t.seed_hash.clear()),
        ("next_seed_hash", |t| t.next_seed_hash = "12".to_owned()),
        ("blocktemplate_blob", |t| t.blocktemplate_blob = "zz".to_owned()),
    ];
    for (name, change) in fields {
        let error = refused(change);
        assert!(matches!(error, InvalidTemplate::Field { field, .. } if field == name), "{name}: {error}");
    }
}

#[test]
fn sixteen_reserved_bytes_are_not_enough() {
    let bytes = hex::decode(vector()["template_blob"].as_str().unwrap()).unwrap();
    let sixteen: Block = monero::consensus::deserialize(&bytes).unwrap();
    assert_eq!(template(answer(&sixteen)), Err(InvalidTemplate::Reserved { offset: 126 }));
}

#[test]
fn another_key_of_the_miner_transaction_alone_is_nothing_new() {
    let one = template(answer(&block(1))).unwrap();
    let mut other = block(1);
    other.miner_tx.prefix.extra.0[1] ^= 1;
    other.header.timestamp.0 += 1;
    assert!(!one.differs_from(&template(answer(&other)).unwrap()));
    assert!(one.differs_from(&template(answer(&block(2))).unwrap()));
    other.header.prev_id.0[0] ^= 1;
    assert!(one.differs_from(&template(answer(&other)).unwrap()));
}

proptest! {
    #[test]
    fn no_bytes_of_a_template_make_us_panic(
        blob in "[0-9a-f]{0,400}", offset: usize, place in 0_usize..288, digit in "[0-9a-f]"
    ) {
        let mut answer = answer(&block(1));
        answer.reserved_offset = offset;
        let _ = template(TemplateAnswer { blocktemplate_blob: blob, ..answer.clone() });
        answer.reserved_offset = 126;
        answer.blocktemplate_blob.replace_range(place..=place, &digit);
        let _ = template(answer);
    }
}
