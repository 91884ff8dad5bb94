//! Certificates and the list of revocations in one message.

use crate::{Certificate, MAX_CATALOGUE_LEN, MAX_CERTIFICATES, Malformed, Signed};
use serde::{Deserialize, Serialize};

/// What a farm publishes for its workers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    format: Format,
    /// Unix time of making, in seconds, or one more than the catalogue before.
    pub serial: u64,
    /// Certificates, not verified yet.
    pub certificates: Vec<Signed>,
    /// The signed list of revocations, not verified yet.
    pub revocations: Option<Signed>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Format {
    #[default]
    #[serde(rename = "dcmf-catalogue-1")]
    One,
}

impl Catalogue {
    /// A catalogue.
    pub fn new(serial: u64, certificates: Vec<Signed>, revocations: Option<Signed>) -> Self {
        Self { format: Format::One, serial, certificates, revocations }
    }

    /// Reads the signed text.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let malformed = |reason: &str| Malformed::new("catalogue", reason);
        if text.len() > MAX_CATALOGUE_LEN {
            return Err(malformed(&format!("it has more than {MAX_CATALOGUE_LEN} bytes")));
        }
        let catalogue: Self = serde_json::from_str(text).map_err(|error| malformed(&error.to_string()))?;
        catalogue.check()?;
        Ok(catalogue)
    }

    /// The text to be signed.
    pub fn to_text(&self) -> Result<String, Malformed> {
        self.check()?;
        serde_json::to_string(self).map_err(|error| Malformed::new("catalogue", &error.to_string()))
    }

    /// The certificates that this version can read, and what is wrong with the others: a catalogue may hold certificates of
    /// a later format for later programs.
    pub fn read_certificates(&self) -> (Vec<Certificate>, Vec<Malformed>) {
        let (mut certificates, mut unreadable) = (Vec::new(), Vec::new());
        for document in &self.certificates {
            match Certificate::of(document.clone()) {
                Ok(certificate) => certificates.push(certificate),
                Err(error) => unreadable.push(error),
            }
        }
        (certificates, unreadable)
    }

    fn check(&self) -> Result<(), Malformed> {
        if self.certificates.len() > MAX_CERTIFICATES {
            return Err(Malformed::new(
                "catalogue",
                &format!("it has more than {MAX_CERTIFICATES} certificates"),
            ));
        }
        Ok(())
    }
}
