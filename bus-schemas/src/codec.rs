//! The two codecs and their limits.

use serde::{Serialize, de::DeserializeOwned};

/// Largest message that is decoded, in bytes, unless its type names a larger limit.
pub const MAX_MESSAGE_LEN: usize = 512 * 1024;

/// How the messages of a subject are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// For people: events, commands, configuration, roles, the ledger.
    Json,
    /// For machines that talk often: named maps.
    MessagePack,
}

/// Everything that travels on the bus.
pub trait Message: Serialize + DeserializeOwned {
    /// The one encoding of this type.
    const ENCODING: Encoding;
    /// Name in schemas and golden files.
    const NAME: &'static str;
    /// Largest encoded form in bytes.
    const MAX_LEN: usize = MAX_MESSAGE_LEN;

    /// Encodes for the bus.
    fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let bytes = match Self::ENCODING {
            Encoding::Json => serde_json::to_vec(self).map_err(|e| EncodeError::new(Self::NAME, &e))?,
            Encoding::MessagePack => {
                rmp_serde::to_vec_named(self).map_err(|e| EncodeError::new(Self::NAME, &e))?
            }
        };
        if bytes.len() > Self::MAX_LEN {
            return Err(EncodeError {
                message: Self::NAME,
                reason: format!("{} bytes are above the limit of {}", bytes.len(), Self::MAX_LEN),
            });
        }
        Ok(bytes)
    }

    /// Decodes what came from the bus; never panics, whatever the bytes.
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > Self::MAX_LEN {
            return Err(DecodeError::TooLarge {
                message: Self::NAME,
                len: bytes.len(),
                limit: Self::MAX_LEN,
            });
        }
        match Self::ENCODING {
            Encoding::Json => serde_json::from_slice(bytes)
                .map_err(|e| DecodeError::Malformed { message: Self::NAME, reason: e.to_string() }),
            Encoding::MessagePack => decode_message_pack(bytes),
        }
    }
}

/// Deepest nesting of a MessagePack message; ours need six.
const MAX_DEPTH: usize = 32;

fn decode_message_pack<M: Message>(bytes: &[u8]) -> Result<M, DecodeError> {
    let malformed = |reason: String| DecodeError::Malformed { message: M::NAME, reason };
    let mut rest = bytes;
    let mut decoder = rmp_serde::Deserializer::new(&mut rest);
    decoder.set_max_depth(MAX_DEPTH);
    let message = serde::Deserialize::deserialize(&mut decoder).map_err(|e| malformed(e.to_string()))?;
    if !rest.is_empty() {
        return Err(malformed(format!("{} bytes follow the message", rest.len())));
    }
    Ok(message)
}

/// A message that could not be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot encode {message}: {reason}")]
pub struct EncodeError {
    /// Type of the message.
    pub message: &'static str,
    /// What the codec said.
    pub reason: String,
}

impl EncodeError {
    fn new(message: &'static str, source: &dyn std::fmt::Display) -> Self {
        Self { message, reason: source.to_string() }
    }
}

/// A message that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Larger than its type allows.
    #[error("{message} of {len} bytes is above the limit of {limit}")]
    TooLarge {
        /// Type of the message.
        message: &'static str,
        /// Its length in bytes.
        len: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// Not the shape of the type.
    #[error("malformed {message}: {reason}")]
    Malformed {
        /// Type of the message.
        message: &'static str,
        /// What the codec said.
        reason: String,
    },
}

/// Declares the encoding of a type.
macro_rules! message {
    ($type:ty, $encoding:ident) => {
        $crate::codec::message!($type, $encoding, $crate::codec::MAX_MESSAGE_LEN);
    };
    ($type:ty, $encoding:ident, $max:expr) => {
        impl $crate::codec::Message for $type {
            const ENCODING: $crate::codec::Encoding = $crate::codec::Encoding::$encoding;
            const NAME: &'static str = stringify!($type);
            const MAX_LEN: usize = $max;
        }
    };
}
pub(crate) use message;
