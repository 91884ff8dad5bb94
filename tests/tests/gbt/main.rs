//! The product's job source against real nodes: template, proposal, search, submission, and what the node then says.
#![cfg(test)]

mod bitcoin_knots;
mod btcd;
mod litecoind;

use algorithm_api::{Algorithm, Range, Target};
use bus_schemas::{
    Blob,
    config::{Chain, GetBlockTemplateSource, Payout},
    work::Extranonce,
};
use job_sources::{
    Credentials, FoundBlock, JobSource, Limits, NodeAddress, Proposal, Solution, SubmitOutcome, Template,
    gbt::GbtSource,
};
use serde_json::Value;
use std::time::Duration;
use system_tests::{rpc::Rpc, wait};

/// Pays the key hash of BIP 173's test vector.
const PAYOUT: &str = "0014751e76e8199196d454941c45d1b3a323f1433bd6";
/// Names the pool in each coinbase.
const TAG: &str = "/system-test/";
/// For what a node has promised already.
const SOON: Duration = Duration::from_secs(30);

fn source(chain: Chain, nodes: &[&Rpc]) -> GbtSource {
    let config = GetBlockTemplateSource {
        chain,
        nodes: Vec::new(),
        payout: Payout::Script(Blob(hex::decode(PAYOUT).unwrap())),
        tag: TAG.to_owned(),
        poll_ms: 200,
    };
    let address = |rpc: &&Rpc| NodeAddress {
        url: rpc.url.clone(),
        credentials: Some(Credentials { user: rpc.user.clone(), password: rpc.password.clone() }),
    };
    GbtSource::new(&config, nodes.iter().map(address).collect(), Limits::default()).unwrap()
}

/// Searches nonces with the algorithm until the network's target is met; another `roll` is another coinbase.
async fn mine(algorithm: &'static dyn Algorithm, template: &Template, roll: u32) -> FoundBlock {
    let template = template.clone();
    tokio::task::spawn_blocking(move || {
        let work = &template.header().unwrap().work;
        let extranonce = Extranonce { farm: 1, epoch: 2, slot: 3, job: 4, roll };
        let mut search = algorithm.prepare(&work.header(extranonce, work.version, work.time, 0)).unwrap();
        let target = Target::from_le_bytes(template.network_target.to_le_bytes());
        let (mut range, mut nonce) = (Range { next: 0, end: 1 << 32 }, None);
        while nonce.is_none() && !range.is_empty() {
            search.search(&mut range, 1 << 12, &target, &mut |finding| {
                nonce.get_or_insert(u32::from_le_bytes(finding.bytes.try_into().unwrap()));
            });
        }
        let nonce = nonce.expect("one of all nonces is a block");
        let solution = Solution { extranonce, version: work.version, time: work.time, nonce };
        template.header().unwrap().block(&solution).unwrap()
    })
    .await
    .unwrap()
}

async fn submit(source: &GbtSource, block: &FoundBlock) -> SubmitOutcome {
    let submission = source.submit(block).await;
    submission.outcome().expect("there are nodes").expect("a node answers").clone()
}

/// Proposes, mines and submits a template, twice, and holds the node's own words against ours.
async fn mine_and_check(
    source: &GbtSource,
    algorithm: &'static dyn Algorithm,
    rpc: &Rpc,
    template: &Template,
) -> FoundBlock {
    let height = rpc.height().await.unwrap();
    assert_eq!(source.propose(template).await.unwrap(), Proposal::Valid, "height {}", height + 1);
    let block = mine(algorithm, template, 1).await;
    // Of several nodes one may have the block from another before it has it from us.
    let several = source.health().len() > 1;
    let outcome = submit(source, &block).await;
    assert!(outcome == SubmitOutcome::Accepted || several && outcome.is_success(), "{outcome:?}");
    let risen = async || rpc.height().await.ok().filter(|now| *now == height + 1);
    wait::until(SOON, "the node's height to rise", risen).await.unwrap();
    assert_eq!(submit(source, &block).await, SubmitOutcome::AlreadyKnown);
    assert_eq!(rpc.height().await.unwrap(), height + 1);

    let bytes = rpc.block_at(height + 1, 0).await.unwrap();
    assert_eq!(bytes, hex::encode(&block.bytes), "the node keeps the block as we made it");
    let seen = rpc.block_at(height + 1, 2).await.unwrap();
    assert_eq!(seen["hash"], block.hash.to_display_hex());
    // btcd calls the transactions themselves by another name than their ids.
    let transactions = seen.get("rawtx").unwrap_or(&seen["tx"]);
    check_coinbase(&transactions[0], template);
    block
}

/// The whole reward to the configured script, to the unit, and nothing to anybody else.
fn check_coinbase(coinbase: &Value, template: &Template) {
    let units = |output: &Value| (output["value"].as_f64().unwrap() * 1e8).round() as u64;
    let outputs = coinbase["vout"].as_array().unwrap();
    assert_eq!(outputs[0]["scriptPubKey"]["hex"], PAYOUT);
    assert_eq!(units(&outputs[0]), template.header().unwrap().reward);
    assert!(outputs[1..].iter().all(|output| units(output) == 0), "{outputs:?}");
    let script = coinbase["vin"][0]["coinbase"].as_str().unwrap();
    assert!(script.ends_with(&hex::encode(TAG)), "{script}");
}
