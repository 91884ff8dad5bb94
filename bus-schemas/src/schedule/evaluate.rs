//! What a schedule says at a moment, and until when it says so.

use super::{InvalidSchedule, Read, Schedule, Window};
use crate::units::TimestampMs;
use chrono::{NaiveDate, NaiveDateTime, TimeZone as _, Utc};
use jiff::{
    SignedDuration, Timestamp, ToSpan,
    civil::{DateTime, Weekday},
    tz::TimeZone,
};
use rrule::{RRuleSet, Tz};

/// How far ahead a verdict looks: its `until` is never later, so that a change is never missed.
const HORIZON_HOURS: i64 = 24;
/// Most occurrences of one window that are looked at around one moment.
const MAX_OCCURRENCES: u16 = 1_000;
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

/// A civil time as if it were UTC: recurrence is a matter of the calendar, the time zone comes after.
pub(super) fn floating(at: DateTime) -> Option<chrono::DateTime<Utc>> {
    let date = NaiveDate::from_ymd_opt(
        i32::from(at.year()),
        at.month().unsigned_abs().into(),
        at.day().unsigned_abs().into(),
    )?;
    let time = date.and_hms_opt(
        at.hour().unsigned_abs().into(),
        at.minute().unsigned_abs().into(),
        at.second().unsigned_abs().into(),
    )?;
    Some(Utc.from_utc_datetime(&time))
}

fn civil(at: NaiveDateTime) -> Option<DateTime> {
    use chrono::{Datelike as _, Timelike as _};
    DateTime::new(
        i16::try_from(at.year()).ok()?,
        i8::try_from(at.month()).ok()?,
        i8::try_from(at.day()).ok()?,
        i8::try_from(at.hour()).ok()?,
        i8::try_from(at.minute()).ok()?,
        i8::try_from(at.second()).ok()?,
        0,
    )
    .ok()
}

fn millis(at: Timestamp) -> TimestampMs {
    TimestampMs(u64::try_from(at.as_millisecond()).unwrap_or(0))
}

impl Read {
    /// The occurrences that may matter between `from` and `to`, as spans of real time.
    fn spans(&self, zone: &TimeZone, from: DateTime, to: DateTime) -> Vec<(Timestamp, Timestamp)> {
        let length = self.end.duration_since(self.start);
        let real = |at: DateTime| zone.to_ambiguous_timestamp(at).compatible().ok();
        let span = |start: DateTime| Some((real(start)?, real(start.checked_add(length).ok()?)?));
        let Some(rule) = &self.rule else {
            return span(self.start).into_iter().collect();
        };
        let earliest = from.checked_sub(length).unwrap_or(DateTime::MIN);
        let (Some(first), Some(after), Some(before)) =
            (floating(self.start), floating(earliest), floating(to))
        else {
            return Vec::new();
        };
        let Ok(rule) = rule.clone().validate(first.with_timezone(&Tz::UTC)) else { return Vec::new() };
        let set = RRuleSet::new(first.with_timezone(&Tz::UTC))
            .rrule(rule)
            .after(after.with_timezone(&Tz::UTC))
            .before(before.with_timezone(&Tz::UTC));
        let starts = set.all(MAX_OCCURRENCES).dates;
        starts.into_iter().filter_map(|start| span(civil(start.naive_utc())?)).collect()
    }
}

