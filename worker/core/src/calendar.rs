//! What the schedule says. To find the times of its windows is work, so an agenda is asked for and made elsewhere; here it is
//! looked up, which costs next to nothing and follows a wall clock that is set.

use crate::{
    effect::Effect,
    moment::{MonotonicMs, Now},
};
use bus_schemas::{
    TimestampMs,
    config::{NodeConfig, PoolConfig},
    schedule::{Agenda, Schedule, Verdict},
    set_point,
};
use std::{collections::VecDeque, sync::Arc};

/// Longest time between two looks, milliseconds: the wall clock may have been set.
pub const SCHEDULE_RECHECK_MS: u64 = 30_000;
/// How far an agenda reaches back and ahead, milliseconds: so far the wall clock may be set without another one.
const AGENDA_BACK_MS: u64 = 3_600_000;
const AGENDA_AHEAD_MS: u64 = 26 * 3_600_000;
/// The next agenda is asked for when less is left of the last, milliseconds.
const AGENDA_LEFT_MS: u64 = 2 * 3_600_000;
/// While an agenda is made, what was known before holds for so long, milliseconds; then nothing is searched.
pub const AGENDA_PATIENCE_MS: u64 = 2_000;
/// An agenda that did not come is asked for again after this time, milliseconds.
pub const AGENDA_RETRY_MS: u64 = 10_000;
/// Least time between two questions about one schedule, milliseconds.
const AGENDA_PACE_MS: u64 = 1_000;

/// Asks for [`Schedule::agenda`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgendaQuestion {
    /// Names it in the answer.
    pub number: u64,
    /// Of this schedule.
    pub schedule: Arc<Schedule>,
    /// From.
    pub from: TimestampMs,
    /// Until.
    pub until: TimestampMs,
}

impl AgendaQuestion {
    /// The answer. Costs what [`Schedule::agenda`] costs.
    pub fn answer(&self) -> Agenda {
        self.schedule.agenda(self.from, self.until)
    }
}

/// A question without an answer.
#[derive(Debug, Clone, Copy)]
struct Asked {
    number: u64,
    at: MonotonicMs,
}

/// The schedule in force and what it says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Calendar {
    /// Of the configurations that were looked at last.
    revisions: Option<(u64, u64)>,
    schedule: Option<Arc<Schedule>>,
    /// Of this schedule.
    agenda: Option<Agenda>,
    /// What holds, and from when on.
    verdict: Option<Verdict>,
    since: TimestampMs,
    /// Since when `verdict` is only what was known before.
    unsure: Option<MonotonicMs>,
    asked: Option<Asked>,
    /// Nothing is asked before.
    ask_from: MonotonicMs,
    questions: u64,
    again: Option<MonotonicMs>,
}

impl Calendar {
    /// Looks what holds now; asks for an agenda where one is needed.
    pub(crate) fn look(
        &mut self,
        pool: Option<&PoolConfig>,
        node: Option<&NodeConfig>,
        revisions: (u64, u64),
        now: Now,
        effects: &mut VecDeque<Effect>,
    ) {
        if self.revisions != Some(revisions) {
            self.follow(set_point::schedule(pool, node), now);
            self.revisions = pool.map(|_| revisions);
        }
        self.again = None;
        let Some(schedule) = self.schedule.clone() else { return };
        let left = now.wall.plus_ms(AGENDA_LEFT_MS);
        let lacks =
            !self.agenda.as_ref().is_some_and(|agenda| agenda.covers(now.wall) && agenda.covers(left));
        if lacks && now.monotonic >= self.ask_from {
            self.ask(schedule, now, effects);
        }
        match self.agenda.as_ref().filter(|agenda| agenda.covers(now.wall)) {
            Some(agenda) => {
                let holds = |verdict: &Verdict| {
                    self.unsure.is_none() && (self.since..verdict.until).contains(&now.wall)
                };
                if !self.verdict.as_ref().is_some_and(holds) {
                    (self.verdict, self.since, self.unsure) = (agenda.at(now.wall), now.wall, None);
                }
            }
            None => self.wait(now.monotonic),
        }
        let asked = lacks.then_some(self.ask_from);
        let unsure = self.unsure.map(|since| since.plus_ms(AGENDA_PATIENCE_MS));
        let until = self.verdict.as_ref().map_or(u64::MAX, |v| v.until.since(now.wall).max(1));
        let next = now.monotonic.plus_ms(until.min(SCHEDULE_RECHECK_MS));
        let later = |at: &MonotonicMs| *at > now.monotonic;
        self.again = [Some(next), asked, unsure].into_iter().flatten().filter(later).min();
    }

    /// Another configuration: mostly its schedule is the same.
    fn follow(&mut self, schedule: Option<&Schedule>, now: Now) {
        let first = self.revisions.is_none();
        if !first && schedule == self.schedule.as_deref() {
            return;
        }
        self.schedule = schedule.cloned().map(Arc::new);
        (self.agenda, self.asked, self.unsure, self.ask_from) = (None, None, None, now.monotonic);
        if schedule.is_none() {
            self.verdict = None;
        } else {
            self.unsure = Some(now.monotonic);
            if first {
                self.verdict = Some(unknown());
            }
        }
    }

    fn ask(&mut self, schedule: Arc<Schedule>, now: Now, effects: &mut VecDeque<Effect>) {
        self.questions += 1;
        self.ask_from = now.monotonic.plus_ms(AGENDA_RETRY_MS);
        let number = self.questions;
        self.asked = Some(Asked { number, at: now.monotonic });
        let from = TimestampMs(now.wall.0.saturating_sub(AGENDA_BACK_MS));
        let until = now.wall.plus_ms(AGENDA_AHEAD_MS);
        effects.push_back(Effect::MakeAgenda(AgendaQuestion { number, schedule, from, until }));
    }

    /// Nothing is known of this moment: what was known holds for a while.
    fn wait(&mut self, now: MonotonicMs) {
        let since = *self.unsure.get_or_insert(now);
        if now.since(since) >= AGENDA_PATIENCE_MS {
            self.verdict = Some(unknown());
        }
    }

    /// Takes the answer to a question, if nothing else was asked since.
    pub(crate) fn on_agenda(&mut self, number: u64, agenda: Agenda) {
        if let Some(asked) = self.asked.take_if(|asked| asked.number == number) {
            self.agenda = Some(agenda);
            self.ask_from = asked.at.plus_ms(AGENDA_PACE_MS);
        }
    }

    /// What holds; `None` without a schedule.
    pub(crate) fn verdict(&self) -> Option<&Verdict> {
        self.verdict.as_ref()
    }

    /// When it is to be looked at again.
    pub(crate) fn next_deadline(&self) -> Option<MonotonicMs> {
        self.again
    }
}

fn unknown() -> Verdict {
    Verdict::stopped("a schedule whose times are not known yet".to_owned())
}
