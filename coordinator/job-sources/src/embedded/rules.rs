//! The rules of the embedded chain. They are Bitcoin's, with an interval and a spacing of one's own; the period that
//! a retarget measures holds as many gaps as it has blocks, so nobody gains by lying about one block's time.

use algorithm_api::Algorithm;
use bus_schemas::{config::EmbeddedSource, units::Target, work::sha256d};
use ruint::aliases::{U256, U320};
use std::{fmt, ops::Deref, sync::Arc};

/// Blocks whose median time a new block must be later than.
pub const MEDIAN_SPAN: usize = 11;
/// Latest time of a block ahead of the clock, in seconds.
pub const MAX_FUTURE_S: u32 = 7_200;
/// Block version; of its bits those of [`VERSION_MASK`] are free.
pub const VERSION: u32 = 0x2000_0000;
/// Version bits that miners may roll (BIP 320).
pub const VERSION_MASK: u32 = 0x1fff_e000;
/// Most that one retarget makes a block easier or harder.
const MAX_STEP: u64 = 4;

/// A proof of work.
#[derive(Clone)]
pub enum Proof {
    /// Compiled in.
    Native(&'static dyn Algorithm),
    /// Loaded while the program runs.
    Loaded(Arc<dyn Algorithm>),
}

impl Deref for Proof {
    type Target = dyn Algorithm;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Native(algorithm) => *algorithm,
            Self::Loaded(algorithm) => &**algorithm,
        }
    }
}

/// What makes a chain; another value anywhere is another chain with another genesis.
#[derive(Clone)]
pub struct Params {
    /// Proof of work.
    pub algorithm: Proof,
    /// Spacing, first and easiest target, retarget interval, reward, payout, genesis time.
    pub config: EmbeddedSource,
}

impl fmt::Debug for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Params")
            .field("algorithm", &self.algorithm.descriptor().id)
            .field("config", &self.config)
            .finish()
    }
}

/// A block as the rules for the next one see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) hash: [u8; 32],
    pub(crate) height: u64,
    pub(crate) time: u32,
    pub(crate) bits: u32,
}

impl Params {
    /// The genesis block's header: it has no work, and its merkle root is a hash of all parameters.
    pub(crate) fn genesis(&self) -> Link {
        let config = &self.config;
        let descriptor = self.algorithm.descriptor();
        let mut identity = format!("{} {}", descriptor.id, descriptor.version).into_bytes();
        for number in [config.spacing_seconds, config.initial_bits, config.retarget_interval] {
            identity.extend(number.to_le_bytes());
        }
        identity.extend(config.reward.to_le_bytes());
        identity.extend_from_slice(&config.payout_script.0);
        let mut header = [0; 80];
        header[..4].copy_from_slice(&VERSION.to_le_bytes());
        header[36..68].copy_from_slice(&sha256d(&identity));
        header[68..72].copy_from_slice(&config.genesis_time.to_le_bytes());
        header[72..76].copy_from_slice(&config.initial_bits.to_le_bytes());
        Link { hash: sha256d(&header), height: 0, time: config.genesis_time, bits: config.initial_bits }
    }

    /// Height of the first block of the period that decides the bits of the block at `height`; `None` when that
    /// block only inherits. The genesis block's time is a constant of the chain and says nothing.
    pub(crate) fn period_start(&self, height: u64) -> Option<u64> {
        let interval = u64::from(self.config.retarget_interval.max(2));
        (height > 2 && height.is_multiple_of(interval)).then(|| (height - 1).saturating_sub(interval).max(1))
    }

    /// The target after a period of `gaps` gaps that took `seconds`.
    pub(crate) fn retarget(&self, last: Target, gaps: u64, seconds: u64, easiest: Target) -> Target {
        let wanted = (gaps * u64::from(self.config.spacing_seconds)).max(1);
        let seconds = seconds.clamp((wanted / MAX_STEP).max(1), wanted * MAX_STEP);
        let scaled = U320::from(last.0) * U320::from(seconds) / U320::from(wanted);
        Target(U256::saturating_from(scaled).clamp(U256::from(1), easiest.0))
    }
}

/// The median of up to [`MEDIAN_SPAN`] times; of an even number the later middle one.
pub(crate) fn median(times: impl Iterator<Item = u32>) -> u32 {
    let mut times: Vec<u32> = times.take(MEDIAN_SPAN).collect();
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use algorithm_sha256d::Sha256d;
    use proptest::prelude::*;

    fn params() -> Params {
        Params { algorithm: Proof::Native(&Sha256d), config: EmbeddedSource::default() }
    }

    const EASIEST: Target = Target::MAX;

    #[test]
    fn twice_as_fast_doubles_the_difficulty_and_on_time_keeps_it() {
        let target = Target::from_compact(0x1d00_ffff).unwrap();
        let next = |seconds| params().retarget(target, 12, seconds, EASIEST).0;
        assert_eq!(next(60), target.0);
        assert_eq!(next(30), target.0 >> 1);
        assert_eq!(next(120), target.0 << 1);
    }

    #[test]
    fn a_retarget_is_at_most_four_times_and_never_easier_than_the_easiest() {
        let target = Target::from_compact(0x1d00_ffff).unwrap();
        let next = |seconds| params().retarget(target, 12, seconds, EASIEST).0;
        assert_eq!(next(0), target.0 >> 2);
        assert_eq!(next(u64::MAX), target.0 << 2);
        assert_eq!(params().retarget(target, 12, u64::MAX, target), target);
    }

    #[test]
    fn periods_count_as_many_gaps_as_blocks_and_leave_genesis_out() {
        let starts: Vec<_> = [1, 11, 12, 13, 24, 36].map(|h| params().period_start(h)).into();
        assert_eq!(starts, [None, None, Some(1), None, Some(11), Some(23)]);
    }

    #[test]
    fn the_median_of_the_last_eleven_times_ignores_liars_at_both_ends() {
        assert_eq!(median([5, 1, 9].into_iter()), 5);
        assert_eq!(median([5].into_iter()), 5);
        assert_eq!(median((0..100).map(|t| 1_000 - t)), 995);
    }

    #[test]
    fn every_parameter_makes_another_genesis() {
        let base = params().genesis().hash;
        let other = |change: &dyn Fn(&mut EmbeddedSource)| {
            let mut params = params();
            change(&mut params.config);
            params.genesis().hash
        };
        assert_ne!(base, other(&|c| c.spacing_seconds += 1));
        assert_ne!(base, other(&|c| c.initial_bits -= 1));
        assert_ne!(base, other(&|c| c.retarget_interval += 1));
        assert_ne!(base, other(&|c| c.reward += 1));
        assert_ne!(base, other(&|c| c.payout_script.0.push(0x51)));
        assert_ne!(base, other(&|c| c.genesis_time += 1));
        let scrypt = Params { algorithm: Proof::Native(&algorithm_scrypt::Scrypt1024), ..params() };
        assert_ne!(base, scrypt.genesis().hash);
        assert_eq!(base, params().genesis().hash);
    }

    proptest! {
        #[test]
        fn a_retarget_never_overflows_and_stays_a_target(bits: u32, gaps in 1_u64..100_000, seconds: u64) {
            if let Ok(target) = Target::from_compact(bits) {
                let next = params().retarget(target, gaps, seconds, EASIEST);
                prop_assert!(!next.0.is_zero());
                prop_assert!(Target::from_compact(next.to_compact()).is_ok());
            }
        }
    }
}
