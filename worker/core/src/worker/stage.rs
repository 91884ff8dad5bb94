//! A worker on a stage: the test plays the bus, the search threads and the clock.

use super::{Identity, Offered, WorkerCore};
use crate::{
    clearance::{Clearance, Denied},
    effect::{Effect, Publication, SearchOrder},
    input::{Input, Snapshot, Stored},
    limits::HostLimits,
    moment::{MonotonicMs, Now},
    notice::{Notice, Refusal},
};
use bus_schemas::{
    AlgorithmId, Blob, Hash32, PoolId, SessionId, ShareBits, Target, TimestampMs, WorkerId,
    config::{InForce, NodeConfig, PoolConfig},
    examples,
    job::{Job, WorkUnit},
    member::{Capability, DifficultyStep, Member},
};
use std::collections::VecDeque;

/// A hash that meets every target of the stage's jobs.
pub(super) const BLOCK: [u8; 32] = [0; 32];
/// Wall clock at the stage's moment zero.
const WALL: u64 = 1_767_225_600_000;
/// Difficulty of the stage's shares.
pub(super) const BITS: u8 = 8;

/// A hash that is a share of 8 bits and no block.
pub(super) fn share_hash() -> [u8; 32] {
    let mut hash = [0xff; 32];
    hash[31] = 0;
    hash
}

/// Digest of the stage's only algorithm.
pub(super) fn digest() -> Blob {
    Blob(vec![7; 32])
}

/// What the certificates say of the stage's only algorithm.
pub(super) fn clearance(verdict: Result<TimestampMs, Denied>) -> Input {
    let (algorithm, digest) = (AlgorithmId::sha256d(), digest());
    Input::Clearances(vec![Clearance { algorithm, version: 1, digest, verdict }])
}

pub(super) fn identity() -> Identity {
    let capability = Capability {
        threads: 4,
        memory_mib: 1_024,
        processor: "stage".to_owned(),
        algorithms: vec![AlgorithmId::sha256d()],
        agent_version: "0".to_owned(),
    };
    Identity {
        pool: PoolId::new("main").unwrap(),
        worker: WorkerId::new("w1").unwrap(),
        session: SessionId::new("mine").unwrap(),
        capability,
        limits: HostLimits::open(4),
        algorithms: vec![Offered {
            id: AlgorithmId::sha256d(),
            version: 1,
            digest: digest(),
            memory_hard: false,
        }],
        jitter_seed: 1,
    }
}

/// A job of 24 bits whose previous block is `tip`.
pub(super) fn job(epoch: u64, sequence: u64, tip: u8) -> Job {
    let mut job = examples::job().unwrap();
    (job.epoch, job.sequence, job.clean) = (epoch, sequence, true);
    let WorkUnit::Header(work) = &mut job.work else { panic!("a header") };
    work.prev_hash = Hash32([tip; 32]);
    work.bits = Target::from_share_bits(ShareBits::new(24)).to_compact();
    job.network_target = Target::from_compact(work.bits).unwrap();
    job.id = job.derive_id().unwrap();
    job
}

pub(super) fn member(epoch: u64, generation: u64) -> Member {
    let mut member = examples::member().unwrap();
    (member.session, member.epoch, member.generation) = (identity().session, epoch, generation);
    member.difficulty = vec![DifficultyStep { from_job: 0, bits: ShareBits::new(BITS) }];
    member
}

pub(super) fn in_force<C>(revision: u64, config: C) -> Stored<C> {
    Stored { revision, value: Ok(Some(InForce { revision, config })) }
}

pub(super) fn pool(revision: u64, config: PoolConfig) -> Stored<PoolConfig> {
    in_force(revision, config)
}

pub(super) fn node(revision: u64, config: NodeConfig) -> Stored<NodeConfig> {
    in_force(revision, config)
}

pub(super) struct Stage {
    pub(super) core: WorkerCore,
    pub(super) now: u64,
    /// How far the wall clock was set from where it was, milliseconds.
    pub(super) wall_step: i64,
    /// Questions about schedules are answered at once; otherwise they are left to the test.
    pub(super) makes_agendas: bool,
}

/// Effects by kind, in order.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) all: Vec<Effect>,
}

impl Seen {
    pub(super) fn started(&self) -> Vec<SearchOrder> {
        let started = |e: &Effect| if let Effect::StartSearch(o) = e { Some(o.clone()) } else { None };
        self.all.iter().filter_map(started).collect()
    }

