//! A text and the signatures over its bytes: how certificates, lists and catalogues travel.

use crate::{MAX_SIGNATURES, Malformed, Signature};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a signature is for; the first two words of its trusted comment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// A statement, by who wrote the thing.
    Author,
    /// A statement, by who reviewed it.
    Certifier,
    /// A list of revocations.
    Revocations,
    /// A catalogue.
    Catalogue,
}

impl Purpose {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Author, Self::Certifier, Self::Revocations, Self::Catalogue];

    /// How a trusted comment begins.
    pub fn comment(self) -> &'static str {
        match self {
            Self::Author => "dcmf author",
            Self::Certifier => "dcmf certifier",
            Self::Revocations => "dcmf revocations",
            Self::Catalogue => "dcmf catalogue",
        }
    }

    /// What the trusted comment of a signature says; `None` if it is about something else. What follows the two words after a
    /// space or tab is free.
    pub fn of(signature: &Signature) -> Option<Self> {
        let comment = signature.trusted_comment();
        Self::ALL.into_iter().find(|purpose| {
            let rest = comment.strip_prefix(purpose.comment());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t']))
        })
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.comment().trim_start_matches("dcmf "))
    }
}

/// A text with signatures over exactly its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Envelope", into = "Envelope")]
pub struct Signed {
    body: String,
    signatures: Vec<Signature>,
}

/// A [`Signed`] as JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    body: String,
    signatures: Vec<String>,
}

impl Signed {
    /// Nobody has signed it yet.
    pub fn new(body: String) -> Self {
        Self { body, signatures: Vec::new() }
    }

    /// Reads the JSON of `{"body": "…", "signatures": ["…"]}` of at most `max_len` bytes. `what` is for the error.
    pub fn parse(what: &'static str, bytes: &[u8], max_len: usize) -> Result<Self, Malformed> {
        if bytes.len() > max_len {
            return Err(Malformed::new(what, &format!("it has more than {max_len} bytes")));
        }
        serde_json::from_slice(bytes).map_err(|error| Malformed::new(what, &error.to_string()))
    }

    /// The signed text.
    pub fn body(&self) -> &str {
        &self.body
    }

    /// The signatures, whoever made them: nothing is said yet about whether they are right.
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// Adds a signature. Whether it is right is judged later, by a host under its own trust roots.
    pub fn add(&mut self, signature: Signature) -> Result<(), Malformed> {
        if self.signatures.len() >= MAX_SIGNATURES {
            return Err(Malformed::new("signatures", &format!("there are {MAX_SIGNATURES} already")));
        }
        self.signatures.push(signature);
        Ok(())
    }

    /// The JSON, one line.
    pub fn to_json(&self) -> String {
        serde_json::json!({ "body": self.body, "signatures": self.texts() }).to_string()
    }

    fn texts(&self) -> Vec<&str> {
        self.signatures.iter().map(Signature::as_str).collect()
    }
}

impl TryFrom<Envelope> for Signed {
    type Error = Malformed;

    fn try_from(envelope: Envelope) -> Result<Self, Malformed> {
        if envelope.signatures.len() > MAX_SIGNATURES {
            return Err(Malformed::new("signatures", &format!("there are more than {MAX_SIGNATURES}")));
        }
        let signatures =
            envelope.signatures.iter().map(|text| Signature::parse(text)).collect::<Result<_, _>>()?;
        Ok(Self { body: envelope.body, signatures })
    }
}

impl From<Signed> for Envelope {
    fn from(signed: Signed) -> Self {
        let signatures = signed.texts().into_iter().map(str::to_owned).collect();
        Self { body: signed.body, signatures }
    }
}
