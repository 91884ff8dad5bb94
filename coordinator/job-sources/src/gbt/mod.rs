//! Bitcoin-family nodes that answer `getblocktemplate` (BIP 22, BIP 23, BIP 145).

pub mod answer;
mod failover;
mod params;
mod rpc;
mod source;
#[cfg(test)]
pub(crate) mod vectors;

pub use answer::{BlockTemplate, InvalidTemplate, Recipe};
pub use failover::MAX_BACKOFF_MS;
pub use rpc::{Credentials, Limits};
pub use source::{GbtSource, NodeAddress};