    pub(super) fn stopped(&self) -> Vec<(u16, u64)> {
        let stopped = |e: &Effect| {
            if let Effect::StopSearch { thread, order } = e { Some((*thread, *order)) } else { None }
        };
        self.all.iter().filter_map(stopped).collect()
    }

    pub(super) fn published(&self) -> Vec<Publication> {
        let published = |e: &Effect| if let Effect::Publish(p) = e { Some(p.clone()) } else { None };
        self.all.iter().filter_map(published).collect()
    }

    pub(super) fn notices(&self) -> Vec<Notice> {
        let notices = |e: &Effect| if let Effect::Notice(n) = e { Some(n.clone()) } else { None };
        self.all.iter().filter_map(notices).collect()
    }

    pub(super) fn refusals(&self) -> Vec<Refusal> {
        let refusal = |n: Notice| if let Notice::OrderRefused(r) = n { Some(r) } else { None };
        self.notices().into_iter().filter_map(refusal).collect()
    }

    pub(super) fn count(&self, wanted: impl Fn(&Effect) -> bool) -> usize {
        self.all.iter().filter(|e| wanted(e)).count()
    }

    pub(super) fn joins(&self) -> usize {
        self.count(|e| matches!(e, Effect::Join(_)))
    }

    pub(super) fn heartbeats(&self) -> usize {
        self.count(|e| matches!(e, Effect::PublishHeartbeat(_)))
    }
}

impl Stage {
    pub(super) fn new() -> Self {
        let mut stage = Self::uncertified();
        stage.give(clearance(Ok(TimestampMs(u64::MAX))));
        stage
    }

    /// A worker that was told nothing of certificates.
    pub(super) fn uncertified() -> Self {
        Self { core: WorkerCore::new(identity()), now: 1_000, wall_step: 0, makes_agendas: true }
    }

    /// A worker that mines the job 1 of tip 1 in epoch 1, with its search orders.
    pub(super) fn mining(config: PoolConfig) -> (Self, Vec<SearchOrder>) {
        let mut stage = Self::new();
        stage.give(Input::Connected);
        let snapshot = Snapshot {
            pool: Some(pool(1, config)),
            role: Some(member(1, 1)),
            job: Some(job(1, 1, 1)),
            ..Snapshot::default()
        };
        let started = stage.give(Input::ConfigurationRead(Box::new(snapshot))).started();
        (stage, started)
    }

    pub(super) fn moment(&self) -> Now {
        let wall = (WALL + self.now).saturating_add_signed(self.wall_step);
        Now { monotonic: MonotonicMs(self.now), wall: TimestampMs(wall) }
    }

    /// One step of the core, its effects, and every invariant.
    pub(super) fn give(&mut self, input: Input) -> Seen {
        let mut seen = Seen::default();
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            self.core.handle(input, self.moment());
            self.core.check_invariants().unwrap();
            while let Some(effect) = self.core.next_effect() {
                if let Effect::MakeAgenda(question) = &effect
                    && self.makes_agendas
                {
                    let agenda = Box::new(question.answer());
                    inputs.push_back(Input::Agenda { number: question.number, agenda });
                }
                seen.all.push(effect);
            }
        }
        seen
    }

    /// Moves the clock on and ticks.
    pub(super) fn after(&mut self, ms: u64) -> Seen {
        self.now += ms;
        self.give(Input::Tick)
    }

    /// Ticks at every deadline of the next `ms` milliseconds.
    pub(super) fn live(&mut self, ms: u64) -> Seen {
        let end = self.now + ms;
        let mut seen = Seen::default();
        while let Some(MonotonicMs(at)) = self.core.next_deadline().filter(|at| at.0 <= end) {
            assert!(at > self.now || seen.all.is_empty(), "a deadline that has come does not move on");
            self.now = at.max(self.now);
            seen.all.extend(self.give(Input::Tick).all);
        }
        self.now = end;
        seen
    }

    pub(super) fn find(&mut self, order: &SearchOrder, nonce: u32, hash: [u8; 32]) -> Seen {
        self.give(Input::Found { thread: order.thread, order: order.order, nonce, hash })
    }

    /// The thread of `order` says that it got to `next`.
    pub(super) fn end(&mut self, order: &SearchOrder, next: u64) -> Seen {
        self.give(Input::UnitEnded { thread: order.thread, order: order.order, next })
    }
}
