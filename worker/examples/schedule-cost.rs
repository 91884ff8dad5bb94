//! How long a look at a schedule takes: `cargo run --release -p dcmf-worker --example schedule-cost`. The worst that is
//! accepted, and what an older version accepted.
#![allow(missing_docs)]

use bus_schemas::{
    TimestampMs,
    schedule::{MAX_WINDOWS, Schedule, Window},
};
use std::time::Instant;

const RULES: [(&str, &str, &str); 11] = [
    ("daily", "2026-01-01", "FREQ=DAILY"),
    ("daily since the year 1", "0001-01-01", "FREQ=DAILY"),
    ("the 30th of February", "2026-01-01", "FREQ=MONTHLY;BYMONTH=2;BYMONTHDAY=30"),
    ("the longest count", "2016-01-01", "FREQ=DAILY;COUNT=4000"),
    ("a count without end", "2016-01-01", "FREQ=DAILY;COUNT=4000000000"),
    ("a count of weekdays", "2016-01-01", "FREQ=MONTHLY;BYDAY=5FR,-1MO;COUNT=1000"),
    ("a week's number since the year 1", "0001-01-01", "FREQ=YEARLY;BYWEEKNO=1,20,53,-1;BYDAY=MO,TU,WE"),
    ("a place in the year", "2024-01-01", "FREQ=YEARLY;BYDAY=MO,TU,WE,TH,FR,SA,SU;BYSETPOS=1,-1,200"),
    (
        "a place in the year, counted",
        "2024-01-01",
        "FREQ=YEARLY;BYDAY=MO,TU,WE,TH,FR,SA,SU;BYSETPOS=1,-1;COUNT=20",
    ),
    ("days of the year", "2024-01-01", "FREQ=YEARLY;BYYEARDAY=1,100,200,300,366,-1,-100,-200,-300,-366"),
    ("a count of never", "2026-01-01", "FREQ=YEARLY;BYYEARDAY=366;BYMONTH=1;COUNT=9"),
];

fn main() {
    for (name, start, repeat) in RULES {
        for days in [1, 366] {
            let window = |n| Window {
                name: format!("w{n}"),
                start: format!("{start}T00:00"),
                end: format!(
                    "{:04}-01-01T01:00",
                    start[..4].parse::<u32>().unwrap_or(0) + u32::from(days > 1)
                ),
                repeat: Some(repeat.to_owned()),
                cap_percent: Some(50),
                finish_by_seconds: 86_400,
                ..Window::default()
            };
            let windows = (0..MAX_WINDOWS).map(window).collect();
            let schedule = Schedule { time_zone: "Europe/Berlin".to_owned(), weekly: None, windows };
            let accepted = schedule.check().is_ok();
            let begin = Instant::now();
            let agenda = schedule.agenda(TimestampMs(1_795_219_200_000), TimestampMs(1_795_312_800_000));
            let made = begin.elapsed();
            let begin = Instant::now();
            let verdict = agenda.at(TimestampMs(1_795_219_200_000));
            let looked = begin.elapsed();
            println!(
                "{name:<34} {days:>3} days long: accepted {accepted:<5} agenda {made:>10.1?} look {looked:>8.1?} {}",
                verdict.map_or_else(String::new, |v| v.rule)
            );
        }
    }
}
