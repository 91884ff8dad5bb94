//! Membership: who is there, in which role, under which slot and difficulty.

mod capacity;
mod entry;
mod roles;

pub(crate) use capacity::Capacity;
pub use capacity::WHOLE_PERCENT;
pub(crate) use entry::Entry;
pub use roles::MAX_SURPLUS_PERCENT;

use super::{
    slots::Slots,
    vardiff::{self, Limits},
};
use crate::{
    foresight::MemberFacts,
    time::{MonoMs, Now},
    world::World,
};
use bus_schemas::{
    HashRate, PoolId, SessionId, ShareBits, WorkerId,
    command::{CommandError, ErrorCode, Known, Membership, Source},
    config::PoolConfig,
    event::EventData,
    heartbeat::Heartbeat,
    member::{DifficultyStep, JoinRequest, MAX_DIFFICULTY_STEPS, Member, Role, Standing},
};
use capacity::Verdicts;
use roles::Damping;
use std::collections::BTreeMap;

/// Most members of one pool, present or not.
pub const MAX_MEMBERS: usize = 65_536;
/// A difficulty holds from this many jobs on, so that the order is there before the first job that it concerns,
/// whatever way either takes.
pub const DIFFICULTY_NOTICE_JOBS: u64 = 2;
/// What a worker said is old after so many heartbeats that did not come.
const LATE_HEARTBEATS: u64 = 2;
/// A worker that tells a higher generation made it up.
const MAX_TOLD_GENERATION: u64 = 1 << 48;
/// Most workers that an owner has no record of and tells in one term what holds. A heartbeat is not a join: whoever invents
/// names fills neither the pool nor its bucket.
pub const MAX_STRANGERS_TOLD: usize = 256;
/// Most former tenancies of slots that are kept for each worker, so that its last shares are still judged.
pub const MAX_TENANCIES: usize = 8;

/// What membership needs to know of the pool to decide.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms<'a> {
    pub(crate) pool: &'a PoolId,
    pub(crate) epoch: u64,
    pub(crate) config: &'a PoolConfig,
    /// Sequence of the last published job.
    pub(crate) job_sequence: u64,
    /// Difficulty of the network in bits; a share is never harder.
    pub(crate) network_bits: u8,
    /// What holds for the whole farm.
    pub(crate) world: World<'a>,
}

impl Terms<'_> {
    fn limits(&self) -> Limits {
        Limits {
            min: self.config.min_share_bits,
            max: ShareBits::new(self.config.max_share_bits.get().min(self.network_bits)),
            shares_per_minute: self.config.shares_per_minute,
        }
    }

    /// Nobody is to search, whoever is active.
    pub(crate) fn at_rest(&self) -> bool {
        self.config.paused || self.world.halted()
    }

    fn lost_after_ms(&self) -> u64 {
        u64::from(self.config.heartbeat_interval_ms) * u64::from(self.config.lost_after_heartbeats)
    }
}

/// What a change of membership asks for.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Records to store, in this order.
    pub(crate) store: Vec<Member>,
    pub(crate) events: Vec<EventData>,
}

/// The members of one pool.
#[derive(Debug, Default)]
pub(crate) struct Members {
    entries: BTreeMap<WorkerId, Entry>,
    slots: Slots,
    verdicts: Verdicts,
    damping: Damping,
    /// Workers without a record that were told what holds.
    strangers_told: usize,
}

impl Members {
    /// Members as their records tell, every version oldest first. Everyone present counts as heard of now.
    pub(crate) fn recover(records: Vec<Member>, job_sequence: u64, now: Now) -> Self {
        let mut entries: BTreeMap<WorkerId, Entry> = BTreeMap::new();
        let mut highest = None;
        for record in records {
            highest = highest.max(Some(record.slot));
            match entries.get_mut(&record.worker) {
                Some(entry) => {
                    if entry.member.slot_generation != record.slot_generation {
                        entry.retire_tenancy();
                    }
                    entry.member = record;
                }
                None => {
                    entries.insert(record.worker.clone(), Entry::new(record, now));
                }
            }
        }
        let held = entries
            .values()
            .filter(|e| e.member.standing == Standing::Present)
            .map(|e| (e.member.slot, e.member.worker.clone()))
            .collect();
        Self { slots: Slots::recover(held, highest, job_sequence), entries, ..Self::default() }
    }

