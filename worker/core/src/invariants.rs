//! What holds after every step, by name. Tests and simulation check it; shipped code does not.

use crate::{
    WorkerCore,
    outbox::{MAX_IN_FLIGHT, OUTBOX_LIMIT},
    plan::Unit,
};

/// An invariant that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// More threads search than the host's own file allows.
    #[error("{searching} threads search, the host allows {allowed}")]
    HostLimitExceeded {
        /// Threads that search.
        searching: usize,
        /// The host's limit.
        allowed: u16,
    },
    /// Something is searched although the set-point says no: as a backup, in a pause, without a lease.
    #[error("{searching} threads search, the set-point says {wanted} because {reason}")]
    SearchAgainstSetPoint {
        /// Threads that search.
        searching: usize,
        /// Threads of the set-point.
        wanted: u16,
        /// Its reason.
        reason: String,
    },
    /// Something is searched that the host's certificates do not permit.
    #[error("{0} is searched and not permitted")]
    SearchUncertified(String),
    /// Two units of one plan share a position, or one lies beyond what was handed out.
    #[error("units {0:?} and {1:?} of one slot overlap")]
    UnitsOverlap(Unit, Unit),
    /// A unit lies beyond the cursor of its plan.
    #[error("unit {0:?} was never handed out")]
    UnitBeyondCursor(Unit),
    /// The outbox is larger than its limit.
    #[error("{0} shares wait, the limit is {OUTBOX_LIMIT}")]
    OutboxTooLong(usize),
    /// More publications than allowed have no answer.
    #[error("{0} publications are in flight, the limit is {MAX_IN_FLIGHT}")]
    TooManyInFlight(usize),
}

impl WorkerCore {
    /// Checks every invariant.
    pub fn check_invariants(&self) -> Result<(), Violation> {
        self.check_threads()?;
        self.check_units()?;
        if self.outbox.ordinary() > OUTBOX_LIMIT {
            return Err(Violation::OutboxTooLong(self.outbox.ordinary()));
        }
        if self.outbox.in_flight() > MAX_IN_FLIGHT {
            return Err(Violation::TooManyInFlight(self.outbox.in_flight()));
        }
        Ok(())
    }

    fn check_threads(&self) -> Result<(), Violation> {
        let searching = self.crew.running().filter(|r| !r.stopping).count();
        let allowed = self.limits.local.threads;
        if searching > usize::from(allowed) {
            return Err(Violation::HostLimitExceeded { searching, allowed });
        }
        if searching > usize::from(self.set_point.threads) {
            let reason = format!("{:?}", self.set_point.reason);
            return Err(Violation::SearchAgainstSetPoint {
                searching,
                wanted: self.set_point.threads,
                reason,
            });
        }
        let wanted = self.offered().filter(|_| self.limits.local.uncertified.is_none());
        for running in self.crew.running().filter(|r| !r.stopping) {
            let algorithm = &running.assignment.job.algorithm;
            if wanted.is_none_or(|offered| !offered.fits(algorithm)) {
                return Err(Violation::SearchUncertified(algorithm.id.to_string()));
            }
        }
        Ok(())
    }

    fn check_units(&self) -> Result<(), Violation> {
        for plan in self.crew.plans() {
            let of_plan = |r: &&crate::search::Running| {
                r.assignment.job.id == plan.key().job && r.assignment.slot == plan.key().slot
            };
            let running = self.crew.running().filter(of_plan).map(|r| r.unit);
            let units: Vec<Unit> = running.chain(plan.returned().iter().copied()).collect();
            for (index, unit) in units.iter().enumerate() {
                if !plan.has_handed_out(unit) {
                    return Err(Violation::UnitBeyondCursor(*unit));
                }
                if let Some(other) = units.iter().skip(index + 1).find(|other| unit.overlaps(other)) {
                    return Err(Violation::UnitsOverlap(*unit, *other));
                }
            }
        }
        Ok(())
    }
}
