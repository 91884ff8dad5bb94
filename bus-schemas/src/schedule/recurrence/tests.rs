use super::*;
use proptest::{collection::vec, prelude::*, sample::select};

fn series(start: &str, rule: &str) -> Series {
    rule.parse::<Rule>().unwrap().from(start.parse().unwrap())
}

fn days(start: &str, rule: &str, from: &str, to: &str) -> Vec<String> {
    let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
    series(start, rule).days(from, to, MAX_SEARCH_STEPS).map(|day| day.to_string()).collect()
}

#[test]
fn the_examples_of_the_standard_fall_on_its_days() {
    for (start, rule, from, to, wanted) in [
        (
            "1997-09-02T09:00",
            "FREQ=DAILY;COUNT=3",
            "1997-01-01",
            "1998-01-01",
            &["09-02", "09-03", "09-04"][..],
        ),
        (
            "1997-09-02T09:00",
            "FREQ=DAILY;INTERVAL=10;COUNT=3",
            "1997-01-01",
            "1998-01-01",
            &["09-02", "09-12", "09-22"],
        ),
        (
            "1997-08-05T09:00",
            "FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=MO",
            "1997-01-01",
            "1998-01-01",
            &["08-05", "08-10", "08-19", "08-24"],
        ),
        (
            "1997-08-05T09:00",
            "FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=TU,SU;WKST=SU",
            "1997-01-01",
            "1998-01-01",
            &["08-05", "08-17", "08-19", "08-31"],
        ),
        (
            "1997-09-05T09:00",
            "FREQ=MONTHLY;BYDAY=1FR",
            "1997-09-01",
            "1997-11-30",
            &["09-05", "10-03", "11-07"],
        ),
        (
            "1997-09-28T09:00",
            "FREQ=MONTHLY;BYMONTHDAY=-3",
            "1997-09-01",
            "1997-11-30",
            &["09-28", "10-29", "11-28"],
        ),
        (
            "1997-09-29T09:00",
            "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-2",
            "1997-09-01",
            "1997-12-31",
            &["09-29", "10-30", "11-27", "12-30"],
        ),
        ("1997-05-19T09:00", "FREQ=YEARLY;BYDAY=20MO", "1997-01-01", "1997-12-31", &["05-19"]),
        ("1997-05-12T09:00", "FREQ=YEARLY;BYWEEKNO=20;BYDAY=MO", "1998-01-01", "1998-12-31", &["05-11"]),
        (
            "1997-01-01T09:00",
            "FREQ=YEARLY;INTERVAL=3;BYYEARDAY=1,100,200",
            "1997-01-01",
            "2000-12-31",
            &["01-01", "04-10", "07-19", "01-01", "04-09", "07-18"],
        ),
        (
            "1996-11-05T09:00",
            "FREQ=YEARLY;INTERVAL=4;BYMONTH=11;BYDAY=TU;BYMONTHDAY=2,3,4,5,6,7,8",
            "1997-01-01",
            "2005-01-01",
            &["11-07", "11-02"],
        ),
        ("2028-02-29T00:00", "FREQ=YEARLY", "2028-01-01", "2037-01-01", &["02-29", "02-29", "02-29"]),
        ("2026-01-31T00:00", "FREQ=MONTHLY", "2026-01-01", "2026-06-01", &["01-31", "03-31", "05-31"]),
        // Both kinds of a weekday beside each other are a union.
        (
            "2026-01-02T00:00",
            "FREQ=MONTHLY;BYDAY=-1MO,FR",
            "2026-01-20",
            "2026-01-31",
            &["01-23", "01-26", "01-30"],
        ),
    ] {
        let found = days(start, rule, from, to);
        assert_eq!(found.iter().map(|day| &day[5..]).collect::<Vec<_>>(), wanted, "{rule}");
    }
}

#[test]
fn until_means_the_same_day_in_each_of_its_forms() {
    for (until, last) in [
        ("20261231T235959", "2026-12-31"),
        ("20261231T235959Z", "2026-12-31"),
        ("20261231", "2026-12-31"),
        ("20261231T080000", "2026-12-31"),
        ("20261231T075959", "2026-12-30"),
    ] {
        let rule = format!("FREQ=DAILY;UNTIL={until}");
        let found = days("2026-10-01T08:00", &rule, "2026-10-01", "2027-10-01");
        assert_eq!((found[0].as_str(), found.last().unwrap().as_str()), ("2026-10-01", last), "{rule}");
    }
    assert!(series("2026-10-01T08:00", "FREQ=DAILY;UNTIL=20260930").is_over());
}