    pub(crate) fn get_mut(&mut self, worker: &WorkerId) -> Option<&mut Entry> {
        self.entries.get_mut(worker)
    }

    /// Some configuration is another one now. After a `prompt` decision nobody waits to step back.
    pub(crate) fn reconsider(&mut self, prompt: bool) {
        self.verdicts.forget();
        self.damping.prompt |= prompt;
    }

    /// A worker asks to join. A repeated request of the same life gets the same answer and changes nothing.
    pub(crate) fn join(
        &mut self,
        worker: &WorkerId,
        request: &JoinRequest,
        terms: Terms<'_>,
        now: Now,
    ) -> Result<Changes, CommandError> {
        // Who does not have a component yet can fetch it; whether it may run there, its host says.
        let offers = request.capability.algorithms.contains(&terms.config.algorithm);
        if !offers && terms.config.component.is_none() {
            let text = format!(
                "worker {worker} does not offer {}, the algorithm of pool {}",
                terms.config.algorithm, terms.pool
            );
            return Err(CommandError::new(ErrorCode::AlgorithmNotOffered, text));
        }
        let known = self.entries.get(worker).map(|e| e.member.clone());
        if let Some(member) = &known {
            if member.session == request.session && member.standing == Standing::Present {
                return Ok(Changes { store: vec![member.clone()], events: Vec::new() });
            }
        } else if self.entries.len() >= MAX_MEMBERS {
            self.forget_one()?;
        }
        // The former slot is freed only when there is another: refused, the worker keeps the place that it has.
        let slot = self.slots.take(worker, terms.config.slot_bits, terms.job_sequence).ok_or_else(|| {
            let text = format!("pool {} has no free slot of {}", terms.pool, 1_u32 << terms.config.slot_bits);
            CommandError::new(ErrorCode::PoolFull, text)
        })?;
        if let Some(member) = known.as_ref().filter(|m| m.standing == Standing::Present) {
            self.slots.free(member.slot, worker, terms.job_sequence);
        }
        let (role, reason) = self.role_for(worker, terms);
        let generation = known.as_ref().map_or(1, |m| m.generation + 1);
        let bits = match (request.expected_rate, &known) {
            (Some(rate), _) if rate.0 > 0 => vardiff::for_rate(rate, terms.limits()),
            (_, Some(m)) => m.difficulty.last().map_or(terms.config.initial_share_bits, |s| s.bits),
            _ => terms.config.initial_share_bits,
        };
        let bits = ShareBits::new(bits.get().min(terms.limits().max.get()));
        let member = Member {
            pool: terms.pool.clone(),
            worker: worker.clone(),
            session: request.session.clone(),
            role,
            standing: Standing::Present,
            slot,
            generation,
            slot_generation: generation,
            epoch: terms.epoch,
            // Under an earlier job the slot may have been another's, and a worker that missed jobs still knows one.
            difficulty: vec![DifficultyStep { from_job: terms.job_sequence, bits }],
            reason: reason.clone(),
            decided_at_ms: now.wall,
        };
        self.place(member.clone(), request, now);
        let returned = known.as_ref().is_some_and(|m| m.standing == Standing::Lost);
        let event = if returned {
            EventData::WorkerReturned { worker: worker.clone(), role }
        } else {
            EventData::WorkerJoined { worker: worker.clone(), role, slot, reason }
        };
        Ok(Changes { store: vec![member], events: vec![event] })
    }

    fn place(&mut self, member: Member, request: &JoinRequest, now: Now) {
        let mut entry = Entry::new(member, now);
        entry.threads = request.capability.threads;
        entry.whole_rate = request.expected_rate.unwrap_or_default();
        match self.entries.get_mut(&entry.member.worker) {
            Some(known) => known.begin_anew(entry),
            None => drop(self.entries.insert(entry.member.worker.clone(), entry)),
        }
    }

