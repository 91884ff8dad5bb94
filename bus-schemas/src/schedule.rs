//! When a pool or a node may search: a weekly grid of hours, and windows that win over it.
//!
//! Times are civil times of one IANA time zone, and nothing depends on the zone of the host. A window from 22:00 to 06:00 is
//! from 22:00 to 06:00 in every night, however long that night is. Two rules for the two nights of daylight saving (RFC 5545
//! §3.3.5, and one more):
//!
//! - Where the clock skips the time at which a window begins, the whole window comes as much later as the clock jumps: from
//!   02:30 to 03:15 becomes from 03:30 to 04:15, and it is as long as ever. Where it skips the end only, the end comes later.
//! - Where a time comes twice, the first one counts, for the begin and for the end.
//!
//! An hour of the weekly grid that the clock skips does not come that day. The time zone rules are compiled in, so that
//! every part of a farm of one version agrees, and a host needs no zone files.

use jiff::{civil::DateTime, tz::TimeZone};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::str::FromStr;

mod evaluate;
mod recurrence;
mod upcoming;

pub use evaluate::{Agenda, MAX_AGENDA_HOURS, Verdict};
use recurrence::{MAX_COUNT_STEPS, MAX_SEARCH_STEPS, Rule, Series};
pub use upcoming::{Occurrence, WindowOccurrences};

/// Most windows of one schedule.
pub const MAX_WINDOWS: usize = 64;
/// Longest name of a window, rule or time zone in bytes.
pub const MAX_NAME_LEN: usize = 128;
/// Longest window in days.
pub const MAX_WINDOW_DAYS: i64 = 366;
/// Longest time for winding down before a window, seconds.
pub const MAX_FINISH_BY_SECONDS: u32 = 86_400;

/// When to search, and how much.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Schedule {
    /// IANA name of the time zone of every time in it, for instance `Europe/Berlin`.
    pub time_zone: String,
    /// The ordinary week; without it every hour is free.
    pub weekly: Option<Weekly>,
    /// What differs from the ordinary week. Of several at one time the highest priority wins, then the most
    /// restrictive.
    pub windows: Vec<Window>,
}

impl Default for Schedule {
    fn default() -> Self {
        Self { time_zone: "UTC".to_owned(), weekly: None, windows: Vec::new() }
    }
}

/// A week, one row of 24 characters a day, one character an hour from midnight on: `#` without limit, `.` stopped, `1`
/// to `9` capped at so many tenths. A day that is left out is without limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Weekly {
    /// Monday.
    pub mon: Option<String>,
    /// Tuesday.
    pub tue: Option<String>,
    /// Wednesday.
    pub wed: Option<String>,
    /// Thursday.
    pub thu: Option<String>,
    /// Friday.
    pub fri: Option<String>,
    /// Saturday.
    pub sat: Option<String>,
    /// Sunday.
    pub sun: Option<String>,
}

impl Weekly {
    /// The rows from Monday on, with the day's name.
    pub fn days(&self) -> [(&'static str, Option<&str>); 7] {
        [
            ("mon", self.mon.as_deref()),
            ("tue", self.tue.as_deref()),
            ("wed", self.wed.as_deref()),
            ("thu", self.thu.as_deref()),
            ("fri", self.fri.as_deref()),
            ("sat", self.sat.as_deref()),
            ("sun", self.sun.as_deref()),
        ]
    }
}

/// A time that differs from the ordinary week: once, or again and again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Window {
    /// For people, and in reasons.
    pub name: String,
    /// The higher wins where windows overlap.
    pub priority: i16,
    /// Civil time at which it begins the first time, for instance `2026-12-24T18:00`.
    pub start: String,
    /// Civil time at which it ends the first time.
    pub end: String,
    /// How it comes again: an RFC 5545 recurrence rule, `FREQ=WEEKLY;BYDAY=SA,SU` for instance, daily or rarer. `start` is
    /// one of its days. `UNTIL` is a civil time too, with or without the suffix `Z`, or a date, which counts to its end.
    pub repeat: Option<String>,
    /// Most search threads in it; all when absent.
    pub threads: Option<u16>,
    /// Share of the threads' time in it, 0 to 100 percent; 0 stops, absent is without limit.
    pub cap_percent: Option<u8>,
    /// Everything beyond what the window allows is to be finished when it begins: the search winds down evenly over
    /// so many seconds before it.
    pub finish_by_seconds: u32,
}

/// Why a schedule is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSchedule {
    /// The time zone is not known.
    #[error("time zone {0:?} is not known; use an IANA name such as Europe/Berlin")]
    TimeZone(String),
    /// A row of the week is not 24 characters of the alphabet.
    #[error(
        "{day} is {row:?}; it needs 24 characters, one an hour: '#' free, '.' stopped, '1' to '9' tenths"
    )]
    Row {
        /// The day.
        day: &'static str,
        /// As given.
        row: String,
    },
    /// More windows than are allowed.
    #[error("{0} windows, the limit is {MAX_WINDOWS}")]
    TooMany(usize),
    /// A window cannot be.
    #[error("window {name:?}: {why}")]
    Window {
        /// Which.
        name: String,
        /// What is wrong and what is allowed.
        why: String,
    },
}

