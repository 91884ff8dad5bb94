//! What a schedule says at a moment, and until when it says so.
//!
//! Two steps: [`Schedule::agenda`] finds every time around a span at which a window is on, which is the work, and
//! [`Agenda::at`] says what follows at a moment of the span, which is a look at a few times.

use super::{InvalidSchedule, Read, Schedule, Weekly};
use crate::units::TimestampMs;
use jiff::{
    SignedDuration, Timestamp, ToSpan,
    civil::{DateTime, Weekday},
    tz::{AmbiguousOffset, TimeZone},
};

/// How far ahead a verdict looks: its `until` is never later, so that a change is never missed.
const HORIZON_HOURS: i64 = 24;
/// Longest agenda, hours: a preview's.
pub const MAX_AGENDA_HOURS: i64 = 400;
/// Most days and periods that are looked at for one window and one agenda: the longest window and the longest agenda, and a
/// year at each end of which some days are chosen by their place in it.
pub(super) const MAX_LOOK_STEPS: usize = 1_200;
/// Steps in which the search winds down before a window that is to be kept free.
const WIND_DOWN_STEPS: i64 = 20;

/// What a schedule allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Most threads; all when absent.
    pub threads: Option<u16>,
    /// Share of the threads' time, percent; 0 stops.
    pub cap_percent: u8,
    /// Which rule says so, for people.
    pub rule: String,
    /// The same holds until here at least.
    pub until: TimestampMs,
}

impl Verdict {
    /// Nothing may be searched, for this reason, until something else is known.
    pub fn stopped(rule: String) -> Self {
        Self { threads: None, cap_percent: 0, rule, until: TimestampMs(u64::MAX) }
    }
}

/// What one rule allows now; the lower of two is the more restrictive.
#[derive(Debug, Clone)]
struct Candidate {
    threads: Option<u16>,
    cap_percent: u8,
    priority: i16,
    rule: String,
}

impl Candidate {
    fn restriction(&self) -> (u8, u16) {
        (self.cap_percent, self.threads.unwrap_or(u16::MAX))
    }
}

pub(super) fn millis(at: Timestamp) -> TimestampMs {
    TimestampMs(u64::try_from(at.as_millisecond()).unwrap_or(0))
}

pub(super) fn timestamp(at: TimestampMs) -> Timestamp {
    let at = i64::try_from(at.0).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    at.unwrap_or(Timestamp::MAX)
}

/// A time in which a window is on.
pub(super) type On = (Timestamp, Timestamp);

impl Read {
    /// When the occurrence that begins at the civil time `start` is on. Where the clock skips that time, the whole window
    /// comes later, so that it is never shorter than it is written.
    pub(super) fn on(&self, zone: &TimeZone, start: DateTime) -> Option<On> {
        let length = self.end.duration_since(self.start);
        let ambiguous = zone.to_ambiguous_timestamp(start);
        let skipped = matches!(ambiguous.offset(), AmbiguousOffset::Gap { .. });
        let begins = ambiguous.compatible().ok()?;
        let ends = zone.to_ambiguous_timestamp(start.checked_add(length).ok()?).compatible().ok()?;
        let moved = begins.checked_add(length).ok()?;
        Some((begins, if skipped { ends.max(moved) } else { ends }))
    }

    /// Every time at which it is on that touches the span from `from` to `to`, in order and apart from each other. Costs at
    /// most [`MAX_LOOK_STEPS`].
    fn spans(&self, zone: &TimeZone, from: Timestamp, to: Timestamp) -> Vec<On> {
        let touches = |(start, end): &On| *end > from && *start <= to;
        let Some(series) = &self.series else {
            return self.on(zone, self.start).filter(touches).into_iter().collect();
        };
        // A clock was never set further than a day, and an occurrence is as long as it is written and a gap.
        let length = self.end.duration_since(self.start);
        let earliest = zone.to_datetime(from).checked_sub(length).and_then(|at| at.checked_sub(2.days()));
        let latest = zone.to_datetime(to).checked_add(2.days());
        let (earliest, latest) = (earliest.unwrap_or(DateTime::MIN), latest.unwrap_or(DateTime::MAX));
        let days = series.days(earliest.date(), latest.date(), MAX_LOOK_STEPS);
        let starts = days.map(|day| DateTime::from_parts(day, self.start.time()));
        let mut joined: Vec<On> = Vec::new();
        for (start, end) in starts.filter_map(|start| self.on(zone, start)).filter(touches) {
            match joined.last_mut().filter(|last| start <= last.1) {
                Some(last) => last.1 = last.1.max(end),
                None => joined.push((start, end)),
            }
        }
        joined
    }
}

