//! minisign's public keys and signatures, bounded and with their ids.

use crate::{MAX_SIGNATURE_LEN, Malformed};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// What stands before the bytes of a public key: Ed25519.
const ALGORITHM: [u8; 2] = *b"Ed";
/// What stands before the bytes of a signature over BLAKE2b of the text, the only kind that is accepted.
const PREHASHED: [u8; 2] = *b"ED";
/// Algorithm, id and key of a public key, in bytes.
const KEY_LEN: usize = 2 + 8 + 32;
/// Algorithm, id and signature, in bytes.
const SIGNATURE_LEN: usize = 2 + 8 + 64;

/// minisign's name of a key pair: 16 hexadecimal digits, of which `minisign` prints no leading zeros. Chosen by whoever made the key, so it finds
/// a key and proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyId(u64);

impl FromStr for KeyId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_id = (1..=16).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let id = is_id.then(|| u64::from_str_radix(text, 16).ok()).flatten();
        id.map(Self).ok_or_else(|| "a key's id has at most 16 hexadecimal digits".to_owned())
    }
}

impl TryFrom<String> for KeyId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<KeyId> for String {
    fn from(id: KeyId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016X}", self.0)
    }
}

/// A minisign public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    id: KeyId,
    key: [u8; 32],
    inner: minisign_verify::PublicKey,
}

impl PublicKey {
    /// Reads the line that starts with `RW`, or a whole `.pub` file.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let malformed = |reason: &str| Malformed::new("public key", reason);
        if text.len() > MAX_SIGNATURE_LEN {
            return Err(malformed("it is too long"));
        }
        let line = text.lines().map(str::trim).rfind(|line| !line.is_empty());
        let line = line.ok_or_else(|| malformed("it is empty"))?;
        let bytes = BASE64_STANDARD.decode(line).map_err(|_| malformed("it is not base64"))?;
        let (algorithm, rest) = bytes.split_first_chunk().ok_or_else(|| malformed("it is too short"))?;
        let (id, key) = rest.split_first_chunk().ok_or_else(|| malformed("it is too short"))?;
        let key = key.try_into().map_err(|_| malformed(&format!("it does not have {KEY_LEN} bytes")))?;
        if *algorithm != ALGORITHM {
            return Err(malformed("it is no Ed25519 key of minisign"));
        }
        let inner = minisign_verify::PublicKey::from_base64(line);
        let inner = inner.map_err(|error| malformed(&error.to_string()))?;
        Ok(Self { id: KeyId(u64::from_le_bytes(*id)), key, inner })
    }

    /// Its id.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Whether both have the same Ed25519 key, whatever their ids say.
    pub fn is_same_key(&self, other: &Self) -> bool {
        self.key == other.key
    }

    /// Whether `signature` is by this key, over `text` and over its own trusted comment.
    pub fn verifies(&self, text: &[u8], signature: &Signature) -> bool {
        self.inner.verify(text, &signature.inner, false).is_ok()
    }
}

/// The text of a minisign signature: an untrusted comment, the signature, a trusted comment, a signature over both.
#[derive(Clone)]
pub struct Signature {
    key: KeyId,
    text: String,
    inner: minisign_verify::Signature,
}

impl Signature {
    /// Reads the four lines of a `.minisig` file.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let malformed = |reason: &str| Malformed::new("signature", reason);
        if text.len() > MAX_SIGNATURE_LEN {
            return Err(malformed("it is too long"));
        }
        let inner =
            minisign_verify::Signature::decode(text).map_err(|error| malformed(&error.to_string()))?;
        let line = text.lines().nth(1).unwrap_or_default();
        let bytes = BASE64_STANDARD.decode(line).map_err(|_| malformed("it is not base64"))?;
        let (algorithm, rest) = bytes.split_first_chunk().ok_or_else(|| malformed("it is too short"))?;
        let (id, _) = rest.split_first_chunk().ok_or_else(|| malformed("it is too short"))?;
        if *algorithm != PREHASHED || bytes.len() != SIGNATURE_LEN {
            return Err(malformed("it is not pre-hashed: sign with minisign 0.10 or newer, without -l"));
        }
        Ok(Self { key: KeyId(u64::from_le_bytes(*id)), text: text.to_owned(), inner })
    }

    /// Id of the key that is said to have signed.
    pub fn key_id(&self) -> KeyId {
        self.key
    }

    /// The comment that is signed too. It says nothing before [`PublicKey::verifies`] has said yes.
    pub fn trusted_comment(&self) -> &str {
        self.inner.trusted_comment()
    }

    /// As it was read.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl PartialEq for Signature {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Signature {}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signature").field("key", &self.key).finish_non_exhaustive()
    }
}
