//! How a window comes again: RFC 5545 recurrence rules, daily or rarer, as a question about a single day.
//!
//! A rule is not iterated from its start on: whether a day belongs to it follows from the day alone, so that a question about
//! a year costs the same whether the rule began yesterday or in the year 1, and whether it ever comes or not. Everything is
//! calendar: time of day, time zone and clock are the caller's.

use jiff::{
    ToSpan,
    civil::{Date, DateTime, Time, Weekday, time},
};
use std::str::FromStr;

/// Most days and periods that are looked at to find the end of a rule with `COUNT`: more than ten years of days.
pub(super) const MAX_COUNT_STEPS: usize = 4_000;
/// Most days and periods that are looked at to find a day of a rule: forty years, in which everything that can come does.
pub(super) const MAX_SEARCH_STEPS: usize = 14_700;

/// What makes up a period of which every INTERVALth counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Frequency {
    Daily,
    Weekly,
    Monthly,
    Yearly,
}

/// A rule as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    frequency: Frequency,
    interval: i32,
    count: Option<u32>,
    until: Option<DateTime>,
    /// Monday is 0.
    week_start: i8,
    /// Bit `n` is month `n`; without a bit all.
    months: u16,
    /// Bit `n` is day `n`.
    month_days: u32,
    /// Bit `n` is the day `n` from the end of the month; 1 is the last.
    last_days: u32,
    year_days: Vec<i16>,
    weeks: Vec<i8>,
    /// Bit `n` is the weekday `n`, Monday is 0.
    weekdays: u8,
    /// The so manyth such weekday of the month or year, from its end when negative.
    nth: Vec<(i8, i8)>,
    positions: Vec<i16>,
}

/// A list of numbers within a range, without 0.
fn numbers(part: &str, text: &str, most: i16, negative: bool) -> Result<Vec<i16>, String> {
    let number = |item: &str| {
        let n: i16 = item.strip_prefix('+').unwrap_or(item).parse().ok()?;
        (n != 0 && n.abs() <= most && (negative || n > 0)).then_some(n)
    };
    let range = if negative { format!("±1 to ±{most}") } else { format!("1 to {most}") };
    text.split(',')
        .map(|item| number(item).ok_or_else(|| format!("{part} holds {item:?}; it needs {range}")))
        .collect()
}

fn weekday(text: &str) -> Option<i8> {
    ["MO", "TU", "WE", "TH", "FR", "SA", "SU"].iter().position(|day| *day == text).map(|n| n as i8)
}

/// `UNTIL` as a civil time: a date is meant to its end, and a suffix Z changes nothing.
fn until(text: &str) -> Option<DateTime> {
    let text = text.strip_suffix('Z').unwrap_or(text);
    let (date, of_day) = text.split_once('T').map_or((text, None), |(date, of_day)| (date, Some(of_day)));
    let digits = |text: &str, len: usize| text.len() == len && text.bytes().all(|b| b.is_ascii_digit());
    let two = |text: &str, at: usize| text.get(at..at + 2)?.parse::<i8>().ok();
    if !digits(date, 8) {
        return None;
    }
    let date = Date::new(date.get(..4)?.parse().ok()?, two(date, 4)?, two(date, 6)?).ok()?;
    let of_day = match of_day {
        None => time(23, 59, 59, 999_999_999),
        Some(text) if digits(text, 6) => Time::new(two(text, 0)?, two(text, 2)?, two(text, 4)?, 0).ok()?,
        Some(_) => return None,
    };
    Some(DateTime::from_parts(date, of_day))
}

impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.to_ascii_uppercase();
        let mut rule = Self::every_day();
        let mut seen: Vec<&str> = Vec::new();
        for part in text.strip_prefix("RRULE:").unwrap_or(&text).split(';').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').ok_or_else(|| format!("{part:?} is no NAME=VALUE"))?;
            let name = if name == "BYWEEKDAY" { "BYDAY" } else { name };
            if seen.contains(&name) {
                return Err(format!("{name} stands in it twice"));
            }
            seen.push(name);
            rule.set(name, value)?;
        }
        if !seen.contains(&"FREQ") {
            return Err("FREQ is missing".to_owned());
        }
        rule.fits()?;
        Ok(rule)
    }
}

