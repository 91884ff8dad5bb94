//! Which algorithms may run on this host. The shell judges certificates under the host's own trust roots; here stands what it
//! said, and what was told of it. Nothing was said: nothing may run.

use crate::moment::{MonotonicMs, Now};
use bus_schemas::{AlgorithmId, Blob, TimestampMs};

/// Most algorithms that are refused because they are not here, of which each is told once; more are only counted.
pub const MAX_TOLD: usize = 64;
/// Catalogues that are refused are told no more often, milliseconds.
pub const CATALOGUE_EVENT_INTERVAL_MS: u64 = 1_000;
/// Longest time for which the wall clock is trusted not to have been set, milliseconds.
pub const CLEARANCE_RECHECK_MS: u64 = 30_000;

/// Code of an algorithm that no one has judged yet.
pub const NOT_JUDGED: &str = "not-judged";
/// Code of an algorithm that this agent does not have.
pub const NOT_OFFERED: &str = "algorithm-not-offered";
/// Code of an algorithm that this agent has with another digest than the job names.
pub const DIGEST_DIFFERS: &str = "digest-differs";
/// Code of a clearance that has ended.
pub const EXPIRED: &str = "certificate-expired";
/// The codes that this crate gives by itself.
pub const CODES: [&str; 4] = [NOT_JUDGED, NOT_OFFERED, DIGEST_DIFFERS, EXPIRED];

/// What the host says of one algorithm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clearance {
    /// Its name.
    pub algorithm: AlgorithmId,
    /// Its version.
    pub version: u32,
    /// SHA-256 of its sources or artifact.
    pub digest: Blob,
    /// Until when it may run, or why it may not.
    pub verdict: Result<TimestampMs, Denied>,
}

/// Why an algorithm may not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// For programs; of a closed set.
    pub code: &'static str,
    /// For people.
    pub reason: String,
}

impl Clearance {
    fn is_of(&self, algorithm: &AlgorithmId, version: u32, digest: &Blob) -> bool {
        self.algorithm == *algorithm && self.version == version && self.digest == *digest
    }

    fn is_permitted_at(&self, now: TimestampMs) -> bool {
        self.verdict.as_ref().is_ok_and(|until| now < *until)
    }
}

/// The clearances in force.
#[derive(Debug, Clone, Default)]
pub(crate) struct Clearances {
    all: Vec<Clearance>,
    /// Refusals that were told and have not ended since.
    told: Vec<(AlgorithmId, u32, &'static str)>,
    catalogue: Option<(Denied, MonotonicMs)>,
}

impl Clearances {
    /// Replaces what was said before.
    pub(crate) fn replace(&mut self, all: Vec<Clearance>, now: TimestampMs) {
        let ended = |algorithm: &AlgorithmId, version: u32| {
            let permitted =
                |c: &Clearance| c.algorithm == *algorithm && c.version == version && c.is_permitted_at(now);
            all.iter().any(permitted)
        };
        self.told.retain(|(algorithm, version, _)| !ended(algorithm, *version));
        self.all = all;
    }

    /// Whether an algorithm may run now.
    pub(crate) fn check(
        &self,
        algorithm: &AlgorithmId,
        version: u32,
        digest: &Blob,
        now: TimestampMs,
    ) -> Result<(), Denied> {
        match self.all.iter().find(|c| c.is_of(algorithm, version, digest)).map(|c| &c.verdict) {
            Some(Ok(until)) if now < *until => Ok(()),
            Some(Ok(until)) => {
                let reason =
                    format!("the certificate ended at {}; have it certified anew", until.to_rfc3339());
                Err(Denied { code: EXPIRED, reason })
            }
            Some(Err(denied)) => Err(denied.clone()),
            None => {
                let reason = "its certificates were not judged; look into the worker's log".to_owned();
                Err(Denied { code: NOT_JUDGED, reason })
            }
        }
    }

    /// When an algorithm that may run now may cease to.
    pub(crate) fn next_deadline(
        &self,
        algorithm: &AlgorithmId,
        version: u32,
        digest: &Blob,
        now: Now,
    ) -> Option<MonotonicMs> {
        let clearance = self.all.iter().find(|c| c.is_of(algorithm, version, digest))?;
        let left = clearance.verdict.as_ref().ok()?.0.checked_sub(now.wall.0).filter(|left| *left > 0)?;
        Some(now.monotonic.plus_ms(left.min(CLEARANCE_RECHECK_MS)))
    }

    /// How many algorithms may run now.
    pub(crate) fn permitted(&self, now: TimestampMs) -> usize {
        self.all.iter().filter(|c| c.is_permitted_at(now)).count()
    }

    /// Whether this refusal is news; from now on it is not.
    pub(crate) fn is_news(&mut self, algorithm: &AlgorithmId, version: u32, code: &'static str) -> bool {
        let full = self.told.len() >= MAX_TOLD;
        let known = self.told.iter_mut().find(|(a, v, _)| a == algorithm && *v == version);
        match known {
            Some((_, _, told)) => std::mem::replace(told, code) != code,
            None if code == NOT_OFFERED && full => false,
            None => {
                self.told.push((algorithm.clone(), version, code));
                true
            }
        }
    }

