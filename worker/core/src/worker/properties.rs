//! Random lives of a worker against a model of the bus and of the search threads.

use super::stage::{BLOCK, Seen, Stage, clearance, job, member, node, pool, share_hash};
use crate::{
    clearance::Denied,
    effect::{Effect, Lane, SearchOrder},
    input::{Input, Snapshot, Stored},
    notice::Notice,
    outbox::DropReason,
};
use bus_schemas::{
    SessionId,
    config::{NodeConfig, PoolConfig},
    member::{JoinReply, Role, Standing},
};
use proptest::{collection::vec, prelude::*};
use std::collections::{BTreeMap, BTreeSet};

/// One thing that happens. Numbers choose among what is there when it happens.
#[derive(Debug, Clone)]
enum Step {
    Connected,
    Disconnected,
    Read { paused: bool, threads: u16, lease_s: u8 },
    Pool { revision: u64, paused: bool, valid: bool },
    Node { revision: u64, enabled: bool, threads: Option<u16> },
    Role { epoch: u64, generation: u64, backup: bool, lost: bool, ours: bool, slot: u16 },
    Job { epoch: u64, sequence: u64, tip: u8 },
    JoinRefused,
    Found { pick: usize, block: bool },
    Ended { pick: usize, part: u8 },
    Gone { pick: usize },
    Acked { pick: usize },
    Failed { pick: usize },
    Host(u16),
    Certified { for_ms: Option<u64> },
    Pass { ms: u64 },
    Shutdown,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => Just(Step::Connected),
        1 => Just(Step::Disconnected),
        2 => (any::<bool>(), 0_u16..6, 5_u8..60)
            .prop_map(|(paused, threads, lease_s)| Step::Read { paused, threads, lease_s }),
        2 => (0_u64..20, any::<bool>(), any::<bool>())
            .prop_map(|(revision, paused, valid)| Step::Pool { revision, paused, valid }),
        1 => (0_u64..20, any::<bool>(), proptest::option::of(0_u16..6))
            .prop_map(|(revision, enabled, threads)| Step::Node { revision, enabled, threads }),
        3 => (1_u64..4, 1_u64..9, any::<[bool; 4]>(), 0_u16..3).prop_map(|(epoch, generation, b, slot)| {
            let [backup, lost, other_a, other_b] = b;
            let (lost, ours) = (lost && backup, !(other_a && other_b));
            Step::Role { epoch, generation, backup, lost, ours, slot }
        }),
        3 => (1_u64..4, 1_u64..9, 0_u8..2).prop_map(|(epoch, sequence, tip)| Step::Job { epoch, sequence, tip }),
        1 => Just(Step::JoinRefused),
        6 => (any::<usize>(), any::<bool>()).prop_map(|(pick, block)| Step::Found { pick, block }),
        8 => (any::<usize>(), any::<u8>()).prop_map(|(pick, part)| Step::Ended { pick, part }),
        1 => any::<usize>().prop_map(|pick| Step::Gone { pick }),
        4 => any::<usize>().prop_map(|pick| Step::Acked { pick }),
        2 => any::<usize>().prop_map(|pick| Step::Failed { pick }),
        1 => (0_u16..6).prop_map(Step::Host),
        1 => proptest::option::of(0_u64..20_000).prop_map(|for_ms| Step::Certified { for_ms }),
        4 => (0_u64..20_000).prop_map(|ms| Step::Pass { ms }),
        1 => prop::bool::weighted(0.1).prop_map(|end| if end { Step::Shutdown } else { Step::Connected }),
    ]
}

/// What the bus and the threads remember.
#[derive(Default)]
struct Model {
    orders: Vec<SearchOrder>,
    stopped: BTreeSet<u64>,
    in_flight: Vec<(u64, u32)>,
    /// Blocks by message id and lane that were found and not stored.
    blocks: BTreeMap<u64, String>,
    /// Nonces searched under each job, slot and row.
    searched: BTreeMap<(String, u16, u64), Vec<(u64, u64)>>,
    role_fence: (u64, u64),
    job_fence: (u64, u64),
    exited: bool,
}

