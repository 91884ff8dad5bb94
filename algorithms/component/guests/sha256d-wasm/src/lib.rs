//! SHA-256 applied twice to an 80-byte header, in the component's own code. The nonce stands little-endian in its last four bytes.

wit_bindgen::generate!({ path: "../../wit", world: "component" });

use dcmf::algorithm::types::{Finding, Range, Scanned, Word256};
use exports::dcmf::algorithm::algorithm::{Descriptor, Guest, GuestSearch, Lengths, Search};
use sha2::{Digest, Sha256};

const HEADER_LEN: u32 = 80;
/// Where the nonce stands.
const NONCE_AT: usize = 76;
/// What is hashed once for all nonces.
const PREFIX_LEN: usize = 64;
const POSITIONS: u64 = 1 << 32;

struct Component;

/// A header whose first block was hashed.
struct Prepared {
    prefix: Sha256,
    /// The rest of the header up to the nonce.
    rest: [u8; NONCE_AT - PREFIX_LEN],
}

impl Prepared {
    fn new(header: &[u8]) -> Result<Self, String> {
        let wrong = || format!("a header of {} bytes", header.len());
        let prefix = Sha256::new_with_prefix(header.get(..PREFIX_LEN).ok_or_else(wrong)?);
        let rest = header.get(PREFIX_LEN..NONCE_AT).ok_or_else(wrong)?.try_into().map_err(|_| wrong())?;
        Ok(Self { prefix, rest })
    }

    fn hash(&self, nonce: [u8; 4]) -> [u8; 32] {
        let first = self.prefix.clone().chain_update(self.rest).chain_update(nonce).finalize();
        Sha256::digest(first).into()
    }
}

fn word256(hash: &[u8; 32]) -> Word256 {
    let word = |at: usize| hash[at..at + 8].iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    (word(0), word(8), word(16), word(24))
}

impl Guest for Component {
    type Search = Prepared;

    fn describe() -> Descriptor {
        Descriptor {
            id: "sha256d-wasm".to_owned(),
            version: 1,
            input: Lengths { shortest: HEADER_LEN, longest: HEADER_LEN },
            finding: Lengths { shortest: 4, longest: 4 },
            positions: POSITIONS,
            memory_bytes_per_thread: 8192,
        }
    }

    fn prepare(input: Vec<u8>) -> Result<Search, String> {
        Prepared::new(&input).map(Search::new)
    }

    fn verify(input: Vec<u8>, finding: Vec<u8>) -> Result<Word256, String> {
        let nonce = finding.try_into().map_err(|_| "a nonce has four bytes".to_owned())?;
        Ok(word256(&Prepared::new(&input)?.hash(nonce)))
    }
}

impl GuestSearch for Prepared {
    fn scan(&self, range: Range, budget: u64, target: Word256, most: u32) -> Scanned {
        let end = range.end.min(range.next.saturating_add(budget));
        let mut findings = Vec::new();
        for position in range.next..end {
            let bytes = (position as u32).to_le_bytes();
            let hash = word256(&self.hash(bytes));
            // The most significant word stands last.
            if (hash.3, hash.2, hash.1, hash.0) > (target.3, target.2, target.1, target.0) {
                continue;
            }
            findings.push(Finding { position, bytes: bytes.into(), hash });
            if findings.len() >= most as usize {
                return Scanned { next: position + 1, findings };
            }
        }
        Scanned { next: end, findings }
    }
}

export!(Component);
