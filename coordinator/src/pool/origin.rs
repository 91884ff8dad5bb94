//! What makes whole blocks of a job's findings, and where they belong. The core carries it unread.

use bus_schemas::{Blob, config::SourceConfig};
use serde::{Deserialize, Serialize};

/// Most bytes that a block or a template needs on the bus beside its own: the record around it, the coinbase's
/// extranonce, headers.
pub(crate) const ENVELOPE_LEN: usize = 16 * 1024;

/// A template in its source's own form, and the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    pub(crate) source: SourceConfig,
    pub(crate) assembly: Blob,
}

/// It cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OriginError {
    #[error(transparent)]
    Write(#[from] rmp_serde::encode::Error),
    #[error(transparent)]
    Read(#[from] rmp_serde::decode::Error),
}

impl Origin {
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, OriginError> {
        Ok(rmp_serde::to_vec_named(self)?)
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, OriginError> {
        Ok(rmp_serde::from_slice(bytes)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_read_as_it_was_written() {
        let origin = Origin { source: SourceConfig::default(), assembly: Blob(vec![7; 300]) };
        let bytes = origin.to_bytes().unwrap();
        assert!(bytes.len() < origin.assembly.0.len() + ENVELOPE_LEN);
        assert_eq!(Origin::from_bytes(&bytes).unwrap(), origin);
        assert!(Origin::from_bytes(&bytes[1..]).is_err());
    }
}
