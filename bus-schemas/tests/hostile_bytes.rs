//! No bytes make a decoder panic, and what is read is written back the same.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use bus_schemas::{
    PoolId, ShareBits, Target, Work,
    codec::{DecodeError, Message},
    config::{NodeConfig, PoolConfig, parse_strict},
    examples::{self, Visitor, visit},
    share::Share,
    subject::Subject,
};
use proptest::prelude::*;
use ruint::aliases::U256;
use schemars::JsonSchema;
use std::fmt::Debug;

struct DecodeAll<'a>(&'a [u8]);

impl Visitor for DecodeAll<'_> {
    fn visit<M: Message + JsonSchema + PartialEq + Debug>(&mut self, _: M) {
        if let Ok(read) = M::decode(self.0) {
            let again = M::decode(&read.encode().unwrap()).unwrap();
            assert_eq!(again, read);
        }
    }
}

/// Mutates the encoding of every example, so that decoders are met deep inside.
struct Mutate<'a> {
    at: usize,
    with: &'a [u8],
}

impl Visitor for Mutate<'_> {
    fn visit<M: Message + JsonSchema + PartialEq + Debug>(&mut self, example: M) {
        let mut bytes = example.encode().unwrap();
        let at = self.at % bytes.len();
        let end = (at + self.with.len()).min(bytes.len());
        bytes[at..end].copy_from_slice(&self.with[..end - at]);
        visit(&mut DecodeAll(&bytes)).unwrap();
        visit(&mut DecodeAll(&bytes[..at])).unwrap();
    }
}

proptest! {
    #[test]
    fn every_decoder_survives_arbitrary_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        visit(&mut DecodeAll(&bytes)).unwrap();
        let _ = parse_strict::<PoolConfig>(&bytes);
        let _ = parse_strict::<NodeConfig>(&bytes);
        if let Ok(text) = std::str::from_utf8(&bytes) {
            let _ = text.parse::<Subject>();
        }
    }

    #[test]
    fn every_subject_text_is_refused_or_read_back(text in "dcmf\\.v1\\.[a-z]{1,8}(\\.[a-zA-Z0-9_.-]{0,6}){0,4}") {
        if let Ok(subject) = text.parse::<Subject>() {
            prop_assert_eq!(subject.to_string(), text);
        }
    }

    #[test]
    fn work_and_targets_survive_both_codecs(limbs: [u64; 4]) {
        let (work, target) = (Work(U256::from_limbs(limbs)), Target(U256::from_limbs(limbs)));
        let json = serde_json::to_vec(&(work, target)).unwrap();
        prop_assert_eq!(serde_json::from_slice::<(Work, Target)>(&json).unwrap(), (work, target));
        let packed = rmp_serde::to_vec_named(&(work, target)).unwrap();
        prop_assert_eq!(rmp_serde::from_slice::<(Work, Target)>(&packed).unwrap(), (work, target));
    }

    #[test]
    fn a_compact_target_is_written_as_it_was_read(mantissa in 0x8000_u32..0x0080_0000, exponent in 3_u32..=32) {
        let bits = (exponent << 24) | mantissa;
        prop_assert_eq!(Target::from_compact(bits).unwrap().to_compact(), bits);
    }

    #[test]
    fn a_harder_share_is_never_met_more_easily(a in 0_u8..=200, b in 0_u8..=200) {
        let (a, b) = (ShareBits::new(a), ShareBits::new(b));
        prop_assert_eq!(a <= b, Target::from_share_bits(a) >= Target::from_share_bits(b));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn every_decoder_survives_a_damaged_message(at: usize, with in proptest::collection::vec(any::<u8>(), 1..6)) {
        visit(&mut Mutate { at, with: &with }).unwrap();
    }
}

#[test]
fn a_message_above_its_limit_is_refused_by_name_before_it_is_read() {
    let bytes = vec![0_u8; bus_schemas::share::MAX_SHARE_LEN + 1];
    assert_eq!(
        Share::decode(&bytes),
        Err(DecodeError::TooLarge {
            message: "Share",
            len: bytes.len(),
            limit: bus_schemas::share::MAX_SHARE_LEN
        })
    );
}

#[test]
fn bytes_after_a_message_are_refused() {
    let mut bytes = examples::share().unwrap().encode().unwrap();
    bytes.push(0);
    assert!(matches!(Share::decode(&bytes), Err(DecodeError::Malformed { .. })));
}

#[test]
fn deep_nesting_is_refused_without_exhausting_the_stack() {
    assert!(Share::decode(&[0x91; 4_000]).is_err());
    assert!(PoolConfig::decode("[".repeat(60_000).as_bytes()).is_err());
}

#[test]
fn a_job_whose_contents_were_changed_is_refused() {
    let good = examples::job().unwrap();
    assert_eq!(good.check(), Ok(()));
    let mut other_epoch = good.clone();
    other_epoch.epoch += 1;
    assert!(other_epoch.check().is_err());
    let mut other_pool = good.clone();
    other_pool.pool = PoolId::new("other").unwrap();
    assert!(other_pool.check().is_err());
    let mut easier = good;
    easier.network_target = Target::MAX;
    assert!(easier.check().is_err());
}
