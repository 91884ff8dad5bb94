//! A farm and xmrig on one daemon: the miner that people use and ours win blocks of the same chain.

use bus_schemas::command::PoolStatus;
use std::time::Duration;
use system_tests::{
    farm::{
        Farm, FarmError, FarmPlan,
        chain::{ChainKind, Nodes},
        wallet::{self, NotOurs},
    },
    folder::RunFolder,
    monerod::{ANY_MINING_ADDRESS, Monerod},
    parts::Part,
    process::{Launch, Process},
    wait,
};

/// Longest wait for blocks of each: the other test of this program lets a daemon mine two thousand at a higher priority.
const MINED: Duration = Duration::from_secs(600);
/// Blocks that each of the two must win.
const WANTED: u64 = 2;

/// One thread in light mode, so that the machine's memory is left to the farm.
fn xmrig(daemon: &Monerod) -> Process {
    let node = daemon.url.trim_start_matches("http://");
    Launch::new("xmrig", Part::Xmrig.locate().unwrap(), daemon.folder.path())
        .args(["--daemon", "--coin=monero", "--daemon-poll-interval=200", "--no-color", "--donate-level=0"])
        .args(["--randomx-mode=light", "--threads=1", "--no-huge-pages", "--randomx-wrmsr=-1"])
        .args([format!("--url={node}"), format!("--user={ANY_MINING_ADDRESS}")])
        .start()
        .unwrap()
}

#[tokio::test]
async fn a_farm_and_xmrig_both_win_blocks_of_one_monerod() {
    let mut farm =
        Farm::start(RunFolder::temporary().unwrap(), FarmPlan::new(ChainKind::Monero)).await.unwrap();
    let Nodes::Monero(daemon) = &farm.chain.nodes else { panic!("a Monero farm") };
    let mut other = xmrig(daemon);
    // Whose a block is, only its outputs tell.
    let (mut ours, mut theirs, mut height) = (0, 0, 0);
    let deadline = tokio::time::Instant::now() + MINED;
    while ours < WANTED || theirs < WANTED {
        let tip = wait::until(MINED, "another block", async || {
            daemon.block_count().await.ok().map(|count| count - 1).filter(|tip| *tip > height)
        });
        let tip =
            tip.await.unwrap_or_else(|e| panic!("{e}: {ours} ours, {theirs} theirs\n{}", other.log_tail()));
        for height in height + 1..=tip {
            match wallet::check(daemon, height).await {
                Ok(_) => ours += 1,
                Err(FarmError::NotOurs(NotOurs::Outputs { ours: 0, .. })) => theirs += 1,
                Err(other) => panic!("{other}"),
            }
        }
        height = tip;
        other.check_alive().unwrap();
        assert!(tokio::time::Instant::now() < deadline, "{ours} ours, {theirs} theirs\n{}", other.log_tail());
    }
    other.kill9().unwrap();
    // The farm's own account of its blocks follows the chain.
    let counted = |status: &PoolStatus| status.blocks_accepted >= ours;
    farm.until_status(MINED, "the farm to count its blocks", counted).await.unwrap();
    farm.stop().await.unwrap();
}
