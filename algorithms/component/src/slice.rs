//! How many positions make a call, so that it takes about as long as it should.

use crate::limits::SLICE;
use algorithm_api::Target;
use nix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Grows at most by this factor at a time.
const MAX_GROWTH: u64 = 4;

/// Processor time of the calling thread.
pub(crate) fn thread_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// Positions that are handed out at a time: one at first, then as many as fit into [`SLICE`].
#[derive(Debug)]
pub(crate) struct Slice(u64);

impl Default for Slice {
    fn default() -> Self {
        Self(1)
    }
}

impl Slice {
    pub(crate) fn positions(&self) -> u64 {
        self.0
    }

    /// A call scanned `done` positions in `took`. A short call says little about a long one, so it never lowers.
    pub(crate) fn measure(&mut self, done: u64, took: Duration) {
        let fitting = u128::from(done) * SLICE.as_nanos() / took.as_nanos().max(1);
        let fitting = u64::try_from(fitting).unwrap_or(u64::MAX);
        let grown = self.0.saturating_mul(MAX_GROWTH);
        if took >= SLICE || done >= self.0 {
            self.0 = fitting.clamp(1, grown);
        }
    }
}

/// Positions of which a quarter of `most` meet the target, expected, at least one.
pub(crate) fn positions_with(most: u32, target: &Target) -> u64 {
    let bytes = target.to_le_bytes();
    let zero_bytes = bytes.iter().rev().take_while(|byte| **byte == 0).count();
    let first = bytes.iter().rev().nth(zero_bytes).map_or(0, |byte| byte.leading_zeros());
    let bits = u32::try_from(zero_bytes * 8).unwrap_or(u32::MAX).saturating_add(first);
    u64::from(most / 4).max(1).saturating_mul(1_u64.checked_shl(bits).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_grows_step_by_step_and_shrinks_at_once() {
        let mut slice = Slice::default();
        slice.measure(1, Duration::from_nanos(100));
        assert_eq!(slice.positions(), MAX_GROWTH);
        slice.measure(4, SLICE * 2);
        assert_eq!(slice.positions(), 2);
        slice.measure(1, Duration::from_nanos(1));
        assert_eq!(slice.positions(), 2, "a call of less than the slice tells nothing");
        slice.measure(2, SLICE * 1000);
        assert_eq!(slice.positions(), 1);
    }

    #[test]
    fn an_easy_target_gives_few_positions_and_a_hard_one_many() {
        assert_eq!(positions_with(256, &Target::MAX), 64);
        assert_eq!(positions_with(1, &Target::MAX), 1);
        let mut hard = [0xff; 32];
        hard[30..].fill(0);
        assert_eq!(positions_with(256, &Target::from_le_bytes(hard)), 64 << 16);
        assert_eq!(positions_with(256, &Target::from_le_bytes([0; 32])), u64::MAX);
    }
}
