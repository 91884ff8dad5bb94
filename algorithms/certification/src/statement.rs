//! What is signed: this digest of this thing was reviewed, passed its known answers and may run until then.

use crate::{
    Digest, MAX_RATES, MAX_STATEMENT_LEN, Malformed, UnixSeconds,
    text::{check_name, check_text},
};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What may run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Subject {
    /// An algorithm that is compiled in.
    NativeAlgorithm {
        /// Its id.
        id: String,
        /// Its version.
        version: u32,
        /// Digest of what it was compiled from: crate `dcmf-source-digest`.
        source_sha256: Digest,
    },
    /// An algorithm as a WebAssembly component.
    Component {
        /// Its id.
        id: String,
        /// Its version.
        version: u32,
        /// Digest of the component's bytes.
        artifact_sha256: Digest,
    },
    /// A program, so that a tampered one is noticed.
    Program {
        /// Its name.
        name: String,
        /// Its version.
        version: String,
        /// Digest of the executable file.
        executable_sha256: Digest,
    },
}

impl Subject {
    /// The digest that is certified.
    pub fn digest(&self) -> Digest {
        match self {
            Self::NativeAlgorithm { source_sha256: digest, .. }
            | Self::Component { artifact_sha256: digest, .. }
            | Self::Program { executable_sha256: digest, .. } => *digest,
        }
    }

    /// Whether both are the same version of the same thing, whatever their digests.
    pub fn is_same_thing(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::NativeAlgorithm { id, version, .. }, Self::NativeAlgorithm { id: i, version: v, .. })
            | (Self::Component { id, version, .. }, Self::Component { id: i, version: v, .. }) => {
                id == i && version == v
            }
            (Self::Program { name, version, .. }, Self::Program { name: n, version: v, .. }) => {
                name == n && version == v
            }
            _ => false,
        }
    }

    fn check(&self) -> Result<(), String> {
        match self {
            Self::NativeAlgorithm { id, .. } | Self::Component { id, .. } => check_name("subject.id", id),
            Self::Program { name, version, .. } => {
                check_name("subject.name", name)?;
                check_name("subject.version", version)
            }
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NativeAlgorithm { id, version, .. } => write!(f, "the algorithm {id} version {version}"),
            Self::Component { id, version, .. } => write!(f, "the component {id} version {version}"),
            Self::Program { name, version, .. } => write!(f, "the program {name} {version}"),
        }
    }
}

/// Published results that were reproduced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownAnswers {
    /// How many.
    pub passed: u32,
    /// Digest of the file that has them.
    pub sha256: Digest,
}

/// How fast it was on the machine of whoever certified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Which code path, on which machine.
    pub path: String,
    /// Threads that searched at a time.
    pub threads: u16,
    /// Positions per second of processor time, all threads together, rounded down.
    pub hashes_per_cpu_second: u64,
}

/// What is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    format: Format,
    /// What may run.
    pub subject: Subject,
    /// What it reproduced; not for a program.
    pub known_answers: Option<KnownAnswers>,
    /// How fast it was; for people.
    pub rates: Vec<Rate>,
    /// Who reviewed it.
    pub reviewer: String,
    /// From when on it is valid.
    pub issued: UnixSeconds,
    /// From when on it is not valid any more.
    pub expires: UnixSeconds,
    /// Tells certificates of one subject apart.
    pub serial: u64,
}

/// Another format has another name, which is then refused here instead of being half understood.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Format {
    #[default]
    #[serde(rename = "dcmf-statement-1")]
    One,
}

impl Statement {
    /// A statement without known answers or rates.
    pub fn new(subject: Subject, reviewer: String, issued: UnixSeconds, expires: UnixSeconds) -> Self {
        let serial = issued.get();
        Self {
            format: Format::One,
            subject,
            known_answers: None,
            rates: Vec::new(),
            reviewer,
            issued,
            expires,
            serial,
        }
    }

    /// Reads the signed text. An unknown key is refused: it could be a condition that this version cannot keep.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let malformed = |reason: &str| Malformed::new("statement", reason);
        if text.len() > MAX_STATEMENT_LEN {
            return Err(malformed(&format!("it has more than {MAX_STATEMENT_LEN} bytes")));
        }
        let statement: Self = serde_json::from_str(text).map_err(|error| malformed(&error.to_string()))?;
        statement.check().map_err(|reason| malformed(&reason))?;
        Ok(statement)
    }

    /// The text to be signed.
    pub fn to_text(&self) -> Result<String, Malformed> {
        let malformed = |reason: &str| Malformed::new("statement", reason);
        self.check().map_err(|reason| malformed(&reason))?;
        let text = serde_json::to_string_pretty(self).map_err(|error| malformed(&error.to_string()))?;
        Ok(text + "\n")
    }

    fn check(&self) -> Result<(), String> {
        self.subject.check()?;
        check_text("reviewer", &self.reviewer)?;
        if self.rates.len() > MAX_RATES {
            return Err(format!("rates: more than {MAX_RATES}"));
        }
        self.rates.iter().try_for_each(|rate| check_text("rates.path", &rate.path))?;
        if self.expires <= self.issued {
            return Err("expires is not after issued".to_owned());
        }
        Ok(())
    }
}
