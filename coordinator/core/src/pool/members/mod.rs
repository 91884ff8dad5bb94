//! Membership: who is there, in which role, under which slot and difficulty.

mod absence;
mod capacity;
mod entry;
mod review;
mod roles;
mod roster;

pub use absence::{FORGET_AFTER_MS, MAX_FORGOTTEN_AT_ONCE};
pub(crate) use capacity::Capacity;
pub use capacity::WHOLE_PERCENT;
pub(crate) use entry::Entry;
pub use review::LOOKS_AT_ONCE;
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
    HashRate, PoolId, SessionId, ShareBits, TimestampMs, WorkerId,
    command::{CommandError, ErrorCode, Membership},
    config::PoolConfig,
    event::EventData,
    heartbeat::Heartbeat,
    member::{DifficultyStep, JoinRequest, Member, Role, Standing},
};
use capacity::Verdicts;
use entry::Seen;
use review::Round;
use roles::Damping;
use roster::Roster;
use std::collections::BTreeMap;

/// Most members of one pool, present or not.
pub const MAX_MEMBERS: usize = 65_536;
/// A difficulty holds from this many jobs on, so that the order is there before the first job that it concerns,
/// whatever way either takes.
pub const DIFFICULTY_NOTICE_JOBS: u64 = 2;
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
    /// Whose record is to be deleted.
    pub(crate) forget: Vec<WorkerId>,
}

/// The members of one pool.
#[derive(Debug, Default)]
pub(crate) struct Members {
    roster: Roster,
    slots: Slots,
    verdicts: Verdicts,
    damping: Damping,
    round: Round,
    /// Highest generation of the members that this owner forgot: whoever comes back gets a higher one.
    forgotten_generation: u64,
    /// Workers without a record that were told what holds.
    strangers_told: usize,
}

impl Members {
    /// Members as their records tell, every version oldest first with the time at which the bucket stored it; `at` is the
    /// same clock's time now. Everyone present counts as heard of now.
    pub(crate) fn recover(
        records: Vec<(Member, TimestampMs)>,
        at: TimestampMs,
        job_sequence: u64,
        now: Now,
    ) -> Self {
        let mut entries: BTreeMap<WorkerId, Entry> = BTreeMap::new();
        let mut highest = None;
        for (record, stored_at) in records {
            highest = highest.max(Some(record.slot));
            let seen = Seen::ago(at.since(stored_at), now.mono);
            match entries.get_mut(&record.worker) {
                Some(entry) => {
                    if entry.member.slot_generation != record.slot_generation {
                        entry.retire_tenancy();
                    }
                    (entry.member, entry.seen) = (record, seen);
                }
                None => {
                    let mut entry = Entry::new(record, now);
                    (entry.seen, entry.gone_under) = (seen, job_sequence);
                    entries.insert(entry.member.worker.clone(), entry);
                }
            }
        }
        let held = entries
            .values()
            .filter(|e| e.member.standing == Standing::Present)
            .map(|e| (e.member.slot, e.member.worker.clone()))
            .collect();
        let slots = Slots::recover(held, highest, job_sequence);
        let mut this = Self { slots, ..Self::default() };
        entries.into_values().for_each(|entry| this.roster.insert(entry));
        this
    }

