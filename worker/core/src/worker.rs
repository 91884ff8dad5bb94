//! The decisions of one worker: inputs in, effects out.

use crate::{
    clearance::Clearances,
    configuration::Configuration,
    effect::{Assignment, Effect, Pace},
    input::Input,
    jitter::{Backoff, Jitter},
    limits::{HostLimits, Limits},
    membership::{Membership, Who},
    moment::{MonotonicMs, Now},
    notice::{Notice, Refusal},
    outbox::{DropReason, Outbox},
    search::Crew,
};
use bus_schemas::{
    AlgorithmId, Blob, HashRate, JobId, PoolId, SessionId, WorkerId,
    event::{Event, EventData},
    heartbeat::LoadReport,
    job::{AlgorithmRef, Job},
    member::{Capability, Role},
    set_point::{Reason, SetPoint},
};
use components::Components;
use std::{collections::VecDeque, sync::Arc};

mod advance;
mod certified;
#[cfg(test)]
mod certified_tests;
#[cfg(test)]
mod component_tests;
mod components;
mod findings;
#[cfg(test)]
mod limit_tests;
mod orders;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod stage;
#[cfg(test)]
mod tests;

/// Longest time between reads of configuration, role and job, milliseconds; a short configuration lease makes it
/// shorter.
pub const READ_INTERVAL_MS: u64 = 60_000;
/// Reads within one configuration lease, so that one may fail.
const READS_PER_LEASE: u64 = 3;
/// Delay between reads that failed.
const READ_RETRY: Backoff = Backoff { first_ms: 250, cap_ms: 10_000 };
/// A read without an answer is given up after this time, milliseconds.
const READ_TIMEOUT_MS: u64 = 15_000;
/// Time between heartbeats while no configuration says otherwise, milliseconds.
const DEFAULT_HEARTBEAT_MS: u64 = 1_000;
/// A worker that is asked to end waits no longer than this for its shares to be stored, milliseconds.
pub const DRAIN_LIMIT_MS: u64 = 5_000;

/// What a worker knows of itself when it starts.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Its pool.
    pub pool: PoolId,
    /// Its name.
    pub worker: WorkerId,
    /// This life of it.
    pub session: SessionId,
    /// What its host offers.
    pub capability: Capability,
    /// What the host's own file allows.
    pub limits: HostLimits,
    /// Algorithms that it can run.
    pub algorithms: Vec<Offered>,
    /// Spreads its timers; drawn at random by the shell.
    pub jitter_seed: u64,
}

/// An algorithm that a worker can run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    /// Its name.
    pub id: AlgorithmId,
    /// Its version.
    pub version: u32,
    /// SHA-256 of its sources or artifact, by which it is certified.
    pub digest: Blob,
    /// It needs the caches and the memory's bandwidth, so that it harms other programs although it yields.
    pub memory_hard: bool,
}

impl Offered {
    /// Whether it is what a job wants. A job that names no digest leaves that to the certificates.
    pub fn fits(&self, wanted: &AlgorithmRef) -> bool {
        let same = self.id == wanted.id && self.version == wanted.version;
        same && (wanted.digest.0.is_empty() || wanted.digest == self.digest)
    }
}

/// What a worker shows of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The bus is there.
    pub connected: bool,
    /// A pool configuration is in force.
    pub configured: bool,
    /// It holds a role.
    pub role: Option<Role>,
    /// What it does right now, and why.
    pub set_point: SetPoint,
    /// Threads that search.
    pub search_threads: u16,
    /// Algorithms that the host's certificates permit now.
    pub permitted_algorithms: usize,
    /// Shares that wait for the bus.
    pub outbox_len: usize,
    /// Hashes of all ended units.
    pub hashes_total: u64,
    /// What the load monitor last measured.
    pub load: Option<LoadReport>,
    /// Sequence of its job.
    pub job_sequence: Option<u64>,
    /// Generation of its role.
    pub generation: u64,
    /// Revision of the pool's configuration.
    pub pool_revision: u64,
    /// Revision of the node's configuration.
    pub node_revision: u64,
}

#[derive(Debug, Clone)]
enum Life {
    Running,
    /// Ends when nothing waits any more, or then.
    Draining {
        until: MonotonicMs,
        reason: String,
    },
    Over,
}

