//! Whole seconds, RFC 3339 in text.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Latest second: the start of the year 9999, before which every time can be written.
const LATEST: u64 = 253_370_764_800;

/// Seconds since 1970 in UTC, to the start of the year 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UnixSeconds(u64);

impl UnixSeconds {
    /// So many seconds after the start of 1970, at most the start of the year 9999.
    pub fn new(seconds: u64) -> Self {
        Self(seconds.min(LATEST))
    }

    /// From milliseconds, rounded down.
    pub fn from_ms(milliseconds: u64) -> Self {
        Self::new(milliseconds / 1000)
    }

    /// Seconds since 1970.
    pub fn get(self) -> u64 {
        self.0
    }

    /// So many seconds later, at most the start of the year 9999.
    pub fn plus(self, seconds: u64) -> Self {
        Self::new(self.0.saturating_add(seconds))
    }
}

impl FromStr for UnixSeconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no time after 1970 as 2026-12-24T18:00:00Z");
        let seconds = text.parse::<jiff::Timestamp>().map_err(|_| wrong())?.as_second();
        u64::try_from(seconds).map(Self::new).map_err(|_| wrong())
    }
}

impl TryFrom<String> for UnixSeconds {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<UnixSeconds> for String {
    fn from(time: UnixSeconds) -> Self {
        time.to_string()
    }
}

impl fmt::Display for UnixSeconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let second = i64::try_from(self.0).ok().and_then(|second| jiff::Timestamp::from_second(second).ok());
        match second {
            Some(time) => write!(f, "{time}"),
            None => write!(f, "{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_and_read_as_rfc_3339_in_whole_seconds() {
        let time = UnixSeconds::from_ms(1_700_000_000_999);
        assert_eq!(time.to_string(), "2023-11-14T22:13:20Z");
        assert_eq!("2023-11-14T22:13:20Z".parse(), Ok(time));
        assert_eq!("2023-11-15T00:13:20.5+02:00".parse(), Ok(time));
        for wrong in ["", "2023-11-14", "1969-12-31T23:59:59Z", "1700000000", "2023-13-01T00:00:00Z"] {
            assert!(wrong.parse::<UnixSeconds>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_last_second_can_be_written_and_nothing_passes_it() {
        let last = UnixSeconds::new(u64::MAX);
        assert_eq!(last.to_string(), "9999-01-01T00:00:00Z");
        assert_eq!(last.plus(u64::MAX), last);
        assert_eq!(last.to_string().parse(), Ok(last));
        assert_eq!("9999-12-30T00:00:00Z".parse(), Ok(last));
    }
}