    /// Makes room by forgetting the member that is away for longest.
    fn forget_one(&mut self) -> Result<(), CommandError> {
        let away = self.entries.values().filter(|e| e.member.standing != Standing::Present);
        let oldest = away.min_by_key(|e| e.last_heard).map(|e| e.member.worker.clone());
        match oldest {
            Some(worker) => {
                self.entries.remove(&worker);
                Ok(())
            }
            None => Err(CommandError::new(
                ErrorCode::PoolFull,
                format!("the pool has {MAX_MEMBERS} members present"),
            )),
        }
    }

    /// A worker lives: whether it is the life of its record (another one will join), and a record to store. Who follows a record
    /// that this owner never read is told what holds: a former owner's word may come after all was read, and neither side would
    /// ever learn that the other believes something else.
    pub(crate) fn heartbeat(
        &mut self,
        worker: &WorkerId,
        heartbeat: &Heartbeat,
        terms: Terms<'_>,
        now: Now,
    ) -> (bool, Option<Member>) {
        let overruled = self.overrule(worker, heartbeat, terms, now);
        let entry = self.entries.get_mut(worker).filter(|e| e.member.session == heartbeat.session);
        let known = entry.is_some_and(|entry| {
            entry.hear(heartbeat, now);
            true
        });
        (known, overruled)
    }

    fn overrule(
        &mut self,
        worker: &WorkerId,
        heartbeat: &Heartbeat,
        terms: Terms<'_>,
        now: Now,
    ) -> Option<Member> {
        let generation = Some(heartbeat.generation).filter(|g| (1..MAX_TOLD_GENERATION).contains(g))?;
        let is_room = self.strangers_told < MAX_STRANGERS_TOLD && self.entries.len() < MAX_MEMBERS;
        if !self.entries.contains_key(worker) && is_room {
            self.strangers_told += 1;
            let member = Member {
                pool: terms.pool.clone(),
                worker: worker.clone(),
                session: heartbeat.session.clone(),
                role: Role::Backup,
                standing: Standing::Lost,
                slot: 0,
                generation: 0,
                slot_generation: generation + 1,
                epoch: terms.epoch,
                difficulty: Vec::new(),
                reason: "this owner does not know it".to_owned(),
                decided_at_ms: now.wall,
            };
            self.entries.insert(worker.clone(), Entry::new(member, now));
        }
        let entry = self.entries.get_mut(worker).filter(|e| e.member.generation < generation)?;
        entry.member.generation = generation;
        let reason = format!("what it followed came too late; {}", role_reason(&entry.member.reason));
        decide(&mut entry.member, reason, terms, now);
        Some(entry.member.clone())
    }

    /// Active members that have not said that they search nothing.
    pub(crate) fn searching(&self) -> impl Iterator<Item = &WorkerId> {
        let rests = |e: &Entry| e.set_point.is_some_and(|s| !s.enabled());
        self.entries.values().filter(move |e| e.is(Role::Active) && !rests(e)).map(|e| &e.member.worker)
    }

    /// Credits a share for the difficulty's sake.
    pub(crate) fn credit(&mut self, worker: &WorkerId, bits: ShareBits) {
        if let Some(entry) = self.entries.get_mut(worker) {
            entry.vardiff.credit(bits.work());
        }
    }

    /// A worker goes.
    pub(crate) fn leave(
        &mut self,
        worker: &WorkerId,
        session: &SessionId,
        reason: &str,
        terms: Terms<'_>,
        now: Now,
    ) -> Changes {
        let mut changes = Changes::default();
        let Some(entry) = self.entries.get_mut(worker) else { return changes };
        if entry.member.session != *session || entry.member.standing != Standing::Present {
            return changes;
        }
        self.damping.vacated += usize::from(entry.is(Role::Active));
        retire(entry, Standing::Left, reason.to_owned(), terms, now);
        changes.store.push(entry.member.clone());
        let slot = entry.member.slot;
        self.slots.free(slot, worker, terms.job_sequence);
        changes.events.push(EventData::WorkerLeft { worker: worker.clone(), reason: reason.to_owned() });
        self.fill_roles(&mut changes, terms, now);
        changes
    }

