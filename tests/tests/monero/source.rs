//! The job source alone: blocks are searched by the plain algorithm.

use algorithm_api::{Algorithm, Range, Target};
use algorithm_randomx::RandomX;
use bus_schemas::{
    config::{self, NodeEndpoint},
    share::{CryptoNoteFinding, Finding},
    work::Extranonce,
};
use job_sources::{
    Credentials, FoundBlock, JobSource, Limits, NodeAddress, SourceError, SubmitOutcome, Template,
    monero::MoneroSource,
};
use std::time::Duration;
use system_tests::{
    farm::wallet,
    folder::RunFolder,
    monerod::{self, ANY_MINING_ADDRESS, Monerod},
};

static RANDOM_X: RandomX = RandomX::new();
/// RandomX changes its seed with the block of this height for the first time (2048 and a lag of 64).
const SECOND_SEED_FROM: u64 = 2_113;
/// A daemon hashes in light mode: so many blocks take seconds.
const BLOCKS_PER_CALL: u64 = 100;
/// For what a daemon has promised already.
const SOON: Duration = Duration::from_secs(60);

fn source(daemons: &[&Monerod]) -> MoneroSource {
    source_with(daemons, None)
}

fn source_with(daemons: &[&Monerod], credentials: Option<Credentials>) -> MoneroSource {
    let config = config::MoneroSource {
        nodes: daemons.iter().map(|d| NodeEndpoint { url: d.url.clone(), credentials: None }).collect(),
        wallet: wallet::ADDRESS.to_owned(),
        poll_ms: 100,
    };
    let address = |d: &&Monerod| NodeAddress { url: d.url.clone(), credentials: credentials.clone() };
    MoneroSource::new(&config, daemons.iter().map(address).collect(), Limits::default()).unwrap()
}

/// Searches nonces until the network's target is met; another `roll` is another miner transaction.
async fn mine(template: &Template, roll: u32) -> FoundBlock {
    let template = template.clone();
    tokio::task::spawn_blocking(move || {
        let work = template.assembly.work();
        let extranonce = Extranonce { farm: 1, epoch: 2, slot: 3, job: 4, roll };
        let finding = |nonce| Finding::CryptoNote(CryptoNoteFinding { roll, nonce });
        let input = work.input_over(&work.root(extranonce), &finding(0)).unwrap();
        let mut search = RANDOM_X.prepare(input.as_ref()).unwrap();
        let target = Target::from_le_bytes(template.network_target.to_le_bytes());
        let (mut range, mut nonce) = (Range { next: 0, end: 1 << 32 }, None);
        while nonce.is_none() {
            search.search(&mut range, 4, &target, &mut |found| {
                nonce.get_or_insert(u32::from_le_bytes(found.bytes.try_into().unwrap()));
            });
        }
        template.assembly.block(extranonce, &finding(nonce.unwrap())).unwrap()
    })
    .await
    .unwrap()
}

async fn submit(source: &MoneroSource, block: &FoundBlock) -> SubmitOutcome {
    let submission = source.submit(block).await;
    submission.outcome().expect("there are daemons").expect("a daemon answers").clone()
}

#[tokio::test]
async fn monerod_accepts_our_blocks_once_and_each_pays_the_wallet_exactly() {
    let daemon = monerod::start(RunFolder::temporary().unwrap(), 3).await.unwrap();
    let source = source(&[&daemon]);
    let first = source.template(None).await.unwrap();
    assert_eq!(first.assembly.height(), 1);
    let block = mine(&first, 1).await;

    // Somebody waits for the next template while the block goes out.
    let (outcome, second) = tokio::join!(submit(&source, &block), source.template(Some(&first)));
    assert_eq!(outcome, SubmitOutcome::Accepted);
    let second = tokio::time::timeout(SOON, async { second }).await.unwrap().unwrap();
    assert_eq!(second.assembly.height(), 2);
    assert_eq!(daemon.header_at(1).await.unwrap().hash, block.hash.to_display_hex());
    assert!(wallet::check(&daemon, 1).await.unwrap() > 0);

    // The daemon itself says OK again; we know better.
    assert_eq!(daemon.submit(&hex::encode(&block.bytes)).await.unwrap(), "OK");
    assert_eq!(submit(&source, &block).await, SubmitOutcome::AlreadyKnown);
    let late = mine(&first, 2).await;
    assert_eq!(submit(&source, &late).await, SubmitOutcome::NotTip);
    assert_eq!(daemon.block_count().await.unwrap(), 2);

    let mut spoilt = mine(&second, 1).await;
    spoilt.bytes.truncate(60);
    spoilt.hash.0[0] ^= 1;
    assert!(matches!(submit(&source, &spoilt).await, SubmitOutcome::Refused { .. }));
}

