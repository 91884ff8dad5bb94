//! What must not run any more, whatever was signed.

use crate::{
    Digest, KeyId, MAX_REVOCATIONS, MAX_REVOCATIONS_LEN, Malformed, Refusal, Subject, text::check_text,
};
use serde::{Deserialize, Serialize};

/// One entry: never withdrawn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Revocation {
    /// One certificate; another one of the same digest may still be valid.
    Certificate {
        /// Digest of its statement.
        sha256: Digest,
        /// For people.
        reason: String,
    },
    /// Whatever has this source, artifact or executable digest.
    Digest {
        /// The digest.
        sha256: Digest,
        /// For people.
        reason: String,
    },
    /// All signatures of a key, old ones too: nobody knows when it was stolen.
    Key {
        /// Its id.
        id: KeyId,
        /// For people.
        reason: String,
    },
}

impl Revocation {
    /// Why, for people.
    pub fn reason(&self) -> &str {
        match self {
            Self::Certificate { reason, .. } | Self::Digest { reason, .. } | Self::Key { reason, .. } => {
                reason
            }
        }
    }

    /// Whether both revoke the same, whatever the reasons.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Certificate { sha256, .. }, Self::Certificate { sha256: s, .. })
            | (Self::Digest { sha256, .. }, Self::Digest { sha256: s, .. }) => sha256 == s,
            (Self::Key { id, .. }, Self::Key { id: i, .. }) => id == i,
            _ => false,
        }
    }
}

/// A list of revocations; the newest has the highest serial and holds all that the earlier ones held.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocations {
    format: Format,
    /// Unix time of making, in seconds, or one more than the list before.
    pub serial: u64,
    /// What is revoked.
    pub entries: Vec<Revocation>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Format {
    #[default]
    #[serde(rename = "dcmf-revocations-1")]
    One,
}

impl Revocations {
    /// A list.
    pub fn new(serial: u64, entries: Vec<Revocation>) -> Self {
        Self { format: Format::One, serial, entries }
    }

    /// Reads the signed text.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let malformed = |reason: &str| Malformed::new("list of revocations", reason);
        if text.len() > MAX_REVOCATIONS_LEN {
            return Err(malformed(&format!("it has more than {MAX_REVOCATIONS_LEN} bytes")));
        }
        let list: Self = serde_json::from_str(text).map_err(|error| malformed(&error.to_string()))?;
        list.check().map_err(|reason| malformed(&reason))?;
        Ok(list)
    }

    /// The text to be signed.
    pub fn to_text(&self) -> Result<String, Malformed> {
        let malformed = |reason: &str| Malformed::new("list of revocations", reason);
        self.check().map_err(|reason| malformed(&reason))?;
        let text = serde_json::to_string_pretty(self).map_err(|error| malformed(&error.to_string()))?;
        Ok(text + "\n")
    }

    fn check(&self) -> Result<(), String> {
        if self.entries.len() > MAX_REVOCATIONS {
            return Err(format!("more than {MAX_REVOCATIONS} entries"));
        }
        self.entries.iter().try_for_each(|entry| check_text("reason", entry.reason()))
    }

    /// Whether everything that `earlier` revokes is revoked here.
    pub fn holds_all_of(&self, earlier: &Self) -> bool {
        earlier.entries.iter().all(|entry| self.entries.iter().any(|own| own.is_same(entry)))
    }

    /// Why the certificate with a statement of this digest is revoked.
    pub(crate) fn of_certificate(&self, digest: Digest) -> Option<&str> {
        self.reason(|entry| matches!(entry, Revocation::Certificate { sha256, .. } if *sha256 == digest))
    }

    /// Refuses what has a revoked digest, under whatever certificate.
    pub(crate) fn check_digest(&self, subject: &Subject) -> Result<(), Refusal> {
        let digest = subject.digest();
        let revoked =
            self.reason(|entry| matches!(entry, Revocation::Digest { sha256, .. } if *sha256 == digest));
        match revoked.map(str::to_owned) {
            Some(reason) => Err(Refusal::DigestRevoked { subject: subject.to_string(), digest, reason }),
            None => Ok(()),
        }
    }

    /// Why this key is revoked.
    pub(crate) fn of_key(&self, key: KeyId) -> Option<&str> {
        self.reason(|entry| matches!(entry, Revocation::Key { id, .. } if *id == key))
    }

    fn reason(&self, wanted: impl Fn(&Revocation) -> bool) -> Option<&str> {
        self.entries.iter().find(|entry| wanted(entry)).map(Revocation::reason)
    }
}
