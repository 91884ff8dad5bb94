//! What an answer to a submitted block means, for each kind of node. The table is the truth; it was read from the nodes'
//! own sources: Bitcoin Core 0.21 to 30 and its kin Knots and Litecoin Core (`rpc/mining.cpp`, `validation.cpp`), btcd 0.26
//! (`rpcserver.go`, `blockchain/`), monerod 0.18 (`core_rpc_server.cpp`).
//!
//! Only a [`Meaning::No`] is a verdict. An answer that is not in the table is none: the block is submitted again for a
//! while, and people are told.

use super::Dialect;

/// What an answer says about a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// The node holds the block: its chain says what became of it.
    Held,
    /// The node lacks the block that this one builds on: it is behind, and no better judge than one that is not.
    Behind,
    /// The node could not judge it, or not yet: it is submitted again.
    NotNow,
    /// The node knows the block that it builds on and will never take this one.
    No,
}

/// How an answer is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// No reason and no error.
    Nothing,
    /// A text, whole.
    Text(&'static str),
    /// The begin of a text.
    Begins(&'static str),
    /// The begin and the end of a text.
    Between(&'static str, &'static str),
    /// The code of a JSON-RPC error.
    Code(i64),
}

/// One kind of answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) dialect: Dialect,
    pub(crate) said: Pattern,
    pub(crate) meaning: Meaning,
    /// An answer as such a node gives it, for the tests.
    #[cfg_attr(not(test), expect(dead_code, reason = "the table's tests read it"))]
    pub(crate) example: Said<'static>,
}

/// What a node said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said<'a> {
    /// Nothing: `null`, or Monero's status `OK`.
    Nothing,
    /// A reason, or Monero's status.
    Text(&'a str),
    /// A JSON-RPC error.
    Code(i64),
}

const fn text(said: Pattern, meaning: Meaning, example: &'static str) -> Row {
    Row { dialect: Bitcoin, said, meaning, example: Said::Text(example) }
}

const fn code(dialect: Dialect, code: i64, meaning: Meaning) -> Row {
    Row { dialect, said: Pattern::Code(code), meaning, example: Said::Code(code) }
}

const fn status(status: &'static str, meaning: Meaning) -> Row {
    Row { dialect: Monero, said: Text(status), meaning, example: Said::Text(status) }
}

const fn nothing(dialect: Dialect) -> Row {
    Row { dialect, said: Pattern::Nothing, meaning: Held, example: Said::Nothing }
}

use Dialect::{Bitcoin, Monero};
use Meaning::{Behind, Held, No, NotNow};
use Pattern::{Begins, Between, Text};

