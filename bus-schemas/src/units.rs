//! Units. A number on the bus has its unit in its type or in its field's name, and money or work is never a float.

use ruint::aliases::U256;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{borrow::Cow, fmt};

/// Milliseconds since the Unix epoch.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct TimestampMs(pub u64);

impl TimestampMs {
    /// Milliseconds from `earlier` to `self`, zero if the clock went back.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This moment and `ms` milliseconds more.
    pub fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Reads RFC 3339; what is finer than a millisecond is cut off, and a time before 1970 is none.
    pub fn from_rfc3339(text: &str) -> Option<Self> {
        let at: jiff::Timestamp = text.parse().ok()?;
        u64::try_from(at.as_millisecond()).ok().map(Self)
    }

    /// RFC 3339 in UTC with milliseconds, as CloudEvents wants it.
    pub fn to_rfc3339(self) -> String {
        i64::try_from(self.0)
            .ok()
            .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
            .map_or_else(|| format!("{}ms", self.0), |t| format!("{t:.3}"))
    }
}

/// Hashes a second, rounded down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct HashRate(pub u64);

impl fmt::Display for HashRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (divisor, unit) = match self.0 {
            0..1_000 => return write!(f, "{} H/s", self.0),
            1_000..1_000_000 => (1_000, "kH/s"),
            1_000_000..1_000_000_000 => (1_000_000, "MH/s"),
            _ => (1_000_000_000, "GH/s"),
        };
        write!(f, "{}.{:02} {unit}", self.0 / divisor, self.0 % divisor * 100 / divisor)
    }
}

/// Electrical power.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Watts(pub u32);

/// Work: the expected number of hashes, a 256-bit integer. A decimal string in JSON, 32 big-endian bytes in
/// MessagePack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Work(pub U256);

impl Work {
    /// No work.
    pub const ZERO: Self = Self(U256::ZERO);

    /// The sum, at most 2^256 − 1.
    pub fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The product with a count, at most 2^256 − 1.
    pub fn saturating_mul(self, count: u64) -> Self {
        Self(self.0.saturating_mul(U256::from(count)))
    }
}

impl From<u64> for Work {
    fn from(v: u64) -> Self {
        Self(U256::from(v))
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A target as a 256-bit integer: a hash, read as a little-endian integer, meets it when it is not above.
/// 64 hex digits, most significant first, in JSON; 32 big-endian bytes in MessagePack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target(pub U256);

/// Why compact bits are not a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("compact bits {0:08x} are negative, zero or above 256 bits")]
pub struct InvalidCompact(pub u32);

impl Target {
    /// The easiest target: every hash meets it.
    pub const MAX: Self = Self(U256::MAX);

    /// The target of a hash that is worth `2^bits` hashes.
    pub fn from_share_bits(bits: ShareBits) -> Self {
        Self(U256::MAX >> usize::from(bits.0))
    }

    /// The highest hash that, times `difficulty`, stays below 2^256; `None` for a difficulty of zero.
    pub fn from_difficulty(difficulty: u64) -> Option<Self> {
        U256::MAX.checked_div(U256::from(difficulty)).map(Self)
    }

    /// Reads the compact form ("nBits") of a block header.
    pub fn from_compact(bits: u32) -> Result<Self, InvalidCompact> {
        let exponent = bits >> 24;
        let mantissa = bits & 0x007f_ffff;
        if bits & 0x0080_0000 != 0 || mantissa == 0 {
            return Err(InvalidCompact(bits));
        }
        let value = if exponent <= 3 {
            U256::from(mantissa >> (8 * (3 - exponent)))
        } else {
            let shift = 8 * (exponent as usize - 3);
            let mantissa = U256::from(mantissa);
            if shift + mantissa.bit_len() > 256 {
                return Err(InvalidCompact(bits));
            }
            mantissa << shift
        };
        if value.is_zero() { Err(InvalidCompact(bits)) } else { Ok(Self(value)) }
    }

    /// The compact form of this target, rounded down as every node does.
    pub fn to_compact(self) -> u32 {
        let size = self.0.bit_len().div_ceil(8);
        let mut mantissa: u32 = if size <= 3 {
            self.0.wrapping_to::<u32>() << (8 * (3 - size))
        } else {
            (self.0 >> (8 * (size - 3))).wrapping_to::<u32>()
        };
        let mut exponent = size as u32;
        if mantissa & 0x0080_0000 != 0 {
            mantissa >>= 8;
            exponent += 1;
        }
        (exponent << 24) | mantissa
    }

    /// Whether a hash, as its bytes stand in memory, meets this target.
    pub fn is_met_by(&self, hash: &[u8; 32]) -> bool {
        U256::from_le_bytes(*hash) <= self.0
    }

    /// The expected number of hashes: `floor(2^256 / (target + 1))`.
    pub fn work(self) -> Work {
        if self.0 == U256::MAX {
            return Work(U256::from(1));
        }
        // 2^256 / (t+1) == (2^256 - (t+1)) / (t+1) + 1, and 2^256 - (t+1) is the complement of t.
        let divisor = self.0 + U256::from(1);
        Work((!self.0) / divisor + U256::from(1))
    }

    /// As a little-endian integer, the order in which a hash lies in memory.
    pub fn to_le_bytes(self) -> [u8; 32] {
        self.0.to_le_bytes()
    }
}

macro_rules! u256_serde {
    ($name:ident, $to_text:expr, $from_text:expr, $pattern:literal, $about:literal) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                if s.is_human_readable() {
                    s.serialize_str(&$to_text(&self.0))
                } else {
                    s.serialize_bytes(&self.0.to_be_bytes::<32>())
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                struct V;
                impl de::Visitor<'_> for V {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($about)
                    }
                    fn visit_bytes<E: de::Error>(self, v: &[u8]) -> Result<$name, E> {
                        let bytes: [u8; 32] =
                            v.try_into().map_err(|_| E::invalid_length(v.len(), &"32 bytes"))?;
                        Ok($name(U256::from_be_bytes(bytes)))
                    }
                    fn visit_str<E: de::Error>(self, v: &str) -> Result<$name, E> {
                        $from_text(v).map($name).ok_or_else(|| E::custom(format_args!("expected {}", $about)))
                    }
                }
                if d.is_human_readable() { d.deserialize_str(V) } else { d.deserialize_bytes(V) }
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern, "description": $about })
            }
        }
    };
}

