//! Who owns a pool. One coordinator at a time: a lease that ends by itself; the
//! server's time at which it was taken is the epoch that fences off every earlier owner.

use crate::{input::LeaseInput, time::MonoMs};

/// Life of a lease, milliseconds.
pub const LEASE_TTL_MS: u64 = 2_000;
/// Time between renewals, milliseconds.
pub const RENEW_INTERVAL_MS: u64 = 500;
/// Time between attempts to take a lease that is not ours, milliseconds.
pub const ACQUIRE_INTERVAL_MS: u64 = 400;
/// Longest time until a pool that was given up again and again is taken anew, milliseconds.
pub const RETAKE_DELAY_MAX_MS: u64 = 10_000;
/// A term that lasted for this long is not counted among those that failed, milliseconds.
pub const STEADY_MS: u64 = 20_000;
/// A pool that was given up so often, one time after another, is stuck.
pub const STUCK_AFTER: u32 = 3;
/// An owner stops this long before its lease ends, milliseconds, so that an order on its way is not late.
pub const STEP_DOWN_MARGIN_MS: u64 = 200;

/// Where a pool's ownership stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not ours; the next attempt is due then.
    Free { retry_at: MonoMs },
    /// An attempt is under way.
    Acquiring,
    /// Ours.
    Held { epoch: u64, held_until: MonoMs, renew_at: MonoMs },
}

/// What to do about the lease now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Duty {
    /// Nothing.
    Nothing,
    /// Try to take it.
    Acquire,
    /// Renew it.
    Renew(u64),
    /// It was taken.
    Begin(u64),
    /// It ended or was lost, for this reason.
    End(u64, String),
}

/// The lease of one pool.
#[derive(Debug)]
pub(crate) struct Ownership {
    state: State,
    /// When the present term, or the last one, began.
    began_at: MonoMs,
    /// Terms that were given up one after another.
    failures: u32,
}

impl Ownership {
    pub(crate) fn new(now: MonoMs) -> Self {
        Self { state: State::Free { retry_at: now }, began_at: now, failures: 0 }
    }

    pub(crate) fn epoch(&self) -> Option<u64> {
        match self.state {
            State::Held { epoch, .. } => Some(epoch),
            _ => None,
        }
    }

    /// Terms that were given up one after another, none of which lasted.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// The present term has lasted.
    pub(crate) fn is_steady(&self, now: MonoMs) -> bool {
        matches!(self.state, State::Held { .. }) && now.since(self.began_at) >= STEADY_MS
    }

    /// Somebody else keeps the pool running: what failed here is no matter of the pool.
    pub(crate) fn forgive(&mut self) {
        self.failures = 0;
    }

    /// How long to wait before the pool is taken again: twice as long after each failure.
    fn retake_delay(&self) -> u64 {
        let doublings = self.failures.saturating_sub(1).min(16);
        (ACQUIRE_INTERVAL_MS << doublings).min(RETAKE_DELAY_MAX_MS)
    }

    pub(crate) fn deadline(&self) -> Option<MonoMs> {
        match self.state {
            State::Free { retry_at } => Some(retry_at),
            State::Acquiring => None,
            State::Held { held_until, renew_at, .. } => Some(renew_at.min(last_safe(held_until))),
        }
    }

    pub(crate) fn tick(&mut self, now: MonoMs) -> Duty {
        match self.state {
            State::Free { retry_at } if now >= retry_at => {
                self.state = State::Acquiring;
                Duty::Acquire
            }
            State::Held { epoch, held_until, .. } if now >= last_safe(held_until) => {
                self.state = State::Free { retry_at: now.plus(ACQUIRE_INTERVAL_MS) };
                Duty::End(epoch, "the lease was not renewed in time".to_owned())
            }
            State::Held { epoch, held_until, renew_at } if now >= renew_at => {
                self.state = State::Held { epoch, held_until, renew_at: now.plus(RENEW_INTERVAL_MS) };
                Duty::Renew(epoch)
            }
            _ => Duty::Nothing,
        }
    }

