use super::*;
use crate::schedule::{Weekly, Window};

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
    let nightly =
        Window { repeat: Some("FREQ=DAILY".into()), ..window("n", "2026-01-01T22:00", "2026-01-02T06:00") };
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
    let maintenance =
        Window { finish_by_seconds: 600, ..window("maintenance", "2026-05-01T06:00", "2026-05-01T08:00") };
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
        (Window { repeat: Some("FREQ=MINUTELY".into()), ..ok.clone() }, "DAILY, WEEKLY, MONTHLY or YEARLY"),
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

fn daily(name: &str, start: &str, end: &str) -> Window {
    Window { repeat: Some("FREQ=DAILY".into()), ..window(name, start, end) }
}

#[test]
fn a_window_that_begins_in_the_skipped_hour_comes_later_as_a_whole() {
    let schedule = berlin(vec![daily("dump", "2026-03-01T02:30", "2026-03-01T03:15")]);
    // 2026-03-29: at 02:00 (01:00Z) it is 03:00 at once. From 02:30 to 03:15 becomes from 03:30 to 04:15.
    for (text, wanted) in [
        ("2026-03-29T01:29:59Z", 100),
        ("2026-03-29T01:30:00Z", 0),
        ("2026-03-29T02:14:59Z", 0),
        ("2026-03-29T02:15:00Z", 100),
        ("2026-03-30T00:29:59Z", 100),
        ("2026-03-30T00:30:00Z", 0),
        ("2026-03-30T01:15:00Z", 100),
    ] {
        assert_eq!(cap(&schedule, text), wanted, "{text}");
    }
}

#[test]
fn until_is_a_civil_time_with_and_without_its_suffix_and_the_last_day_comes() {
    for until in ["20261231T235959", "20261231T235959Z", "20261231"] {
        let repeat = Some(format!("FREQ=DAILY;UNTIL={until}"));
        let schedule = berlin(vec![Window { repeat, ..window("u", "2026-10-01T08:00", "2026-10-01T18:00") }]);
        assert_eq!(cap(&schedule, "2026-12-31T07:00:00Z"), 0, "{until}");
        assert_eq!(cap(&schedule, "2027-01-01T07:00:00Z"), 100, "{until}");
    }
}

#[test]
fn a_start_that_is_no_day_of_its_rule_is_refused_with_the_first_day_that_is() {
    for (start, repeat, told) in [
        (
            "2026-12-02",
            "FREQ=WEEKLY;BYDAY=SA,SU",
            "start is on Wednesday 2026-12-02, which is no day of repeat; the first day that fits is Saturday 2026-12-05",
        ),
        ("2026-12-01", "FREQ=MONTHLY;BYMONTHDAY=15;COUNT=1", "the first day that fits is Tuesday 2026-12-15"),
        (
            "2026-01-01",
            "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29",
            "the first day that fits is Tuesday 2028-02-29",
        ),
        ("2026-01-01", "FREQ=MONTHLY;BYMONTH=2;BYMONTHDAY=30", "it never comes"),
        ("2026-01-01", "FREQ=YEARLY;BYYEARDAY=366;BYMONTH=1", "it never comes"),
        ("2026-01-01", "FREQ=MONTHLY;BYDAY=MO;BYSETPOS=31", "it never comes"),
        ("2026-01-01", "FREQ=DAILY;UNTIL=20251231", "it never comes"),
        ("2026-01-01", "FREQ=DAILY;COUNT=1000000", "COUNT in repeat ends more than"),
    ] {
        let (from, to) = (format!("{start}T00:00"), format!("{start}T01:00"));
        let bad = Window { repeat: Some(repeat.into()), ..window("w", &from, &to) };
        let error = Schedule { windows: vec![bad], ..Schedule::default() }.check().unwrap_err().to_string();
        assert!(error.contains(told), "{repeat}: {error}");
    }
    let leap =
        Window { repeat: Some("FREQ=YEARLY".into()), ..window("l", "2028-02-29T00:00", "2028-02-29T12:00") };
    assert_eq!(cap(&berlin(vec![leap]), "2032-02-29T10:00:00Z"), 0);
}

#[test]
fn a_time_with_an_offset_or_a_zone_is_no_civil_time() {
    for start in [
        "2026-01-01T00:00Z",
        "2026-01-01T00:00+01:00",
        "2026-01-01T00:00-05:00",
        "2026-01-01T00:00[Asia/Tokyo]",
    ] {
        let bad = Schedule { windows: vec![window("w", start, "2026-01-02T00:00")], ..Schedule::default() };
        assert!(bad.check().unwrap_err().to_string().contains("is no civil time"), "{start}");
    }
}

#[test]
fn an_agenda_says_what_the_schedule_says_within_its_span_and_nothing_outside() {
    let schedule = Schedule {
        weekly: Some(Weekly { sun: Some("..#5".repeat(6)), ..Weekly::default() }),
        ..berlin(vec![
            daily("a", "2026-01-01T02:10", "2026-01-01T04:20"),
            Window { finish_by_seconds: 7_200, ..daily("b", "2026-01-01T23:30", "2026-01-02T00:10") },
            Window { cap_percent: Some(40), ..daily("overlapping", "2026-01-01T12:00", "2026-01-04T13:00") },
        ])
    };
    let (from, until) = (at("2026-03-28T00:00:00Z"), at("2026-03-30T00:00:00Z"));
    let agenda = schedule.agenda(from, until);
    let mut now = from;
    while now < until {
        let (kept, anew) = (agenda.at(now).unwrap(), schedule.at(now));
        assert_eq!((kept.cap_percent, kept.threads, kept.rule), (anew.cap_percent, anew.threads, anew.rule));
        assert!(kept.until <= until && kept.until > now);
        now = now.plus_ms(7 * 60_000 + 1);
    }
    assert_eq!((agenda.at(until), agenda.at(TimestampMs(from.0 - 1))), (None, None));
}

