//! Our own coinbase transaction, in two halves around the extranonce.
//!
//! Input script: the height as BIP 34 wants it, the node's auxiliary data, one push of the extranonce, one push of
//! the pool's tag. First output: the whole reward; then the witness commitment (BIP 141) where there is one.

use bitcoin::{
    Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness,
    absolute::LockTime,
    consensus,
    script::{Builder, PushBytesBuf},
    transaction::Version,
};
use bus_schemas::{Blob, work::EXTRANONCE_LEN};

/// Longest input script of a coinbase in bytes, a rule of consensus.
pub const MAX_SCRIPT_SIG_LEN: usize = 100;
/// The whole supply of any Bitcoin-family chain is below this; a larger reward is an error of the node.
pub const MAX_REWARD: u64 = 84_000_000 * 100_000_000;
/// Bytes of a transaction before the input script's length: version, input count, outpoint.
const BEFORE_SCRIPT_SIG: usize = 4 + 1 + 36;
/// The witness commitment's output script begins with this (BIP 141).
pub const COMMITMENT_PREFIX: [u8; 6] = [0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed];

/// Why a coinbase cannot be made, or must not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCoinbase {
    /// The input script would be refused by every node.
    #[error(
        "the coinbase's input script has {len} bytes, the limit is {MAX_SCRIPT_SIG_LEN}; shorten the pool's tag"
    )]
    ScriptSigTooLong {
        /// Its length.
        len: usize,
    },
    /// The outputs are not worth what the network pays: too little burns money without a word from the node.
    #[error("the coinbase's outputs are worth {paid}, the block pays {reward}; not one unit may differ")]
    Value {
        /// Sum of the outputs.
        paid: u64,
        /// What the template says.
        reward: u64,
    },
    /// No such reward exists.
    #[error("a reward of {reward} is above every supply")]
    Reward {
        /// What the template says.
        reward: u64,
    },
    /// The bytes are not a coinbase transaction.
    #[error("not a coinbase transaction: {reason}")]
    Malformed {
        /// What is wrong.
        reason: String,
    },
    /// A height that no script can carry.
    #[error("height {height} cannot be written into a coinbase")]
    Height {
        /// The height.
        height: u64,
    },
}

/// What a coinbase is made of.
#[derive(Debug, Clone)]
pub struct CoinbasePlan<'a> {
    /// Height of the block.
    pub height: u64,
    /// The node's auxiliary data, as it stands in the script (BIP 22 `coinbaseaux`).
    pub auxiliary: &'a [u8],
    /// Names the pool; may be empty.
    pub tag: &'a str,
    /// What the block pays, in the smallest unit.
    pub reward: u64,
    /// Who is paid.
    pub payout: &'a [u8],
    /// Script of the witness commitment's output.
    pub commitment: Option<&'a [u8]>,
}

impl CoinbasePlan<'_> {
    /// The transaction without witness, up to the extranonce and after it.
    pub fn halves(&self) -> Result<(Blob, Blob), InvalidCoinbase> {
        self.halves_around(EXTRANONCE_LEN)
    }

    fn halves_around(&self, extranonce_len: usize) -> Result<(Blob, Blob), InvalidCoinbase> {
        if self.reward > MAX_REWARD {
            return Err(InvalidCoinbase::Reward { reward: self.reward });
        }
        let height = i64::try_from(self.height)
            .ok()
            .filter(|height| *height <= i64::from(u32::MAX))
            .ok_or(InvalidCoinbase::Height { height: self.height })?;
        // Numbers up to 16 become OP_1 … OP_16 here, as nodes compare them.
        let mut script = Builder::new().push_int(height).into_bytes();
        script.extend_from_slice(self.auxiliary);
        let with_push = Builder::from(script).push_slice(push(&vec![0; extranonce_len])?);
        let extranonce_end = with_push.as_bytes().len();
        let script_sig = if self.tag.is_empty() {
            with_push.into_script()
        } else {
            with_push.push_slice(push(self.tag.as_bytes())?).into_script()
        };
        if script_sig.len() > MAX_SCRIPT_SIG_LEN {
            return Err(InvalidCoinbase::ScriptSigTooLong { len: script_sig.len() });
        }
        let bytes = consensus::serialize(&self.transaction(script_sig));
        // The script is shorter than 253 bytes, so its length takes one byte.
        let end = BEFORE_SCRIPT_SIG + 1 + extranonce_end;
        match (bytes.get(..end - extranonce_len), bytes.get(end..)) {
            (Some(prefix), Some(suffix)) => Ok((Blob(prefix.to_vec()), Blob(suffix.to_vec()))),
            _ => Err(InvalidCoinbase::Malformed { reason: "it is shorter than its script".to_owned() }),
        }
    }

    fn transaction(&self, script_sig: ScriptBuf) -> Transaction {
        let output = |value, script: &[u8]| TxOut {
            value: Amount::from_sat(value),
            script_pubkey: ScriptBuf::from_bytes(script.to_vec()),
        };
        let mut outputs = vec![output(self.reward, self.payout)];
        outputs.extend(self.commitment.map(|script| output(0, script)));
        Transaction {
            version: Version::TWO,
            lock_time: LockTime::ZERO,
            input: vec![TxIn {
                previous_output: OutPoint::null(),
                script_sig,
                sequence: Sequence::MAX,
                witness: Witness::new(),
            }],
            output: outputs,
        }
    }
}

