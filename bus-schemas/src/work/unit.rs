//! Work of any kind.

use super::{CryptoNoteWork, Extranonce, HEADER_LEN, HeaderWork, InvalidWork, MAX_HASHING_BLOB_LEN, sha256d};
use crate::{
    blob::Hash32,
    share::{CryptoNoteFinding, Finding, HeaderFinding, ShareRefusal},
    units::Target,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Longest input of an algorithm in bytes: a seed and a hashing blob.
pub const MAX_INPUT_LEN: usize = SEED_LEN + MAX_HASHING_BLOB_LEN;

const SEED_LEN: usize = 32;

/// The search input by kind. A reader refuses a kind that it does not know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WorkUnit {
    /// A Bitcoin-family header.
    Header(HeaderWork),
    /// A Monero block; the algorithm's input is the seed and the hashing blob.
    CryptoNote(CryptoNoteWork),
}

/// What an algorithm is given, without a place on the heap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SearchInput {
    bytes: [u8; MAX_INPUT_LEN],
    len: usize,
}

impl SearchInput {
    fn of(parts: [&[u8]; 2]) -> Self {
        let mut input = Self { bytes: [0; MAX_INPUT_LEN], len: 0 };
        for part in parts {
            if let Some(place) = input.bytes.get_mut(input.len..input.len + part.len()) {
                place.copy_from_slice(part);
                input.len += part.len();
            }
        }
        input
    }
}

impl AsRef<[u8]> for SearchInput {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl WorkUnit {
    /// Checks the limits and gives the network's target.
    pub fn check(&self) -> Result<Target, InvalidWork> {
        match self {
            Self::Header(work) => work.check(),
            Self::CryptoNote(work) => work.check(),
        }
    }

    /// Previous block's hash as it stands in the header.
    pub fn prev_hash(&self) -> Hash32 {
        match self {
            Self::Header(work) => work.prev_hash,
            Self::CryptoNote(work) => work.prev_hash,
        }
    }

    /// Version bits that a worker may change before it rolls the extranonce.
    pub fn version_mask(&self) -> u32 {
        match self {
            Self::Header(work) => work.version_mask,
            Self::CryptoNote(_) => 0,
        }
    }

    /// The version from which rolling begins; zero where none is rolled.
    pub fn version(&self) -> u32 {
        match self {
            Self::Header(work) => work.version,
            Self::CryptoNote(_) => 0,
        }
    }

    /// The seed that the search needs a context for, and the next one as soon as it is known.
    pub fn seeds(&self) -> Option<(&Hash32, Option<&Hash32>)> {
        match self {
            Self::Header(_) => None,
            Self::CryptoNote(work) => Some((&work.seed, work.next_seed.as_ref())),
        }
    }

    /// The finding of a worker that leaves the time as the job has it.
    pub fn finding(&self, roll: u32, version: u32, nonce: u32) -> Finding {
        match self {
            Self::Header(work) => Finding::Header(HeaderFinding { roll, version, time: work.time, nonce }),
            Self::CryptoNote(_) => Finding::CryptoNote(CryptoNoteFinding { roll, nonce }),
        }
    }

    /// Whether a finding is of this kind and changes only what it may.
    pub fn allows(&self, finding: &Finding) -> Result<(), ShareRefusal> {
        match (self, finding) {
            (Self::Header(work), Finding::Header(f)) if !work.allows_version(f.version) => {
                Err(ShareRefusal::VersionOutOfRange)
            }
            (Self::Header(work), Finding::Header(f)) if !work.allows_time(f.time) => {
                Err(ShareRefusal::TimeOutOfRange)
            }
            (Self::Header(_), Finding::Header(_)) | (Self::CryptoNote(_), Finding::CryptoNote(_)) => Ok(()),
            _ => Err(ShareRefusal::OtherWork),
        }
    }

    /// What all findings of one extranonce share: the root of the transactions' tree.
    pub fn root(&self, extranonce: Extranonce) -> [u8; 32] {
        match self {
            Self::Header(work) => work.merkle_root(extranonce),
            Self::CryptoNote(work) => work.tree_root(extranonce),
        }
    }

    /// The algorithm's input for a finding whose root is known; `None` for a finding of another kind of work.
    pub fn input_over(&self, root: &[u8; 32], finding: &Finding) -> Option<SearchInput> {
        match (self, finding) {
            (Self::Header(work), Finding::Header(f)) => {
                let header: [u8; HEADER_LEN] = work.header_over(root, f.version, f.time, f.nonce);
                Some(SearchInput::of([&header, &[]]))
            }
            (Self::CryptoNote(work), Finding::CryptoNote(f)) => {
                let mut blob = [0; MAX_HASHING_BLOB_LEN];
                let len = work.write_hashing_blob(root, f.nonce, &mut blob);
                Some(SearchInput::of([&work.seed.0, blob.get(..len).unwrap_or_default()]))
            }
            _ => None,
        }
    }

    /// The name of the block that a finding makes; `None` for a finding of another kind of work.
    pub fn block_hash_over(&self, root: &[u8; 32], finding: &Finding) -> Option<Hash32> {
        match (self, finding) {
            (Self::Header(work), Finding::Header(f)) => {
                Some(Hash32(sha256d(&work.header_over(root, f.version, f.time, f.nonce))))
            }
            (Self::CryptoNote(work), Finding::CryptoNote(f)) => Some(work.block_hash(root, f.nonce)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::examples;

    #[test]
    fn the_input_is_the_header_or_the_seed_and_the_hashing_blob() {
        let WorkUnit::Header(header) = examples::job().unwrap().work else { panic!("a header") };
        let note = examples::crypto_note_work();
        let (header, note) = (WorkUnit::Header(header), WorkUnit::CryptoNote(note));
        let root = [5; 32];
        let finding = header.finding(1, header.version(), 7);
        let input = header.input_over(&root, &finding).unwrap();
        assert_eq!((input.as_ref().len(), &input.as_ref()[36..68]), (HEADER_LEN, &root[..]));
        let finding = note.finding(1, 0, 0x0403_0201);
        let input = note.input_over(&root, &finding).unwrap();
        assert_eq!(input.as_ref()[..32], note.seeds().unwrap().0.0);
        // Two versions of one byte and a timestamp of five: the nonce stands at 39, as on the main network.
        assert_eq!(input.as_ref()[32 + 39..32 + 43], [1, 2, 3, 4]);
        assert_eq!(input.as_ref()[32 + 43..32 + 75], root);
    }

    #[test]
    fn a_finding_of_another_kind_of_work_is_refused_and_makes_nothing() {
        let header = examples::job().unwrap().work;
        let note = WorkUnit::CryptoNote(examples::crypto_note_work());
        for (work, other) in [(&header, &note), (&note, &header)] {
            let finding = other.finding(0, other.version(), 0);
            assert_eq!(work.allows(&finding), Err(ShareRefusal::OtherWork));
            assert!(work.input_over(&[0; 32], &finding).is_none());
            assert!(work.block_hash_over(&[0; 32], &finding).is_none());
            assert_eq!(work.allows(&work.finding(0, work.version(), 0)), Ok(()));
        }
    }
}
