//! Bitcoin-family nodes that answer `getblocktemplate` (BIP 22, BIP 23, BIP 145).

pub mod answer;
mod params;
mod source;
#[cfg(test)]
pub(crate) mod vectors;

pub use answer::{BlockTemplate, InvalidTemplate, Recipe};
pub use source::GbtSource;