fn push(bytes: &[u8]) -> Result<PushBytesBuf, InvalidCoinbase> {
    PushBytesBuf::try_from(bytes.to_vec()).map_err(|e| InvalidCoinbase::Malformed { reason: e.to_string() })
}

/// Reads a coinbase without witness and refuses it unless its outputs are worth exactly `reward`.
pub fn check_value(coinbase: &[u8], reward: u64) -> Result<Transaction, InvalidCoinbase> {
    let transaction: Transaction =
        consensus::deserialize(coinbase).map_err(|e| InvalidCoinbase::Malformed { reason: e.to_string() })?;
    let paid = transaction
        .output
        .iter()
        .try_fold(0_u64, |sum, output| sum.checked_add(output.value.to_sat()))
        .ok_or_else(|| InvalidCoinbase::Malformed { reason: "its outputs overflow".to_owned() })?;
    if paid != reward {
        return Err(InvalidCoinbase::Value { paid, reward });
    }
    Ok(transaction)
}

/// The same transaction with the witness that a commitment needs: one item of 32 zero bytes (BIP 141).
pub fn with_witness(coinbase: &[u8]) -> Result<Vec<u8>, InvalidCoinbase> {
    let short = || InvalidCoinbase::Malformed { reason: "it is too short".to_owned() };
    let (version, rest) = coinbase.split_at_checked(4).ok_or_else(short)?;
    let (body, lock_time) =
        rest.len().checked_sub(4).and_then(|at| rest.split_at_checked(at)).ok_or_else(short)?;
    Ok([version, &[0, 1], body, &[1, 32], &[0; 32], lock_time].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PLAN: CoinbasePlan<'static> = CoinbasePlan {
        height: 125,
        auxiliary: &[],
        tag: "",
        reward: 5_000_000_000,
        payout: &[0x51],
        commitment: None,
    };

    fn script_sig(plan: &CoinbasePlan<'_>) -> Vec<u8> {
        let (prefix, suffix) = plan.halves().unwrap();
        let bytes = [prefix.0, vec![0xee; EXTRANONCE_LEN], suffix.0].concat();
        check_value(&bytes, plan.reward).unwrap().input[0].script_sig.to_bytes()
    }

    #[test]
    fn heights_up_to_sixteen_are_opcodes_and_higher_ones_are_pushed_numbers() {
        for (height, wanted) in [
            (1, "51"),
            (16, "60"),
            (17, "0111"),
            (127, "017f"),
            (128, "028000"),
            (255, "02ff00"),
            (256, "020001"),
            (32_768, "03008000"),
            (840_000, "0340d10c"),
        ] {
            let script = script_sig(&CoinbasePlan { height, ..PLAN });
            let wanted = hex::decode(wanted).unwrap();
            assert_eq!(script[..wanted.len()], wanted, "height {height}");
            assert_eq!(usize::from(script[wanted.len()]), EXTRANONCE_LEN, "height {height}");
        }
    }

    #[test]
    fn the_nodes_auxiliary_data_and_the_tag_stand_in_the_input_script() {
        let auxiliary = hex::decode("0e2f503253482f627463642f").unwrap();
        let script = script_sig(&CoinbasePlan { auxiliary: &auxiliary, tag: "/farm/", ..PLAN });
        let wanted =
            [&hex::decode("017d").unwrap(), &auxiliary, &vec![18][..], &[0xee; 18], b"\x06/farm/"].concat();
        assert_eq!(hex::encode(script), hex::encode(wanted));
    }

    #[test]
    fn an_input_script_above_one_hundred_bytes_is_refused() {
        let halves = |len: usize| CoinbasePlan { auxiliary: &vec![0x51; len], ..PLAN }.halves();
        assert!(halves(100 - 2 - 19).is_ok());
        assert_eq!(halves(100 - 2 - 18), Err(InvalidCoinbase::ScriptSigTooLong { len: 101 }));
    }

    #[test]
    fn a_coinbase_that_pays_one_unit_more_or_less_is_refused() {
        let (prefix, suffix) = PLAN.halves().unwrap();
        let bytes = [prefix.0, vec![0; EXTRANONCE_LEN], suffix.0].concat();
        assert!(check_value(&bytes, PLAN.reward).is_ok());
        for reward in [PLAN.reward - 1, PLAN.reward + 1] {
            assert_eq!(
                check_value(&bytes, reward),
                Err(InvalidCoinbase::Value { paid: PLAN.reward, reward })
            );
        }
    }

    #[test]
    fn a_reward_above_every_supply_is_refused() {
        let reward = MAX_REWARD + 1;
        assert_eq!(CoinbasePlan { reward, ..PLAN }.halves(), Err(InvalidCoinbase::Reward { reward }));
    }

    #[test]
    fn the_coinbases_that_live_nodes_accepted_are_reproduced() {
        for set in [crate::gbt::vectors::bitcoin(), crate::gbt::vectors::litecoin()] {
            let commitment =
                hex::decode(set.template["default_witness_commitment"].as_str().unwrap()).unwrap();
            let plan = CoinbasePlan {
                height: set.template["height"].as_u64().unwrap(),
                reward: set.template["coinbasevalue"].as_u64().unwrap(),
                commitment: Some(&commitment),
                ..PLAN
            };
            let (prefix, suffix) = plan.halves_around(8).unwrap();
            let legacy = [prefix.0, hex::decode(&set.extranonce).unwrap(), suffix.0].concat();
            assert_eq!(hex::encode(&legacy), set.coinbase_legacy);
            assert_eq!(hex::encode(with_witness(&legacy).unwrap()), set.coinbase_full);
        }
    }

    proptest! {
        #[test]
        fn every_coinbase_is_read_back_by_rust_bitcoin(
            height in 0_u64..=u64::from(u32::MAX), auxiliary in proptest::collection::vec(any::<u8>(), 0..40),
            tag in "[a-z/]{0,32}", reward in 0..=MAX_REWARD, payout in proptest::collection::vec(any::<u8>(), 1..60),
        ) {
            let plan = CoinbasePlan { height, auxiliary: &auxiliary, tag: &tag, reward, payout: &payout, commitment: None };
            if let Ok((prefix, suffix)) = plan.halves() {
                let bytes = [prefix.0, vec![7; EXTRANONCE_LEN], suffix.0].concat();
                let transaction = check_value(&bytes, reward).unwrap();
                prop_assert!(transaction.is_coinbase());
                prop_assert_eq!(transaction.output[0].script_pubkey.as_bytes(), &payout[..]);
                let full: Transaction = consensus::deserialize(&with_witness(&bytes).unwrap()).unwrap();
                prop_assert_eq!(full.compute_txid(), transaction.compute_txid());
                prop_assert_eq!(full.input[0].witness.to_vec(), vec![vec![0; 32]]);
            }
        }

        #[test]
        fn reading_any_bytes_as_a_coinbase_never_panics(bytes: Vec<u8>) {
            let _ = check_value(&bytes, 1);
            let _ = with_witness(&bytes);
        }
    }
}
