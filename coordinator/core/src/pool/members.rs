//! Membership: who is there, in which role, under which slot and difficulty.

use super::{
    bucket::TokenBucket,
    slots::Slots,
    vardiff::{self, Limits, Vardiff},
};
use crate::time::{MonoMs, Now};
use bus_schemas::{
    HashRate, PoolId, SessionId, ShareBits, WorkerId,
    command::{CommandError, ErrorCode, Membership},
    config::PoolConfig,
    event::EventData,
    heartbeat::Heartbeat,
    member::{DifficultyStep, JoinRequest, MAX_DIFFICULTY_STEPS, Member, Role, Standing},
    set_point::SetPoint,
};
use std::collections::{BTreeMap, VecDeque};

/// Most members of one pool, present or not.
pub const MAX_MEMBERS: usize = 65_536;
/// A difficulty holds from this many jobs on, so that the order is there before the first job that it concerns,
/// whatever way either takes.
pub const DIFFICULTY_NOTICE_JOBS: u64 = 2;
/// Most former tenancies of slots that are kept for each worker, so that its last shares are still judged.
pub const MAX_TENANCIES: usize = 8;

/// A worker's hold on a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tenancy {
    pub(crate) session: SessionId,
    pub(crate) slot: u16,
    pub(crate) slot_generation: u64,
    pub(crate) difficulty: Vec<DifficultyStep>,
}

impl Tenancy {
    fn of(member: &Member) -> Self {
        Self {
            session: member.session.clone(),
            slot: member.slot,
            slot_generation: member.slot_generation,
            difficulty: member.difficulty.clone(),
        }
    }

    /// The difficulty that held for the job with this sequence.
    pub(crate) fn bits_for_job(&self, sequence: u64) -> Option<ShareBits> {
        self.difficulty.iter().rev().find(|s| s.from_job <= sequence).map(|s| s.bits)
    }
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) member: Member,
    pub(crate) last_heard: MonoMs,
    last_heard_wall: bus_schemas::TimestampMs,
    pub(crate) hash_rate: HashRate,
    set_point: Option<SetPoint>,
    pub(crate) shares: TokenBucket,
    pub(crate) found: TokenBucket,
    vardiff: Vardiff,
    former: VecDeque<Tenancy>,
}

impl Entry {
    fn new(member: Member, now: Now) -> Self {
        Self {
            member,
            last_heard: now.mono,
            last_heard_wall: now.wall,
            hash_rate: HashRate(0),
            set_point: None,
            shares: TokenBucket::default(),
            found: TokenBucket::default(),
            vardiff: Vardiff::new(now.mono),
            former: VecDeque::new(),
        }
    }

    fn retire_tenancy(&mut self) {
        let tenancy = Tenancy::of(&self.member);
        if self.former.back().is_none_or(|t| t.slot_generation < tenancy.slot_generation) {
            self.former.push_back(tenancy);
        }
        while self.former.len() > MAX_TENANCIES {
            self.former.pop_front();
        }
    }

    /// The tenancy that a share names, present or former.
    pub(crate) fn tenancy(&self, slot_generation: u64) -> Option<Tenancy> {
        if self.member.slot_generation == slot_generation {
            return Some(Tenancy::of(&self.member));
        }
        self.former.iter().find(|t| t.slot_generation == slot_generation).cloned()
    }

    fn is(&self, role: Role) -> bool {
        self.member.standing == Standing::Present && self.member.role == role
    }
}

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
}

