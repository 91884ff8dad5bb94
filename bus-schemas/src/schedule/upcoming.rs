//! The next times of each window, for people who want to see what they wrote.

use super::{
    InvalidSchedule, Schedule,
    evaluate::{millis, timestamp},
    recurrence::MAX_SEARCH_STEPS,
};
use crate::units::TimestampMs;
use jiff::{
    Timestamp, ToSpan,
    civil::{Date, DateTime},
    tz::TimeZone,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One time at which a window is on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Occurrence {
    /// From, in the schedule's time zone, RFC 3339 with its offset.
    pub from: String,
    /// Until, in the schedule's time zone, RFC 3339 with its offset.
    pub until: String,
    /// From, in UTC, RFC 3339.
    pub from_utc: String,
    /// Until, in UTC, RFC 3339.
    pub until_utc: String,
}

/// When a window comes next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WindowOccurrences {
    /// Whose schedule it is in: `pool`, `node` or `label <key>=<value>`.
    pub schedule: String,
    /// The window's name.
    pub window: String,
    /// The times that are on or to come, in order; empty when it will not come within forty years.
    pub next: Vec<Occurrence>,
}

fn occurrence(zone: &TimeZone, from: Timestamp, until: Timestamp) -> Occurrence {
    let there = |at: Timestamp| zone.to_offset_info(at).offset();
    let local = |at: Timestamp| at.display_with_offset(there(at)).to_string();
    Occurrence {
        from: local(from),
        until: local(until),
        from_utc: millis(from).to_rfc3339(),
        until_utc: millis(until).to_rfc3339(),
    }
}

impl Schedule {
    /// The times of each window that are on at `at` or come after it, `count` of each at most. Costs at most some forty years of
    /// days for each window, so it belongs to where nobody waits for it.
    pub fn upcoming(
        &self,
        schedule: &str,
        at: TimestampMs,
        count: usize,
    ) -> Result<Vec<WindowOccurrences>, InvalidSchedule> {
        let (zone, at) = (self.zone()?, timestamp(at));
        let next_of = |window: &super::Window| {
            let read = window.read()?;
            let ahead = |on: &(Timestamp, Timestamp)| on.1 > at;
            let show = |(from, until)| occurrence(&zone, from, until);
            let next = match &read.series {
                None => read.on(&zone, read.start).filter(ahead).map(show).into_iter().collect(),
                Some(series) => {
                    let length = read.end.duration_since(read.start);
                    let earliest = zone.to_datetime(at).checked_sub(length);
                    let earliest = earliest.and_then(|at| at.checked_sub(2.days())).unwrap_or(DateTime::MIN);
                    let days = series.days(earliest.date(), Date::MAX, MAX_SEARCH_STEPS);
                    let starts = days.map(|day| DateTime::from_parts(day, read.start.time()));
                    let on = starts.filter_map(|start| read.on(&zone, start)).filter(ahead);
                    on.take(count).map(show).collect()
                }
            };
            Ok(WindowOccurrences { schedule: schedule.to_owned(), window: window.name.clone(), next })
        };
        self.windows.iter().map(next_of).collect()
    }
}