/// A window in a span of time.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    name: String,
    priority: i16,
    threads: Option<u16>,
    cap_percent: u8,
    lead: SignedDuration,
    on: Vec<On>,
}

impl Entry {
    /// What it allows at `at`, `None` when it is not on; earlier boundaries lower `until`.
    fn at(&self, at: Timestamp, until: &mut Timestamp) -> Option<Candidate> {
        let mut on = None;
        let next = self.on.partition_point(|(_, end)| *end <= at);
        for &(start, end) in self.on.get(next..).unwrap_or_default().iter().take(2) {
            let begins = start.checked_sub(self.lead).unwrap_or(start);
            for boundary in [begins, start, end] {
                if boundary > at {
                    *until = (*until).min(boundary);
                }
            }
            if (start..end).contains(&at) {
                on = Some((self.threads, self.cap_percent, ""));
            } else if (begins..start).contains(&at) && on.is_none() {
                let (share, next) = self.winding_down(start.duration_since(at));
                if let Ok(next) = at.checked_add(next) {
                    *until = (*until).min(next);
                }
                // A window that limits threads without a cap leaves them until it begins.
                on = Some((None, share, ", to be finished by then"));
            }
        }
        let (threads, cap_percent, remark) = on?;
        let rule = format!("window {:?}{remark}", self.name);
        Some(Candidate { threads, cap_percent, priority: self.priority, rule })
    }

    /// What is left so long before the window, and for how long.
    fn winding_down(&self, left: SignedDuration) -> (u8, SignedDuration) {
        let cap = i128::from(self.cap_percent);
        let (left, whole) = (left.as_millis(), self.lead.as_millis().max(1));
        let step = (whole / i128::from(WIND_DOWN_STEPS)).max(1_000);
        // Rounded down to whole steps, so that the last step ends with what the window allows.
        let steps_left = (left - 1).max(0) / step;
        let share = cap + (100 - cap) * steps_left * step / whole;
        let next = i64::try_from(left - steps_left * step).unwrap_or(1).max(1);
        (u8::try_from(share.clamp(0, 100)).unwrap_or(100), SignedDuration::from_millis(next))
    }
}

/// What a schedule says in a span of time, found once. It depends on nothing but the schedule and the span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agenda {
    from: Timestamp,
    until: Timestamp,
    /// Why there is nothing: the schedule cannot be read.
    unreadable: Option<String>,
    zone: TimeZone,
    weekly: Option<Weekly>,
    entries: Vec<Entry>,
}

impl Agenda {
    /// Of a schedule that cannot be read: it stops at every time.
    pub fn unreadable(why: impl Into<String>) -> Self {
        Self {
            from: Timestamp::MIN,
            until: Timestamp::MAX,
            unreadable: Some(why.into()),
            zone: TimeZone::UTC,
            weekly: None,
            entries: Vec::new(),
        }
    }

    /// Whether it says something about a moment.
    pub fn covers(&self, at: TimestampMs) -> bool {
        (self.from..self.until).contains(&timestamp(at))
    }

    /// What the schedule says at a moment of the span; `None` outside of it. Costs a look at each window.
    pub fn at(&self, at: TimestampMs) -> Option<Verdict> {
        if let Some(why) = &self.unreadable {
            return Some(Verdict::stopped(format!("a schedule that cannot be read: {why}")));
        }
        if !self.covers(at) {
            return None;
        }
        let now = timestamp(at);
        let horizon = now.checked_add(SignedDuration::from_hours(HORIZON_HOURS)).unwrap_or(Timestamp::MAX);
        let mut until = horizon.min(self.until);
        let mut best: Option<Candidate> = None;
        for candidate in self.entries.iter().filter_map(|entry| entry.at(now, &mut until)) {
            let wins = best.as_ref().is_none_or(|b| {
                candidate.priority > b.priority
                    || candidate.priority == b.priority && candidate.restriction() < b.restriction()
            });
            if wins {
                best = Some(candidate);
            }
        }
        let chosen = best.or_else(|| self.ordinary(now, &mut until));
        let until = millis(until);
        Some(match chosen {
            Some(Candidate { threads, cap_percent, rule, .. }) => {
                Verdict { threads, cap_percent, rule, until }
            }
            None => Verdict { threads: None, cap_percent: 100, rule: "no window".to_owned(), until },
        })
    }

