//! Who owns a pool. One coordinator at a time: a lease that ends by itself, its revision the fencing epoch.

use crate::{input::LeaseInput, time::MonoMs};

/// Life of a lease, milliseconds.
pub const LEASE_TTL_MS: u64 = 2_000;
/// Time between renewals, milliseconds.
pub const RENEW_INTERVAL_MS: u64 = 500;
/// Time between attempts to take a lease that is not ours, milliseconds.
pub const ACQUIRE_INTERVAL_MS: u64 = 400;
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
}

impl Ownership {
    pub(crate) fn new(now: MonoMs) -> Self {
        Self { state: State::Free { retry_at: now } }
    }

    pub(crate) fn epoch(&self) -> Option<u64> {
        match self.state {
            State::Held { epoch, .. } => Some(epoch),
            _ => None,
        }
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
                Duty::Begin(epoch)
            }
            (LeaseInput::Unavailable, State::Acquiring) => {
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
    fn a_late_answer_of_an_attempt_given_up_takes_nothing() {
        let mut o = Ownership::new(MonoMs(0));
        o.tick(MonoMs(0));
        assert_eq!(o.handle(LeaseInput::Unavailable, MonoMs(1)), Duty::Nothing);
        let acquired = LeaseInput::Acquired { epoch: 9, held_until: MonoMs(2_000) };
        assert_eq!(o.handle(acquired, MonoMs(2)), Duty::Nothing);
        assert_eq!(o.epoch(), None);
    }
}
