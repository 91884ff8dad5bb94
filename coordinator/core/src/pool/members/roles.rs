//! Who mines and who stands by: what operators fixed, then as many members as are wanted, then as many more as it
//! takes to have the wanted capacity.

use super::{Capacity, Changes, Entry, Members, Terms, decide};
use crate::time::{MonoMs, Now};
use bus_schemas::{
    WorkerId,
    event::EventData,
    member::{Role, Standing},
};

/// Active members beyond those that are wanted, at most, in percent of them: a pool in which all are throttled does
/// not take every backup there is.
pub const MAX_SURPLUS_PERCENT: usize = 100;

/// What the capacity was lately, so that backups neither step in nor back for a moment's sake.
#[derive(Debug)]
pub(super) struct Damping {
    /// Since when the capacity is too low.
    below_since: Option<MonoMs>,
    /// Since when it is enough without some surplus member.
    spare_since: Option<MonoMs>,
    /// What was told last.
    enough: bool,
    /// Active members that were lost, left or were drained since the roles were last filled.
    pub(super) vacated: usize,
    /// An operator decided something: who is spare steps back at once.
    pub(super) prompt: bool,
}

impl Default for Damping {
    fn default() -> Self {
        Self { below_since: None, spare_since: None, enough: true, vacated: 0, prompt: false }
    }
}

/// The most active members, those apart that operators pinned.
fn most_active(terms: Terms<'_>) -> usize {
    let wanted = usize::from(terms.config.active_members);
    wanted + wanted * MAX_SURPLUS_PERCENT / 100
}

impl Members {
    pub(super) fn role_for(&self, worker: &WorkerId, terms: Terms<'_>) -> (Role, String) {
        if let Some((role, reason)) = terms.world.fixed(worker) {
            return (role, reason.to_owned());
        }
        let itself = self.roster.get(worker).is_some_and(|e| e.is(Role::Active));
        let others = self.roster.active() - usize::from(itself);
        let wanted = usize::from(terms.config.active_members);
        if others < wanted {
            (Role::Active, format!("member {} of {wanted} active ones", others + 1))
        } else {
            (Role::Backup, format!("{others} of {wanted} active members are there"))
        }
    }

    /// Fills the roles. Costs as much as it changes.
    pub(super) fn fill_roles(&mut self, changes: &mut Changes, terms: Terms<'_>, now: Now) {
        self.fix_roles(changes, terms, now);
        self.fill_places(changes, terms, now);
        self.back_up(changes, terms, now);
        self.stand_down(changes, terms, now);
        (self.damping.vacated, self.damping.prompt) = (0, false);
    }

    /// What operators pinned or drained.
    fn fix_roles(&mut self, changes: &mut Changes, terms: Terms<'_>, now: Now) {
        // Each change takes one away; a wrong order must not keep the loop for ever.
        for _ in 0..self.roster.len() {
            let Some(entry) = self.roster.misplaced() else { return };
            let Some((role, reason)) = entry.fixed else { return };
            let worker = entry.member.worker.clone();
            self.damping.vacated += usize::from(role == Role::Backup);
            self.change_role(&worker, role, reason, changes, terms, now);
        }
    }

    /// As many active members as are wanted, as far as there are backups that would add something.
    fn fill_places(&mut self, changes: &mut Changes, terms: Terms<'_>, now: Now) {
        let wanted = usize::from(terms.config.active_members);
        let active = self.roster.active();
        for _ in active..wanted {
            let Some((worker, adds)) = self.roster.next_in() else { return };
            let reason =
                format!("{active} of {wanted} active members were there; it is expected to add {adds} %");
            self.damping.vacated = self.damping.vacated.saturating_sub(1);
            self.change_role(&worker, Role::Active, &reason, changes, terms, now);
        }
    }

    /// More backups while the capacity is too low: at once for members that went, else after a while.
    fn back_up(&mut self, changes: &mut Changes, terms: Terms<'_>, now: Now) {
        let Some(capacity) = self.capacity(terms) else {
            (self.damping.below_since, self.damping.spare_since) = (None, None);
            return;
        };
        if capacity.is_enough() {
            self.damping.below_since = None;
            self.tell_capacity(true, capacity, changes);
            return;
        }
        let waited = now.mono.since(*self.damping.below_since.get_or_insert(now.mono));
        let due = waited >= u64::from(terms.config.backup.activate_after_ms);
        if due {
            self.tell_capacity(false, capacity, changes);
        }
        let room = most_active(terms).saturating_sub(self.roster.active());
        let most = if due { room } else { room.min(self.damping.vacated) };
        let Capacity { mut percent, wanted } = capacity;
        for _ in 0..most {
            let Some((worker, adds)) = self.roster.next_in() else { return };
            let reason = format!(
                "the active members had {percent} % of the {wanted} % of one that are wanted, for {waited} ms; \
                 it is expected to add {adds} %"
            );
            self.change_role(&worker, Role::Active, &reason, changes, terms, now);
            percent += u32::from(adds);
            if percent >= wanted {
                return;
            }
        }
    }

