//! Types and calls of `wit/algorithm.wit`, as the host sees them.
#![allow(missing_docs, unsafe_code, clippy::all)]

wasmtime::component::bindgen!({ path: "wit", world: "component" });

pub(crate) use dcmf::algorithm::types::{Finding, Range, Scanned};
pub(crate) use exports::dcmf::algorithm::algorithm::{Descriptor, Lengths};

/// A 256-bit integer, least significant word first.
pub(crate) type Word256 = (u64, u64, u64, u64);

/// The interface of the kernels, as an import is called.
pub(crate) const KERNELS: &str = "dcmf:algorithm/kernels@1.0.0";
/// The interface that has nothing but types.
pub(crate) const TYPES: &str = "dcmf:algorithm/types@1.0.0";

/// Little-endian bytes of an integer.
pub(crate) fn to_le_bytes(word: Word256) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (part, word) in bytes.chunks_exact_mut(8).zip([word.0, word.1, word.2, word.3]) {
        part.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// The integer of little-endian bytes.
pub(crate) fn from_le_bytes(bytes: [u8; 32]) -> Word256 {
    let mut words = [0; 4];
    for (word, part) in words.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = part.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    }
    words.into()
}
