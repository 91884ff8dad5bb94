//! One member: its record, what it last said, and the places that it held before.

use super::{FORGET_AFTER_MS, MAX_TENANCIES, WHOLE_PERCENT};
use crate::{
    foresight::MemberFacts,
    pool::{bucket::TokenBucket, vardiff::Vardiff},
    time::{MonoMs, Now},
};
use bus_schemas::{
    HashRate, SessionId, ShareBits,
    command::{Known, Membership, Source},
    heartbeat::Heartbeat,
    member::{DifficultyStep, Member, Role, Standing},
    set_point::{LocalState, SetPoint},
};
use std::collections::VecDeque;

/// What a worker said is old after so many heartbeats that did not come.
const LATE_HEARTBEATS: u64 = 2;

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
}

/// A place that a share names.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) session: &'a SessionId,
    pub(crate) slot: u16,
    difficulty: &'a [DifficultyStep],
}

impl Place<'_> {
    /// The difficulty that held for the job with this sequence.
    pub(crate) fn bits_for_job(&self, sequence: u64) -> Option<ShareBits> {
        self.difficulty.iter().rev().find(|s| s.from_job <= sequence).map(|s| s.bits)
    }
}

/// When a member was last heard of, or its record was decided: milliseconds on the monotonic clock, which shows
/// [`CLOCK_ZERO_MS`] here when it begins, since that may have been before this process did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Seen(u64);

/// What the monotonic clock shows at its zero in a [`Seen`]; what is older than that is equally old.
const CLOCK_ZERO_MS: u64 = 2 * FORGET_AFTER_MS;

impl Seen {
    pub(super) fn ago(age_ms: u64, now: MonoMs) -> Self {
        Self(now.0.saturating_add(CLOCK_ZERO_MS).saturating_sub(age_ms))
    }

    /// Milliseconds since then.
    pub(super) fn age_ms(self, now: MonoMs) -> u64 {
        Self::ago(0, now).0.saturating_sub(self.0)
    }
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) member: Member,
    pub(crate) last_heard: MonoMs,
    pub(super) last_heard_wall: bus_schemas::TimestampMs,
    /// Where it is away: since when.
    pub(super) seen: Seen,
    /// Sequence of the job under which it went: before the next one nobody else gets its slot.
    pub(super) gone_under: u64,
    /// The role that an operator decided, and why.
    pub(super) fixed: Option<(Role, &'static str)>,
    /// It was told to stop and has not said that it did.
    pub(super) awaited: bool,
    pub(crate) hash_rate: HashRate,
    pub(super) set_point: Option<SetPoint>,
    pub(super) local: Option<LocalState>,
    /// Threads that its host offers, 0 while unknown.
    pub(super) threads: u16,
    /// Rate that it would have as a whole member, by the last measurement while it mined.
    pub(super) whole_rate: HashRate,
    /// What it has of a whole member, or would have as an active one, percent.
    pub(super) capacity: u16,
    /// When it got its role; after a recovery, when that was.
    pub(super) role_since: MonoMs,
    pub(crate) shares: TokenBucket,
    pub(crate) found: TokenBucket,
    pub(super) vardiff: Vardiff,
    former: VecDeque<Tenancy>,
}

impl Entry {
    pub(super) fn new(member: Member, now: Now) -> Self {
        Self {
            member,
            last_heard: now.mono,
            last_heard_wall: now.wall,
            seen: Seen::ago(0, now.mono),
            gone_under: 0,
            fixed: None,
            awaited: false,
            hash_rate: HashRate(0),
            set_point: None,
            local: None,
            threads: 0,
            whole_rate: HashRate(0),
            capacity: WHOLE_PERCENT,
            role_since: now.mono,
            shares: TokenBucket::default(),
            found: TokenBucket::default(),
            vardiff: Vardiff::new(now.mono),
            former: VecDeque::new(),
        }
    }

    /// Another life of the worker, or one that comes back: only its former places and what its shares may cost stay.
    pub(super) fn begin_anew(&mut self, mut next: Self) {
        self.retire_tenancy();
        std::mem::swap(self, &mut next);
        self.former = next.former;
        (self.shares, self.found) = (next.shares, next.found);
        if self.whole_rate.0 == 0 {
            self.whole_rate = next.whole_rate;
        }
    }

