//! Every member, with what is counted and ordered of them. Each change of an entry goes through [`Roster::change`], which
//! keeps counts and orders true, so that no handling walks over all members to know them.

use super::{Entry, entry::Seen};
use crate::time::MonoMs;
use bus_schemas::{
    HashRate, TimestampMs, WorkerId,
    member::{Role, Standing},
};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

/// Which backup steps in first: the rate that it would have, then its threads, each times its capacity.
type StepIn = (Reverse<u128>, Reverse<u32>);
/// Which active member steps back first: the newest.
type StepBack = (Reverse<MonoMs>, Reverse<TimestampMs>);

/// What of an entry is counted or stands in an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Marks {
    standing: Standing,
    role: Role,
    /// Of an active member, else 0.
    rate: HashRate,
    /// Of an active member, percent, else 0.
    capacity: u16,
    step_in: Option<StepIn>,
    step_back: Option<StepBack>,
    misplaced: bool,
    awaited: bool,
    away: Option<Seen>,
}

impl Marks {
    fn of(entry: &Entry) -> Self {
        let present = entry.member.standing == Standing::Present;
        let (active, free) = (entry.is(Role::Active), entry.fixed.is_none());
        let steps_in = free && entry.is(Role::Backup) && entry.capacity > 0;
        Self {
            standing: entry.member.standing,
            role: entry.member.role,
            rate: if active { entry.hash_rate } else { HashRate(0) },
            capacity: if active { entry.capacity } else { 0 },
            step_in: steps_in.then(|| {
                let capacity = u32::from(entry.capacity);
                let rate = u128::from(entry.whole_rate.0) * u128::from(capacity);
                (Reverse(rate), Reverse(u32::from(entry.threads) * capacity))
            }),
            step_back: (active && free)
                .then_some((Reverse(entry.role_since), Reverse(entry.member.decided_at_ms))),
            misplaced: present && entry.fixed.is_some_and(|(role, _)| role != entry.member.role),
            awaited: entry.awaited,
            away: (!present).then_some(entry.seen),
        }
    }
}

/// Counts and orders, made of the [`Marks`] of every entry.
#[derive(Debug, Default, PartialEq, Eq)]
struct Index {
    active: usize,
    backup: usize,
    lost: usize,
    rate: u128,
    capacity: u64,
    awaited: usize,
    present: BTreeSet<WorkerId>,
    step_in: BTreeSet<(StepIn, WorkerId)>,
    step_back: BTreeSet<(StepBack, WorkerId)>,
    misplaced: BTreeSet<WorkerId>,
    away: BTreeSet<(Seen, WorkerId)>,
}

/// Puts `worker` where it belongs in an order, or takes it out.
fn reorder<K: Ord + Copy>(
    order: &mut BTreeSet<(K, WorkerId)>,
    worker: &WorkerId,
    before: Option<K>,
    after: Option<K>,
) {
    if before == after {
        return;
    }
    if let Some(key) = before {
        order.remove(&(key, worker.clone()));
    }
    if let Some(key) = after {
        order.insert((key, worker.clone()));
    }
}

fn put(set: &mut BTreeSet<WorkerId>, worker: &WorkerId, is: bool) {
    if is {
        set.insert(worker.clone());
    } else {
        set.remove(worker);
    }
}

impl Index {
    fn count(&mut self, marks: &Marks, add: bool) {
        let step = |counter: &mut usize, is: bool| match (is, add) {
            (false, _) => {}
            (true, true) => *counter += 1,
            (true, false) => *counter -= 1,
        };
        let present = marks.standing == Standing::Present;
        step(&mut self.active, present && marks.role == Role::Active);
        step(&mut self.backup, present && marks.role == Role::Backup);
        step(&mut self.lost, marks.standing == Standing::Lost);
        step(&mut self.awaited, marks.awaited);
        let (rate, capacity) = (u128::from(marks.rate.0), u64::from(marks.capacity));
        if add {
            (self.rate, self.capacity) = (self.rate + rate, self.capacity + capacity);
        } else {
            (self.rate, self.capacity) = (self.rate - rate, self.capacity - capacity);
        }
    }

    fn order(&mut self, worker: &WorkerId, before: Option<&Marks>, after: Option<&Marks>) {
        let is_present = |marks: &Marks| marks.standing == Standing::Present;
        let (was, is) = (before.is_some_and(is_present), after.is_some_and(is_present));
        if was != is {
            put(&mut self.present, worker, is);
        }
        let (was, is) = (before.is_some_and(|m| m.misplaced), after.is_some_and(|m| m.misplaced));
        if was != is {
            put(&mut self.misplaced, worker, is);
        }
        reorder(&mut self.step_in, worker, before.and_then(|m| m.step_in), after.and_then(|m| m.step_in));
        let of = |marks: Option<&Marks>| marks.and_then(|m| m.step_back);
        reorder(&mut self.step_back, worker, of(before), of(after));
        reorder(&mut self.away, worker, before.and_then(|m| m.away), after.and_then(|m| m.away));
    }