/// When the last heartbeat was sent and what it told.
#[derive(Debug, Clone)]
struct Beat {
    next: MonotonicMs,
    last: MonotonicMs,
    hashes: u64,
    sequence: u64,
    rate: HashRate,
}

/// A worker. `handle` never fails; whoever drives it drains [`WorkerCore::next_effect`] after each call and calls
/// with [`Input::Tick`] at [`WorkerCore::next_deadline`].
#[derive(Debug, Clone)]
pub struct WorkerCore {
    pub(crate) crew: Crew,
    pub(crate) outbox: Outbox,
    pub(crate) membership: Membership,
    pub(crate) set_point: SetPoint,
    pub(crate) limits: Limits,
    capability: Capability,
    algorithms: Vec<Offered>,
    components: Components,
    pub(crate) clearances: Clearances,
    /// Algorithms that the clearances permitted when the set-point was last resolved.
    permitted: usize,
    pace: Option<Pace>,
    events: u64,
    configuration: Configuration,
    job: Option<Arc<Job>>,
    /// Highest epoch and sequence of a job ever followed.
    job_fence: (u64, u64),
    /// The algorithm refuses the job.
    job_unusable: bool,
    /// Job and slot of which it was reported that there is nothing to search.
    no_work: Option<(JobId, u16)>,
    /// Blocks of the job that were reported.
    blocks: u32,
    assignment: Option<Arc<Assignment>>,
    connected: bool,
    next_read: MonotonicMs,
    read_failures: u32,
    beat: Beat,
    limits_due: Option<MonotonicMs>,
    /// The configuration lease had run out when the set-point was last resolved.
    lease_over: bool,
    held: bool,
    life: Life,
    jitter: Jitter,
    effects: VecDeque<Effect>,
}

impl WorkerCore {
    /// A worker that knows nothing yet.
    pub fn new(identity: Identity) -> Self {
        let Identity { pool, worker, session, capability, limits, algorithms, jitter_seed } = identity;
        let beat = Beat {
            next: MonotonicMs::default(),
            last: MonotonicMs::default(),
            hashes: 0,
            sequence: 0,
            rate: HashRate(0),
        };
        Self {
            crew: Crew::new(),
            outbox: Outbox::default(),
            membership: Membership::new(Who { pool: pool.clone(), worker: worker.clone(), session }),
            set_point: SetPoint::stopped(Reason::NoConfiguration),
            limits: Limits::new(limits),
            capability,
            algorithms,
            components: Components::default(),
            clearances: Clearances::default(),
            permitted: 0,
            pace: None,
            events: 0,
            configuration: Configuration::new(pool, worker),
            job: None,
            job_fence: (0, 0),
            job_unusable: false,
            no_work: None,
            blocks: 0,
            assignment: None,
            connected: false,
            next_read: MonotonicMs::default(),
            read_failures: 0,
            beat,
            limits_due: None,
            lease_over: false,
            held: false,
            life: Life::Running,
            jitter: Jitter::new(jitter_seed),
            effects: VecDeque::new(),
        }
    }