impl Window {
    /// What it allows at `at`, `None` when it is not on; earlier boundaries lower `until`.
    fn at(&self, read: &Read, zone: &TimeZone, at: Timestamp, until: &mut Timestamp) -> Option<Candidate> {
        let now = zone.to_datetime(at);
        let lead = SignedDuration::from_secs(self.finish_by_seconds.into());
        let from = now.checked_sub(1.day()).unwrap_or(DateTime::MIN);
        let to = now.checked_add((HORIZON_HOURS + 24).hours()).unwrap_or(DateTime::MAX);
        let to = to.checked_add(lead).unwrap_or(DateTime::MAX);
        let (cap, mut on) = (self.cap_percent.unwrap_or(100), None);
        for (start, end) in read.spans(zone, from, to) {
            let begins = start.checked_sub(lead).unwrap_or(start);
            for boundary in [begins, start, end] {
                if boundary > at {
                    *until = (*until).min(boundary);
                }
            }
            if (start..end).contains(&at) {
                on = Some((self.threads, cap, ""));
            } else if (begins..start).contains(&at) && on.is_none() {
                let (left, whole) = (start.duration_since(at).as_millis(), lead.as_millis().max(1));
                let step = (whole / i128::from(WIND_DOWN_STEPS)).max(1_000);
                // Rounded down to whole steps, so that the last step ends with what the window allows.
                let steps_left = (left - 1).max(0) / step;
                let share = i128::from(cap) + (100 - i128::from(cap)) * steps_left * step / whole;
                let next = i64::try_from(left - steps_left * step).unwrap_or(1).max(1);
                if let Ok(next) = at.checked_add(SignedDuration::from_millis(next)) {
                    *until = (*until).min(next);
                }
                // A window that limits threads without a cap leaves them until it begins.
                on = Some((
                    None,
                    u8::try_from(share.clamp(0, 100)).unwrap_or(100),
                    ", to be finished by then",
                ));
            }
        }
        let (threads, cap_percent, remark) = on?;
        let rule = format!("window {:?}{remark}", self.name);
        Some(Candidate { threads, cap_percent, priority: self.priority, rule })
    }
}