impl Model {
    fn searched(&mut self, order: &SearchOrder, next: u64) {
        let (start, row) = (order.unit.nonces.start, order.unit.row);
        let key = (order.assignment.job.id.to_string(), order.assignment.slot, row);
        let spans = self.searched.entry(key).or_default();
        for &(a, b) in spans.iter() {
            assert!(next <= a || b <= start || start == next, "{start}..{next} was searched before");
        }
        spans.push((start, next));
    }

    fn observe(&mut self, stage: &Stage, seen: &Seen) {
        for effect in &seen.all {
            assert!(!self.exited, "{effect:?} after the exit");
            match effect {
                Effect::StartSearch(order) => {
                    assert!(self.orders.iter().all(|o| o.thread != order.thread), "thread is busy");
                    self.orders.push(order.clone());
                }
                Effect::StopSearch { order, .. } => assert!(self.stopped.insert(*order), "stopped twice"),
                Effect::Publish(p) => {
                    self.in_flight.push((p.id, p.attempt));
                    if p.lane == Lane::Found {
                        self.blocks.insert(p.id, p.share.message_id());
                    }
                }
                Effect::Notice(Notice::RoleApplied { epoch, generation, .. }) => {
                    assert!((*epoch, *generation) >= self.role_fence, "a role went back");
                    self.role_fence = (*epoch, *generation);
                }
                Effect::Exit => self.exited = true,
                _ => {}
            }
        }
        let status = stage.core.status();
        if !status.set_point.enabled() && !self.exited {
            assert!(
                self.orders.iter().all(|o| self.stopped.contains(&o.order)),
                "searches at set-point zero"
            );
        }
        let fence = stage.core.job_fence;
        assert!(fence >= self.job_fence, "a job went back");
        self.job_fence = fence;
    }