    pub(crate) fn handle(&mut self, input: LeaseInput, now: MonoMs) -> Duty {
        let free = State::Free { retry_at: now.plus(ACQUIRE_INTERVAL_MS) };
        match (input, self.state) {
            (LeaseInput::Acquired { epoch, held_until }, State::Acquiring) => {
                self.state = State::Held { epoch, held_until, renew_at: now.plus(RENEW_INTERVAL_MS) };
                self.began_at = now;
                Duty::Begin(epoch)
            }
            (LeaseInput::Unavailable | LeaseInput::HeldElsewhere { .. }, State::Acquiring) => {
                self.state = free;
                Duty::Nothing
            }
            (LeaseInput::Renewed { held_until: new }, State::Held { epoch, held_until, renew_at }) => {
                self.state = State::Held { epoch, held_until: held_until.max(new), renew_at };
                Duty::Nothing
            }
            (LeaseInput::Lost { epoch: lost, reason }, State::Held { epoch, .. }) if lost == epoch => {
                self.state = free;
                Duty::End(epoch, reason)
            }
            (LeaseInput::GivenUp { epoch: lost, trouble }, State::Held { epoch, .. }) if lost == epoch => {
                let lasted = now.since(self.began_at) >= STEADY_MS;
                self.failures = if lasted { 1 } else { self.failures.saturating_add(1) };
                self.state = State::Free { retry_at: now.plus(self.retake_delay()) };
                Duty::End(epoch, trouble.reason)
            }
            _ => Duty::Nothing,
        }
    }
}

fn last_safe(held_until: MonoMs) -> MonoMs {
    MonoMs(held_until.0.saturating_sub(STEP_DOWN_MARGIN_MS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::Trouble;

    #[test]
    fn an_owner_that_cannot_renew_steps_down_before_its_lease_ends() {
        let mut o = Ownership::new(MonoMs(0));
        assert_eq!(o.tick(MonoMs(0)), Duty::Acquire);
        let held_until = MonoMs(LEASE_TTL_MS);
        assert_eq!(o.handle(LeaseInput::Acquired { epoch: 7, held_until }, MonoMs(5)), Duty::Begin(7));
        assert_eq!(o.tick(MonoMs(600)), Duty::Renew(7));
        assert_eq!(o.tick(MonoMs(1_799)), Duty::Renew(7));
        assert!(matches!(o.tick(MonoMs(1_800)), Duty::End(7, _)));
        assert_eq!(o.epoch(), None);
    }

    #[test]
    fn a_renewal_prolongs_and_a_loss_ends_at_once() {
        let mut o = Ownership::new(MonoMs(0));
        o.tick(MonoMs(0));
        o.handle(LeaseInput::Acquired { epoch: 7, held_until: MonoMs(2_000) }, MonoMs(0));
        o.handle(LeaseInput::Renewed { held_until: MonoMs(2_500) }, MonoMs(510));
        assert_eq!(o.tick(MonoMs(1_900)), Duty::Renew(7));
        let lost = |epoch| LeaseInput::Lost { epoch, reason: "test".to_owned() };
        assert_eq!(o.handle(lost(6), MonoMs(1_949)), Duty::Nothing);
        assert_eq!(o.handle(lost(7), MonoMs(1_950)), Duty::End(7, "test".to_owned()));
        assert_eq!(o.handle(lost(7), MonoMs(1_951)), Duty::Nothing);
    }

    #[test]
    fn a_pool_that_is_given_up_again_and_again_is_taken_more_and_more_slowly_until_a_term_lasts() {
        let mut o = Ownership::new(MonoMs(0));
        let mut now = MonoMs(0);
        let mut term = |o: &mut Ownership, epoch: u64, lasts: u64| {
            now = o.deadline().unwrap().max(now);
            assert_eq!(o.tick(now), Duty::Acquire);
            o.handle(LeaseInput::Acquired { epoch, held_until: now.plus(LEASE_TTL_MS) }, now);
            now = now.plus(lasts);
            let trouble = Trouble { reason: "test".to_owned(), stuck: None };
            assert_eq!(
                o.handle(LeaseInput::GivenUp { epoch, trouble }, now),
                Duty::End(epoch, "test".to_owned())
            );
            o.deadline().unwrap().since(now)
        };
        let delays: Vec<_> = (1..9).map(|epoch| term(&mut o, epoch, 100)).collect();
        assert_eq!(delays, [400, 800, 1_600, 3_200, 6_400, 10_000, 10_000, 10_000]);
        assert_eq!(term(&mut o, 9, STEADY_MS), 400, "a term that lasted");
        assert_eq!(term(&mut o, 10, 100), 800);
        assert_eq!(o.failures(), 2);
    }

    #[test]
    fn a_late_answer_of_an_attempt_given_up_takes_nothing() {
        let mut o = Ownership::new(MonoMs(0));
        o.tick(MonoMs(0));
        assert_eq!(o.handle(LeaseInput::Unavailable, MonoMs(1)), Duty::Nothing);
        let acquired = LeaseInput::Acquired { epoch: 9, held_until: MonoMs(2_000) };
        assert_eq!(o.handle(acquired, MonoMs(2)), Duty::Nothing);
        assert_eq!(o.epoch(), None);
    }
}