#[tokio::test]
async fn monerod_with_a_login_takes_blocks_from_who_knows_it_and_refuses_others() {
    let folder = RunFolder::temporary().unwrap();
    let mut daemon = monerod::start_with_login(folder, 3, "farm:s3cret").await.unwrap();
    let known = |password: &str| Some(Credentials { user: "farm".into(), password: password.into() });
    for stranger in [None, known("guess")] {
        let error = source_with(&[&daemon], stranger).template(None).await.unwrap_err();
        assert!(matches!(error, SourceError::Unauthorized { .. }), "{error}");
    }
    let source = source_with(&[&daemon], known("s3cret"));
    let first = source.template(None).await.unwrap();
    let block = mine(&first, 1).await;
    // Two calls at once: each has its turn.
    let (outcome, second) = tokio::join!(submit(&source, &block), source.template(Some(&first)));
    assert_eq!(outcome, SubmitOutcome::Accepted);
    let second = tokio::time::timeout(SOON, async { second }).await.unwrap().unwrap();
    assert_eq!(second.assembly.height(), 2);

    // The challenge and the connection of before are gone.
    daemon.node.stop().await.unwrap();
    daemon.node.start_again().await.unwrap();
    assert_eq!(submit(&source, &block).await, SubmitOutcome::AlreadyKnown);
}

#[tokio::test]
async fn a_wallet_that_is_none_is_refused_before_monerod_is_asked() {
    let wallet =
        "44AFFq5kSiGBoZ4NMDwYtN18obc8AemS33DBLWs3H7otXft3XjrpDtQGv7SqSsaBYBb98uNbr2VBBEt7f2wfn3RVGQBEP3B";
    let config = config::MoneroSource { nodes: Vec::new(), wallet: wallet.to_owned(), poll_ms: 100 };
    let nodes = vec![NodeAddress { url: "http://127.0.0.1:1".to_owned(), credentials: None }];
    let refused = MoneroSource::new(&config, nodes, Limits::default()).err();
    assert!(matches!(refused, Some(SourceError::Setup { reason }) if reason.contains("no Monero address")));
}

#[tokio::test]
async fn the_next_seed_of_monerod_is_announced_before_it_holds_and_blocks_across_the_change_are_accepted() {
    let daemon = monerod::start(RunFolder::temporary().unwrap(), 1).await.unwrap();
    let source = source(&[&daemon]);
    let seeds = async || {
        let work = source.template(None).await.unwrap().assembly.work();
        let (seed, next) = work.seeds().map(|(seed, next)| (*seed, next.copied())).unwrap();
        (seed, next)
    };
    let (first, none) = seeds().await;
    assert_eq!(none, None);
    let mut height = 0;
    while height < SECOND_SEED_FROM - 3 {
        let blocks = BLOCKS_PER_CALL.min(SECOND_SEED_FROM - 3 - height);
        height = daemon.generate(blocks, ANY_MINING_ADDRESS).await.unwrap();
    }
    let (seed, next) = seeds().await;
    assert_eq!(seed, first);
    let next = next.expect("the next seed is known 64 blocks ahead");
    assert_eq!(hex::encode(next.0), daemon.header_at(2_048).await.unwrap().hash);
    for height in SECOND_SEED_FROM - 2..=SECOND_SEED_FROM + 1 {
        let template = source.template(None).await.unwrap();
        let work = template.assembly.work();
        let (seed, _) = work.seeds().unwrap();
        assert_eq!((template.assembly.height(), *seed == next), (height, height >= SECOND_SEED_FROM));
        let block = mine(&template, 1).await;
        assert_eq!(submit(&source, &block).await, SubmitOutcome::Accepted, "height {height}");
    }
}
