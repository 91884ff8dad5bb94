//! The default chain: real 80-byte headers, compact bits, retargeting, and nothing external.
//!
//! [`Chain`] is a pure state machine over [`Record`]s; whoever keeps the records in order is the chain's node. The
//! coordinator keeps them in a stream that refuses a second block of one height, see [`ChainLog`].

mod chain;
mod rules;
mod source;

pub use chain::{Chain, MAX_BLOCK_LEN, Record, Rejection, ReplayError};
pub use rules::{MAX_FUTURE_S, MEDIAN_SPAN, Params, Proof, VERSION, VERSION_MASK};
pub use source::{Appended, ChainLog, EmbeddedSource, LogError};
