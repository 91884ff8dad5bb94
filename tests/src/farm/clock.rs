//! Lengths of time as people type them.

use std::time::Duration;

/// Reads `30s`, `2m`, `1h` or `500ms`; a number alone is seconds.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let complaint = || format!("{text:?} is no length of time; write for instance 30s, 2m or 500ms");
    let number: u64 = number.parse().map_err(|_| complaint())?;
    let of_seconds =
        |seconds: u64| number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(complaint);
    match unit.trim() {
        "ms" => Ok(Duration::from_millis(number)),
        "" | "s" => of_seconds(1),
        "m" | "min" => of_seconds(60),
        "h" => of_seconds(3_600),
        _ => Err(complaint()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read_as_people_type_them() {
        for (text, seconds) in [("30", 30), ("30s", 30), (" 2m", 120), ("2 min", 120), ("1h", 3_600)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
    }

    #[test]
    fn what_is_no_length_of_time_is_refused_with_an_example() {
        for text in ["", "s", "-3s", "3d", "1.5s", "99999999999999999999s", "9999999999999999999h"] {
            let refused = parse_duration(text).unwrap_err();
            assert!(refused.contains("for instance 30s"), "{text}: {refused}");
        }
    }
}
