//! Whose signatures count on this host. Read from the host's own file and from nowhere else.

use crate::{
    KeyId, MAX_KEYS, MAX_ROOTS_LEN, MAX_SIGNATURES, Malformed, PublicKey, Purpose, text::check_text,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt};

/// What a key may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Wrote what is certified.
    Author,
    /// Reviewed it.
    Certifier,
    /// Puts catalogues together; may neither certify nor revoke.
    Publisher,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Author => "author",
            Self::Certifier => "certifier",
            Self::Publisher => "publisher",
        })
    }
}

/// A key that this host trusts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedKey {
    /// Whose it is.
    pub name: String,
    /// The key.
    pub key: PublicKey,
    /// What it may be used for.
    pub roles: BTreeSet<Role>,
}

impl TrustedKey {
    /// Whether a signature of this key counts for `purpose`.
    pub fn may(&self, purpose: Purpose) -> bool {
        match purpose {
            Purpose::Author => self.roles.contains(&Role::Author),
            Purpose::Certifier => self.roles.contains(&Role::Certifier),
            Purpose::Revocations => {
                self.roles.contains(&Role::Author) || self.roles.contains(&Role::Certifier)
            }
            Purpose::Catalogue => !self.roles.is_empty(),
        }
    }
}

/// Whose signatures count, and how many are needed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "File")]
pub struct TrustRoots {
    keys: Vec<TrustedKey>,
    authors_needed: usize,
    certifiers_needed: usize,
    program_must_be_certified: bool,
}

/// [`TrustRoots`] as TOML.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default = "one")]
    authors_needed: usize,
    #[serde(default = "one")]
    certifiers_needed: usize,
    #[serde(default)]
    program_must_be_certified: bool,
    #[serde(default)]
    keys: Vec<KeyEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyEntry {
    name: String,
    key: String,
    roles: BTreeSet<Role>,
}

fn one() -> usize {
    1
}

impl Default for TrustRoots {
    fn default() -> Self {
        Self::none()
    }
}

impl TrustRoots {
    /// Nobody is trusted, so nothing is permitted.
    pub fn none() -> Self {
        Self { keys: Vec::new(), authors_needed: 1, certifiers_needed: 1, program_must_be_certified: false }
    }

    /// Reads the TOML of a file of its own; inside another file, `serde` reads the same table.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let malformed = |reason: &str| Malformed::new("trust roots", reason);
        if text.len() > MAX_ROOTS_LEN {
            return Err(malformed(&format!("they have more than {MAX_ROOTS_LEN} bytes")));
        }
        toml::from_str(text).map_err(|error| malformed(error.message()))
    }

    /// All keys.
    pub fn keys(&self) -> &[TrustedKey] {
        &self.keys
    }

    /// The key of this id.
    pub fn find(&self, id: KeyId) -> Option<&TrustedKey> {
        self.keys.iter().find(|trusted| trusted.key.id() == id)
    }

    /// Signatures of authors that a certificate needs.
    pub fn authors_needed(&self) -> usize {
        self.authors_needed
    }

    /// Signatures of certifiers that a certificate needs, by other keys than those of the authors.
    pub fn certifiers_needed(&self) -> usize {
        self.certifiers_needed
    }

    /// Whether the running program itself needs a certificate before any algorithm may run.
    pub fn program_must_be_certified(&self) -> bool {
        self.program_must_be_certified
    }

    fn check_keys(keys: &[TrustedKey]) -> Result<(), String> {
        for (index, trusted) in keys.iter().enumerate() {
            let name = &trusted.name;
            check_text("name of a key", name)?;
            if trusted.roles.is_empty() {
                return Err(format!("the key of {name} has no role"));
            }
            for earlier in keys.iter().take(index) {
                if earlier.key.is_same_key(&trusted.key) || earlier.key.id() == trusted.key.id() {
                    let earlier = &earlier.name;
                    return Err(format!(
                        "{earlier} and {name} have the same key or key id; list it once, with all its roles"
                    ));
                }
            }
        }
        Ok(())
    }

    fn check_counts(&self) -> Result<(), String> {
        let (authors, certifiers) = (self.authors_needed, self.certifiers_needed);
        if authors == 0 || certifiers == 0 || authors.saturating_add(certifiers) > MAX_SIGNATURES {
            return Err(format!(
                "authors_needed and certifiers_needed must each be 1 or more, and together at most {MAX_SIGNATURES}"
            ));
        }
        let count = |wanted: &[Role]| {
            self.keys.iter().filter(|key| wanted.iter().any(|role| key.roles.contains(role))).count()
        };
        let enough = count(&[Role::Author]) >= authors
            && count(&[Role::Certifier]) >= certifiers
            && count(&[Role::Author, Role::Certifier]) >= authors + certifiers;
        if !self.keys.is_empty() && !enough {
            return Err(format!(
                "no certificate could ever be valid: {authors} author and {certifiers} certifier signatures by different keys \
                 are needed, and there are not that many keys"
            ));
        }
        Ok(())
    }
}

impl TryFrom<File> for TrustRoots {
    type Error = String;

    fn try_from(file: File) -> Result<Self, String> {
        if file.keys.len() > MAX_KEYS {
            return Err(format!("more than {MAX_KEYS} keys"));
        }
        let mut keys = Vec::new();
        for KeyEntry { name, key, roles } in file.keys {
            let key = PublicKey::parse(&key).map_err(|error| format!("the key of {name}: {error}"))?;
            keys.push(TrustedKey { name, key, roles });
        }
        Self::check_keys(&keys)?;
        let roots = Self {
            keys,
            authors_needed: file.authors_needed,
            certifiers_needed: file.certifiers_needed,
            program_must_be_certified: file.program_must_be_certified,
        };
        roots.check_counts()?;
        Ok(roots)
    }
}