    fn replace(&mut self, worker: &WorkerId, before: Option<Marks>, after: Option<Marks>) {
        if before == after {
            return;
        }
        before.iter().for_each(|marks| self.count(marks, false));
        after.iter().for_each(|marks| self.count(marks, true));
        self.order(worker, before.as_ref(), after.as_ref());
    }
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Roster {
    entries: BTreeMap<WorkerId, Entry>,
    index: Index,
}

impl Roster {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn get(&self, worker: &WorkerId) -> Option<&Entry> {
        self.entries.get(worker)
    }

    /// The entry, for what is neither counted nor ordered of it.
    pub(super) fn uncounted(&mut self, worker: &WorkerId) -> Option<&mut Entry> {
        self.entries.get_mut(worker)
    }

    /// Every entry, in the order of the ids: a walk over all.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// The entries behind `after` in the order of the ids.
    pub(super) fn page(&self, after: Option<&WorkerId>) -> impl Iterator<Item = (&WorkerId, &Entry)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.entries.range((from, Bound::Unbounded))
    }

    /// Changes an entry, and gives what the change gives; nothing where there is no such entry.
    pub(super) fn change<T>(&mut self, worker: &WorkerId, change: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        let entry = self.entries.get_mut(worker)?;
        let before = Marks::of(entry);
        let result = change(entry);
        // Who has stopped once is awaited no more, whatever it does later.
        entry.awaited &= entry.is_searching();
        self.index.replace(worker, Some(before), Some(Marks::of(entry)));
        Some(result)
    }

    /// Changes every entry: a walk over all.
    pub(super) fn change_all(&mut self, mut change: impl FnMut(&mut Entry)) {
        for (worker, entry) in &mut self.entries {
            let before = Marks::of(entry);
            change(entry);
            self.index.replace(worker, Some(before), Some(Marks::of(entry)));
        }
    }

    pub(super) fn insert(&mut self, entry: Entry) {
        let (worker, marks) = (entry.member.worker.clone(), Marks::of(&entry));
        let before = self.entries.insert(worker.clone(), entry);
        self.index.replace(&worker, before.as_ref().map(Marks::of), Some(marks));
    }

    pub(super) fn remove(&mut self, worker: &WorkerId) -> Option<Entry> {
        let entry = self.entries.remove(worker)?;
        self.index.replace(worker, Some(Marks::of(&entry)), None);
        Some(entry)
    }

    pub(super) fn active(&self) -> usize {
        self.index.active
    }

    pub(super) fn backup(&self) -> usize {
        self.index.backup
    }

    pub(super) fn lost(&self) -> usize {
        self.index.lost
    }

    /// What the active members report together.
    pub(super) fn rate(&self) -> HashRate {
        HashRate(u64::try_from(self.index.rate).unwrap_or(u64::MAX))
    }

    /// What the active members have together, percent of one whole member.
    pub(super) fn capacity(&self) -> u32 {
        u32::try_from(self.index.capacity).unwrap_or(u32::MAX)
    }

    /// How many have to stop and have not said that they did.
    pub(super) fn awaited(&self) -> usize {
        self.index.awaited
    }

    /// The next `most` present members behind `after` in the order of the ids, and whether they are the last ones.
    pub(super) fn present_after(&self, after: Option<&WorkerId>, most: usize) -> (Vec<WorkerId>, bool) {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = self.index.present.range::<WorkerId, _>((from, Bound::Unbounded));
        let batch = rest.by_ref().take(most).cloned().collect();
        (batch, rest.next().is_none())
    }

    /// The backup that steps in first, and what it would add, percent.
    pub(super) fn next_in(&self) -> Option<(WorkerId, u16)> {
        let (_, worker) = self.index.step_in.first()?;
        Some((worker.clone(), self.entries.get(worker)?.capacity))
    }

    /// Active members that nobody fixed and what each has, percent, the newest first.
    pub(super) fn newest(&self) -> impl Iterator<Item = (&WorkerId, u16)> {
        let order = self.index.step_back.iter();
        order.filter_map(|(_, worker)| Some((worker, self.entries.get(worker)?.capacity)))
    }

    /// Some present member whose role is not the one that an operator fixed.
    pub(super) fn misplaced(&self) -> Option<&Entry> {
        self.entries.get(self.index.misplaced.first()?)
    }

    /// The member that is away for longest, and since when.
    pub(super) fn longest_away(&self) -> Option<(Seen, &Entry)> {
        let (since, worker) = self.index.away.first()?;
        Some((*since, self.entries.get(worker)?))
    }

    /// Invariant: counts and orders are those of the entries.
    pub(super) fn check(&self) -> Result<(), String> {
        let mut whole = Index::default();
        for (worker, entry) in &self.entries {
            if *worker != entry.member.worker {
                return Err(format!("{worker} has the entry of {}", entry.member.worker));
            }
            whole.replace(worker, None, Some(Marks::of(entry)));
        }
        if whole == self.index {
            return Ok(());
        }
        Err(format!("the members are {whole:?}, kept is {:?}", self.index))
    }
}
