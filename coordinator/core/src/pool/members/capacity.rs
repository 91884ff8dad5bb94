//! How much of a whole member each one is. A whole member does all that the policies of pool, label and node, the pool's
//! schedule and its host's own file allow: where the operator wants less, nobody is to step in. What the node's own
//! schedule, throttle orders, load and the scheduling group leave is a part of it.

use super::{Entry, Members, Terms};
use crate::time::Now;
use bus_schemas::{
    TimestampMs, WorkerId,
    config::{NodeConfig, PoolConfig},
    member::{Role, Standing},
    schedule::{Agenda, Verdict},
    set_point::{self, LocalState, Reason, SetPointInput},
};
use std::collections::BTreeMap;

/// Capacity of a whole member, percent.
pub const WHOLE_PERCENT: u16 = 100;

/// Where a schedule stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Pool,
    Label(usize),
    Node(WorkerId),
}

/// Most agendas that one pass over the members makes; who gets none counts as if it had no schedule until a later pass. Each
/// may take some milliseconds, and the pool's loop waits for it.
const MAX_AGENDAS: usize = 8;
/// How far an agenda reaches, milliseconds.
const AGENDA_MS: u64 = 26 * 3_600_000;

/// A schedule's times and what holds.
#[derive(Debug)]
struct Kept {
    agenda: Agenda,
    since: TimestampMs,
    verdict: Verdict,
}

/// What the schedules in force say, each kept until it ends.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    kept: BTreeMap<Place, Kept>,
    /// Agendas made in this pass.
    made: usize,
}

impl Verdicts {
    /// Some schedule is another one now.
    pub(super) fn forget(&mut self) {
        self.kept.clear();
    }

    /// The node's own schedule is another one now.
    pub(super) fn forget_node(&mut self, worker: &WorkerId) {
        self.kept.remove(&Place::Node(worker.clone()));
    }

    pub(super) fn begin_pass(&mut self) {
        self.made = 0;
    }

    fn of(
        &mut self,
        pool: &PoolConfig,
        node: Option<&NodeConfig>,
        worker: &WorkerId,
        at: TimestampMs,
    ) -> Option<&Verdict> {
        let schedule = set_point::schedule(Some(pool), node)?;
        let is = |of: &Option<_>| of.as_ref().is_some_and(|s| std::ptr::eq(s, schedule));
        let place = if is(&pool.schedule) {
            Place::Pool
        } else {
            let label = pool.labels.iter().position(|l| is(&l.schedule));
            label.map_or_else(|| Place::Node(worker.clone()), Place::Label)
        };
        if !self.kept.get(&place).is_some_and(|kept| kept.agenda.covers(at)) {
            if self.made >= MAX_AGENDAS {
                return None;
            }
            self.made += 1;
            let agenda = schedule.agenda(at, at.plus_ms(AGENDA_MS));
            let verdict = agenda.at(at)?;
            self.kept.insert(place.clone(), Kept { agenda, since: at, verdict });
        }
        let kept = self.kept.get_mut(&place)?;
        if !(kept.since..kept.verdict.until).contains(&at) {
            (kept.verdict, kept.since) = (kept.agenda.at(at)?, at);
        }
        Some(&kept.verdict)
    }
}

/// What the active members have and what is wanted, in percent of one whole member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Capacity {
    pub(crate) percent: u32,
    pub(crate) wanted: u32,
}

impl Capacity {
    pub(super) fn is_enough(self) -> bool {
        self.percent >= self.wanted
    }
}

/// The part that a member has of what it is to have; all of it where that is nothing.
fn percent(part: u32, whole: u32) -> u16 {
    if whole == 0 {
        return WHOLE_PERCENT;
    }
    let percent = u64::from(part) * u64::from(WHOLE_PERCENT) / u64::from(whole);
    u16::try_from(percent).unwrap_or(WHOLE_PERCENT).min(WHOLE_PERCENT)
}

/// Hundredths of threads that the worker would have as a whole member.
fn whole(local: &LocalState, worker: &WorkerId, verdicts: &mut Verdicts, terms: Terms<'_>, now: Now) -> u32 {
    let local =
        LocalState { load: None, group_percent: None, vetoed: false, uncertified: None, ..local.clone() };
    let input = SetPointInput {
        farm: None,
        pool: Some(terms.config),
        node: terms.world.node(worker),
        role: Some((Role::Active, Standing::Present)),
        schedule: verdicts.of(terms.config, None, worker, now.wall),
        throttle: None,
        local: &local,
        lease_expired: false,
    };
    set_point::resolve(input).capacity()
}