    pub(super) fn retire_tenancy(&mut self) {
        let tenancy = Tenancy::of(&self.member);
        if self.former.back().is_none_or(|t| t.slot_generation < tenancy.slot_generation) {
            self.former.push_back(tenancy);
        }
        while self.former.len() > MAX_TENANCIES {
            self.former.pop_front();
        }
    }

    /// The tenancy that a share names, present or former.
    pub(crate) fn tenancy(&self, slot_generation: u64) -> Option<Place<'_>> {
        if self.member.slot_generation == slot_generation {
            let Member { session, slot, difficulty, .. } = &self.member;
            return Some(Place { session, slot: *slot, difficulty });
        }
        let former = self.former.iter().find(|t| t.slot_generation == slot_generation)?;
        Some(Place { session: &former.session, slot: former.slot, difficulty: &former.difficulty })
    }

    /// What only the worker knows, as far as it was told.
    pub(super) fn local_state(&self) -> LocalState {
        self.local.clone().unwrap_or_else(|| LocalState::open(self.threads.max(1)))
    }

    /// Takes what a sign of life says.
    pub(super) fn hear(&mut self, heartbeat: &Heartbeat, now: Now) {
        (self.last_heard, self.last_heard_wall) = (now.mono, now.wall);
        if self.member.standing != Standing::Present {
            self.seen = Seen::ago(0, now.mono);
        }
        self.hash_rate = heartbeat.hash_rate;
        let set_point = heartbeat.set_point;
        if !set_point.enabled() {
            self.vardiff.restart(now.mono);
        }
        // Measured over a time in which nothing changed.
        let steady = self.set_point == Some(set_point) && set_point.enabled() && self.capacity > 0;
        if steady && heartbeat.hash_rate.0 > 0 {
            let whole =
                u128::from(heartbeat.hash_rate.0) * u128::from(WHOLE_PERCENT) / u128::from(self.capacity);
            self.whole_rate = HashRate(u64::try_from(whole).unwrap_or(u64::MAX));
        }
        self.set_point = Some(set_point);
        if let Some(local) = &heartbeat.local {
            self.threads = local.threads;
            self.local = Some(local.clone());
        }
    }

    /// Active, and has not said that it searches nothing.
    pub(super) fn is_searching(&self) -> bool {
        self.is(Role::Active) && self.set_point.is_none_or(|s| s.enabled())
    }

    /// The member for people.
    pub(super) fn membership(&self, now: MonoMs, heartbeat_interval_ms: u32) -> Membership {
        let late = u64::from(heartbeat_interval_ms) * LATE_HEARTBEATS;
        let present = self.member.standing == Standing::Present;
        // What was never said, and what a lost worker said before, is nothing that it does now.
        let said = self.set_point.as_ref().filter(|_| present);
        let age = now.since(self.last_heard);
        let note = if said.is_none() && present { "it has sent no heartbeat to this owner yet" } else { "" };
        Membership {
            pool: self.member.pool.clone(),
            role: self.member.role,
            standing: self.member.standing,
            slot: self.member.slot,
            generation: self.member.generation,
            reason: self.member.reason.clone(),
            hash_rate: said.map(|_| self.hash_rate),
            threads: said.map(|s| s.threads),
            capacity_percent: said.map(|_| self.capacity),
            set_point_reason: said.map(|s| s.reason),
            last_heard_ms: self.last_heard_wall,
            known: Known {
                source: Source::Owner,
                age_ms: Some(age),
                stale: age > late,
                note: note.to_owned(),
            },
        }
    }

    /// What is known of the member, for foresight.
    pub(super) fn facts(&self) -> MemberFacts {
        MemberFacts {
            pool: self.member.pool.clone(),
            worker: self.member.worker.clone(),
            role: self.member.role,
            standing: self.member.standing,
            local: self.local.clone(),
            reported: self.set_point,
            threads: self.threads,
        }
    }

    pub(super) fn is(&self, role: Role) -> bool {
        self.member.standing == Standing::Present && self.member.role == role
    }
}