    fn input(&mut self, stage: &Stage, step: Step) -> Option<Input> {
        Some(match step {
            Step::Connected => Input::Connected,
            Step::Disconnected => Input::Disconnected,
            Step::Read { paused, threads, lease_s } => {
                let config_lease_ms = u32::from(lease_s) * 1_000;
                let config =
                    PoolConfig { paused, threads: Some(threads), config_lease_ms, ..PoolConfig::default() };
                let snapshot = Snapshot { pool: Some(pool(20, config)), ..Snapshot::default() };
                Input::ConfigurationRead(Box::new(snapshot))
            }
            Step::Pool { revision, paused, valid } => {
                let config = PoolConfig { paused, ..PoolConfig::default() };
                let value = Err("no JSON".to_owned());
                Input::PoolConfig(if valid { pool(revision, config) } else { Stored { revision, value } })
            }
            Step::Node { revision, enabled, threads } => {
                Input::NodeConfig(node(revision, NodeConfig { enabled, threads, ..NodeConfig::default() }))
            }
            Step::Role { epoch, generation, backup, lost, ours, slot } => {
                let mut role = member(epoch, generation);
                (role.slot, role.slot_generation) = (slot, generation);
                role.role = if backup { Role::Backup } else { Role::Active };
                role.standing = if lost { Standing::Lost } else { Standing::Present };
                if !ours {
                    role.session = SessionId::new("other").unwrap();
                }
                Input::Role(Box::new(role))
            }
            Step::Job { epoch, sequence, tip } => Input::Job(Box::new(job(epoch, sequence, tip))),
            Step::JoinRefused => Input::JoinReply(JoinReply::Refused {
                code: bus_schemas::command::ErrorCode::PoolFull,
                message: String::new(),
            }),
            Step::Found { pick, block } => {
                let order = self.orders.get(pick.checked_rem(self.orders.len())?)?;
                let hash = if block { BLOCK } else { share_hash() };
                let nonce = order.unit.nonces.start as u32;
                Input::Found { thread: order.thread, order: order.order, nonce, hash }
            }
            Step::Ended { pick, part } => {
                let order = self.orders.remove(pick.checked_rem(self.orders.len())?);
                let next = if self.stopped.contains(&order.order) {
                    order.unit.nonces.start + order.unit.len() * u64::from(part) / 255
                } else {
                    order.unit.nonces.end
                };
                self.searched(&order, next);
                Input::UnitEnded { thread: order.thread, order: order.order, next }
            }
            Step::Gone { pick } => {
                let order = self.orders.remove(pick.checked_rem(self.orders.len())?);
                self.searched(&order, order.unit.nonces.end);
                Input::SearchRefused { thread: order.thread, order: order.order, reason: String::new() }
            }
            Step::Acked { pick } => {
                let (id, _) = self.in_flight.remove(pick.checked_rem(self.in_flight.len())?);
                self.blocks.remove(&id);
                Input::Acked { id }
            }
            Step::Failed { pick } => {
                let (id, attempt) = self.in_flight.remove(pick.checked_rem(self.in_flight.len())?);
                Input::PublishFailed { id, attempt, reason: String::new() }
            }
            Step::Host(threads) => Input::HostThreads(threads),
            Step::Certified { for_ms } => {
                let refused = Denied { code: "certificate-revoked", reason: String::new() };
                clearance(for_ms.map(|ms| stage.moment().wall.plus_ms(ms)).ok_or(refused))
            }
            Step::Pass { .. } => return None,
            Step::Shutdown => Input::ShutdownRequested { reason: String::new() },
        })
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn whatever_happens_no_invariant_is_broken_and_no_block_is_lost(steps in vec(step(), 1..120)) {
        let (mut stage, mut model) = (Stage::new(), Model::default());
        for step in steps {
            let seen = match step {
                Step::Pass { ms } => stage.live(ms),
                step => match model.input(&stage, step) {
                    Some(input) => stage.give(input),
                    None => continue,
                },
            };
            model.observe(&stage, &seen);
        }
        if model.exited {
            return Ok(());
        }
        // The bus comes back and takes everything: every block that was ever found is stored.
        let mut unstored = model.blocks.clone();
        let mut seen = stage.give(Input::Connected);
        loop {
            model.observe(&stage, &seen);
            let Some((id, _)) = model.in_flight.pop() else { break };
            unstored.remove(&id);
            seen = stage.give(Input::Acked { id });
        }
        prop_assert!(unstored.is_empty(), "blocks {unstored:?} were lost");
        prop_assert_eq!(stage.core.status().outbox_len, 0);
    }

    #[test]
    fn every_share_is_stored_once_or_counted_as_dropped(
        steps in vec(prop_oneof![
            4 => (any::<usize>(), any::<bool>()).prop_map(|(pick, block)| Step::Found { pick, block }),
            2 => any::<usize>().prop_map(|pick| Step::Acked { pick }),
            1 => any::<usize>().prop_map(|pick| Step::Failed { pick }),
            1 => (1_u64..9, 0_u8..2).prop_map(|(sequence, tip)| Step::Job { epoch: 1, sequence, tip }),
            1 => (any::<usize>(), any::<u8>()).prop_map(|(pick, part)| Step::Ended { pick, part }),
            1 => any::<bool>().prop_map(|c| if c { Step::Connected } else { Step::Disconnected }),
            1 => (0_u64..6_000).prop_map(|ms| Step::Pass { ms }),
        ], 1..150)
    ) {
        let (mut stage, started) = Stage::mining(PoolConfig::default());
        let mut model = Model { orders: started, ..Model::default() };
        let (mut found, mut dropped, mut stored) = (0, 0, BTreeSet::new());
        let mut seen = Seen::default();
        for step in steps.into_iter().map(Some).chain([None]) {
            let input = match step {
                Some(Step::Pass { ms }) => { seen = stage.live(ms); None }
                Some(step) => model.input(&stage, step),
                None => Some(Input::Connected),
            };
            if let Some(input) = input {
                if let Input::Acked { id } = input { stored.insert(id); }
                seen = stage.give(input);
            }
            for notice in seen.notices() {
                match notice {
                    // A block that is a share takes both lanes.
                    Notice::ShareFound { block, .. } => found += if block { 2 } else { 1 },
                    Notice::SharesDropped { reason, count } => {
                        prop_assert!(reason == DropReason::Stale);
                        dropped += count;
                    }
                    _ => {}
                }
            }
            // An attempt that is repeated has no other outcome than the repetition.
            let repeated: BTreeSet<_> = seen.published().iter().map(|p| p.id).collect();
            model.in_flight.retain(|(id, _)| !repeated.contains(id));
            model.observe(&stage, &seen);
            seen = Seen::default();
        }
        while let Some((id, _)) = model.in_flight.pop() {
            stored.insert(id);
            let seen = stage.give(Input::Acked { id });
            model.observe(&stage, &seen);
        }
        prop_assert_eq!(stored.len() as u64 + dropped, found);
    }
}