impl Schedule {
    fn ordinary(&self, zone: &TimeZone, at: Timestamp, until: &mut Timestamp) -> Option<Candidate> {
        let weekly = self.weekly.as_ref()?;
        let now = zone.to_datetime(at);
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

    /// What it says at `at`. A schedule that [`Schedule::check`] refuses stops: what is not understood is not free.
    /// Costs a pass over the windows, and for each that repeats over its occurrences since it began.
    pub fn at(&self, at: TimestampMs) -> Verdict {
        self.evaluate(at).unwrap_or_else(|error| Verdict {
            threads: None,
            cap_percent: 0,
            rule: format!("a schedule that cannot be read: {error}"),
            until: TimestampMs(u64::MAX),
        })
    }

    fn evaluate(&self, at: TimestampMs) -> Result<Verdict, InvalidSchedule> {
        let zone = self.zone()?;
        let now = i64::try_from(at.0).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let now = now.unwrap_or(Timestamp::MAX);
        let mut until = now.checked_add(SignedDuration::from_hours(HORIZON_HOURS)).unwrap_or(Timestamp::MAX);
        let mut best: Option<Candidate> = None;
        for window in &self.windows {
            let Some(candidate) = window.at(&window.read()?, &zone, now, &mut until) else { continue };
            let wins = best.as_ref().is_none_or(|b| {
                candidate.priority > b.priority
                    || candidate.priority == b.priority && candidate.restriction() < b.restriction()
            });
            if wins {
                best = Some(candidate);
            }
        }
        let chosen = best.or_else(|| self.ordinary(&zone, now, &mut until));
        let until = millis(until);
        Ok(match chosen {
            Some(Candidate { threads, cap_percent, rule, .. }) => {
                Verdict { threads, cap_percent, rule, until }
            }
            None => Verdict { threads: None, cap_percent: 100, rule: "no window".to_owned(), until },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::Weekly;

    fn at(text: &str) -> TimestampMs {
        millis(text.parse::<Timestamp>().unwrap())
    }

    fn window(name: &str, start: &str, end: &str) -> Window {
        Window {
            name: name.into(),
            start: start.into(),
            end: end.into(),
            cap_percent: Some(0),
            ..Window::default()
        }
    }

    fn berlin(windows: Vec<Window>) -> Schedule {
        let schedule = Schedule { time_zone: "Europe/Berlin".into(), weekly: None, windows };
        schedule.check().unwrap();
        schedule
    }

    fn cap(schedule: &Schedule, text: &str) -> u8 {
        schedule.at(at(text)).cap_percent
    }

    #[test]
    fn an_empty_schedule_is_free_and_is_looked_at_again_within_a_day() {
        let verdict = Schedule::default().at(at("2026-11-21T12:00:00Z"));
        assert_eq!((verdict.cap_percent, verdict.threads), (100, None));
        assert_eq!(verdict.until, at("2026-11-22T12:00:00Z"));
    }

    #[test]
    fn the_week_is_read_in_local_time_through_both_changes_of_the_clock() {
        let night = "######....##############";
        let weekly = Weekly { sun: Some(night.into()), ..Weekly::default() };
        let schedule = Schedule { weekly: Some(weekly), ..berlin(Vec::new()) };
        // 2026-03-29: at 02:00 local time the clock jumps to 03:00, so 06:00 local is 04:00 UTC.
        for (text, wanted) in [
            ("2026-03-29T03:59:59Z", 100),
            ("2026-03-29T04:00:00Z", 0),
            ("2026-03-29T07:59:59Z", 0),
            ("2026-03-29T08:00:00Z", 100),
            // 2026-10-25: at 03:00 local time the clock goes back, so 06:00 local is 05:00 UTC.
            ("2026-10-25T04:59:59Z", 100),
            ("2026-10-25T05:00:00Z", 0),
            ("2026-10-25T09:00:00Z", 100),
        ] {
            assert_eq!(cap(&schedule, text), wanted, "{text}");
        }
    }

    #[test]
    fn a_nightly_window_keeps_its_civil_times_in_the_short_and_in_the_long_night() {
        let nightly = Window {
            repeat: Some("FREQ=DAILY".into()),
            ..window("n", "2026-01-01T22:00", "2026-01-02T06:00")
        };
        let schedule = berlin(vec![nightly]);
        for (text, wanted) in [
            ("2026-03-28T20:59:59Z", 100),
            ("2026-03-28T21:00:00Z", 0),
            ("2026-03-29T03:59:59Z", 0),
            ("2026-03-29T04:00:00Z", 100),
            ("2026-10-24T20:00:00Z", 0),
            ("2026-10-25T04:59:59Z", 0),
            ("2026-10-25T05:00:00Z", 100),
        ] {
            assert_eq!(cap(&schedule, text), wanted, "{text}");
        }
    }

    #[test]
    fn a_time_that_is_skipped_moves_with_the_clock_and_one_that_comes_twice_is_the_first() {
        let skipped = berlin(vec![window("s", "2026-03-29T02:30", "2026-03-29T05:00")]);
        assert_eq!(cap(&skipped, "2026-03-29T01:29:59Z"), 100);
        assert_eq!(cap(&skipped, "2026-03-29T01:30:00Z"), 0);
        let twice = berlin(vec![window("t", "2026-10-25T02:30", "2026-10-25T02:45")]);
        assert_eq!(cap(&twice, "2026-10-25T00:30:00Z"), 0);
        assert_eq!(cap(&twice, "2026-10-25T01:30:00Z"), 100);
    }

    #[test]
    fn recurrence_rules_follow_the_calendar() {
        let last_friday = Window {
            repeat: Some("FREQ=MONTHLY;BYDAY=-1FR".into()),
            ..window("m", "2026-01-30T18:00", "2026-01-31T02:00")
        };
        let schedule = berlin(vec![last_friday]);
        assert_eq!(cap(&schedule, "2026-11-27T17:00:00Z"), 0);
        assert_eq!(cap(&schedule, "2026-11-28T00:59:59Z"), 0);
        assert_eq!(cap(&schedule, "2026-11-28T01:00:00Z"), 100);
        assert_eq!(cap(&schedule, "2026-11-20T18:00:00Z"), 100);
        let counted = Window {
            repeat: Some("FREQ=DAILY;COUNT=2".into()),
            ..window("c", "2026-05-01T00:00", "2026-05-01T01:00")
        };
        let schedule = berlin(vec![counted]);
        assert_eq!(cap(&schedule, "2026-05-01T22:30:00Z"), 0);
        assert_eq!(cap(&schedule, "2026-05-02T22:30:00Z"), 100);
    }

    #[test]
    fn the_higher_priority_wins_and_among_equals_the_more_restrictive() {
        let base = window("stop", "2026-05-01T00:00", "2026-05-02T00:00");
        let half = Window { cap_percent: Some(50), name: "half".into(), ..base.clone() };
        let free = Window { cap_percent: None, priority: 1, name: "free".into(), ..base.clone() };
        let noon = "2026-05-01T12:00:00Z";
        assert_eq!(berlin(vec![half.clone(), base.clone()]).at(at(noon)).rule, "window \"stop\"");
        assert_eq!(cap(&berlin(vec![half.clone(), base.clone(), free]), noon), 100);
        let threads = Window { cap_percent: None, threads: Some(1), priority: 2, ..base };
        assert_eq!(berlin(vec![half, threads]).at(at(noon)).threads, Some(1));
    }

    #[test]
    fn what_is_to_be_finished_by_a_time_winds_down_to_it() {
        let maintenance = Window {
            finish_by_seconds: 600,
            ..window("maintenance", "2026-05-01T06:00", "2026-05-01T08:00")
        };
        let schedule = berlin(vec![maintenance]);
        assert_eq!(cap(&schedule, "2026-05-01T03:49:59Z"), 100);
        let mut last = 101;
        for second in 0..600_u64 {
            let verdict = schedule.at(TimestampMs(at("2026-05-01T03:50:00Z").0 + second * 1_000));
            assert!(verdict.cap_percent <= last, "{second}");
            last = verdict.cap_percent;
        }
        assert_eq!(last, 0, "the last step ends with nothing");
        assert_eq!(cap(&schedule, "2026-05-01T03:55:00Z"), 45);
        assert_eq!(cap(&schedule, "2026-05-01T04:00:00Z"), 0);
        assert_eq!(cap(&schedule, "2026-05-01T06:00:00Z"), 100);
    }

    #[test]
    fn nothing_changes_before_until() {
        let schedule = Schedule {
            weekly: Some(Weekly { sat: Some("#.5#".repeat(6)), ..Weekly::default() }),
            ..berlin(vec![
                Window {
                    repeat: Some("FREQ=DAILY".into()),
                    ..window("a", "2026-01-01T03:10", "2026-01-01T04:20")
                },
                Window { finish_by_seconds: 90, ..window("b", "2026-10-24T12:00", "2026-10-26T00:00") },
            ])
        };
        let (mut now, end) = (at("2026-10-23T12:00:00Z").0, at("2026-10-26T12:00:00Z").0);
        while now < end {
            let verdict = schedule.at(TimestampMs(now));
            assert!(verdict.until.0 > now);
            let stop = verdict.until.0.min(end);
            for probe in [now + 1, now + (stop - now) / 2, stop - 1] {
                let again = schedule.at(TimestampMs(probe));
                assert_eq!(
                    (again.cap_percent, again.threads),
                    (verdict.cap_percent, verdict.threads),
                    "{now} {probe}"
                );
            }
            now = stop;
        }
    }

    #[test]
    fn what_cannot_be_is_refused_and_if_it_is_used_all_the_same_it_stops() {
        let ok = window("w", "2026-01-01T00:00", "2026-01-01T01:00");
        for (bad, told) in [
            (Window { start: "tomorrow".into(), ..ok.clone() }, "is no civil time"),
            (Window { end: "2025-01-01T00:00".into(), ..ok.clone() }, "not after its start"),
            (Window { end: "2028-01-01T00:00".into(), ..ok.clone() }, "longer than"),
            (Window { repeat: Some("FREQ=SOMETIMES".into()), ..ok.clone() }, "no recurrence rule"),
            (
                Window { repeat: Some("FREQ=MINUTELY".into()), ..ok.clone() },
                "DAILY, WEEKLY, MONTHLY or YEARLY",
            ),
            (Window { repeat: Some("FREQ=DAILY;BYHOUR=1".into()), ..ok.clone() }, "names hours"),
            (Window { name: String::new(), ..ok.clone() }, "its name"),
            (Window { cap_percent: Some(101), ..ok.clone() }, "cap_percent"),
        ] {
            let schedule = Schedule { windows: vec![bad], ..Schedule::default() };
            let error = schedule.check().unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
        let nowhere = Schedule { time_zone: "Mars/Olympus".into(), ..Schedule::default() };
        assert!(matches!(nowhere.check(), Err(InvalidSchedule::TimeZone(_))));
        assert_eq!(nowhere.at(TimestampMs(0)).cap_percent, 0);
        let row = Schedule {
            weekly: Some(Weekly { mon: Some("####".into()), ..Weekly::default() }),
            ..Schedule::default()
        };
        assert!(matches!(row.check(), Err(InvalidSchedule::Row { day: "mon", .. })));
    }
}
