//! Bitcoin Knots on the same signet: a bitcoind, which demands the signet rule and BIP 325's commitment.

use super::{mine, mine_and_check, source, submit};
use algorithm_sha256d::Sha256d;
use bus_schemas::config::Chain;
use job_sources::{JobSource, Proposal, SubmitOutcome};
use system_tests::{bitcoin_knots, folder::RunFolder};

#[tokio::test]
async fn bitcoin_knots_accepts_our_blocks_which_pay_the_configured_script_exactly() {
    let pair = bitcoin_knots::start(RunFolder::temporary().unwrap()).await.unwrap();
    let source = source(Chain::BitcoinSignet, &[&pair.first.rpc]);
    let first = source.template(None).await.unwrap();
    assert_eq!((first.assembly.height(), first.header().unwrap().work.bits), (1, 0x1e03_77ae));
    let (block, second) = tokio::join!(
        mine_and_check(&source, &Sha256d, &pair.first.rpc, &first),
        source.template(Some(&first))
    );
    let second = second.unwrap();
    assert_eq!((second.assembly.height(), second.header().unwrap().work.prev_hash), (2, block.hash));

    assert_eq!(source.propose(&first).await.unwrap(), Proposal::Stale);
    let late = mine(&Sha256d, &first, 2).await;
    assert_eq!(submit(&source, &late).await, SubmitOutcome::NotTip);
}