/// A window with its texts read.
#[derive(Debug, Clone)]
struct Read {
    start: DateTime,
    end: DateTime,
    series: Option<Series>,
}

/// A civil time. What names an offset or a zone is none: it would be read as if it did not.
fn civil(text: &str) -> Option<DateTime> {
    let plain = |(at, b): (usize, u8)| b.is_ascii_digit() || b":. Tt".contains(&b) || (b == b'-' && at < 8);
    text.bytes().enumerate().all(plain).then(|| DateTime::from_str(text).ok())?
}

impl Window {
    fn invalid(&self, why: impl Into<String>) -> InvalidSchedule {
        InvalidSchedule::Window { name: self.name.clone(), why: why.into() }
    }

    fn read(&self) -> Result<Read, InvalidSchedule> {
        let civil = |field: &str, text: &str| {
            civil(text).ok_or_else(|| {
                self.invalid(format!("{field} {text:?} is no civil time such as 2026-12-24T18:00"))
            })
        };
        let (start, end) = (civil("start", &self.start)?, civil("end", &self.end)?);
        if end <= start {
            return Err(self.invalid("its end is not after its start"));
        }
        if end.duration_since(start).as_hours() > MAX_WINDOW_DAYS * 24 {
            return Err(self.invalid(format!("it is longer than {MAX_WINDOW_DAYS} days")));
        }
        let rule = self.repeat.as_deref().map(|text| self.read_rule(text)).transpose()?;
        Ok(Read { start, end, series: rule.map(|rule| rule.from(start)) })
    }

    fn read_rule(&self, text: &str) -> Result<Rule, InvalidSchedule> {
        if text.len() > MAX_NAME_LEN {
            return Err(self.invalid(format!("repeat has {} bytes, the limit is {MAX_NAME_LEN}", text.len())));
        }
        text.parse()
            .map_err(|why| self.invalid(format!("repeat {text:?} is no recurrence rule of RFC 5545: {why}")))
    }

    fn check(&self) -> Result<(), InvalidSchedule> {
        if self.name.is_empty() || self.name.len() > MAX_NAME_LEN {
            return Err(self.invalid(format!("its name must have 1 to {MAX_NAME_LEN} bytes")));
        }
        if self.cap_percent.is_some_and(|cap| cap > 100) {
            return Err(self.invalid("cap_percent is outside 0 to 100"));
        }
        if self.finish_by_seconds > MAX_FINISH_BY_SECONDS {
            return Err(self.invalid(format!("finish_by_seconds is above {MAX_FINISH_BY_SECONDS}")));
        }
        let read = self.read()?;
        read.series.map_or(Ok(()), |series| self.check_series(read.start, &series))
    }

    /// `start` is to be the first time at which the window begins, as its name says.
    fn check_series(&self, start: DateTime, series: &Series) -> Result<(), InvalidSchedule> {
        if series.is_over() {
            return Err(self.invalid("repeat ends (UNTIL) before start: it never comes"));
        }
        let mut days = series.days(start.date(), jiff::civil::Date::MAX, MAX_SEARCH_STEPS);
        match days.next() {
            Some(first) if first == start.date() => {}
            Some(first) => {
                let (day, first) = (recurrence::day_name(start.date()), recurrence::day_name(first));
                return Err(self.invalid(format!(
                    "start is on {day}, which is no day of repeat; the first day that fits is {first}"
                )));
            }
            None => {
                return Err(self.invalid("repeat names no day within forty years of start: it never comes"));
            }
        }
        if !series.is_counted() {
            return Err(self.invalid(format!(
                "COUNT in repeat ends more than {MAX_COUNT_STEPS} days after start; say UNTIL instead"
            )));
        }
        Ok(())
    }
}

impl Schedule {
    fn zone(&self) -> Result<TimeZone, InvalidSchedule> {
        let unknown = || InvalidSchedule::TimeZone(self.time_zone.clone());
        if self.time_zone.len() > MAX_NAME_LEN {
            return Err(unknown());
        }
        jiff::tz::TimeZoneDatabase::bundled().get(&self.time_zone).map_err(|_| unknown())
    }

    /// Checks every value.
    pub fn check(&self) -> Result<(), InvalidSchedule> {
        self.zone()?;
        for (day, row) in self.weekly.iter().flat_map(Weekly::days) {
            let Some(row) = row else { continue };
            let known = |c: u8| matches!(c, b'#' | b'.' | b'1'..=b'9');
            if row.len() != 24 || !row.bytes().all(known) {
                return Err(InvalidSchedule::Row { day, row: row.to_owned() });
            }
        }
        if self.windows.len() > MAX_WINDOWS {
            return Err(InvalidSchedule::TooMany(self.windows.len()));
        }
        self.windows.iter().try_for_each(Window::check)
    }
}
