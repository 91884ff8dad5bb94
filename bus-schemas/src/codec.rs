//! The two codecs and their limits.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

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
            Encoding::Json => {
                from_json(bytes).map_err(|reason| DecodeError::Malformed { message: Self::NAME, reason })
            }
            Encoding::MessagePack => decode_message_pack(bytes),
        }
    }
}

/// Reads JSON, in which an object must be written as one: by itself, serde takes an array of a struct's fields in
/// their order as well, so that `[]` would be every default at once.
pub(crate) fn from_json<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let read: T = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    refuse_arrays_for_objects(bytes, &read)?;
    Ok(read)
}

/// Compares what was `said` with how `meant`, which was read from it, is written.
pub(crate) fn refuse_arrays_for_objects<T: Serialize>(said: &[u8], meant: &T) -> Result<(), String> {
    if !said.contains(&b'[') {
        return Ok(());
    }
    let said: Value = serde_json::from_slice(said).map_err(|e| e.to_string())?;
    let meant = serde_json::to_value(meant).map_err(|e| e.to_string())?;
    match array_for_object(&said, &meant) {
        None => Ok(()),
        Some(path) if path.is_empty() => Err("it is an array where an object belongs".to_owned()),
        Some(path) => Err(format!("{path} is an array where an object belongs")),
    }
}

/// Path of the first array that was read as an object.
fn array_for_object(said: &Value, meant: &Value) -> Option<String> {
    let inner = |name: String, said, meant| {
        let path = array_for_object(said, meant)?;
        Some(if path.is_empty() { name } else { format!("{name}.{path}") })
    };
    match (said, meant) {
        (Value::Array(_), Value::Object(_)) => Some(String::new()),
        (Value::Array(said), Value::Array(meant)) => said
            .iter()
            .zip(meant)
            .enumerate()
            .find_map(|(at, (said, meant))| inner(at.to_string(), said, meant)),
        (Value::Object(said), Value::Object(meant)) => said
            .iter()
            .find_map(|(name, said)| meant.get(name).and_then(|meant| inner(name.clone(), said, meant))),
        _ => None,
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

#[cfg(test)]
mod tests {
    use crate::{
        codec::Message,
        command::{FarmDuty, ThrottleList},
        config::{NodeConfig, PoolConfig, parse_strict},
        member::Member,
        policy::FarmConfig,
        throttle::Throttle,
    };

    #[test]
    fn an_array_is_no_object_wherever_it_stands() {
        assert!(FarmDuty::decode(b"[]").is_err());
        assert!(FarmDuty::decode(br#"["drill"]"#).is_err());
        assert!(Throttle::decode(br#"[0,null,60,"r","s"]"#).is_err());
        assert!(Member::decode(b"[]").is_err());
        let nested = ThrottleList::decode(
            br#"{"throttles":[{"target":"farm","order":[0,null,60,"r","s"],"given_at_ms":1,"until_ms":2}]}"#,
        );
        assert!(nested.unwrap_err().to_string().contains("order is an array where an object belongs"));
        for json in [
            "[]",
            r#"{"load":[]}"#,
            r#"{"source":{"embedded":[]}}"#,
            r#"{"labels":[[]]}"#,
            r#"{"schedule":["UTC"]}"#,
        ] {
            let refused = parse_strict::<PoolConfig>(json.as_bytes());
            assert!(refused.is_err(), "{json}: {refused:?}");
        }
        assert!(parse_strict::<FarmConfig>(b"[true]").is_err());
        assert!(parse_strict::<NodeConfig>(b"[]").is_err());
        let labels = br#"{"labels":[{"key":"rack","value":"b2"}]}"#;
        assert_eq!(parse_strict::<PoolConfig>(labels).unwrap().labels.len(), 1);
    }
}
