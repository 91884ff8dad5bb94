//! Monero daemons: `get_block_template`, with an extranonce of our own in the reserved bytes of the miner transaction.
//!
//! The daemon makes the miner transaction, and nobody but the wallet's owner can tell whether its outputs are his: the
//! daemons must be the operator's own. What can be checked is checked: that the outputs are the expected reward to the unit, and
//! that our hashing blob is the daemon's.

mod answer;
mod assembly;
mod source;

pub use answer::{InvalidTemplate, TemplateAnswer};
pub use assembly::CryptoNoteAssembly;
pub use source::MoneroSource;
