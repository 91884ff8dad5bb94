//! SHA-256 applied twice to an 80-byte header, searched by the kernel of the host. What such a component adds is up to it: here nothing.

wit_bindgen::generate!({ path: "../../wit", world: "component" });

use dcmf::algorithm::{
    kernels::sha256d_scan,
    types::{Range, Scanned, Word256},
};
use exports::dcmf::algorithm::algorithm::{Descriptor, Guest, GuestSearch, Lengths, Search};
use sha2::{Digest, Sha256};

const HEADER_LEN: u32 = 80;
/// Where the nonce stands.
const NONCE_AT: usize = 76;
const POSITIONS: u64 = 1 << 32;

struct Component;

struct Header(Vec<u8>);

fn word256(hash: &[u8; 32]) -> Word256 {
    let word = |at: usize| hash[at..at + 8].iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    (word(0), word(8), word(16), word(24))
}

impl Guest for Component {
    type Search = Header;

    fn describe() -> Descriptor {
        Descriptor {
            id: "sha256d-kernel".to_owned(),
            version: 1,
            input: Lengths { shortest: HEADER_LEN, longest: HEADER_LEN },
            finding: Lengths { shortest: 4, longest: 4 },
            positions: POSITIONS,
            memory_bytes_per_thread: 8192,
        }
    }

    fn prepare(input: Vec<u8>) -> Result<Search, String> {
        Ok(Search::new(Header(input)))
    }

    fn verify(input: Vec<u8>, finding: Vec<u8>) -> Result<Word256, String> {
        let prefix = input.get(..NONCE_AT).ok_or("a header has 80 bytes")?;
        let first = Sha256::new_with_prefix(prefix).chain_update(finding).finalize();
        Ok(word256(&Sha256::digest(first).into()))
    }
}

impl GuestSearch for Header {
    fn scan(&self, range: Range, budget: u64, target: Word256, most: u32) -> Scanned {
        // The kernel stops where it likes, and so may a component: the host comes again.
        sha256d_scan(&self.0, range, budget, target, most)
            .unwrap_or_else(|reason| panic!("the kernel refuses the header: {reason}"))
    }
}

export!(Component);
