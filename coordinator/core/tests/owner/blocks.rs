//! Blocks that no node has decided yet, tips that come back, and sources that are replaced.

use crate::{
    model::{EASY_BITS, Farm, pool, template},
    tables::{EVERY_HASH, block_share},
};
use bus_schemas::{
    block::BlockState,
    event::EventData,
    node_status::{NodeStanding, NodeStatus},
    share::{Share, ShareRefusal},
};
use coordinator_core::{
    BlockAnswer, NodeFacts, PoolInput,
    pool::{
        FIRST_RESUBMIT_MS, MAX_RESUBMIT_MS, MAX_RESUBMITS_UNDER_WAY, MAX_SIBLINGS, PATIENCE_MS,
        STALE_GRACE_MS, WAITING_NOTICE_MS,
    },
};

fn open(unknown: bool, standing: Option<BlockAnswer>) -> BlockAnswer {
    BlockAnswer::Open { said: "n1: Core is busy".into(), unknown, standing: standing.map(Box::new) }
}

/// A farm in which one block was found of which the nodes say this.
fn found(nodes_say: BlockAnswer) -> Farm {
    let mut farm = Farm::new(EVERY_HASH);
    farm.nodes_say = nodes_say;
    farm.pool_input(PoolInput::Template(template(1, EASY_BITS, 100)));
    farm.join(1, "s1").unwrap();
    let share = block_share(&farm);
    farm.found(1, 1, share);
    assert_eq!(farm.submitted.len(), 1);
    farm
}

fn told(farm: &Farm) -> Vec<&EventData> {
    let of_decisions = |e: &&EventData| {
        matches!(
            e,
            EventData::BlockWaiting { .. } | EventData::BlockAccepted { .. } | EventData::BlockRefused { .. }
        )
    };
    farm.events.iter().filter(of_decisions).collect()
}

fn open_blocks(farm: &Farm) -> u64 {
    farm.core.statuses(farm.now()).next().unwrap().1.blocks_open
}

#[test]
fn a_candidate_whose_algorithm_is_not_loaded_is_put_off_and_becomes_a_block_when_it_is() {
    let mut farm = Farm::new(EVERY_HASH);
    farm.pool_input(PoolInput::Template(template(1, EASY_BITS, 100)));
    farm.join(1, "s1").unwrap();
    let share = block_share(&farm);
    farm.knows_algorithm = false;
    farm.found(1, 1, share.clone());
    assert_eq!((farm.acked.as_slice(), farm.put_off.as_slice()), (&[][..], &[1][..]), "nobody has judged it");
    farm.knows_algorithm = true;
    farm.found(1, 1, share);
    assert_eq!((farm.acked.as_slice(), farm.submitted.len()), (&[1][..], 1));
}

#[test]
fn a_block_that_is_not_decided_is_submitted_again_after_longer_and_longer_pauses_until_it_is() {
    let mut farm = found(open(false, None));
    assert_eq!((farm.acked.as_slice(), open_blocks(&farm)), (&[1][..], 1), "its bytes are kept");
    let mut pause = FIRST_RESUBMIT_MS;
    for attempt in 2..10 {
        farm.pass(pause - 1);
        assert_eq!(farm.submitted.len(), attempt - 1);
        farm.pass(1);
        assert_eq!(farm.submitted.len(), attempt);
        pause = (pause * 2).min(MAX_RESUBMIT_MS);
    }
    assert!(told(&farm).is_empty(), "silence until it is decided");
    farm.nodes_say = BlockAnswer::Accepted;
    farm.pass(MAX_RESUBMIT_MS);
    assert!(matches!(told(&farm)[..], [EventData::BlockAccepted { .. }]));
    let attempts = farm.submitted.len();
    farm.pass(2 * MAX_RESUBMIT_MS);
    assert_eq!((farm.submitted.len(), open_blocks(&farm)), (attempts, 0));
    assert!(farm.kept.blocks.values().all(|(_, _, state)| *state == BlockState::Accepted));
}

#[test]
fn of_a_block_that_stays_undecided_people_are_told_once_and_it_is_never_given_up() {
    let mut farm = found(open(false, None));
    farm.pass(WAITING_NOTICE_MS + MAX_RESUBMIT_MS);
    assert!(matches!(told(&farm)[..], [EventData::BlockWaiting { .. }]));
    farm.pass(2 * PATIENCE_MS);
    assert!(matches!(told(&farm)[..], [EventData::BlockWaiting { .. }]));
    assert_eq!(open_blocks(&farm), 1);
    farm.nodes_say = BlockAnswer::NotTip;
    farm.pass(MAX_RESUBMIT_MS);
    assert!(matches!(told(&farm)[..], [EventData::BlockWaiting { .. }, EventData::BlockRefused { .. }]));
}

