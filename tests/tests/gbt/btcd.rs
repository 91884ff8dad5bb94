//! btcd on a custom signet: JSON-RPC 1.0, no rules in its templates, a side chain's block is accepted in silence.

use super::{mine, mine_and_check, source, submit};
use algorithm_sha256d::Sha256d;
use bus_schemas::config::Chain;
use job_sources::{JobSource, Proposal, SourceError, SubmitOutcome};
use system_tests::{btcd, folder::RunFolder};

#[tokio::test]
async fn btcd_accepts_our_blocks_which_pay_the_configured_script_exactly() {
    let mut pair = btcd::start(RunFolder::temporary().unwrap(), btcd::ANY_MINING_ADDRESS).await.unwrap();
    let source = source(Chain::BitcoinSignet, &[&pair.first.rpc, &pair.second.rpc]);
    let first = source.template(None).await.unwrap();
    assert_eq!((first.assembly.height(), first.header().unwrap().work.bits), (1, 0x1e03_77ae));
    assert!(first.longpoll.is_some());

    // A long poll is waiting while the block goes out, and brings the template on top of it.
    let (block, second) = tokio::join!(
        mine_and_check(&source, &Sha256d, &pair.first.rpc, &first),
        source.template(Some(&first))
    );
    let second = second.unwrap();
    assert_eq!((second.assembly.height(), second.header().unwrap().work.prev_hash), (2, block.hash));

    assert_eq!(source.propose(&first).await.unwrap(), Proposal::Stale);
    let late = mine(&Sha256d, &first, 2).await;
    assert_eq!(submit(&source, &late).await, SubmitOutcome::NotTip);
    mine_and_check(&source, &Sha256d, &pair.first.rpc, &second).await;

    // The peer alone makes no templates, but it still takes and knows blocks.
    pair.first.kill9().unwrap();
    assert_eq!(submit(&source, &block).await, SubmitOutcome::AlreadyKnown);
}

#[tokio::test]
async fn when_a_btcd_is_killed_templates_come_from_the_next_node() {
    let mut first = btcd::start(RunFolder::temporary().unwrap(), btcd::ANY_MINING_ADDRESS).await.unwrap();
    let second = btcd::start(RunFolder::temporary().unwrap(), btcd::ANY_MINING_ADDRESS).await.unwrap();
    let source = source(Chain::BitcoinSignet, &[&first.first.rpc, &second.first.rpc]);
    let template = source.template(None).await.unwrap();
    assert_eq!(template.origin, first.first.rpc.url);
    first.first.kill9().unwrap();
    let error = source.template(None).await.unwrap_err();
    assert!(matches!(error, SourceError::Unreachable { .. }), "{error}");
    let template = source.template(None).await.unwrap();
    assert_eq!(template.origin, second.first.rpc.url);
    mine_and_check(&source, &Sha256d, &second.first.rpc, &template).await;
}
