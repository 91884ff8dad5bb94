//! What must hold at the end, when nothing disturbs any more and time has passed.

use crate::{
    checks::HEARD_WITHIN_US,
    server::declared::{BLOCK, IN_FORCE, MEMBERS, SHARE, key_subject},
    truth::configs::Wanted,
    world::{Core, Kind, World},
};
use bus_schemas::{
    Message, PoolId, TimestampMs, WorkerId,
    block::{BlockRecord, BlockState},
    config::{Checked, ConfigKey, InForce, NodeConfig, PoolConfig, edit_of, parse_strict},
    member::{Member, Standing},
    policy::FarmConfig,
    set_point::{self, LocalState, SetPointInput},
    subject::filter,
};
use coordinator_core::{Coordinator, MonoMs, Now};
use std::{cell::RefCell, rc::Rc};

/// When all is quiet a share is accounted for within this time, microseconds.
const ACCOUNTED_WITHIN_US: u64 = 5_000_000;

/// A block is decided within this time, microseconds.
const DECIDED_WITHIN_US: u64 = 60_000_000;
/// So often it is looked, with so many microseconds between.
const LOOKS: usize = 8;
const LOOK_US: u64 = 1_700_000;

type Check = fn(&Rc<World>) -> Result<(), String>;

/// What the newest good edits say of a worker.
struct Wishes {
    farm: Option<FarmConfig>,
    pool: Option<PoolConfig>,
    node: Option<NodeConfig>,
}

impl World {
    fn coordinators(&self) -> Vec<(String, Rc<RefCell<Coordinator>>)> {
        let processes = self.processes.borrow();
        let of = processes.iter().filter_map(|p| match &p.core {
            Core::Coordinator(core) => Some((p.name.clone(), core.clone())),
            _ => None,
        });
        of.collect()
    }

    /// Checks everything that holds when all is quiet; what is on its way at this very moment has time to arrive.
    pub(crate) fn check_quiet(self: &Rc<Self>) {
        let mut open: Vec<Check> = vec![Self::check_documents, Self::check_accounts, Self::check_pools];
        let mut wrong = None;
        for _ in 0..LOOKS {
            self.check_workers();
            open.retain(|check| match check(self) {
                Ok(()) => false,
                Err(what) => {
                    wrong = Some(what);
                    true
                }
            });
            if open.is_empty() || self.failure().is_some() {
                return;
            }
            self.run_until(self.now() + LOOK_US);
        }
        self.fail(|| format!("when all is quiet: {}", wrong.unwrap_or_default()));
    }

    fn check_pools(self: &Rc<Self>) -> Result<(), String> {
        self.pools.iter().try_for_each(|pool| self.check_pool(pool))
    }

    /// What is in force is the newest good edit.
    fn check_documents(self: &Rc<Self>) -> Result<(), String> {
        let pools = self.pools.iter().map(|pool| ConfigKey::Pool(pool.clone()));
        let nodes = self
            .processes
            .borrow()
            .iter()
            .filter_map(|p| match &p.kind {
                Kind::Worker { id, .. } => Some(ConfigKey::Node(id.clone())),
                Kind::Coordinator => None,
            })
            .collect::<Vec<_>>();
        for key in pools.chain(nodes).chain([ConfigKey::Farm]) {
            let server = self.server.borrow();
            let bucket = server.peek(IN_FORCE).ok_or("the bucket of what is in force is missing")?;
            let last = bucket.last_of(&key_subject(IN_FORCE, &key)).filter(|last| !last.headers.deletes);
            let right = match (self.wanted(&key), last) {
                (Wanted::Open, _) | (Wanted::Gone, None) => true,
                (Wanted::Edit(revision, json), Some(last)) => {
                    edit_of(&last.payload) == Some(revision) && is_same(&key, &json, &last.payload)
                }
                _ => false,
            };
            if !right {
                let has = last.map(|last| String::from_utf8_lossy(&last.payload).into_owned());
                return Err(format!("in force of {key} is {has:?}, wanted is {:?}", self.wanted(&key)));
            }
        }
        Ok(())
    }

    /// Every share that a stream holds is accounted for, and every block is decided.
    fn check_accounts(self: &Rc<Self>) -> Result<(), String> {
        let server = self.server.borrow();
        let shares = server.peek(SHARE).ok_or("the stream of shares is missing")?;
        let before_us = server.clock_us(self.now()) - ACCOUNTED_WITHIN_US;
        self.truth.borrow().shares.check_accounted(shares, before_us, |pool| self.is_lost(pool))?;
        if self.pools.iter().any(|pool| self.is_lost(pool)) {
            return Ok(());
        }
        self.truth.borrow().blocks.check()?;
        let blocks = server.peek(BLOCK).ok_or("the stream of blocks is missing")?;
        for pool in &self.pools {
            for last in blocks.last_of_each(&filter::blocks(pool)) {
                let record = BlockRecord::decode(&last.payload);
                let old = last.stamp_us + DECIDED_WITHIN_US < server.clock_us(self.now());
                if old && record.is_ok_and(|record| record.state == BlockState::Found) {
                    return Err(format!("a block of {} is never decided", last.subject));
                }
            }
        }
        Ok(())
    }

