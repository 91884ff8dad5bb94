//! Every stored message, every replaced store and every search is told to the truth.

use crate::{
    checks::HEARD_WITHIN_US,
    random::Random,
    server::{
        declared::{
            BLOCK, CONFIG, FOUND, IN_FORCE, JOB, LEASES, LEDGER, MEMBERS, SHARE, THROTTLE, key_of,
            key_subject,
        },
        stream::{Publish, Stored},
    },
    truth::{orders::Given, verdicts::Claim},
    world::World,
};
use bus_schemas::{
    Message, PoolId, WorkerId,
    block::BlockRecord,
    config::{ConfigKey, InForce},
    job::Job,
    member::Member,
    policy::FarmConfig,
    share::Share,
    subject::Subject,
    throttle::{KeptOrders, Throttle, ThrottleTarget, kept_key},
};
use std::rc::Rc;
use worker_core::{Assignment, Notice, SearchOrder};

/// With so many processes the invariants of cores are looked at only now and then: a look costs a pass over all members.
const MANY: usize = 50;
const SELDOM_PERMILLE: u64 = 20;

/// When the leases were destroyed a second owner may be there beside the first for so long, microseconds.
const TWO_OWNERS_US: u64 = 15_000_000;

impl World {
    /// Makes the streams that are missing.
    pub(crate) fn ensure_streams(self: &Rc<Self>) {
        let made = self.server.borrow_mut().ensure(self.now());
        made.iter().for_each(|stream| self.replaced(stream));
    }

    /// Whether to look at everything that must hold after this step.
    pub(crate) fn checks_now(&self) -> bool {
        self.options.workers < MANY || self.random.borrow_mut().chance(SELDOM_PERMILLE)
    }

    /// A stream took a message.
    pub(crate) fn stored(self: &Rc<Self>, stream: &str, stored: &Stored) {
        match stream {
            SHARE => {
                self.counts.borrow_mut().shares += 1;
                if let Some(stream) = self.server.borrow().peek(SHARE) {
                    self.truth.borrow_mut().shares.sent(stream, stored);
                }
            }
            LEDGER => self.recorded(stored),
            JOB | MEMBERS | LEASES => self.owned(stream, stored),
            FOUND | BLOCK => self.found(stream, stored),
            THROTTLE => self.ordered(stored),
            CONFIG => {
                let value = (!stored.headers.deletes).then_some(&*stored.payload);
                let (key, now) = (key_of(CONFIG, &stored.subject), self.now());
                self.truth.borrow_mut().configs.wished(key, stored.sequence, value, now);
            }
            IN_FORCE => self.note_halted(),
            _ => {}
        }
    }

    fn recorded(&self, stored: &Stored) {
        match self.truth.borrow_mut().shares.recorded(stored) {
            Ok(Some(booked)) => {
                let mut counts = self.counts.borrow_mut();
                counts.records += 1;
                counts.credited += booked.credited;
                counts.refused += booked.refused;
                counts.uncertain += booked.uncertain;
            }
            Ok(None) => {}
            Err(wrong) => self.fail(|| format!("the ledger: {wrong}")),
        }
    }

    /// What owners write.
    fn owned(&self, stream: &str, stored: &Stored) {
        let pools = &mut self.truth.borrow_mut().shares.pools;
        let late = match stream {
            JOB => match Job::decode(&stored.payload) {
                Ok(job) if stored.is_guarded() && job.check().is_ok() => {
                    pools.entry(job.pool.clone()).or_default().job(job, stored.stored_at())
                }
                _ => false,
            },
            MEMBERS => match Member::decode(&stored.payload) {
                Ok(member) if stored.is_guarded() => {
                    pools.entry(member.pool.clone()).or_default().member(member)
                }
                _ => false,
            },
            _ => {
                let pool = PoolId::new(key_of(LEASES, &stored.subject));
                if let (Ok(pool), Some(holder)) = (pool, stored.headers.holder) {
                    pools.entry(pool).or_default().taken(holder, stored.stored_at().0);
                }
                false
            }
        };
        self.counts.borrow_mut().late_records += u64::from(late);
    }

    /// Block candidates and blocks.
    fn found(&self, stream: &str, stored: &Stored) {
        let mut truth = self.truth.borrow_mut();
        if stream == BLOCK {
            if let Ok(record) = BlockRecord::decode(&stored.payload) {
                truth.blocks.kept(record.job, record.hash);
            }
            return;
        }
        let Ok(Subject::Found(pool, worker)) = stored.subject.parse::<Subject>() else { return };
        let share = Share::decode(&stored.payload).ok();
        let (share, stored_at) = (share.as_ref(), stored.stored_at());
        let claim = Claim { uid: stored.uid, stream: FOUND, worker: &worker, stored_at, share };
        let block = truth.shares.pools.get(&pool).and_then(|of| of.block(&claim));
        if let Some((job, hash)) = block {
            truth.blocks.found(job, hash);
        }
    }

    /// An owner published something that no stream took.
    pub(crate) fn unstored(&self, publish: &Publish) {
        if publish.headers.expected.is_some()
            && let Ok(Subject::Job(pool)) = publish.subject.parse::<Subject>()
            && let Ok(job) = Job::decode(&publish.payload)
        {
            self.truth.borrow_mut().shares.pools.entry(pool).or_default().unstored_job(job);
        }
    }

    fn ordered(&self, stored: &Stored) {
        let Ok(Subject::Throttle(target)) = stored.subject.parse::<Subject>() else { return };
        let Ok(order) = Throttle::decode(&stored.payload) else { return };
        if order.check().is_err() {
            return;
        }
        let at_us = self.now();
        let until_us = at_us + u64::from(order.ttl_seconds) * 1_000_000;
        let stored_at_ms = stored.stored_at().0;
        let given = Given { order, uid: stored.uid, at_us, stored_at_ms, until_us, certain: true };
        self.truth.borrow_mut().orders.given(target, given);
    }