/// The first row that fits holds.
pub(crate) const TABLE: &[Row] = &[
    // Silence is not acceptance: Core says nothing to a block that became the tip, btcd also to one of a side chain and to
    // an orphan.
    nothing(Bitcoin),
    // Bitcoin Core, Knots, Litecoin Core: the words of BIP 22 and of the validation states.
    text(Text("duplicate"), Held, "duplicate"),
    text(Text("inconclusive"), Held, "inconclusive"),
    text(Text("duplicate-inconclusive"), Held, "duplicate-inconclusive"),
    text(Text("duplicate-invalid"), No, "duplicate-invalid"),
    text(Text("prev-blk-not-found"), Behind, "prev-blk-not-found"),
    // Two hours ahead of the node's clock, which may be the wrong one; time heals it.
    text(Text("time-too-new"), NotNow, "time-too-new"),
    // The node's own chain of headers is still too short.
    text(Text("too-little-chainwork"), NotNow, "too-little-chainwork"),
    text(Text("high-hash"), No, "high-hash"),
    text(Text("time-too-old"), No, "time-too-old"),
    text(Begins("time-timewarp-attack"), No, "time-timewarp-attack"),
    text(Begins("bad-"), No, "bad-txns-inputs-missingorspent"),
    text(Text("unexpected-witness"), No, "unexpected-witness"),
    text(
        Begins("block-script-verify-flag-failed"),
        No,
        "block-script-verify-flag-failed (Script evaluated without error but finished with a false stack element)",
    ),
    text(
        Begins("mandatory-script-verify-flag-failed"),
        No,
        "mandatory-script-verify-flag-failed (Signature is not DER)",
    ),
    // btcd says each in a sentence. It keeps an orphan and judges it when its previous block comes.
    text(
        Begins("rejected: already have block (orphan)"),
        Behind,
        "rejected: already have block (orphan) 00000000000000000001",
    ),
    text(Begins("rejected: already have block"), Held, "rejected: already have block 00000000000000000001"),
    text(
        Between("rejected: previous block ", " is unknown"),
        Behind,
        "rejected: previous block 00ab is unknown",
    ),
    text(
        Between("rejected: previous block ", " is not known"),
        Behind,
        "rejected: previous block 00ab is not known",
    ),
    text(
        Between("rejected: previous block ", " is known to be invalid"),
        No,
        "rejected: previous block 00ab is known to be invalid",
    ),
    text(
        Between("rejected: block timestamp of ", " is too far in the future"),
        NotNow,
        "rejected: block timestamp of 2026-11-29 07:00:00 +0000 UTC is too far in the future",
    ),
    text(
        Between("rejected: block ", " is known to be invalid"),
        No,
        "rejected: block 00ab is known to be invalid",
    ),
    text(
        Between("rejected: block ", " has an invalid ancestor"),
        No,
        "rejected: block 00ab has an invalid ancestor",
    ),
    text(
        Begins("rejected: block hash of "),
        No,
        "rejected: block hash of 7fff is higher than expected max of 00ff",
    ),
    text(
        Begins("rejected: block target difficulty of "),
        No,
        "rejected: block target difficulty of 00 is too low",
    ),
    text(
        Begins("rejected: block difficulty of "),
        No,
        "rejected: block difficulty of 1 is not the expected value of 2",
    ),
    text(
        Begins("rejected: block timestamp of "),
        No,
        "rejected: block timestamp of 2026-11-29 07:00:00 +0000 UTC is not after expected 2026-11-29 08:00:00 +0000 UTC",
    ),
    text(
        Begins("rejected: block's timestamp "),
        No,
        "rejected: block's timestamp 2026-11-29 07:00:00 +0000 UTC is too early on diff adjustment block 2026-11-29 08:00:00 +0000 UTC",
    ),
    text(
        Begins("rejected: block merkle root is invalid"),
        No,
        "rejected: block merkle root is invalid - block header indicates 00, but calculated value is 11",
    ),
    text(Begins("rejected: block contains "), No, "rejected: block contains second coinbase at index 1"),
    text(
        Begins("rejected: block at height "),
        No,
        "rejected: block at height 7 does not match checkpoint hash",
    ),
    text(
        Begins("rejected: block's weight metric "),
        No,
        "rejected: block's weight metric is too high - got 4000001, max 4000000",
    ),
    text(
        Begins("rejected: serialized block is too big"),
        No,
        "rejected: serialized block is too big - got 1000001, max 1000000",
    ),
    text(
        Begins("rejected: new blocks with version "),
        No,
        "rejected: new blocks with version 1 are no longer valid",
    ),
    text(
        Begins("rejected: coinbase transaction "),
        No,
        "rejected: coinbase transaction for block pays 5000000001 which is more than expected value of 5000000000",
    ),
    text(
        Begins("rejected: the coinbase "),
        No,
        "rejected: the coinbase signature script serialized block height is 5 when 6 was expected",
    ),
    text(
        Begins("rejected: witness commitment does not match"),
        No,
        "rejected: witness commitment does not match: computed 00, coinbase includes 11",
    ),
    text(
        Between("rejected: output ", " has already been spent"),
        No,
        "rejected: output 00:0 referenced from transaction 11:0 either does not exist or has already been spent",
    ),
    text(
        Begins("rejected: tried to "),
        No,
        "rejected: tried to overwrite transaction 00 at block height 7 that is not fully spent",
    ),
    text(Begins("rejected: transaction "), No, "rejected: transaction output has negative value of -1"),
    text(
        Begins("rejected: total value of all transaction "),
        No,
        "rejected: total value of all transaction inputs for transaction 00 is 1 which is less than the amount spent of 2",
    ),
    text(
        Begins("rejected: failed to validate input "),
        No,
        "rejected: failed to validate input 00:0 which references output 11:0 - false stack entry",
    ),
    // The bytes are no block: RPC_DESERIALIZATION_ERROR.
    code(Bitcoin, -22, No),
    // RPC_VERIFY_ERROR: the node itself is in trouble, for instance its disk; nothing is said of the block.
    code(Bitcoin, -25, NotNow),
    // RPC_IN_WARMUP, RPC_CLIENT_NOT_CONNECTED, RPC_CLIENT_IN_INITIAL_DOWNLOAD.
    code(Bitcoin, -28, NotNow),
    code(Bitcoin, -9, NotNow),
    code(Bitcoin, -10, NotNow),
    // RPC_DATABASE_ERROR, RPC_OUT_OF_MEMORY, RPC_INTERNAL_ERROR.
    code(Bitcoin, -20, NotNow),
    code(Bitcoin, -7, NotNow),
    code(Bitcoin, -32_603, NotNow),
    // monerod says OK to a block of a side chain as well, and to one whose previous block it lacks.
    nothing(Monero),
    // Where a daemon is not synchronised it answers with this status or with code -9.
    status("BUSY", NotNow),
    status("This command is unsupported for bootstrap daemon", NotNow),
    // CORE_BUSY, INTERNAL_ERROR, UNSUPPORTED_BOOTSTRAP.
    code(Monero, -9, NotNow),
    code(Monero, -5, NotNow),
    code(Monero, -20, NotNow),
    // WRONG_BLOCKBLOB, BLOCK_NOT_ACCEPTED, WRONG_BLOCKBLOB_SIZE.
    code(Monero, -6, No),
    code(Monero, -7, No),
    code(Monero, -10, No),
];