    /// Neither bucket tells of the pool any more.
    fn is_lost(&self, pool: &PoolId) -> bool {
        let key = ConfigKey::Pool(pool.clone());
        let server = self.server.borrow();
        let last = server.peek(IN_FORCE).and_then(|b| b.last_of(&key_subject(IN_FORCE, &key)));
        self.wanted(&key) == Wanted::Open && last.is_none_or(|last| last.headers.deletes)
    }

    fn wishes(&self, pool: &PoolId, worker: &WorkerId) -> Option<Wishes> {
        fn read<C: Checked>(wanted: &Wanted) -> Option<Option<C>> {
            match wanted {
                Wanted::Edit(_, json) => Some(Some(parse_strict(json).ok()?)),
                Wanted::Gone => Some(None),
                Wanted::Open => None,
            }
        }
        Some(Wishes {
            farm: read(&self.wanted(&ConfigKey::Farm))?,
            pool: read(&self.wanted(&ConfigKey::Pool(pool.clone())))?,
            node: read(&self.wanted(&ConfigKey::Node(worker.clone())))?,
        })
    }

    /// Somebody owns the pool, and its workers do what they are to do; unless every store that told of it was destroyed.
    fn check_pool(self: &Rc<Self>, pool: &PoolId) -> Result<(), String> {
        if self.is_lost(pool) {
            return Ok(());
        }
        let now = Now { mono: MonoMs(0), wall: TimestampMs(0) };
        let owners: Vec<_> = self
            .coordinators()
            .into_iter()
            .filter(|(_, core)| core.borrow().statuses(now).any(|(owned, _)| owned == pool))
            .collect();
        let [(owner, core)] = &owners[..] else {
            let names: Vec<_> = owners.iter().map(|(name, _)| name).collect();
            return Err(format!("{pool} is owned by {names:?}"));
        };
        let core = core.borrow();
        let job = core.job(pool).cloned().ok_or_else(|| format!("{owner} has no job for {pool}"))?;
        let processes = self.processes.borrow();
        for process in processes.iter() {
            let Kind::Worker { id, pool: of, threads, .. } = &process.kind else { continue };
            let Core::Worker(worker) = &process.core else {
                return Err(format!("{id} does not run"));
            };
            if of != pool {
                continue;
            }
            let status = worker.borrow().status();
            let membership = core.places(id, MonoMs(0)).next();
            let standing = membership.map(|membership| membership.standing);
            if standing != Some(Standing::Present) {
                return Err(format!("{id} is {standing:?} for {owner}, its own role is {:?}", status.role));
            }
            if status.outbox_len > 0 {
                return Err(format!("{} shares of {id} wait for ever", status.outbox_len));
            }
            self.check_set_point(pool, id, *threads, &status)?;
            if status.set_point.enabled() {
                let near = status.job_sequence.is_some_and(|s| s + 1 >= job.sequence);
                if status.search_threads == 0 || !near {
                    return Err(format!(
                        "{id} searches job {:?} with {} threads; the job is {}",
                        status.job_sequence, status.search_threads, job.sequence
                    ));
                }
            }
        }
        Ok(())
    }

    /// A worker does exactly what follows from the newest good edits, its role and the live orders.
    fn check_set_point(
        self: &Rc<Self>,
        pool: &PoolId,
        id: &WorkerId,
        threads: u16,
        status: &worker_core::Status,
    ) -> Result<(), String> {
        let Some(Wishes { farm, pool: config, node }) = self.wishes(pool, id) else { return Ok(()) };
        let truth = self.truth.borrow();
        if truth.orders.unclear(pool, id, self.now(), HEARD_WITHIN_US / 10) {
            return Ok(());
        }
        let server = self.server.borrow();
        let record =
            server.peek(MEMBERS).and_then(|b| b.last_of(&key_subject(MEMBERS, format!("{pool}.{id}"))));
        let member = record.and_then(|r| Member::decode(&r.payload).ok());
        let Some(member) = member else { return Ok(()) };
        let labels = node.as_ref().map(|node| node.labels.clone()).unwrap_or_default();
        let throttle = truth.orders.lowest(pool, id, &labels, self.now());
        let expected = set_point::resolve(SetPointInput {
            farm: farm.as_ref(),
            pool: config.as_ref(),
            node: node.as_ref(),
            role: Some((member.role, member.standing)),
            schedule: None,
            throttle: throttle.as_ref(),
            local: &LocalState { safe_threads: crate::worker::SAFE_THREADS, ..LocalState::open(threads) },
            lease_expired: false,
        });
        if expected != status.set_point {
            return Err(format!("{id} does {:?}, it is to do {expected:?}", status.set_point));
        }
        Ok(())
    }
}

/// Whether what is in force means what was wished for.
fn is_same(key: &ConfigKey, wished: &[u8], in_force: &[u8]) -> bool {
    fn same<C: Checked + PartialEq>(wished: &[u8], in_force: &[u8]) -> bool
    where
        InForce<C>: Message,
    {
        let wished = parse_strict::<C>(wished).ok();
        wished.is_some() && wished == InForce::<C>::decode(in_force).ok().map(|f| f.config)
    }
    match key {
        ConfigKey::Farm => same::<FarmConfig>(wished, in_force),
        ConfigKey::Pool(_) => same::<PoolConfig>(wished, in_force),
        ConfigKey::Node(_) => same::<NodeConfig>(wished, in_force),
    }
}