    /// Finds who was silent for too long and who wants another difficulty, and fills the roles. Costs one pass over
    /// all members; the pool calls it twice in a heartbeat interval.
    pub(crate) fn review(&mut self, terms: Terms<'_>, now: Now) -> Changes {
        let mut changes = Changes::default();
        let mut freed = Vec::new();
        for entry in self.entries.values_mut().filter(|e| e.member.standing == Standing::Present) {
            let silent_ms = now.mono.since(entry.last_heard);
            if silent_ms >= terms.lost_after_ms() {
                let worker = entry.member.worker.clone();
                self.damping.vacated += usize::from(entry.is(Role::Active));
                retire(entry, Standing::Lost, format!("silent for {silent_ms} ms"), terms, now);
                entry.hash_rate = HashRate(0);
                freed.push((entry.member.slot, worker.clone()));
                changes.store.push(entry.member.clone());
                changes.events.push(EventData::WorkerLost { worker, silent_ms });
            } else if retarget(entry, terms, now) {
                changes.store.push(entry.member.clone());
            }
        }
        for (slot, worker) in freed {
            self.slots.free(slot, &worker, terms.job_sequence);
        }
        self.fill_roles(&mut changes, terms, now);
        changes
    }

    /// Whoever holds a slot that the pool does not have, or that another holds, loses its place and joins again: the
    /// pool may have got fewer slots while nobody owned it.
    pub(crate) fn reconcile(&mut self, terms: Terms<'_>, now: Now) -> Changes {
        let (mut changes, limit) = (Changes::default(), 1_u32 << terms.config.slot_bits.min(16));
        let slots = &self.slots;
        let displaced = |e: &&mut Entry| {
            let held = slots.holder(e.member.slot) == Some(&e.member.worker);
            e.member.standing == Standing::Present && (u32::from(e.member.slot) >= limit || !held)
        };
        let mut freed = Vec::new();
        for entry in self.entries.values_mut().filter(displaced) {
            let (worker, slot) = (entry.member.worker.clone(), entry.member.slot);
            let silent_ms = now.mono.since(entry.last_heard);
            self.damping.vacated += usize::from(entry.is(Role::Active));
            retire(entry, Standing::Lost, format!("slot {slot} is not its own any more"), terms, now);
            changes.store.push(entry.member.clone());
            changes.events.push(EventData::WorkerLost { worker: worker.clone(), silent_ms });
            freed.push((slot, worker));
        }
        for (slot, worker) in freed {
            self.slots.free(slot, &worker, terms.job_sequence);
        }
        self.fill_roles(&mut changes, terms, now);
        changes
    }

    /// How many are present as active and as backup, how many are lost, and the rate of the active ones.
    pub(crate) fn count(&self) -> (u32, u32, u32, HashRate) {
        let (mut active, mut backup, mut lost, mut rate) = (0, 0, 0, 0_u64);
        for entry in self.entries.values() {
            match (entry.member.standing, entry.member.role) {
                (Standing::Present, Role::Active) => {
                    active += 1;
                    rate = rate.saturating_add(entry.hash_rate.0);
                }
                (Standing::Present, Role::Backup) => backup += 1,
                (Standing::Lost, _) => lost += 1,
                (Standing::Left, _) => {}
            }
        }
        (active, backup, lost, HashRate(rate))
    }

    /// The record of every member.
    pub(crate) fn records(&self) -> impl Iterator<Item = &Member> {
        self.entries.values().map(|entry| &entry.member)
    }