#[test]
fn what_is_no_rule_is_refused_with_what_is_wrong() {
    for (rule, told) in [
        ("", "FREQ is missing"),
        ("COUNT=1", "FREQ is missing"),
        ("FREQ=HOURLY", "DAILY, WEEKLY"),
        ("FREQ=DAILY;FREQ=DAILY", "FREQ stands in it twice"),
        ("FREQ=DAILY;X-A=1", "X-A is no part"),
        ("FREQ", "no NAME=VALUE"),
        ("FREQ=DAILY;INTERVAL=0", "INTERVAL needs"),
        ("FREQ=DAILY;COUNT=0", "COUNT needs"),
        ("FREQ=DAILY;COUNT=99999999999", "COUNT needs"),
        ("FREQ=DAILY;UNTIL=2026-12-31", "UNTIL=2026-12-31 is no date"),
        ("FREQ=DAILY;UNTIL=20260230", "is no date"),
        ("FREQ=DAILY;UNTIL=20261231T2500", "is no date"),
        ("FREQ=DAILY;UNTIL=20261231T0000é1", "is no date"),
        ("FREQ=DAILY;BYMONTH=13", "BYMONTH holds \"13\""),
        ("FREQ=MONTHLY;BYMONTHDAY=0", "BYMONTHDAY holds \"0\""),
        ("FREQ=MONTHLY;BYMONTHDAY=", "BYMONTHDAY holds \"\""),
        ("FREQ=WEEKLY;BYMONTHDAY=1", "BYMONTHDAY cannot stand"),
        ("FREQ=WEEKLY;BYDAY=2MO", "BYDAY with a number"),
        ("FREQ=WEEKLY;BYDAY=é", "BYDAY holds"),
        ("FREQ=WEEKLY;BYDAY=XX", "BYDAY holds"),
        ("FREQ=MONTHLY;BYDAY=6MO", "sixth"),
        ("FREQ=MONTHLY;BYYEARDAY=1", "BYYEARDAY cannot stand"),
        ("FREQ=MONTHLY;BYWEEKNO=1", "BYWEEKNO cannot stand"),
        ("FREQ=MONTHLY;BYSETPOS=1", "BYSETPOS needs another"),
        ("FREQ=DAILY;BYHOUR=1", "names hours"),
    ] {
        let error = rule.parse::<Rule>().unwrap_err();
        assert!(error.contains(told), "{rule}: {error}");
    }
}

#[test]
fn a_question_costs_the_same_whenever_the_rule_began_and_whether_or_not_it_ever_comes() {
    for rule in [
        "FREQ=DAILY",
        "FREQ=DAILY;INTERVAL=7",
        "FREQ=WEEKLY;INTERVAL=65535",
        "FREQ=MONTHLY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=YEARLY;BYYEARDAY=366;BYMONTH=1",
        "FREQ=YEARLY;BYWEEKNO=53;BYMONTH=6",
        "FREQ=YEARLY;BYDAY=MO;BYSETPOS=366",
        "FREQ=MONTHLY;BYDAY=MO;BYSETPOS=-31",
    ] {
        for start in ["0001-01-01T00:00", "-009999-01-01T00:00", "2026-01-01T00:00", "9998-01-01T00:00"] {
            let series = series(start, rule);
            let (from, to) = (Date::constant(2027, 1, 1), Date::constant(2028, 1, 5));
            // A year more at each end where days are chosen by their place.
            let mut days = series.days(from, to, 1_100);
            let _ = days.by_ref().count();
            assert!(!days.exhausted, "{rule} from {start}");
        }
    }
}

#[test]
fn the_end_of_a_count_is_found_or_taken_to_be_none() {
    assert_eq!(
        days("2026-01-15T00:00", "FREQ=MONTHLY;COUNT=2", "2026-01-01", "2030-01-01"),
        ["2026-01-15", "2026-02-15"]
    );
    let far = series("2020-01-01T00:00", "FREQ=DAILY;COUNT=4000000000");
    assert!(!far.is_counted());
    let today = Date::constant(2026, 5, 1);
    assert_eq!(far.days(today, today, 10).count(), 1);
    assert!(series("2020-01-01T00:00", "FREQ=YEARLY;COUNT=20").is_counted());
    assert!(series("2020-01-01T00:00", "FREQ=DAILY;COUNT=9;UNTIL=20200103").is_counted());
}