impl Rule {
    fn every_day() -> Self {
        Self {
            frequency: Frequency::Daily,
            interval: 1,
            count: None,
            until: None,
            week_start: 0,
            months: 0,
            month_days: 0,
            last_days: 0,
            year_days: Vec::new(),
            weeks: Vec::new(),
            weekdays: 0,
            nth: Vec::new(),
            positions: Vec::new(),
        }
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "FREQ" => {
                self.frequency = match value {
                    "DAILY" => Frequency::Daily,
                    "WEEKLY" => Frequency::Weekly,
                    "MONTHLY" => Frequency::Monthly,
                    "YEARLY" => Frequency::Yearly,
                    _ => return Err("FREQ may be DAILY, WEEKLY, MONTHLY or YEARLY".to_owned()),
                }
            }
            "INTERVAL" => {
                let interval = value.parse::<u16>().ok().filter(|n| *n > 0);
                self.interval = interval.ok_or("INTERVAL needs 1 to 65535")?.into();
            }
            "COUNT" => {
                let count = value.parse::<u32>().ok().filter(|n| *n > 0);
                self.count = Some(count.ok_or("COUNT needs a number from 1 on")?);
            }
            "UNTIL" => {
                let until = until(value)
                    .ok_or_else(|| format!("UNTIL={value} is no date or time such as 20261231T235959"))?;
                self.until = Some(until);
            }
            "WKST" => self.week_start = weekday(value).ok_or("WKST needs MO to SU")?,
            "BYMONTH" => {
                let months = numbers(name, value, 12, false)?;
                self.months = months.into_iter().fold(0, |bits, n| bits | 1 << n);
            }
            "BYMONTHDAY" => {
                for n in numbers(name, value, 31, true)? {
                    let bits = if n > 0 { &mut self.month_days } else { &mut self.last_days };
                    *bits |= 1 << n.unsigned_abs();
                }
            }
            "BYYEARDAY" => self.year_days = numbers(name, value, 366, true)?,
            "BYWEEKNO" => {
                let weeks = numbers(name, value, 53, true)?;
                self.weeks = weeks.into_iter().filter_map(|n| i8::try_from(n).ok()).collect();
            }
            "BYSETPOS" => self.positions = numbers(name, value, 366, true)?,
            "BYDAY" => return value.split(',').try_for_each(|item| self.add_weekday(item)),
            "BYHOUR" | "BYMINUTE" | "BYSECOND" => {
                return Err("it names hours, minutes or seconds; start says the time of day".to_owned());
            }
            _ => return Err(format!("{name} is no part of a rule that is known here")),
        }
        Ok(())
    }

    fn add_weekday(&mut self, item: &str) -> Result<(), String> {
        let wrong = || format!("BYDAY holds {item:?}; it needs days such as SA, 2TU or -1FR");
        let at = item.len().checked_sub(2).filter(|at| item.is_char_boundary(*at)).ok_or_else(wrong)?;
        let (n, day) = item.split_at(at);
        let day = weekday(day).ok_or_else(wrong)?;
        if n.is_empty() {
            self.weekdays |= 1 << day;
            return Ok(());
        }
        let n = numbers("BYDAY", n, 53, true)?.first().and_then(|n| i8::try_from(*n).ok());
        self.nth.push((n.ok_or_else(wrong)?, day));
        Ok(())
    }

    /// What RFC 5545 forbids together.
    fn fits(&self) -> Result<(), String> {
        use Frequency::{Daily, Monthly, Weekly, Yearly};
        let no = |name: &str, frequency: &str| Err(format!("{name} cannot stand with FREQ={frequency}"));
        let days = self.month_days | self.last_days;
        match self.frequency {
            Daily | Weekly if !self.nth.is_empty() => no("BYDAY with a number", "DAILY or WEEKLY"),
            Weekly if days != 0 => no("BYMONTHDAY", "WEEKLY"),
            Daily | Weekly | Monthly if !self.year_days.is_empty() => {
                no("BYYEARDAY", "DAILY, WEEKLY or MONTHLY")
            }
            Daily | Weekly | Monthly if !self.weeks.is_empty() => no("BYWEEKNO", "DAILY, WEEKLY or MONTHLY"),
            Yearly if !self.weeks.is_empty() && !self.nth.is_empty() => {
                Err("BYDAY with a number cannot stand with BYWEEKNO".to_owned())
            }
            Monthly if self.nth.iter().any(|(n, _)| n.abs() > 5) => {
                Err("BYDAY names a sixth or later weekday of a month".to_owned())
            }
            _ if !self.positions.is_empty() && self.months == 0 && !self.names_days() => {
                Err("BYSETPOS needs another BY part beside it".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn names_days(&self) -> bool {
        self.month_days | self.last_days != 0
            || self.weekdays != 0
            || !(self.nth.is_empty() && self.year_days.is_empty() && self.weeks.is_empty())
    }

    /// The rule of a window that begins at `start` the first time.
    pub(super) fn from(mut self, start: DateTime) -> Series {
        // What the rule leaves open is as at the start.
        if !self.names_days() {
            match self.frequency {
                Frequency::Daily => {}
                Frequency::Weekly => self.weekdays = 1 << monday_is_zero(start.date()),
                Frequency::Monthly => self.month_days = 1 << start.day(),
                Frequency::Yearly => {
                    if self.months == 0 {
                        self.months = 1 << start.month();
                    }
                    self.month_days = 1 << start.day();
                }
            }
        }
        let until = self.until.map(|until| {
            let on_the_day = start.time() <= until.time();
            if on_the_day { until.date() } else { until.date().yesterday().unwrap_or(Date::MIN) }
        });
        let mut series = Series { rule: self, start: start.date(), last: until, counted: true };
        if let Some(count) = series.rule.count {
            let wanted = usize::try_from(count).unwrap_or(usize::MAX);
            let mut days = series.days(series.start, Date::MAX, MAX_COUNT_STEPS);
            let nth = days.by_ref().nth(wanted - 1);
            let exhausted = days.exhausted;
            series.counted = nth.is_some() || !exhausted;
            series.last = nth.or(series.last);
        }
        series
    }
}

fn monday_is_zero(day: Date) -> i8 {
    day.weekday().to_monday_zero_offset()
}

/// The days of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Series {
    rule: Rule,
    start: Date,
    /// The last day on which it may come.
    last: Option<Date>,
    /// The end of a rule with `COUNT` was found; otherwise it is taken to be endless.
    counted: bool,
}

impl Series {
    /// The end that `COUNT` sets is further away than [`MAX_COUNT_STEPS`].
    pub(super) fn is_counted(&self) -> bool {
        self.counted
    }

    /// Whether the rule has ended before it began.
    pub(super) fn is_over(&self) -> bool {
        self.last.is_some_and(|last| last < self.start)
    }

    /// The days from `from` to `to`, after at most `steps` days and periods; a period of which only some days are chosen by
    /// their place in it costs one for each of its days.
    pub(super) fn days(&self, from: Date, to: Date, steps: usize) -> Days<'_> {
        let to = self.last.map_or(to, |last| last.min(to));
        let next = from.max(self.start);
        let chosen = Vec::new().into_iter();
        Days { series: self, next: (next <= to).then_some(next), to, steps, exhausted: false, chosen }
    }

    /// Days between this one and the next of a period that counts; 0 within one.
    fn to_next_period(&self, day: Date) -> i32 {
        let Rule { frequency, interval, week_start, .. } = self.rule;
        let missing = |passed: i32| (interval - passed.rem_euclid(interval)) % interval;
        let monday = |day: Date| days_between(EPOCH, day) + 3 - i32::from(week_start);
        match frequency {
            Frequency::Daily => missing(days_between(self.start, day)),
            Frequency::Weekly => {
                let week = |day: Date| monday(day).div_euclid(7);
                match missing(week(day) - week(self.start)) {
                    0 => 0,
                    weeks => weeks * 7 - monday(day).rem_euclid(7),
                }
            }
            Frequency::Monthly => {
                let month = |day: Date| i32::from(day.year()) * 12 + i32::from(day.month()) - 1;
                match missing(month(day) - month(self.start)) {
                    0 => 0,
                    months => days_between(day, first_of_month(month(day) + months)),
                }
            }
            Frequency::Yearly => match missing(i32::from(day.year()) - i32::from(self.start.year())) {
                0 => 0,
                years => days_between(day, first_of_month((i32::from(day.year()) + years) * 12)),
            },
        }
    }

    /// First and last day of the period of a day.
    fn period(&self, day: Date) -> (Date, Date) {
        let first_of_year = || Date::new(day.year(), 1, 1).unwrap_or(day);
        match self.rule.frequency {
            Frequency::Daily => (day, day),
            Frequency::Weekly => {
                let passed = (monday_is_zero(day) - self.rule.week_start).rem_euclid(7);
                (plus(day, -i32::from(passed)), plus(day, i32::from(6 - passed)))
            }
            Frequency::Monthly => (day.first_of_month(), day.last_of_month()),
            Frequency::Yearly => (first_of_year(), day.last_of_year()),
        }
    }

    /// Whether the rule names the day, its place in the period and the interval aside.
    fn names(&self, day: Date) -> bool {
        let rule = &self.rule;
        let listed = |listed: bool, named: bool| !listed || named;
        listed(rule.months != 0, rule.months >> day.month() & 1 == 1)
            && listed(rule.month_days | rule.last_days != 0, self.names_month_day(day))
            && listed(rule.weekdays != 0 || !rule.nth.is_empty(), self.names_weekday(day))
            && listed(!rule.year_days.is_empty(), {
                let (nth, all) = (day.day_of_year(), day.days_in_year());
                rule.year_days.iter().any(|n| *n == nth || *n == nth - all - 1)
            })
            && listed(!rule.weeks.is_empty(), self.names_week(day))
    }

    fn names_month_day(&self, day: Date) -> bool {
        let from_the_end = day.days_in_month() - day.day() + 1;
        self.rule.month_days >> day.day() & 1 == 1 || self.rule.last_days >> from_the_end & 1 == 1
    }

    fn names_weekday(&self, day: Date) -> bool {
        let weekday = monday_is_zero(day);
        if self.rule.weekdays >> weekday & 1 == 1 {
            return true;
        }
        let in_month = self.rule.frequency == Frequency::Monthly || self.rule.months != 0;
        let (nth, all) = if in_month {
            (i16::from(day.day()), i16::from(day.days_in_month()))
        } else {
            (day.day_of_year(), day.days_in_year())
        };
        let (first, last) = ((nth - 1) / 7 + 1, -((all - nth) / 7 + 1));
        let is_it =
            |(n, wanted): &(i8, i8)| *wanted == weekday && (i16::from(*n) == first || i16::from(*n) == last);
        self.rule.nth.iter().any(is_it)
    }

    fn names_week(&self, day: Date) -> bool {
        let week = |day: Date| {
            // The year to which most of the week belongs.
            let passed = (monday_is_zero(day) - self.rule.week_start).rem_euclid(7);
            let middle = plus(day, 3 - i32::from(passed));
            (middle.year(), (middle.day_of_year() - 1) / 7 + 1)
        };
        let (year, nth) = week(day);
        let all = Date::new(year, 12, 28).map_or(52, |day| week(day).1);
        self.rule.weeks.iter().any(|n| i16::from(*n) == nth || i16::from(*n) == nth - all - 1)
    }

    /// The days of a period that their places in it choose.
    fn chosen(&self, (first, last): (Date, Date)) -> Vec<Date> {
        let days = std::iter::successors(Some(first), |day| day.tomorrow().ok());
        let named: Vec<Date> = days.take_while(|day| *day <= last).filter(|day| self.names(*day)).collect();
        let all = i16::try_from(named.len()).unwrap_or(i16::MAX);
        let is_it = |place: i16| self.rule.positions.iter().any(|n| *n == place + 1 || *n == place - all);
        (0..all).zip(named).filter(|(place, _)| is_it(*place)).map(|(_, day)| day).collect()
    }
}

const EPOCH: Date = Date::constant(1970, 1, 1);

fn days_between(from: Date, to: Date) -> i32 {
    i32::try_from(to.duration_since(from).as_hours() / 24).unwrap_or(i32::MAX)
}

/// The last day of all when there is none.
fn plus(day: Date, days: i32) -> Date {
    day.checked_add(days.days()).unwrap_or(if days < 0 { Date::MIN } else { Date::MAX })
}

/// The first day of a month, counted from the year 0.
fn first_of_month(month: i32) -> Date {
    let year = i16::try_from(month.div_euclid(12)).ok();
    let of_year = i8::try_from(month.rem_euclid(12) + 1).unwrap_or(1);
    year.and_then(|year| Date::new(year, of_year, 1).ok()).unwrap_or(Date::MAX)
}

/// See [`Series::days`].
pub(super) struct Days<'a> {
    series: &'a Series,
    next: Option<Date>,
    to: Date,
    steps: usize,
    /// The steps were too few to see everything.
    pub(super) exhausted: bool,
    chosen: std::vec::IntoIter<Date>,
}