    /// A member whose shares are judged.
    pub(crate) fn get_mut(&mut self, worker: &WorkerId) -> Option<&mut Entry> {
        self.roster.uncounted(worker)
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
        let mut changes = Changes::default();
        let known = self.roster.get(worker).map(|e| e.member.clone());
        if let Some(member) = &known {
            if member.session == request.session && member.standing == Standing::Present {
                changes.store.push(member.clone());
                return Ok(changes);
            }
        } else if self.roster.len() >= MAX_MEMBERS {
            self.forget_longest_away(&mut changes, terms)?;
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
        let before = known.as_ref().map_or(self.forgotten_generation, |m| m.generation);
        let generation = before + 1;
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
        self.place(member.clone(), request, terms, now);
        let returned = known.as_ref().is_some_and(|m| m.standing == Standing::Lost);
        let event = if returned {
            EventData::WorkerReturned { worker: worker.clone(), role }
        } else {
            EventData::WorkerJoined { worker: worker.clone(), role, slot, reason }
        };
        changes.store.push(member);
        changes.events.push(event);
        Ok(changes)
    }

    fn place(&mut self, member: Member, request: &JoinRequest, terms: Terms<'_>, now: Now) {
        let worker = member.worker.clone();
        let mut entry = Entry::new(member, now);
        entry.threads = request.capability.threads;
        entry.whole_rate = request.expected_rate.unwrap_or_default();
        entry.fixed = terms.world.fixed(&worker);
        if self.roster.get(&worker).is_some() {
            self.roster.change(&worker, |known| known.begin_anew(entry));
        } else {
            self.roster.insert(entry);
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
        let known = self.roster.change(worker, |entry| {
            let known = entry.member.session == heartbeat.session;
            if known {
                entry.hear(heartbeat, now);
            }
            known
        });
        (known.unwrap_or(false), overruled)
    }

    fn overrule(
        &mut self,
        worker: &WorkerId,
        heartbeat: &Heartbeat,
        terms: Terms<'_>,
        now: Now,
    ) -> Option<Member> {
        let generation = Some(heartbeat.generation).filter(|g| (1..MAX_TOLD_GENERATION).contains(g))?;
        let is_room = self.strangers_told < MAX_STRANGERS_TOLD && self.roster.len() < MAX_MEMBERS;
        if self.roster.get(worker).is_none() && is_room {
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
            let mut entry = Entry::new(member, now);
            entry.fixed = terms.world.fixed(worker);
            self.roster.insert(entry);
        }
        self.roster.get(worker).filter(|e| e.member.generation < generation)?;
        self.roster.change(worker, |entry| {
            entry.member.generation = generation;
            let reason = format!("what it followed came too late; {}", role_reason(&entry.member.reason));
            decide(&mut entry.member, reason, terms, now);
            entry.member.clone()
        })
    }

    /// Whoever searches is to stop, and is awaited until it says that it did: a walk over all.
    pub(crate) fn await_stop(&mut self) {
        self.roster.change_all(|entry| entry.awaited = entry.is_searching());
    }

    /// How many have to stop and have not said so.
    pub(crate) fn awaited(&self) -> usize {
        self.roster.awaited()
    }

    /// Credits a share for the difficulty's sake.
    pub(crate) fn credit(&mut self, worker: &WorkerId, bits: ShareBits) {
        if let Some(entry) = self.roster.uncounted(worker) {
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
        let Some(entry) = self.roster.get(worker) else { return changes };
        if entry.member.session != *session || entry.member.standing != Standing::Present {
            return changes;
        }
        self.retire(worker, Standing::Left, reason.to_owned(), &mut changes, terms, now);
        changes.events.push(EventData::WorkerLeft { worker: worker.clone(), reason: reason.to_owned() });
        self.fill_roles(&mut changes, terms, now);
        changes
    }

    /// The member is there no more: its slot is free for others from the next job on.
    fn retire(
        &mut self,
        worker: &WorkerId,
        standing: Standing,
        reason: String,
        changes: &mut Changes,
        terms: Terms<'_>,
        now: Now,
    ) {
        let retired = self.roster.change(worker, |entry| {
            let mined = entry.is(Role::Active);
            entry.retire_tenancy();
            entry.member.standing = standing;
            (entry.hash_rate, entry.gone_under) = (HashRate(0), terms.job_sequence);
            entry.seen = Seen::ago(0, now.mono);
            decide(&mut entry.member, reason, terms, now);
            (mined, entry.member.clone())
        });
        let Some((mined, member)) = retired else { return };
        self.damping.vacated += usize::from(mined);
        self.slots.free(member.slot, worker, terms.job_sequence);
        changes.store.push(member);
    }

    /// How many are present as active and as backup, how many are lost, and the rate of the active ones.
    pub(crate) fn count(&self) -> (u32, u32, u32, HashRate) {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let Self { roster, .. } = self;
        (count(roster.active()), count(roster.backup()), count(roster.lost()), roster.rate())
    }

    /// The record of every member.
    pub(crate) fn records(&self) -> impl Iterator<Item = &Member> {
        self.roster.iter().map(|entry| &entry.member)
    }

    /// Members for people: those behind `after` in the order of their ids.
    pub(crate) fn memberships(
        &self,
        after: Option<&WorkerId>,
        now: MonoMs,
        heartbeat_interval_ms: u32,
    ) -> impl Iterator<Item = (&WorkerId, Membership)> {
        let page = self.roster.page(after);
        page.map(move |(worker, entry)| (worker, entry.membership(now, heartbeat_interval_ms)))
    }

    /// The members behind `after` in the order of their ids.
    pub(crate) fn ids(&self, after: Option<&WorkerId>) -> impl Iterator<Item = &WorkerId> {
        self.roster.page(after).map(|(worker, _)| worker)
    }

    /// One member for people.
    pub(crate) fn membership(
        &self,
        worker: &WorkerId,
        now: MonoMs,
        heartbeat_interval_ms: u32,
    ) -> Option<Membership> {
        Some(self.roster.get(worker)?.membership(now, heartbeat_interval_ms))
    }

    /// What is known of every member, for foresight.
    pub(crate) fn facts(&self) -> impl Iterator<Item = MemberFacts> {
        self.roster.iter().map(Entry::facts)
    }

    /// What is known of one member, for foresight.
    pub(crate) fn facts_of(&self, worker: &WorkerId) -> Option<MemberFacts> {
        self.roster.get(worker).map(Entry::facts)
    }

    /// Invariant: every present member holds its slot, and nobody else does.
    pub(crate) fn check(&self, terms: Terms<'_>) -> Result<(), String> {
        self.slots.check()?;
        self.roster.check()?;
        self.check_roles(terms)?;
        let mut seen = BTreeMap::new();
        for entry in self.roster.iter().filter(|e| e.member.standing == Standing::Present) {
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

/// The part of a reason that explains the role, without an earlier remark about difficulty.
fn role_reason(reason: &str) -> &str {
    reason.rsplit_once("; ").map_or(reason, |(_, role)| role)
}