    fn ordinary(&self, at: Timestamp, until: &mut Timestamp) -> Option<Candidate> {
        let weekly = self.weekly.as_ref()?;
        let now = self.zone.to_datetime(at);
        let (day, hour) = (now.weekday(), now.hour());
        let index = match day {
            Weekday::Monday => 0,
            Weekday::Tuesday => 1,
            Weekday::Wednesday => 2,
            Weekday::Thursday => 3,
            Weekday::Friday => 4,
            Weekday::Saturday => 5,
            Weekday::Sunday => 6,
        };
        // The clock may jump within an hour, so the next look is after a quarter of one at most.
        let into = i64::from(now.minute() % 15) * 60 + i64::from(now.second());
        let subsecond = i64::from(now.millisecond());
        let left = SignedDuration::from_millis((15 * 60 - into) * 1_000 - subsecond);
        if let Ok(next) = at.checked_add(left) {
            *until = (*until).min(next);
        }
        let (name, row) = *weekly.days().get(index)?;
        let cell =
            row.and_then(|row| row.as_bytes().get(usize::from(hour.unsigned_abs()))).copied().unwrap_or(b'#');
        let cap_percent = match cell {
            b'#' => 100,
            b'.' => 0,
            tenths => (tenths.saturating_sub(b'0')).min(10) * 10,
        };
        let rule = format!("weekly {name} {hour:02}:00 {:?}", char::from(cell));
        Some(Candidate { threads: None, cap_percent, priority: i16::MIN, rule })
    }
}

impl Schedule {
    /// What it says at `at`. A schedule that cannot be read stops: what is not understood is not free. Costs what
    /// [`Schedule::agenda`] costs; who asks more than once keeps an agenda.
    pub fn at(&self, at: TimestampMs) -> Verdict {
        let until = at.plus_ms(HORIZON_HOURS.unsigned_abs() * 3_600_000);
        let said = self.agenda(at, until).at(at);
        said.unwrap_or_else(|| Verdict::stopped(format!("{} is past the end of time", at.to_rfc3339())))
    }

    /// What it says from `from` until `until`, but at most [`MAX_AGENDA_HOURS`] of it. Costs at most some hundred days for
    /// each window, whatever its rule: see [`MAX_LOOK_STEPS`] and [`MAX_COUNT_STEPS`](super::recurrence::MAX_COUNT_STEPS).
    pub fn agenda(&self, from: TimestampMs, until: TimestampMs) -> Agenda {
        self.try_agenda(timestamp(from), timestamp(until))
            .unwrap_or_else(|error| Agenda::unreadable(error.to_string()))
    }

    fn try_agenda(&self, from: Timestamp, until: Timestamp) -> Result<Agenda, InvalidSchedule> {
        let zone = self.zone()?;
        let longest = from.checked_add(SignedDuration::from_hours(MAX_AGENDA_HOURS));
        let until = until.min(longest.unwrap_or(Timestamp::MAX));
        if self.windows.len() > super::MAX_WINDOWS {
            return Err(InvalidSchedule::TooMany(self.windows.len()));
        }
        let mut entries = Vec::with_capacity(self.windows.len());
        for window in &self.windows {
            let read = window.read()?;
            let seconds = window.finish_by_seconds.min(super::MAX_FINISH_BY_SECONDS);
            let lead = SignedDuration::from_secs(seconds.into());
            entries.push(Entry {
                name: window.name.clone(),
                priority: window.priority,
                threads: window.threads,
                cap_percent: window.cap_percent.unwrap_or(100).min(100),
                lead,
                on: read.spans(&zone, from, until.checked_add(lead).unwrap_or(Timestamp::MAX)),
            });
        }
        Ok(Agenda { from, until, unreadable: None, zone, weekly: self.weekly.clone(), entries })
    }
}

#[cfg(test)]
mod tests;