    /// Takes in what happened.
    pub fn handle(&mut self, input: Input, now: Now) {
        if matches!(self.life, Life::Over) {
            return;
        }
        let at = now.monotonic;
        match input {
            Input::Connected => self.on_connected(),
            Input::Disconnected => self.connected = false,
            Input::ConfigurationRead(snapshot) => self.on_read(*snapshot, now),
            Input::ReadFailed { reason } => self.on_read_failed(reason, at),
            Input::FarmConfig(stored) => {
                let notice = self.configuration.on_farm(stored);
                self.note(notice);
            }
            Input::PoolConfig(stored) => {
                let notice = self.configuration.on_pool(stored, at);
                self.note(notice);
            }
            Input::NodeConfig(stored) => {
                let notice = self.configuration.on_node(stored);
                self.note(notice);
            }
            Input::Role(member) => self.on_role(*member, at),
            Input::Job(job) => self.on_job(*job, now),
            Input::JobWithdrawn => {
                self.components.give_up();
                self.job = None;
            }
            Input::Undecodable { subject, reason } => {
                self.note(Some(Notice::Undecodable { subject, reason }));
            }
            Input::JoinReply(reply) => self.on_join_reply(reply, at),
            Input::JoinFailed { reason } => self.on_join_failed(reason, at),
            Input::Found { thread, order, nonce, hash } => self.on_found(thread, order, nonce, &hash, now),
            Input::UnitEnded { thread, order, next } => self.crew.end(thread, order, next, at),
            Input::SearchRefused { thread, order, reason } => self.on_search_refused(thread, order, reason),
            Input::ThreadFailed { thread, reason } => {
                self.crew.lose(thread);
                self.note(Some(Notice::ThreadFailed { thread, reason }));
            }
            Input::Acked { id } => {
                let stored = self.outbox.acked(id).map(|lane| Notice::ShareStored { lane });
                self.note(stored);
            }
            Input::PublishFailed { id, attempt, reason } => self.on_publish_failed(id, attempt, reason, at),
            Input::Clearances(all) => self.clearances.replace(all, now.wall),
            Input::AlgorithmObtained(offered) => self.on_obtained(offered, now),
            Input::AlgorithmDenied { algorithm, denied } => self.on_denied(algorithm, denied, now),
            Input::CatalogueRefused(denied) => self.on_catalogue_refused(denied, now),
            Input::HostThreads(threads) => self.limits.set_threads(threads),
            Input::Throttle(_) | Input::Load(_) | Input::Veto(_) | Input::Group(_) => {
                self.on_limit(input, now)
            }
            Input::Tick => {
                let event = self.limits.on_tick(&self.membership.who().worker, at);
                self.tell(event, now);
            }
            Input::ShutdownRequested { reason } => {
                if matches!(self.life, Life::Running) {
                    self.life = Life::Draining { until: at.plus_ms(DRAIN_LIMIT_MS), reason };
                }
            }
        }
        self.advance(now);
    }

    /// What the shell is to do next.
    pub fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When the shell is to call with a tick, whatever happens until then.
    pub fn next_deadline(&self) -> Option<MonotonicMs> {
        let online = |at: MonotonicMs| self.connected.then_some(at);
        let draining = if let Life::Draining { until, .. } = self.life { Some(until) } else { None };
        [
            online(self.next_read),
            self.membership.next_deadline().filter(|_| !self.draining()).and_then(online),
            self.membership.member().and_then(|_| online(self.beat.next)),
            self.outbox.next_retry().and_then(online),
            // The deadline of what limits the search was set when it was last looked at.
            self.limits_due,
            // A lease that has run out already needs no call.
            self.configuration.lease_end().filter(|_| !self.lease_over),
            draining,
        ]
        .into_iter()
        .flatten()
        .min()
        .filter(|_| !matches!(self.life, Life::Over))
    }

    /// What it does and how it stands.
    pub fn status(&self) -> Status {
        let (pool_revision, node_revision) = self.configuration.revisions();
        Status {
            connected: self.connected,
            configured: self.configuration.pool().is_some(),
            role: self.membership.member().map(|m| m.role),
            set_point: self.set_point,
            search_threads: u16::try_from(self.crew.running().count()).unwrap_or(u16::MAX),
            permitted_algorithms: self.permitted,
            outbox_len: self.outbox.len(),
            hashes_total: self.crew.hashes(),
            load: self.limits.governor.report(),
            job_sequence: self.job.as_ref().map(|j| j.sequence),
            generation: self.membership.member().map_or(0, |m| m.generation),
            pool_revision,
            node_revision,
        }
    }

    /// What is offered for the current job.
    pub(crate) fn offered(&self) -> Option<&Offered> {
        let wanted = &self.job.as_ref()?.algorithm;
        self.known().find(|offered| offered.fits(wanted))
    }

    fn note(&mut self, notice: Option<Notice>) {
        self.effects.extend(notice.map(Effect::Notice));
    }

    /// Publishes a fact about this worker.
    fn tell(&mut self, what: Option<EventData>, now: Now) {
        let Some(what) = what else { return };
        let Who { pool, worker, session } = self.membership.who();
        self.events += 1;
        let id = format!("{session}-{}", self.events);
        let event = Event::of_worker(worker, id, pool, now.wall, what);
        self.effects.push_back(Effect::PublishEvent(Box::new(event)));
    }

    fn refuse(&mut self, refusal: Refusal) {
        self.note(Some(Notice::OrderRefused(refusal)));
    }

    fn dropped(&mut self, reason: DropReason, count: usize) {
        if count > 0 {
            self.note(Some(Notice::SharesDropped { reason, count: count as u64 }));
        }
    }
}