#[test]
fn a_no_beside_a_node_that_never_answers_stands_after_its_patience() {
    let mut farm = found(open(false, Some(BlockAnswer::Refused("bad-cb-amount".into()))));
    farm.pass(PATIENCE_MS - MAX_RESUBMIT_MS);
    assert_eq!(open_blocks(&farm), 1);
    farm.pass(2 * MAX_RESUBMIT_MS);
    let events = told(&farm);
    let Some(EventData::BlockRefused { reason, .. }) = events.last() else { panic!("{events:?}") };
    assert_eq!(reason, "bad-cb-amount");
}

#[test]
fn an_answer_that_is_not_known_is_told_at_once_and_given_up_after_its_patience() {
    let mut farm = found(open(true, None));
    assert!(matches!(told(&farm)[..], [EventData::BlockWaiting { .. }]));
    farm.pass(PATIENCE_MS + MAX_RESUBMIT_MS);
    let events = told(&farm);
    let [EventData::BlockWaiting { .. }, EventData::BlockRefused { reason, .. }] = events[..] else {
        panic!("{events:?}")
    };
    assert!(reason.contains("Core is busy"), "{reason}");
}

#[test]
fn an_undecided_block_is_submitted_by_the_next_owner_as_well() {
    let mut farm = found(open(false, None));
    farm.pass(60_000);
    let attempts = farm.submitted.len();
    farm.crash();
    assert_eq!(farm.submitted.len(), attempts + 1);
    farm.nodes_say = BlockAnswer::Accepted;
    farm.pass(FIRST_RESUBMIT_MS);
    assert!(matches!(told(&farm)[..], [EventData::BlockAccepted { .. }]));
}

#[test]
fn many_undecided_blocks_are_not_submitted_all_at_once() {
    let mut farm = found(open(false, None));
    for height in 101..131_u8 {
        farm.pool_input(PoolInput::Template(template(height, EASY_BITS, u64::from(height))));
        let share = block_share(&farm);
        farm.pass(100);
        farm.found(1, u64::from(height), share);
    }
    farm.nodes_say = open(false, None);
    farm.crash();
    // The model answers each before the next tick; what is due at one moment is bounded.
    let submitted = farm.submitted.len();
    farm.input(coordinator_core::Input::Tick);
    assert!(farm.submitted.len() - submitted <= MAX_RESUBMITS_UNDER_WAY);
    farm.nodes_say = BlockAnswer::Accepted;
    farm.pass(10_000);
    assert_eq!(open_blocks(&farm), 0);
}

#[test]
fn a_block_of_a_later_job_is_submitted_when_the_chain_has_gone_back_to_its_previous_block() {
    let mut farm = Farm::new(EVERY_HASH);
    farm.pool_input(PoolInput::Template(template(1, EASY_BITS, 100)));
    farm.join(1, "s1").unwrap();
    let job = farm.job();
    let meets = |s: &Share| {
        let verdict = crate::judge::judge(&job, s.slot, &s.finding, job.network_target);
        matches!(verdict, coordinator_core::Verdict::Meets { .. })
    };
    let siblings: Vec<_> =
        (0..).map(|n| farm.share(1, &job, n)).filter(meets).take(MAX_SIBLINGS + 1).collect();
    for (token, share) in (1..).zip(siblings) {
        farm.found(1, token, share);
        farm.nodes_say = BlockAnswer::NotTip;
    }
    assert_eq!(farm.submitted.len(), MAX_SIBLINGS);
    farm.pool_input(PoolInput::Template(template(2, EASY_BITS, 101)));
    farm.pool_input(PoolInput::Template(template(1, EASY_BITS, 100)));
    farm.nodes_say = BlockAnswer::Accepted;
    let again = block_share(&farm);
    assert!(again.job != job.id);
    farm.found(1, 100, again);
    assert_eq!(farm.submitted.len(), MAX_SIBLINGS + 1);
    assert_eq!(told(&farm).iter().filter(|e| matches!(e, EventData::BlockAccepted { .. })).count(), 2);
}