    /// Whether the refusal of a catalogue is to be told.
    pub(crate) fn is_catalogue_news(&mut self, denied: &Denied, now: MonotonicMs) -> bool {
        let told = self.catalogue.as_ref();
        let news =
            told.is_none_or(|(told, at)| told != denied && now.since(*at) >= CATALOGUE_EVENT_INTERVAL_MS);
        if news {
            self.catalogue = Some((denied.clone(), now));
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: TimestampMs = TimestampMs(1_000_000);

    fn id() -> AlgorithmId {
        AlgorithmId::sha256d()
    }

    fn digest(byte: u8) -> Blob {
        Blob(vec![byte; 32])
    }

    fn clearance(verdict: Result<u64, &'static str>) -> Clearance {
        let verdict = verdict.map(TimestampMs).map_err(|code| Denied { code, reason: String::new() });
        Clearance { algorithm: id(), version: 1, digest: digest(7), verdict }
    }

    #[test]
    fn only_exactly_what_was_judged_may_run_and_only_until_its_end() {
        let mut clearances = Clearances::default();
        let code = |c: &Clearances, version, byte, at| {
            c.check(&id(), version, &digest(byte), TimestampMs(at)).map_err(|denied| denied.code)
        };
        assert_eq!(code(&clearances, 1, 7, NOW.0), Err(NOT_JUDGED));
        clearances.replace(vec![clearance(Ok(NOW.0 + 5))], NOW);
        for (version, byte, at, wanted) in [
            (1, 7, NOW.0, Ok(())),
            (1, 7, NOW.0 + 4, Ok(())),
            (1, 7, NOW.0 + 5, Err(EXPIRED)),
            (2, 7, NOW.0, Err(NOT_JUDGED)),
            (1, 8, NOW.0, Err(NOT_JUDGED)),
        ] {
            assert_eq!(code(&clearances, version, byte, at), wanted, "{version} {byte} {at}");
        }
        assert_eq!((clearances.permitted(NOW), clearances.permitted(TimestampMs(NOW.0 + 5))), (1, 0));
        clearances.replace(vec![clearance(Err("certificate-revoked"))], NOW);
        assert_eq!(code(&clearances, 1, 7, NOW.0), Err("certificate-revoked"));
        clearances.replace(Vec::new(), NOW);
        assert_eq!(code(&clearances, 1, 7, NOW.0), Err(NOT_JUDGED));
    }

    #[test]
    fn a_refusal_is_told_once_until_its_code_changes_or_it_was_permitted_in_between() {
        let mut clearances = Clearances::default();
        let told = ["a", "a", "b", "a"].map(|code| clearances.is_news(&id(), 1, code));
        assert_eq!(told, [true, false, true, true]);
        clearances.replace(vec![clearance(Err("a"))], NOW);
        assert!(!clearances.is_news(&id(), 1, "a"));
        clearances.replace(vec![clearance(Ok(NOW.0 + 1))], NOW);
        assert!(clearances.is_news(&id(), 1, "a"));
        assert!(clearances.is_news(&id(), 2, "a"), "another version is another algorithm");
    }

    #[test]
    fn foreign_names_without_end_are_told_only_so_often_and_hide_nothing_of_ones_own() {
        let mut clearances = Clearances::default();
        let foreign = |n: usize| AlgorithmId::new(format!("x{n}")).unwrap();
        let told = (0..2 * MAX_TOLD).filter(|n| clearances.is_news(&foreign(*n), 1, NOT_OFFERED)).count();
        assert_eq!(told, MAX_TOLD);
        assert!(clearances.is_news(&id(), 1, EXPIRED));
    }

    #[test]
    fn catalogues_that_are_refused_again_and_again_are_told_once_a_second_at_most() {
        let mut clearances = Clearances::default();
        let denied = |reason: &str| Denied { code: "malformed", reason: reason.to_owned() };
        let at = MonotonicMs;
        assert!(clearances.is_catalogue_news(&denied("a"), at(0)));
        assert!(!clearances.is_catalogue_news(&denied("a"), at(CATALOGUE_EVENT_INTERVAL_MS)));
        assert!(!clearances.is_catalogue_news(&denied("b"), at(CATALOGUE_EVENT_INTERVAL_MS - 1)));
        assert!(clearances.is_catalogue_news(&denied("b"), at(CATALOGUE_EVENT_INTERVAL_MS)));
    }

    #[test]
    fn the_end_of_a_clearance_is_a_deadline_that_a_clock_which_was_set_does_not_hide() {
        let mut clearances = Clearances::default();
        let deadline = |c: &Clearances, wall| {
            let now = Now { monotonic: MonotonicMs(10), wall: TimestampMs(wall) };
            c.next_deadline(&id(), 1, &digest(7), now).map(|at| at.0)
        };
        assert_eq!(deadline(&clearances, 0), None);
        clearances.replace(vec![clearance(Ok(NOW.0))], TimestampMs(0));
        assert_eq!(deadline(&clearances, NOW.0 - 5), Some(15));
        assert_eq!(deadline(&clearances, 0), Some(10 + CLEARANCE_RECHECK_MS));
        assert_eq!(deadline(&clearances, NOW.0), None);
    }
}