/// Decimal digits of 2^256.
const MAX_DECIMAL_DIGITS: usize = 78;

fn decimal(text: &str) -> Option<U256> {
    let digits =
        !text.is_empty() && text.len() <= MAX_DECIMAL_DIGITS && text.bytes().all(|b| b.is_ascii_digit());
    if digits { U256::from_str_radix(text, 10).ok() } else { None }
}

fn hex_be(text: &str) -> Option<U256> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(U256::from_be_bytes(bytes))
}

u256_serde!(Work, U256::to_string, decimal, "^[0-9]{1,78}$", "work in expected hashes, decimal digits");
u256_serde!(
    Target,
    |v: &U256| hex::encode(v.to_be_bytes::<32>()),
    hex_be,
    "^[0-9a-f]{64}$",
    "a 256-bit target, most significant digit first"
);

/// The difficulty of a share as a power of two: a share of `n` bits is worth `2^n` hashes. Steps of a whole bit
/// keep credit an exact integer and make a retarget a factor of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct ShareBits(u8);

impl ShareBits {
    /// Hardest share: no chain is near it.
    pub const MAX: Self = Self(200);
    /// Easiest share: every hash.
    pub const MIN: Self = Self(0);

    /// `bits`, at most [`ShareBits::MAX`].
    pub fn new(bits: u8) -> Self {
        Self(bits.min(Self::MAX.0))
    }

    /// The exponent.
    pub fn get(self) -> u8 {
        self.0
    }

    /// `2^bits`.
    pub fn work(self) -> Work {
        Work(U256::from(1) << usize::from(self.0))
    }
}

impl<'de> Deserialize<'de> for ShareBits {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let bits = u8::deserialize(d)?;
        if bits > Self::MAX.0 {
            return Err(de::Error::invalid_value(de::Unexpected::Unsigned(bits.into()), &"at most 200"));
        }
        Ok(Self(bits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compact_bits_give_the_published_targets_and_work() {
        let genesis = Target::from_compact(0x1d00_ffff).unwrap();
        assert_eq!(genesis.work(), Work::from(4_295_032_833));
        assert_eq!(genesis.to_compact(), 0x1d00_ffff);
        assert_eq!(Target::from_compact(0x207f_ffff).unwrap().work(), Work::from(2));
        assert_eq!(Target::from_compact(0x1a44_b9f2).unwrap().work(), Work::from(1_048_471_149_936_089));
    }

    #[test]
    fn compact_bits_that_are_no_target_are_refused() {
        for bits in [0, 0x1d80_ffff, 0x0100_0000, 0xff00_ffff, 0x2300_ffff, 0x2100_ffff << 1] {
            assert_eq!(Target::from_compact(bits), Err(InvalidCompact(bits)), "{bits:08x}");
        }
    }

    #[test]
    fn a_share_of_n_bits_is_worth_two_to_the_n() {
        for bits in [0, 1, 8, 32, 63, 200] {
            let bits = ShareBits::new(bits);
            assert_eq!(Target::from_share_bits(bits).work(), bits.work());
        }
    }

    #[test]
    fn time_is_written_as_rfc3339_with_milliseconds() {
        assert_eq!(TimestampMs(1_700_000_000_123).to_rfc3339(), "2023-11-14T22:13:20.123Z");
        for (text, read) in [
            ("2023-11-14T22:13:20.123456789Z", Some(1_700_000_000_123)),
            ("2023-11-14T23:13:20.123+01:00", Some(1_700_000_000_123)),
            ("1969-01-01T00:00:00Z", None),
            ("soon", None),
        ] {
            assert_eq!(TimestampMs::from_rfc3339(text), read.map(TimestampMs), "{text}");
        }
    }
}