/// What the worker would do as an active member by all that is known of it.
fn expected(entry: &Entry, local: &LocalState, verdicts: &mut Verdicts, terms: Terms<'_>, now: Now) -> u32 {
    let worker = &entry.member.worker;
    let node = terms.world.node(worker);
    let input = SetPointInput {
        farm: terms.world.farm(),
        pool: Some(terms.config),
        node,
        role: Some((Role::Active, Standing::Present)),
        schedule: verdicts.of(terms.config, node, worker, now.wall),
        throttle: terms.world.lowest(terms.pool, worker, now.mono),
        local,
        lease_expired: false,
    };
    set_point::resolve(input).capacity()
}

pub(super) fn measured(entry: &Entry, verdicts: &mut Verdicts, terms: Terms<'_>, now: Now) -> u16 {
    let active = entry.member.role == Role::Active;
    let said = entry.set_point.filter(|_| active);
    if active && said.is_none() {
        return WHOLE_PERCENT;
    }
    let local = entry.local_state();
    let whole = whole(&local, &entry.member.worker, verdicts, terms, now);
    // A heartbeat from before the order reached the worker says nothing about what it does now.
    let before = |reason| matches!(reason, Reason::Backup | Reason::NoRole | Reason::NoConfiguration);
    let young = now.mono.since(entry.role_since) < terms.lost_after_ms();
    match said {
        Some(set_point) if !(young && before(set_point.reason)) => percent(set_point.capacity(), whole),
        _ => percent(expected(entry, &local, verdicts, terms, now), whole),
    }
}

impl Members {
    /// Finds out what every present member has, and a backup would have: a walk over all.
    pub(super) fn measure_all(&mut self, terms: Terms<'_>, now: Now) {
        let Self { roster, verdicts, .. } = self;
        verdicts.begin_pass();
        roster.change_all(|entry| {
            if entry.member.standing == Standing::Present {
                entry.capacity = measured(entry, verdicts, terms, now);
            }
        });
    }

    /// What the active members have and what is wanted; nothing where everybody is to mine, or nobody.
    pub(crate) fn capacity(&self, terms: Terms<'_>) -> Option<Capacity> {
        let config = terms.config;
        if config.active_members == u16::MAX || terms.at_rest() {
            return None;
        }
        let percent = self.roster.capacity();
        let wanted = u32::from(config.backup.threshold_percent) * u32::from(config.active_members);
        Some(Capacity { percent, wanted })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bus_schemas::schedule::{Schedule, Window};

    const NOW: TimestampMs = TimestampMs(1_795_219_200_000);

    #[test]
    fn one_pass_evaluates_a_few_schedules_and_the_next_passes_the_others() {
        let window = Window {
            name: "closed".to_owned(),
            start: "2026-01-01T00:00".to_owned(),
            end: "2027-01-01T00:00".to_owned(),
            cap_percent: Some(0),
            ..Window::default()
        };
        let schedule = Schedule { windows: vec![window], ..Schedule::default() };
        let node = NodeConfig { schedule: Some(schedule), ..NodeConfig::default() };
        let (pool, mut verdicts) = (PoolConfig::default(), Verdicts::default());
        let mut known = |at| {
            verdicts.begin_pass();
            let workers = (0..MAX_AGENDAS * 2 + 1).filter_map(|n| WorkerId::new(format!("w{n}")).ok());
            let mut of =
                |worker: &WorkerId| verdicts.of(&pool, Some(&node), worker, at).map(|v| v.cap_percent);
            let caps: Vec<_> = workers.map(|worker| of(&worker)).collect();
            assert!(caps.iter().all(|cap| matches!(cap, None | Some(0))), "{caps:?}");
            caps.iter().flatten().count()
        };
        assert_eq!([known(NOW), known(NOW), known(NOW)], [MAX_AGENDAS, MAX_AGENDAS * 2, MAX_AGENDAS * 2 + 1]);
        // A clock that was set back is beyond what was found.
        assert_eq!(known(TimestampMs(NOW.0 - 1)), MAX_AGENDAS);
    }
}