/// The clock's changes in a zone, each with how far it goes, in some years.
fn changes(zone: &TimeZone, from: &str, until: &str) -> Vec<(Timestamp, SignedDuration)> {
    let (from, until): (Timestamp, Timestamp) = (from.parse().unwrap(), until.parse().unwrap());
    let offset = |at: Timestamp| SignedDuration::from_secs(zone.to_offset(at).seconds().into());
    let all = zone.following(from).map(|transition| transition.timestamp()).take_while(|at| *at < until);
    let before = |at: Timestamp| at.checked_sub(SignedDuration::from_secs(1)).unwrap();
    all.map(|at| (at, offset(at) - offset(before(at)))).filter(|(_, by)| !by.is_zero()).collect()
}

/// Through each change of the clock of each zone: windows that begin up to two hours before and after it.
#[test]
fn no_window_vanishes_or_gets_shorter_than_the_clock_itself_makes_it() {
    let zones = [
        "Europe/Berlin",
        "America/New_York",
        "America/Havana",
        "Australia/Lord_Howe",
        "Africa/Cairo",
        "America/Santiago",
        "Asia/Beirut",
        "Africa/Casablanca",
        "Antarctica/Troll",
        "Atlantic/Azores",
        "Pacific/Apia",
    ];
    let mut seen = 0;
    for name in zones {
        let zone = jiff::tz::TimeZoneDatabase::bundled().get(name).unwrap();
        for (change, by) in changes(&zone, "2010-01-01T00:00:00Z", "2032-01-01T00:00:00Z") {
            // The clock just before the change, as it would have gone on.
            let old = zone.to_offset(change.checked_sub(SignedDuration::from_secs(1)).unwrap());
            let civil = old.to_datetime(change);
            for minutes in (-120..=120).step_by(30) {
                for length in [15, 45, 90, 240] {
                    let start = civil.checked_add(minutes.minutes()).unwrap();
                    let end = start.checked_add(length.minutes()).unwrap();
                    check_window(&zone, name, start, end, by, civil);
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 10_000, "{seen}");
}

fn check_window(
    zone: &TimeZone,
    name: &str,
    start: DateTime,
    end: DateTime,
    by: SignedDuration,
    civil: DateTime,
) {
    let written = window("w", &start.to_string(), &end.to_string());
    let read = written.read().unwrap();
    let (from, until) = read.on(zone, start).unwrap();
    let (length, real) = (end.duration_since(start), until.duration_since(from));
    let skips = by.is_positive();
    let gap_ends = civil.checked_add(by).unwrap_or(civil);
    // Who begins before a skipped hour and ends after it is shorter by it, as the clock is.
    let spans = skips && start < civil && end >= gap_ends;
    let least = if spans { length - by } else { length };
    assert!(real >= least && !real.is_zero(), "{name} {start} {end}: {real:?} of {least:?}");
    // What is to be finished by then is never taken up again before the window.
    let winding = Window { finish_by_seconds: 1_800, ..written };
    let schedule = Schedule { time_zone: name.into(), weekly: None, windows: vec![winding] };
    let before = from.checked_sub(SignedDuration::from_mins(40)).unwrap();
    let agenda = schedule.agenda(millis(before), millis(until).plus_ms(60_000));
    let (mut now, mut last) = (millis(before), 100);
    while now < millis(until) {
        let cap = agenda.at(now).unwrap().cap_percent;
        assert!(cap <= last, "{name} {start} {end}: {last} then {cap} at {now:?}");
        (last, now) = (cap, now.plus_ms(60_000));
    }
    assert_eq!(last, 0, "{name} {start} {end}");
    assert_eq!(agenda.at(millis(until)).unwrap().cap_percent, 100);
}

#[test]
fn the_next_times_are_told_in_the_zone_of_the_schedule_and_in_utc() {
    let once = window("once", "2026-01-01T00:00", "2026-01-02T00:00");
    let never = Window {
        repeat: Some("FREQ=DAILY;COUNT=1".into()),
        ..window("over", "2026-01-01T00:00", "2026-01-01T01:00")
    };
    let schedule = berlin(vec![daily("dump", "2026-03-01T02:30", "2026-03-01T03:15"), once, never]);
    let told = schedule.upcoming("pool", at("2026-03-28T02:00:00Z"), 5).unwrap();
    let dump: Vec<_> = told[0].next.iter().map(|o| (o.from.as_str(), o.until_utc.as_str())).collect();
    assert_eq!(dump.len(), 5);
    assert_eq!(dump[0], ("2026-03-28T02:30:00+01:00", "2026-03-28T02:15:00.000Z"), "it is on");
    assert_eq!(dump[1], ("2026-03-29T03:30:00+02:00", "2026-03-29T02:15:00.000Z"));
    assert_eq!(dump[2], ("2026-03-30T02:30:00+02:00", "2026-03-30T01:15:00.000Z"));
    assert!(told[1].next.is_empty() && told[2].next.is_empty());
    let leap =
        Window { repeat: Some("FREQ=YEARLY".into()), ..window("l", "2028-02-29T00:00", "2028-02-29T12:00") };
    let told = berlin(vec![leap]).upcoming("pool", at("2026-01-01T00:00:00Z"), 5).unwrap();
    let years: Vec<_> = told[0].next.iter().map(|o| &o.from[..4]).collect();
    assert_eq!(years, ["2028", "2032", "2036", "2040", "2044"]);
}
