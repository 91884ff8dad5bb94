//! A statement and who signed it.

use crate::{Digest, MAX_CERTIFICATE_LEN, Malformed, Signed, Statement};

/// A statement with signatures, none of which was verified yet: that is what [`judge`](crate::judge) does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    document: Signed,
    statement: Statement,
}

impl Certificate {
    /// Reads the JSON of a certificate.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        Self::of(Signed::parse("certificate", bytes, MAX_CERTIFICATE_LEN)?)
    }

    /// Of a signed statement.
    pub fn of(document: Signed) -> Result<Self, Malformed> {
        let statement = Statement::parse(document.body())?;
        Ok(Self { document, statement })
    }

    /// What it states.
    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    /// The signed text and its signatures.
    pub fn document(&self) -> &Signed {
        &self.document
    }

    /// Digest of the signed text: what a revocation names. Signatures do not count, so signing again makes no other certificate.
    pub fn digest(&self) -> Digest {
        Digest::of(self.document.body().as_bytes())
    }
}