impl Days<'_> {
    fn go_on_at(&mut self, day: Date) {
        // Past the last day there is that day again.
        let before = self.next.unwrap_or(Date::MAX);
        self.next = (before < day && day <= self.to).then_some(day);
    }

    fn spend(&mut self, steps: usize) -> bool {
        let left = self.steps.checked_sub(steps);
        self.exhausted |= left.is_none();
        self.steps = left.unwrap_or(0);
        left.is_some()
    }
}

impl Iterator for Days<'_> {
    type Item = Date;

    fn next(&mut self) -> Option<Date> {
        loop {
            if let Some(day) = self.chosen.next() {
                return Some(day);
            }
            let day = self.next?;
            if !self.spend(1) {
                return None;
            }
            let skip = self.series.to_next_period(day);
            if skip > 0 {
                self.go_on_at(plus(day, skip));
            } else if !self.series.rule.positions.is_empty() {
                let (first, last) = self.series.period(day);
                if !self.spend(usize::try_from(days_between(first, last)).unwrap_or(0)) {
                    return None;
                }
                let (to, mut chosen) = (self.to, self.series.chosen((first, last)));
                chosen.retain(|chosen| (day..=to).contains(chosen));
                self.chosen = chosen.into_iter();
                self.go_on_at(plus(last, 1));
            } else if self.series.rule.months != 0 && self.series.rule.months >> day.month() & 1 == 0 {
                self.go_on_at(plus(day.last_of_month(), 1));
            } else {
                self.go_on_at(plus(day, 1));
                if self.series.names(day) {
                    return Some(day);
                }
            }
        }
    }
}

/// As people write it.
pub(super) fn day_name(day: Date) -> String {
    let name = match day.weekday() {
        Weekday::Monday => "Monday",
        Weekday::Tuesday => "Tuesday",
        Weekday::Wednesday => "Wednesday",
        Weekday::Thursday => "Thursday",
        Weekday::Friday => "Friday",
        Weekday::Saturday => "Saturday",
        Weekday::Sunday => "Sunday",
    };
    format!("{name} {day}")
}

#[cfg(test)]
mod tests;