#[test]
fn weeks_are_counted_as_iso_8601_does() {
    for n in 1..=53_i8 {
        let rule = format!("FREQ=YEARLY;BYWEEKNO={n}");
        let (from, to) = (Date::constant(2015, 1, 1), Date::constant(2034, 12, 31));
        let all = std::iter::successors(Some(from), |day| day.tomorrow().ok()).take_while(|day| *day <= to);
        let wanted: Vec<Date> = all.filter(|day| day.iso_week_date().week() == n).collect();
        let series = series("2015-01-01T00:00", &rule);
        assert_eq!(series.days(from, to, MAX_SEARCH_STEPS).collect::<Vec<_>>(), wanted, "{rule}");
    }
    let last = days("2026-01-01T00:00", "FREQ=YEARLY;BYWEEKNO=-1;BYDAY=MO", "2026-01-01", "2028-01-01");
    assert_eq!(last, ["2026-12-28", "2027-12-27"]);
}

fn list<T: ToString + Clone + std::fmt::Debug + 'static>(
    name: &'static str,
    of: Vec<T>,
) -> BoxedStrategy<String> {
    let some = vec(select(of), 1..4).prop_map(move |items| {
        let items: Vec<String> = items.iter().map(ToString::to_string).collect();
        format!(";{name}={}", items.join(","))
    });
    prop_oneof![Just(String::new()), some].boxed()
}

/// Rules in which the crate `rrule` agrees with RFC 5545: no numbers of weeks, no places in a week.
fn rule() -> impl Strategy<Value = String> {
    let weekday = || list("BYDAY", vec!["MO", "TU", "WE", "TH", "FR", "SA", "SU"]);
    let nth = prop_oneof![weekday(), list("BYDAY", vec!["1MO", "-1FR", "2SU", "-2TU", "4WE", "5SA"])];
    let month = || list("BYMONTH", (1..=12).collect::<Vec<i32>>());
    let month_day = || list("BYMONTHDAY", (-31..=31).filter(|n| *n != 0).collect::<Vec<i32>>());
    let place = list("BYSETPOS", vec![1, 2, 3, -1, -2]);
    let year_day = list("BYYEARDAY", vec![1, 59, 60, 61, 100, 365, 366, -1, -307, -366]);
    let week_start = select(vec!["", ";WKST=SU", ";WKST=WE"]);
    let head = (1..9_u8, week_start).prop_map(|(interval, start)| format!(";INTERVAL={interval}{start}"));
    let daily = (weekday(), month(), month_day()).prop_map(|(a, b, c)| format!("FREQ=DAILY{a}{b}{c}"));
    let weekly = (weekday(), month()).prop_map(|(a, b)| format!("FREQ=WEEKLY{a}{b}"));
    let monthly = (nth.clone(), month(), month_day(), place.clone()).prop_map(|(a, b, c, d)| {
        let d = if a.is_empty() && b.is_empty() && c.is_empty() { String::new() } else { d };
        format!("FREQ=MONTHLY{a}{b}{c}{d}")
    });
    let yearly = (nth, month(), month_day(), year_day, place).prop_map(|(a, b, c, d, e)| {
        let bare = a.is_empty() && b.is_empty() && c.is_empty() && d.is_empty();
        let e = if bare { String::new() } else { e };
        format!("FREQ=YEARLY{a}{b}{c}{d}{e}")
    });
    let end = prop_oneof![Just(String::new()), (1..30_u8).prop_map(|count| format!(";COUNT={count}"))];
    (prop_oneof![daily, weekly, monthly, yearly], head, end).prop_map(|(a, b, c)| format!("{a}{b}{c}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_days_are_those_of_another_implementation(rule in rule(), day in 0..3_000_i32) {
        let (start, years) = (plus(Date::constant(2020, 1, 1), day), 12);
        let end = plus(start, years * 366);
        let dtstart = format!("DTSTART:{}T000000Z\nRRULE:{rule}", start.strftime("%Y%m%d"));
        let set: rrule::RRuleSet = dtstart.parse().unwrap();
        let wanted: Vec<String> = set
            .into_iter()
            .map(|at| at.format("%Y-%m-%d").to_string())
            .take_while(|day| *day <= end.to_string())
            .take(60)
            .collect();
        let series = rule.parse::<Rule>().unwrap().from(start.to_datetime(Time::midnight()));
        prop_assume!(series.is_counted());
        let found: Vec<String> =
            series.days(start, end, usize::MAX).take(60).map(|day| day.to_string()).collect();
        prop_assert_eq!(found, wanted);
    }
}
