//! When a pool or a node may search: a weekly grid of hours, and windows that win over it.
//!
//! Times are civil times of one IANA time zone. Where daylight saving skips a time, the window begins or ends as much
//! later as the clock jumps; where a time comes twice, the first one counts (RFC 5545 §3.3.5). So a window from 22:00 to
//! 06:00 is from 22:00 to 06:00 in every night, however long that night is. The time zone rules are compiled in, so that
//! every part of a farm of one version agrees, and a host needs no zone files.

use jiff::{civil::DateTime, tz::TimeZone};
use rrule::{Frequency, RRule, Tz, Unvalidated};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::str::FromStr;

mod evaluate;

pub use evaluate::Verdict;

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
    /// How it comes again: an RFC 5545 recurrence rule, `FREQ=WEEKLY;BYDAY=SA,SU` for instance, daily or rarer. `UNTIL`
    /// is a civil time too, whatever its suffix.
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
    rule: Option<RRule<Unvalidated>>,
}

impl Window {
    fn invalid(&self, why: impl Into<String>) -> InvalidSchedule {
        InvalidSchedule::Window { name: self.name.clone(), why: why.into() }
    }

    fn read(&self) -> Result<Read, InvalidSchedule> {
        let civil = |field: &str, text: &str| {
            DateTime::from_str(text).map_err(|_| {
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
        Ok(Read { start, end, rule })
    }

    fn read_rule(&self, text: &str) -> Result<RRule<Unvalidated>, InvalidSchedule> {
        if text.len() > MAX_NAME_LEN {
            return Err(self.invalid(format!("repeat has {} bytes, the limit is {MAX_NAME_LEN}", text.len())));
        }
        let rule = RRule::<Unvalidated>::from_str(text)
            .map_err(|e| self.invalid(format!("repeat {text:?} is no recurrence rule of RFC 5545: {e}")))?;
        if !matches!(
            rule.get_freq(),
            Frequency::Daily | Frequency::Weekly | Frequency::Monthly | Frequency::Yearly
        ) {
            return Err(self.invalid("repeat may be DAILY, WEEKLY, MONTHLY or YEARLY"));
        }
        if !rule.get_by_hour().is_empty()
            || !rule.get_by_minute().is_empty()
            || !rule.get_by_second().is_empty()
        {
            return Err(self.invalid("repeat names hours, minutes or seconds; start says the time of day"));
        }
        Ok(rule)
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
        if let Some(rule) = read.rule {
            let start =
                evaluate::floating(read.start).ok_or_else(|| self.invalid("start is out of range"))?;
            rule.validate(start.with_timezone(&Tz::UTC))
                .map_err(|e| self.invalid(format!("repeat does not fit start: {e}")))?;
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
