//! One member: its record, what it last said, and the places that it held before.

use super::{MAX_TENANCIES, WHOLE_PERCENT};
use crate::{
    pool::{bucket::TokenBucket, vardiff::Vardiff},
    time::{MonoMs, Now},
};
use bus_schemas::{
    HashRate, SessionId, ShareBits,
    heartbeat::Heartbeat,
    member::{DifficultyStep, Member, Role, Standing},
    set_point::{LocalState, SetPoint},
};
use std::collections::VecDeque;

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
    pub(super) last_heard_wall: bus_schemas::TimestampMs,
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
    pub(crate) fn tenancy(&self, slot_generation: u64) -> Option<Tenancy> {
        if self.member.slot_generation == slot_generation {
            return Some(Tenancy::of(&self.member));
        }
        self.former.iter().find(|t| t.slot_generation == slot_generation).cloned()
    }

    /// What only the worker knows, as far as it was told.
    pub(super) fn local_state(&self) -> LocalState {
        self.local.clone().unwrap_or_else(|| LocalState::open(self.threads.max(1)))
    }

    /// Takes what a sign of life says.
    pub(super) fn hear(&mut self, heartbeat: &Heartbeat, now: Now) {
        (self.last_heard, self.last_heard_wall) = (now.mono, now.wall);
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

    pub(super) fn is(&self, role: Role) -> bool {
        self.member.standing == Standing::Present && self.member.role == role
    }
}