    /// Every member for people.
    pub(crate) fn memberships(
        &self,
        now: MonoMs,
        heartbeat_interval_ms: u32,
    ) -> impl Iterator<Item = (&WorkerId, Membership)> {
        let late = u64::from(heartbeat_interval_ms) * LATE_HEARTBEATS;
        self.entries.iter().map(move |(worker, e)| {
            let present = e.member.standing == Standing::Present;
            // What was never said, and what a lost worker said before, is nothing that it does now.
            let said = e.set_point.as_ref().filter(|_| present);
            let age = now.since(e.last_heard);
            let note =
                if said.is_none() && present { "it has sent no heartbeat to this owner yet" } else { "" };
            let membership = Membership {
                pool: e.member.pool.clone(),
                role: e.member.role,
                standing: e.member.standing,
                slot: e.member.slot,
                generation: e.member.generation,
                reason: e.member.reason.clone(),
                hash_rate: said.map(|_| e.hash_rate),
                threads: said.map(|s| s.threads),
                capacity_percent: said.map(|_| e.capacity),
                set_point_reason: said.map(|s| s.reason),
                last_heard_ms: e.last_heard_wall,
                known: Known {
                    source: Source::Owner,
                    age_ms: Some(age),
                    stale: age > late,
                    note: note.to_owned(),
                },
            };
            (worker, membership)
        })
    }

    /// What is known of every member, for foresight.
    pub(crate) fn facts(&self) -> impl Iterator<Item = MemberFacts> {
        self.entries.values().map(|e| MemberFacts {
            pool: e.member.pool.clone(),
            worker: e.member.worker.clone(),
            role: e.member.role,
            standing: e.member.standing,
            local: e.local.clone(),
            reported: e.set_point,
            threads: e.threads,
        })
    }

    /// Invariant: every present member holds its slot, and nobody else does.
    pub(crate) fn check(&self, terms: Terms<'_>) -> Result<(), String> {
        self.slots.check()?;
        self.check_roles(terms)?;
        let mut seen = BTreeMap::new();
        for entry in self.entries.values().filter(|e| e.member.standing == Standing::Present) {
            let Member { worker, slot, .. } = &entry.member;
            if self.slots.holder(*slot) != Some(worker) {
                return Err(format!("{worker} is present but does not hold its slot {slot}"));
            }
            if let Some(other) = seen.insert(*slot, worker) {
                return Err(format!("slot {slot} is held by {other} and by {worker}"));
            }
        }
        Ok(())
    }
}

fn decide(member: &mut Member, reason: String, terms: Terms<'_>, now: Now) {
    member.generation += 1;
    member.epoch = terms.epoch;
    member.reason = reason;
    member.decided_at_ms = now.wall;
}

fn retire(entry: &mut Entry, standing: Standing, reason: String, terms: Terms<'_>, now: Now) {
    entry.retire_tenancy();
    entry.member.standing = standing;
    decide(&mut entry.member, reason, terms, now);
}

/// Gives the member another difficulty from the next job on, if one fits better.
fn retarget(entry: &mut Entry, terms: Terms<'_>, now: Now) -> bool {
    if entry.member.role != Role::Active {
        return false;
    }
    let Some(current) = entry.member.difficulty.last().map(|s| s.bits) else { return false };
    let Some(bits) = entry.vardiff.retarget(current, terms.limits(), now.mono) else { return false };
    let from_job = terms.job_sequence + DIFFICULTY_NOTICE_JOBS;
    entry.member.difficulty.retain(|s| s.from_job < from_job);
    entry.member.difficulty.push(DifficultyStep { from_job, bits });
    if entry.member.difficulty.len() > MAX_DIFFICULTY_STEPS {
        entry.member.difficulty.remove(0);
    }
    let reason =
        format!("difficulty {} bits from job {from_job}; {}", bits.get(), role_reason(&entry.member.reason));
    decide(&mut entry.member, reason, terms, now);
    true
}

/// The part of a reason that explains the role, without an earlier remark about difficulty.
fn role_reason(reason: &str) -> &str {
    reason.rsplit_once("; ").map_or(reason, |(_, role)| role)
}
