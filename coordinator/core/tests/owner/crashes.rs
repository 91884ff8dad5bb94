//! Whatever happens in whatever order, and whenever the coordinator dies: every valid share counts once, and no
//! slot has two holders under one job.

use crate::model::{EASY_BITS, Farm, HARD_BITS, template, worker};
use bus_schemas::{member::Standing, share::ShareRefusal};
use coordinator_core::PoolInput;
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    Join(u32),
    Restart(u32),
    Leave(u32),
    Heartbeats,
    Share(u32, u32),
    Feed,
    Pass(u64),
    NewBlock(u8),
    MuteLedger,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0..4_u32).prop_map(Step::Join),
        1 => (0..4_u32).prop_map(Step::Restart),
        1 => (0..4_u32).prop_map(Step::Leave),
        3 => Just(Step::Heartbeats),
        9 => (0..4_u32, 0..30_u32).prop_map(|(w, n)| Step::Share(w, n)),
        4 => Just(Step::Feed),
        3 => (1..1_500_u64).prop_map(Step::Pass),
        1 => any::<u8>().prop_map(Step::NewBlock),
        1 => Just(Step::MuteLedger),
        2 => Just(Step::Crash),
    ]
}

struct Lives([u32; 4]);

impl Lives {
    fn session(&self, n: u32) -> String {
        format!("s{n}-{}", self.0[n as usize])
    }
}

fn play(steps: Vec<Step>, config: &str, bits: u32) -> Farm {
    let mut farm = Farm::new(config);
    farm.pool_input(PoolInput::Template(template(1, bits, 1)));
    let mut lives = Lives([0; 4]);
    let mut height = 1;
    for step in steps {
        let present = |farm: &Farm, n| {
            farm.kept
                .members
                .iter()
                .rev()
                .find(|(m, _)| m.worker == worker(n))
                .is_some_and(|(m, _)| m.standing == Standing::Present)
        };
        match step {
            Step::Join(n) => drop(farm.join(n, &lives.session(n))),
            Step::Restart(n) => {
                lives.0[n as usize] += 1;
                drop(farm.join(n, &lives.session(n)));
            }
            Step::Leave(n) => farm.leave(n, &lives.session(n)),
            Step::Heartbeats => (0..4).for_each(|n| farm.heartbeat(n, &lives.session(n))),
            Step::Share(n, nonce) if present(&farm, n) => {
                let share = farm.share(n, &farm.job(), nonce);
                farm.store(n, Some(share));
            }
            Step::Share(..) => {}
            Step::Feed => farm.feed(),
            Step::Pass(ms) => farm.pass(ms),
            Step::NewBlock(prev) => {
                height += 1;
                farm.pool_input(PoolInput::Template(template(prev, bits, height)));
            }
            Step::MuteLedger => farm.mute_ledger = true,
            Step::Crash => {
                farm.crash();
                farm.pool_input(PoolInput::Template(template(1, bits, height)));
            }
        }
    }
    farm.crash();
    farm
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_valid_share_counts_once_whenever_the_coordinator_dies(steps in proptest::collection::vec(step(), 1..120)) {
        let config = r#"{"initial_share_bits":0,"min_share_bits":0,"share_rate_limit":100000,"slot_bits":10}"#;
        let mut farm = play(steps, config, HARD_BITS);
        let credited = farm.credited();
        prop_assert_eq!(credited + farm.refused(ShareRefusal::Stale), farm.truly_valid());
        let in_records: u64 = farm.kept.ledger.iter().flat_map(|r| &r.credits).map(|c| c.shares).sum();
        prop_assert_eq!(credited, in_records);
    }

    #[test]
    fn every_block_is_submitted_and_answered_whenever_the_coordinator_dies(steps in proptest::collection::vec(step(), 1..80)) {
        let config = r#"{"initial_share_bits":0,"min_share_bits":0,"share_rate_limit":100000,"mode":"shared-block"}"#;
        let mut farm = play(steps, config, EASY_BITS);
        farm.credited();
        for (hash, (_, _, state)) in &farm.kept.blocks {
            prop_assert!(farm.submitted.contains(hash));
            prop_assert_ne!(state, &bus_schemas::block::BlockState::Found);
        }
    }
}
