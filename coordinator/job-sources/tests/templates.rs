//! What templates become, and which are refused: the traps of Bitcoin-family chains, each by name.
#![cfg(test)]

use bitcoin::{Block, Transaction, consensus};
use bus_schemas::config::Chain;
use job_sources::{
    Solution, Template,
    assembly::NO_EXTRANONCE,
    gbt::{BlockTemplate, InvalidTemplate, Recipe},
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn vector(name: &str) -> Value {
    let mut sets: Value = serde_json::from_str(include_str!("vectors.json")).unwrap();
    sets[name]["template"].take()
}

fn bitcoin() -> Value {
    vector("bitcoin_regtest_gbt_block")
}

fn litecoin() -> Value {
    vector("litecoin_regtest_gbt_block_mweb")
}

fn read(template: Value, chain: Chain) -> Result<Template, InvalidTemplate> {
    let template: BlockTemplate = serde_json::from_value(template).unwrap();
    let recipe = Recipe { chain, payout: vec![0x51], tag: "/farm/".to_owned() };
    template.into_template(&recipe, "node")
}

fn without(mut template: Value, field: &str) -> Value {
    template.as_object_mut().unwrap().remove(field);
    template
}

fn with(mut template: Value, field: &str, value: Value) -> Value {
    template[field] = value;
    template
}

fn block(template: &Template) -> Block {
    let work = &template.header().unwrap().work;
    let solution = Solution { extranonce: NO_EXTRANONCE, version: work.version, time: work.time, nonce: 0 };
    consensus::deserialize(&template.header().unwrap().block(&solution).unwrap().bytes).unwrap()
}

/// A template as btcd sends it while no transaction has a witness.
fn btcd() -> Value {
    let legacy_only: Vec<Value> = bitcoin()["transactions"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|t| t["txid"] == t["hash"])
        .cloned()
        .collect();
    let template = without(without(bitcoin(), "rules"), "default_witness_commitment");
    let template = with(template, "transactions", Value::Array(legacy_only));
    with(template, "coinbaseaux", json!({ "flags": "0e2f503253482f627463642f" }))
}

#[test]
fn the_rule_segwit_with_or_without_its_mark_gives_the_coinbase_a_witness() {
    for rules in [json!(["csv", "!segwit", "taproot"]), json!(["csv", "segwit"])] {
        let template = read(with(bitcoin(), "rules", rules), Chain::Bitcoin).unwrap();
        assert!(template.header().unwrap().coinbase_witness);
        assert!(block(&template).check_witness_commitment());
    }
}

#[test]
fn rules_without_segwit_give_the_coinbase_no_witness() {
    let template = with(bitcoin(), "rules", json!(["csv"]));
    let template = read(without(template, "default_witness_commitment"), Chain::Bitcoin).unwrap();
    assert!(!template.header().unwrap().coinbase_witness);
    assert_eq!(block(&template).txdata[0].output.len(), 1);
}

#[test]
fn a_template_without_rules_and_without_witnesses_gets_neither_commitment_nor_witness() {
    let template = read(btcd(), Chain::Bitcoin).unwrap();
    assert!(!template.header().unwrap().coinbase_witness);
    assert_eq!(block(&template).txdata[0].output.len(), 1);
}

#[test]
fn a_template_without_rules_whose_transactions_have_witnesses_gets_both() {
    let with_witnesses = with(btcd(), "transactions", bitcoin()["transactions"].clone());
    let template = read(with_witnesses.clone(), Chain::Bitcoin).unwrap();
    assert!(template.header().unwrap().coinbase_witness);
    assert!(block(&template).check_witness_commitment());
    let given = bitcoin()["default_witness_commitment"].clone();
    let same = read(with(with_witnesses, "default_witness_commitment", given), Chain::Bitcoin).unwrap();
    assert_eq!(template.assembly, same.assembly);
}

#[test]
fn a_signets_block_has_a_commitment_even_when_the_node_offers_none() {
    let template = read(btcd(), Chain::BitcoinSignet).unwrap();
    assert!(template.header().unwrap().coinbase_witness);
    let block = block(&template);
    assert_eq!(block.txdata[0].output.len(), 2);
    assert!(block.check_witness_commitment());
}

#[test]
fn a_signet_whose_blocks_must_be_signed_is_refused() {
    let challenge = "5121021e";
    let template = with(bitcoin(), "signet_challenge", json!(challenge));
    assert_eq!(read(template, Chain::BitcoinSignet), Err(InvalidTemplate::SignetChallenge(challenge.into())));
    assert!(read(with(bitcoin(), "signet_challenge", json!("51")), Chain::BitcoinSignet).is_ok());
}

#[test]
fn coinbase_flags_go_into_the_input_script() {
    let block = block(&read(btcd(), Chain::Bitcoin).unwrap());
    let script = hex::encode(block.txdata[0].input[0].script_sig.as_bytes());
    assert!(script.starts_with("017d0e2f503253482f627463642f12"), "{script}");
}

#[test]
fn the_coinbase_pays_the_configured_script_the_whole_value_to_the_unit() {
    for (template, chain) in [(bitcoin(), Chain::Bitcoin), (litecoin(), Chain::Litecoin)] {
        let value = template["coinbasevalue"].as_u64().unwrap();
        let template = read(template, chain).unwrap();
        let coinbase: Transaction =
            consensus::deserialize(&template.header().unwrap().work.coinbase(NO_EXTRANONCE)).unwrap();
        assert_eq!(coinbase.output[0].value.to_sat(), value);
        assert_eq!(coinbase.output[0].script_pubkey.as_bytes(), [0x51]);
        assert_eq!(coinbase.output.iter().map(|o| o.value.to_sat()).sum::<u64>(), value);
    }
}

#[test]
fn a_template_that_lets_us_make_no_coinbase_is_refused() {
    assert_eq!(
        read(without(bitcoin(), "coinbasevalue"), Chain::Bitcoin),
        Err(InvalidTemplate::NoCoinbaseValue)
    );
}

#[test]
fn an_extension_block_without_its_binding_transaction_is_refused_and_the_other_way_round() {
    assert!(matches!(read(without(litecoin(), "mweb"), Chain::Litecoin), Err(InvalidTemplate::Mweb(_))));
    let mut transactions = litecoin()["transactions"].clone();
    transactions.as_array_mut().unwrap().rotate_left(1);
    let moved = with(litecoin(), "transactions", transactions);
    assert!(matches!(read(moved, Chain::Litecoin), Err(InvalidTemplate::Mweb(_))));
}

#[test]
fn litecoin_before_its_extension_blocks_is_a_plain_block() {
    let plain = with(without(litecoin(), "mweb"), "transactions", json!([]));
    let commitment = "6a24aa21a9ede2f61c3f71d1defd3fa999dfa36953755c690689799962b48bebd836974e8cf9";
    let template =
        read(with(plain, "default_witness_commitment", json!(commitment)), Chain::Litecoin).unwrap();
    assert!(template.header().unwrap().extension.0.is_empty());
    assert!(block(&template).check_witness_commitment());
}

#[test]
fn a_rule_that_miners_must_understand_and_we_do_not_is_refused() {
    let rules = with(bitcoin(), "rules", json!(["!segwit", "!newsoftfork"]));
    assert_eq!(read(rules, Chain::Bitcoin), Err(InvalidTemplate::UnknownRule("newsoftfork".into())));
    assert!(read(with(bitcoin(), "rules", json!(["!segwit", "newsoftfork"])), Chain::Bitcoin).is_ok());
}

#[test]
fn bits_and_target_that_contradict_each_other_are_refused() {
    let template = with(bitcoin(), "bits", json!("1d00ffff"));
    assert!(matches!(read(template, Chain::Bitcoin), Err(InvalidTemplate::TargetMismatch { .. })));
}

#[test]
fn version_bits_that_the_network_demands_are_not_rolled() {
    let mask = |template| read(template, Chain::Bitcoin).unwrap().header().unwrap().work.version_mask;
    assert_eq!(mask(bitcoin()), 0x1fff_e000);
    assert_eq!(mask(with(bitcoin(), "vbrequired", json!(0x4000))), 0x1fff_a000);
}

#[test]
fn time_never_lies_below_mintime_or_above_maxtime() {
    let template = with(with(bitcoin(), "mintime", json!(2_000_000_000)), "curtime", json!(1_999_999_990));
    let template = read(with(template, "maxtime", json!(2_000_000_060)), Chain::Bitcoin).unwrap();
    let work = &template.header().unwrap().work;
    assert_eq!((work.min_time, work.time, work.max_time), (2_000_000_000, 2_000_000_000, 2_000_000_060));
}

#[test]
fn fields_of_a_wrong_shape_are_refused_by_name() {
    for (field, value) in [
        ("bits", json!("xyz")),
        ("previousblockhash", json!("00")),
        ("target", json!("7f")),
        ("version", json!(1_u64 << 40)),
        ("default_witness_commitment", json!("6a24")),
        ("coinbaseaux", json!({ "flags": "0" })),
        ("transactions", json!([{ "data": "zz", "txid": "00", "hash": "00" }])),
        ("transactions", json!([{ "data": "00", "txid": "0011" }])),
    ] {
        let refused = read(with(bitcoin(), field, value), Chain::Bitcoin);
        let Err(InvalidTemplate::Field { field: named, .. }) = refused else {
            panic!("{field}: {refused:?}")
        };
        assert!(named.starts_with(field), "{field} is blamed on {named}");
    }
}

#[test]
fn a_new_template_is_one_in_which_more_than_the_time_changed() {
    let first = read(bitcoin(), Chain::Bitcoin).unwrap();
    let later = with(with(bitcoin(), "curtime", json!(1_795_245_350)), "longpollid", json!("other"));
    assert!(!read(later, Chain::Bitcoin).unwrap().differs_from(&first));
    for (field, value) in [
        ("previousblockhash", json!("00".repeat(32))),
        ("coinbasevalue", json!(5_000_007_441_u64)),
        ("transactions", json!([])),
        ("version", json!(0x2000_0004)),
    ] {
        assert!(read(with(bitcoin(), field, value), Chain::Bitcoin).unwrap().differs_from(&first), "{field}");
    }
}

/// Any JSON, small.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        "[0-9a-f]{0,80}".prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-z]{1,6}", inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

proptest! {
    #[test]
    fn any_field_may_be_anything_and_what_is_not_refused_is_a_whole_block(
        index in any::<prop::sample::Index>(), value in any_json(), on_litecoin: bool,
    ) {
        let (mut template, chain) =
            if on_litecoin { (litecoin(), Chain::Litecoin) } else { (bitcoin(), Chain::Bitcoin) };
        let fields: Vec<String> = template.as_object().unwrap().keys().cloned().collect();
        template[index.get(&fields)] = value;
        if let Ok(template) = serde_json::from_value::<BlockTemplate>(template) {
            let recipe = Recipe { chain, payout: vec![0x51], tag: String::new() };
            if let Ok(template) = template.into_template(&recipe, "node") {
                prop_assert!(template.header().unwrap().check().is_ok());
                prop_assert!(template.header().unwrap().work.check().is_ok());
                prop_assert!(chain == Chain::Litecoin || block(&template).check_merkle_root());
            }
        }
    }
}
