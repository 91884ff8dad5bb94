//! Identifiers. All of them are one subject token: ASCII letters, digits, `-` and `_`, at most
//! [`MAX_ID_LEN`] bytes, so that an id can stand in a subject and in a permission without quoting.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};
use std::{borrow::Cow, fmt, str::FromStr};

/// Longest id in bytes.
pub const MAX_ID_LEN: usize = 64;

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// Nothing stands there.
    #[error("an id is empty; use 1 to {MAX_ID_LEN} letters, digits, '-' or '_'")]
    Empty,
    /// Longer than [`MAX_ID_LEN`].
    #[error("an id of {0} bytes is too long; use at most {MAX_ID_LEN}")]
    TooLong(usize),
    /// A character that would not be one subject token, for instance a dot.
    #[error("an id holds {0:?}; use letters, digits, '-' or '_' only")]
    Character(char),
}

fn check(text: &str) -> Result<(), InvalidId> {
    if text.is_empty() {
        return Err(InvalidId::Empty);
    }
    if text.len() > MAX_ID_LEN {
        return Err(InvalidId::TooLong(text.len()));
    }
    match text.chars().find(|c| !c.is_ascii_alphanumeric() && *c != '-' && *c != '_') {
        Some(c) => Err(InvalidId::Character(c)),
        None => Ok(()),
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Checks `text` and makes it an id.
            pub fn new(text: impl Into<String>) -> Result<Self, InvalidId> {
                let text = text.into();
                check(&text)?;
                Ok(Self(text))
            }

            /// The id as it stands in a subject.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                Self::new(String::deserialize(d)?).map_err(serde::de::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$" })
            }
        }
    };
}

id!(
    /// A pool: a group of workers that runs one algorithm for one job source.
    PoolId
);
id!(
    /// A worker: the mining agent on one host.
    WorkerId
);
id!(
    /// A coordinator process.
    CoordinatorId
);
id!(
    /// A job; the hash of what is to be searched and of the epoch, see [`crate::job::Job::derive_id`].
    JobId
);
id!(
    /// One life of a worker process; a restarted worker has another, so it never repeats work under its old slot.
    SessionId
);
id!(
    /// An algorithm as its own crate names it, for instance `sha256d` or `scrypt-1024-1-1`.
    AlgorithmId
);

impl WorkerId {
    /// Stands for all workers that are no members of a pool, where their shares are counted.
    pub fn strangers() -> Self {
        Self("_strangers".to_owned())
    }
}

impl AlgorithmId {
    /// The algorithm of a pool that names none.
    pub fn sha256d() -> Self {
        Self("sha256d".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_one_subject_token() {
        assert!(PoolId::new("main_1-A").is_ok());
        assert_eq!(PoolId::new(""), Err(InvalidId::Empty));
        assert_eq!(PoolId::new("a.b"), Err(InvalidId::Character('.')));
        assert_eq!(PoolId::new("a b"), Err(InvalidId::Character(' ')));
        assert_eq!(PoolId::new("*"), Err(InvalidId::Character('*')));
        assert_eq!(PoolId::new(">"), Err(InvalidId::Character('>')));
        assert_eq!(PoolId::new("ü"), Err(InvalidId::Character('ü')));
        assert_eq!(PoolId::new("x".repeat(65)), Err(InvalidId::TooLong(65)));
    }
}
