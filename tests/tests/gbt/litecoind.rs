//! litecoind on regtest: scrypt, exactly two rules, and MWEB from height 432 on.

use super::{mine_and_check, source};
use algorithm_scrypt::Scrypt1024;
use bus_schemas::config::Chain;
use job_sources::{JobSource, SourceError};
use system_tests::{folder::RunFolder, litecoind};

#[tokio::test]
async fn litecoind_accepts_our_blocks_from_height_one_past_the_small_number_opcodes() {
    let pair = litecoind::start(RunFolder::temporary().unwrap()).await.unwrap();
    let source = source(Chain::Litecoin, &[&pair.first.rpc, &pair.second.rpc]);
    for height in 1..=18 {
        let template = source.template(None).await.unwrap();
        assert_eq!(template.assembly.height(), height);
        mine_and_check(&source, &Scrypt1024, &pair.first.rpc, &template).await;
    }
}

#[tokio::test]
async fn litecoind_accepts_our_blocks_with_an_extension_block() {
    let pair = litecoind::start(RunFolder::temporary().unwrap()).await.unwrap();
    let rpc = &pair.first.rpc;
    litecoind::generate(rpc, litecoind::FIRST_MWEB_HEIGHT - 1).await.unwrap();
    let source = source(Chain::Litecoin, &[rpc]);
    let error = source.template(None).await.unwrap_err();
    assert!(matches!(error, SourceError::Rpc { .. }), "without a peg-in there is no template: {error}");

    litecoind::peg_in(rpc).await.unwrap();
    for height in [litecoind::FIRST_MWEB_HEIGHT, litecoind::FIRST_MWEB_HEIGHT + 1] {
        let template = source.template(None).await.unwrap();
        assert_eq!(template.assembly.height(), height);
        assert_eq!(template.header().unwrap().extension.0.first(), Some(&1));
        mine_and_check(&source, &Scrypt1024, rpc, &template).await;
    }
}