    /// Surplus members step back, the newest first, when the capacity was enough without them for a while.
    fn stand_down(&mut self, changes: &mut Changes, terms: Terms<'_>, now: Now) {
        let active = self.roster.active();
        let excess = active.saturating_sub(usize::from(terms.config.active_members));
        if excess == 0 {
            self.damping.spare_since = None;
            return;
        }
        let capacity = self.capacity(terms);
        let (mut due, mut waited) = (self.damping.prompt, 0);
        if self.spare(capacity, excess.min(1)) > 0 {
            waited = now.mono.since(*self.damping.spare_since.get_or_insert(now.mono));
            due |= waited >= u64::from(terms.config.backup.stand_down_after_ms);
        } else {
            self.damping.spare_since = None;
        }
        let spare = if due { self.spare(capacity, excess) } else { 0 };
        let steps = spare.max(active.saturating_sub(most_active(terms)));
        let leaving = self.roster.newest().take(steps).map(|(worker, has)| (worker.clone(), has));
        let (mut left, wanted) = capacity.map_or((0, 0), |c| (c.percent, c.wanted));
        for (worker, has) in leaving.collect::<Vec<_>>() {
            left = left.saturating_sub(has.into());
            let reason = format!(
                "{active} active members of {} wanted; without it they have {left} % of the {wanted} % of one \
                 that are wanted, for {waited} ms",
                terms.config.active_members
            );
            self.change_role(&worker, Role::Backup, &reason, changes, terms, now);
        }
    }

    /// How many of the newest members, at most `most`, could step back. Where no capacity is wanted, all of them once an operator
    /// decided something.
    fn spare(&self, capacity: Option<Capacity>, most: usize) -> usize {
        match capacity {
            Some(Capacity { percent, wanted }) => {
                let mut left = percent;
                let spare = |(_, has): &(&WorkerId, u16)| {
                    left = left.saturating_sub(u32::from(*has));
                    left >= wanted
                };
                self.roster.newest().take(most).take_while(spare).count()
            }
            None if self.damping.prompt => most,
            None => 0,
        }
    }

    fn tell_capacity(&mut self, enough: bool, capacity: Capacity, changes: &mut Changes) {
        if std::mem::replace(&mut self.damping.enough, enough) != enough {
            let Capacity { percent: capacity_percent, wanted: wanted_percent } = capacity;
            let event = EventData::PoolCapacityChanged { capacity_percent, wanted_percent, enough };
            changes.events.push(event);
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
        let changed = self.roster.change(worker, |entry| {
            entry.member.role = role;
            entry.role_since = now.mono;
            entry.vardiff.restart(now.mono);
            decide(&mut entry.member, reason.to_owned(), terms, now);
            entry.member.clone()
        });
        changes.store.extend(changed);
        let reason = reason.to_owned();
        changes.events.push(EventData::WorkerRoleChanged { worker: worker.clone(), role, reason });
    }

    /// Invariants: a fixed role is held, no drained member mines, no place is empty while a backup could fill it, and
    /// the surplus is bounded.
    pub(super) fn check_roles(&self, terms: Terms<'_>) -> Result<(), String> {
        let wanted = usize::from(terms.config.active_members);
        let (mut active, mut free, mut eligible) = (0, 0, None);
        for entry in self.roster.iter().filter(|e| e.member.standing == Standing::Present) {
            let Entry { member, .. } = entry;
            let fixed = terms.world.fixed(&member.worker);
            if fixed != entry.fixed {
                return Err(format!("{} is fixed as {fixed:?}, kept is {:?}", member.worker, entry.fixed));
            }
            if let Some((role, why)) = fixed.filter(|(role, _)| *role != member.role) {
                return Err(format!("{} is {:?} although {role:?}: {why}", member.worker, member.role));
            }
            active += usize::from(member.role == Role::Active);
            free += usize::from(member.role == Role::Active && fixed.is_none());
            if entry.is(Role::Backup) && entry.capacity > 0 && fixed.is_none() {
                eligible = Some(&member.worker);
            }
        }
        if let Some(worker) = eligible.filter(|_| active < wanted) {
            return Err(format!("{active} of {wanted} places are taken although {worker} stands by"));
        }
        if free > most_active(terms) {
            return Err(format!("{free} members mine, {wanted} are wanted"));
        }
        Ok(())
    }
}