impl Terms<'_> {
    fn limits(&self) -> Limits {
        Limits {
            min: self.config.min_share_bits,
            max: ShareBits::new(self.config.max_share_bits.get().min(self.network_bits)),
            shares_per_minute: self.config.shares_per_minute,
        }
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
    /// Roles that the operator pinned.
    pinned: BTreeMap<WorkerId, Role>,
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
        Self { slots: Slots::recover(held, highest, job_sequence), entries, pinned: BTreeMap::new() }
    }

    pub(crate) fn get_mut(&mut self, worker: &WorkerId) -> Option<&mut Entry> {
        self.entries.get_mut(worker)
    }

    pub(crate) fn pin(&mut self, pinned: BTreeMap<WorkerId, Role>) {
        self.pinned = pinned;
    }

    /// A worker asks to join. A repeated request of the same life gets the same answer and changes nothing.
    pub(crate) fn join(
        &mut self,
        worker: &WorkerId,
        request: &JoinRequest,
        terms: Terms<'_>,
        now: Now,
    ) -> Result<Changes, CommandError> {
        if !request.capability.algorithms.contains(&terms.config.algorithm) {
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
        let (role, reason) = self.role_for(worker, terms.config);
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
            difficulty: vec![DifficultyStep { from_job: 0, bits }],
            reason: reason.clone(),
            decided_at_ms: now.wall,
        };
        self.place(member.clone(), now);
        let returned = known.as_ref().is_some_and(|m| m.standing == Standing::Lost);
        let event = if returned {
            EventData::WorkerReturned { worker: worker.clone(), role }
        } else {
            EventData::WorkerJoined { worker: worker.clone(), role, slot, reason }
        };
        Ok(Changes { store: vec![member], events: vec![event] })
    }

    fn place(&mut self, member: Member, now: Now) {
        match self.entries.get_mut(&member.worker) {
            Some(entry) => {
                entry.retire_tenancy();
                entry.member = member;
                entry.last_heard = now.mono;
                entry.last_heard_wall = now.wall;
                entry.vardiff.restart(now.mono);
            }
            None => {
                self.entries.insert(member.worker.clone(), Entry::new(member, now));
            }
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

    fn role_for(&self, worker: &WorkerId, config: &PoolConfig) -> (Role, String) {
        if let Some(role) = self.pinned.get(worker) {
            return (*role, "pinned by the node's configuration".to_owned());
        }
        let others =
            self.entries.values().filter(|e| e.is(Role::Active) && e.member.worker != *worker).count();
        let wanted = usize::from(config.active_members);
        if others < wanted {
            (Role::Active, format!("member {} of {wanted} active ones", others + 1))
        } else {
            (Role::Backup, format!("{others} of {wanted} active members are there"))
        }
    }

    /// A worker lives; of another life than its record's it is ignored, it will join.
    pub(crate) fn heartbeat(&mut self, worker: &WorkerId, heartbeat: &Heartbeat, now: Now) {
        let Some(entry) = self.entries.get_mut(worker) else { return };
        if entry.member.session != heartbeat.session {
            return;
        }
        entry.last_heard = now.mono;
        entry.last_heard_wall = now.wall;
        entry.hash_rate = heartbeat.hash_rate;
        if !heartbeat.set_point.enabled() {
            entry.vardiff.restart(now.mono);
        }
        entry.set_point = Some(heartbeat.set_point.clone());
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

    /// Pinned roles first, then exactly as many active members as wanted, as far as there are: whoever is active
    /// stays, backups step in by reported rate and then by id, the newest steps out.
    pub(crate) fn fill_roles(&mut self, changes: &mut Changes, terms: Terms<'_>, now: Now) {
        let pinned: Vec<_> = self.pinned.iter().map(|(w, r)| (w.clone(), *r)).collect();
        for (worker, role) in pinned {
            self.change_role(&worker, role, "pinned by the node's configuration", changes, terms, now);
        }
        let wanted = usize::from(terms.config.active_members);
        let active = self.entries.values().filter(|e| e.is(Role::Active)).count();
        let free = |e: &&Entry| !self.pinned.contains_key(&e.member.worker);
        let (role, mut choice): (Role, Vec<_>) = if active < wanted {
            let backups = self.entries.values().filter(|e| e.is(Role::Backup)).filter(free);
            let mut order: Vec<_> =
                backups.map(|e| (std::cmp::Reverse(e.hash_rate), e.member.worker.clone())).collect();
            order.sort();
            (Role::Active, order.into_iter().map(|(_, w)| w).collect())
        } else {
            let actives = self.entries.values().filter(|e| e.is(Role::Active)).filter(free);
            let mut order: Vec<_> = actives
                .map(|e| (std::cmp::Reverse(e.member.decided_at_ms), e.member.worker.clone()))
                .collect();
            order.sort();
            (Role::Backup, order.into_iter().map(|(_, w)| w).collect())
        };
        choice.truncate(active.abs_diff(wanted));
        let reason = format!("{active} of {wanted} active members were there");
        for worker in choice {
            self.change_role(&worker, role, &reason, changes, terms, now);
        }
    }

    fn change_role(
        &mut self,
        worker: &WorkerId,
        role: Role,
        reason: &str,
        changes: &mut Changes,
        terms: Terms<'_>,
        now: Now,
    ) {
        let Some(entry) = self.entries.get_mut(worker) else { return };
        if entry.member.standing != Standing::Present || entry.member.role == role {
            return;
        }
        entry.member.role = role;
        entry.vardiff.restart(now.mono);
        decide(&mut entry.member, reason.to_owned(), terms, now);
        changes.store.push(entry.member.clone());
        let reason = reason.to_owned();
        changes.events.push(EventData::WorkerRoleChanged { worker: worker.clone(), role, reason });
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

    /// Every member for people.
    pub(crate) fn memberships(&self) -> impl Iterator<Item = (&WorkerId, Membership)> {
        self.entries.iter().map(|(worker, e)| {
            let membership = Membership {
                pool: e.member.pool.clone(),
                role: e.member.role,
                standing: e.member.standing,
                slot: e.member.slot,
                generation: e.member.generation,
                reason: e.member.reason.clone(),
                hash_rate: e.hash_rate,
                threads: e.set_point.as_ref().map_or(0, |s| s.threads),
                capacity_percent: 0,
                set_point_reason: e.set_point.as_ref().map(|s| s.reason),
                last_heard_ms: e.last_heard_wall,
            };
            (worker, membership)
        })
    }

    /// Invariant: every present member holds its slot, and nobody else does.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.slots.check()?;
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