#[test]
fn a_block_that_the_bus_cannot_hold_is_submitted_all_the_same_and_said_so() {
    let mut farm = Farm::new(EVERY_HASH);
    (farm.too_large, farm.nodes_say) = (true, open(false, None));
    farm.pool_input(PoolInput::Template(template(1, EASY_BITS, 100)));
    farm.join(1, "s1").unwrap();
    let share = block_share(&farm);
    farm.found(1, 1, share);
    assert!(
        farm.events
            .iter()
            .any(|e| matches!(e, EventData::BlockUnkept { reason, .. } if reason == "too large"))
    );
    assert!(farm.acked.is_empty(), "its candidate comes again if this owner dies");
    farm.nodes_say = BlockAnswer::Accepted;
    farm.pass(FIRST_RESUBMIT_MS);
    assert!(matches!(told(&farm)[..], [EventData::BlockAccepted { .. }]));
    assert_eq!(farm.acked, [1]);
}

#[test]
fn how_the_nodes_do_stands_in_the_status_and_each_change_is_one_event() {
    let mut farm = found(BlockAnswer::Accepted);
    let node = |standing| NodeFacts {
        status: NodeStatus { node: "http://n1".into(), standing, height: Some(9), ..NodeStatus::default() },
        behind: None,
    };
    for standing in [NodeStanding::InUse, NodeStanding::Failing, NodeStanding::Failing] {
        farm.pool_input(PoolInput::Nodes(vec![node(standing)]));
    }
    let changed = |e: &&EventData| matches!(e, EventData::SourceNodeChanged { .. });
    assert_eq!(farm.events.iter().filter(changed).count(), 1);
    assert_eq!(farm.core.statuses(farm.now()).next().unwrap().1.nodes, [node(NodeStanding::Failing).status]);
}

fn with(field: &str) -> String {
    format!("{{{field},{}", &EVERY_HASH[1..])
}

#[test]
fn another_pace_reaches_the_source() {
    let mut farm = found(BlockAnswer::Accepted);
    farm.configure("pool.main", &with(r#""job_refresh_ms":5000"#));
    assert_eq!(farm.sources, 1);
    farm.configure("pool.main", &with(r#""job_refresh_ms":5000"#));
    assert_eq!(farm.sources, 1);
}

#[test]
fn no_job_of_the_source_before_is_in_force_once_the_pool_has_another() {
    let other = with(r#""source":{"embedded":{"reward":7}}"#);
    let mut farm = found(BlockAnswer::Accepted);
    let job = farm.job();
    farm.configure("pool.main", &other);
    assert_eq!(farm.sources, 1);
    assert!(farm.core.job(&pool()).is_none());
    assert_eq!(farm.withdrawn, 1, "workers are told");
    farm.pass(STALE_GRACE_MS + 1);
    // Nobody was told to search something else yet: the work is good.
    let plain = plain_shares_of(&farm, &job);
    farm.store(1, Some(plain[0].clone()));
    farm.credited();
    assert_eq!(farm.refused(ShareRefusal::Stale), 0);
    // Its own source still judges a block.
    let share = block_share_of(&farm, &job);
    farm.found(1, 50, share);
    assert_eq!(farm.submitted.len(), 2);
    farm.pool_input(PoolInput::Template(template(2, EASY_BITS, 100)));
    farm.pass(STALE_GRACE_MS + 1);
    farm.store(1, Some(plain[1].clone()));
    farm.credited();
    assert_eq!(farm.refused(ShareRefusal::Stale), 1);
}

fn plain_shares_of(farm: &Farm, job: &bus_schemas::job::Job) -> Vec<Share> {
    let plain = |s: &Share| {
        let verdict = crate::judge::judge(job, s.slot, &s.finding, job.network_target);
        !matches!(verdict, coordinator_core::Verdict::Meets { block: true, .. })
    };
    (0..100).map(|nonce| farm.share(1, job, nonce)).filter(plain).take(2).collect()
}

fn block_share_of(farm: &Farm, job: &bus_schemas::job::Job) -> Share {
    let meets = |s: &Share| {
        let verdict = crate::judge::judge(job, s.slot, &s.finding, job.network_target);
        matches!(verdict, coordinator_core::Verdict::Meets { .. })
    };
    (0..).map(|n| farm.share(1, job, n)).filter(meets).nth(1).unwrap()
}