impl Pattern {
    fn fits(self, said: Said<'_>) -> bool {
        match (self, said) {
            (Self::Nothing, Said::Nothing) => true,
            (Self::Text(whole), Said::Text(said)) => said == whole,
            (Self::Begins(begin), Said::Text(said)) => said.starts_with(begin),
            (Self::Between(begin, end), Said::Text(said)) => said.starts_with(begin) && said.ends_with(end),
            (Self::Code(code), Said::Code(said)) => said == code,
            _ => false,
        }
    }
}

/// What the answer means, `None` when it is not known.
pub(crate) fn meaning(dialect: Dialect, said: Said<'_>) -> Option<Meaning> {
    TABLE.iter().find(|row| row.dialect == dialect && row.said.fits(said)).map(|row| row.meaning)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_is_reached_by_its_own_example() {
        for (place, row) in TABLE.iter().enumerate() {
            let first = TABLE.iter().position(|r| r.dialect == row.dialect && r.said.fits(row.example));
            assert_eq!(first, Some(place), "{:?} does not reach its row", row.example);
        }
    }

    #[test]
    fn a_node_that_lacks_the_previous_block_or_is_not_ready_decides_nothing() {
        for said in [
            Said::Text("prev-blk-not-found"),
            Said::Text("rejected: already have block (orphan) 00ab"),
            Said::Text("rejected: previous block 00ab is unknown"),
        ] {
            assert_eq!(meaning(Bitcoin, said), Some(Behind), "{said:?}");
        }
        for said in [Said::Text("time-too-new"), Said::Code(-28), Said::Code(-25)] {
            assert_eq!(meaning(Bitcoin, said), Some(NotNow), "{said:?}");
        }
        for said in [Said::Code(-9), Said::Text("BUSY"), Said::Code(-20)] {
            assert_eq!(meaning(Monero, said), Some(NotNow), "{said:?}");
        }
    }

    #[test]
    fn only_a_definite_word_is_a_no_and_the_same_code_means_another_thing_elsewhere() {
        assert_eq!(meaning(Bitcoin, Said::Text("bad-cb-amount")), Some(No));
        assert_eq!(meaning(Monero, Said::Code(-7)), Some(No));
        assert_eq!(meaning(Bitcoin, Said::Code(-7)), Some(NotNow));
        assert_eq!(meaning(Monero, Said::Code(-10)), Some(No));
        assert_eq!(meaning(Bitcoin, Said::Code(-10)), Some(NotNow));
    }

    #[test]
    fn what_is_not_in_the_table_is_not_known() {
        for said in [Said::Text("rejected"), Said::Text("valid?"), Said::Text(""), Said::Code(-32_601)] {
            assert_eq!(meaning(Bitcoin, said), None, "{said:?}");
        }
        assert_eq!(meaning(Monero, Said::Text("PAYMENT REQUIRED")), None);
        assert_eq!(meaning(Monero, Said::Text("duplicate")), None);
    }
}
