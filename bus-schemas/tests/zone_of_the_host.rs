//! What a schedule means depends on its own time zone and not on that of the host.
#![allow(missing_docs, clippy::unwrap_used)]

use bus_schemas::{
    TimestampMs,
    schedule::{Schedule, Window},
};
use std::process::Command;

/// Set in the processes that the test starts.
const INSIDE: &str = "SCHEDULE_TEST_TELLS";
const HOUR_MS: u64 = 3_600_000;

/// Each form of `UNTIL`, and what follows from it around its end.
fn told() -> String {
    let mut told = String::new();
    for until in [
        "20261231T235959",
        "20261231T235959Z",
        "20261231",
        "20261231T080000",
        "20261231T075959",
        "2026-12-31",
    ] {
        let window = Window {
            name: "w".to_owned(),
            start: "2026-10-01T08:00".to_owned(),
            end: "2026-10-01T18:00".to_owned(),
            repeat: Some(format!("FREQ=DAILY;UNTIL={until}")),
            cap_percent: Some(0),
            ..Window::default()
        };
        let schedule =
            Schedule { time_zone: "America/New_York".to_owned(), windows: vec![window], weekly: None };
        // 2026-12-30T00:00:00Z.
        let caps =
            (0..96).map(|hour| schedule.at(TimestampMs(1_798_588_800_000 + hour * HOUR_MS)).cap_percent);
        told += &format!("told {until} {:?} {:?}\n", schedule.check(), caps.collect::<Vec<_>>());
    }
    told
}

#[test]
fn a_schedule_means_the_same_whatever_the_time_zone_of_the_host() {
    if std::env::var_os(INSIDE).is_some() {
        println!("\n{}", told());
        return;
    }
    let here = told();
    assert!(here.contains("told 20261231 Ok(())") && here.contains("told 2026-12-31 Err("), "{here}");
    for zone in [
        "UTC",
        "Europe/Berlin",
        "Asia/Tokyo",
        "America/Los_Angeles",
        "Pacific/Kiritimati",
        "<X>-14",
        "nowhere",
    ] {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_schedule_means_the_same_whatever_the_time_zone_of_the_host", "--nocapture"])
            .env(INSIDE, "1")
            .env("TZ", zone)
            .output()
            .unwrap();
        let lines = String::from_utf8(child.stdout).unwrap();
        let lines: String =
            lines.lines().filter(|line| line.starts_with("told ")).map(|l| format!("{l}\n")).collect();
        assert_eq!(lines, here, "{zone}");
    }
}