    /// Whether the bucket of what is in force halts the farm.
    fn note_halted(&self) {
        let halted = {
            let server = self.server.borrow();
            let last = server.peek(IN_FORCE).and_then(|s| s.last_of(&key_subject(IN_FORCE, "farm")));
            last.filter(|last| !last.headers.deletes)
                .and_then(|last| InForce::<FarmConfig>::decode(&last.payload).ok())
                .is_some_and(|farm| farm.config.halted)
        };
        let configs = &mut self.truth.borrow_mut().configs;
        match (halted, configs.halted_since_us) {
            (true, None) => configs.halted_since_us = Some(self.now()),
            (false, _) => configs.halted_since_us = None,
            _ => {}
        }
    }

    /// A stream or bucket is another one now, or gone.
    pub(crate) fn replaced(self: &Rc<Self>, stream: &str) {
        {
            let server = self.server.borrow();
            let now = server.peek(stream);
            let mut truth = self.truth.borrow_mut();
            truth.configs.disturbed_us = self.now();
            if matches!(stream, FOUND | JOB | MEMBERS | LEASES) {
                truth.blocks.forgive();
            }
            match stream {
                SHARE => self.counts.borrow_mut().destroyed += truth.shares.shares_replaced(now),
                LEDGER => truth.shares.ledger_replaced(now),
                JOB => {
                    truth.slots.forgive(0);
                    truth.shares.pools.values_mut().for_each(|pool| pool.jobs_replaced());
                }
                LEASES => {
                    truth.slots.forgive(self.now() + TWO_OWNERS_US);
                    let until_ms = (server.clock_us(self.now()) + TWO_OWNERS_US) / 1_000;
                    truth.shares.pools.values_mut().for_each(|pool| pool.leases_replaced(until_ms));
                }
                MEMBERS => {
                    truth.slots.forgive(self.now() + HEARD_WITHIN_US);
                    truth.shares.pools.values_mut().for_each(|pool| pool.members_replaced());
                }
                CONFIG => {
                    let held = now.into_iter().flat_map(|s| s.from(1, ">"));
                    truth.configs.replaced(held.map(|m| {
                        let value = (!m.headers.deletes).then_some(&*m.payload);
                        (key_of(CONFIG, &m.subject), m.sequence, value)
                    }));
                }
                _ => {}
            }
        }
        if matches!(stream, THROTTLE | IN_FORCE) {
            self.orders_disturbed();
        }
        if stream == IN_FORCE {
            self.note_halted();
        }
        self.notice(stream);
    }

    /// An order is certain as long as the stream or what was kept tells of it.
    fn orders_disturbed(&self) {
        let server = self.server.borrow();
        let (stream, bucket) = (server.peek(THROTTLE), server.peek(IN_FORCE));
        let is_kept = |target: &ThrottleTarget, given: &Given| {
            let last = bucket.and_then(|b| b.last_of(&key_subject(IN_FORCE, kept_key(target))));
            let kept = last.filter(|last| !last.headers.deletes);
            let kept = kept.and_then(|last| KeptOrders::decode(&last.payload).ok());
            kept.is_some_and(|kept| {
                let same = |k: &bus_schemas::throttle::KeptOrder| {
                    k.order == given.order && k.stored_at_ms.0 == given.stored_at_ms
                };
                kept.orders.iter().any(same)
            })
        };
        for ((target, _), given) in &mut self.truth.borrow_mut().orders.last {
            given.certain &= stream.is_some_and(|s| s.holds(given.uid)) || is_kept(target, given);
        }
    }

    /// A search begins.
    pub(crate) fn begins_search(&self, process: usize, order: &SearchOrder) {
        let life = self.with_process(process, |p| p.life);
        let Assignment { job, slot, .. } = &*order.assignment;
        let begun = self.truth.borrow_mut().slots.begins(&job.id, *slot, (process, life), self.now());
        if let Err(wrong) = begun {
            self.fail(|| wrong);
        }
    }

    /// A search finds something.
    pub(crate) fn finds(&self, assignment: &Assignment, row: u64, nonce: u32, _: &[u8; 32]) {
        let found = self.truth.borrow_mut().slots.finds(&assignment.job.id, assignment.slot, row, nonce);
        if let Err(wrong) = found {
            self.fail(|| wrong);
        }
    }

    /// A worker notes something.
    pub(crate) fn note(&self, process: usize, notice: &Notice) {
        let (name, life) = self.with_process(process, |p| (p.name.clone(), p.life));
        let slots = &mut self.truth.borrow_mut().slots;
        let tally = slots.tallies.entry((process, life)).or_default();
        match notice {
            // Here a block is always a share as well: no difficulty is above the network's.
            Notice::ShareFound { block, .. } => tally.wanted += if *block { 2 } else { 1 },
            Notice::ShareStored { .. } => tally.stored += 1,
            Notice::SharesDropped { count, .. } => tally.dropped += count,
            _ => self.tell(|| format!("{name} notes {notice:?}")),
        }
    }

    /// The good document with which a key begins.
    pub(crate) fn first_documents(&self, random: &mut Random) -> Vec<(ConfigKey, String)> {
        let pools = self.pools.iter().map(|pool| ConfigKey::Pool(pool.clone()));
        let mut first: Vec<_> = pools.map(|key| (key, crate::plan::pool_document(random, true))).collect();
        for worker in 0..self.options.workers {
            if let Ok(id) = WorkerId::new(crate::plan::worker_name(worker)) {
                first.push((ConfigKey::Node(id), crate::plan::node_document(worker, random, true)));
            }
        }
        first
    }
}
