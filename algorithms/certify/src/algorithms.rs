//! The algorithms that this program can certify: those that it was compiled with.

use crate::{failure::Failure, measure::Testee};
use algorithm_api::{Algorithm, conformance::KnownAnswer};
use algorithm_blake3::Blake3;
use algorithm_randomx::RandomX;
use algorithm_scrypt::Scrypt1024;
use algorithm_sha256d::Sha256d;
use certification::{Digest, Subject};
use serde::Deserialize;
use std::collections::BTreeMap;

include!(concat!(env!("OUT_DIR"), "/source_digests.rs"));

/// An algorithm and the published results that it must reproduce.
pub(crate) struct Certifiable {
    /// Its crate.
    pub(crate) package: &'static str,
    /// The algorithm.
    pub(crate) algorithm: &'static dyn Algorithm,
    /// The file of its known answers.
    vectors: &'static str,
    /// Reads them.
    read: fn(&str) -> Result<Vec<KnownAnswer>, String>,
    /// Positions that the conformance kit scans at each place.
    span: u64,
}

static RANDOM_X: RandomX = RandomX::new();

/// All of them.
pub(crate) static ALGORITHMS: &[Certifiable] = &[
    Certifiable {
        package: "dcmf-algorithm-sha256d",
        algorithm: &Sha256d,
        vectors: include_str!("../../sha256d/tests/vectors.json"),
        read: |text| headers(text, "sha256d"),
        span: 4096,
    },
    Certifiable {
        package: "dcmf-algorithm-scrypt",
        algorithm: &Scrypt1024,
        vectors: include_str!("../../scrypt/tests/vectors.json"),
        read: |text| headers(text, "scrypt_1024_1_1"),
        span: 64,
    },
    Certifiable {
        package: "dcmf-algorithm-blake3",
        algorithm: &Blake3,
        vectors: include_str!("../../blake3/tests/vectors.json"),
        read: |text| headers(text, "blake3_80"),
        span: 4096,
    },
    Certifiable {
        package: "dcmf-algorithm-randomx",
        algorithm: &RANDOM_X,
        vectors: include_str!("../../randomx/tests/vectors.json"),
        read: hashing_blob,
        span: 4,
    },
];

/// The algorithm of this id.
pub(crate) fn find(id: &str) -> Result<&'static Certifiable, Failure> {
    let known = || ALGORITHMS.iter().map(Certifiable::id).collect::<Vec<_>>().join(", ");
    let found = ALGORITHMS.iter().find(|entry| entry.id() == id);
    found.ok_or_else(|| Failure::Usage(format!("{id} is not compiled in; there are {}", known())))
}

impl Certifiable {
    /// Its name.
    pub(crate) fn id(&self) -> &'static str {
        &self.algorithm.descriptor().id
    }

    /// What is tested.
    pub(crate) fn testee(&self) -> Result<Testee<'static>, Failure> {
        let failed = |reason| Failure::Conformance { algorithm: self.id().to_owned(), reason };
        Ok(Testee {
            algorithm: self.algorithm,
            answers: (self.read)(self.vectors).map_err(failed)?,
            vectors: Digest::of(self.vectors.as_bytes()),
            span: self.span,
        })
    }

    /// Digest of what was compiled into this program, lower-case hex.
    pub(crate) fn compiled_digest(&self) -> Result<Digest, Failure> {
        let found = SOURCE_DIGESTS.iter().find(|(package, _)| *package == self.package);
        let digest = found.and_then(|(_, digest)| digest.parse().ok());
        digest
            .ok_or_else(|| Failure::Usage(format!("build.rs of this program does not name {}", self.package)))
    }

    /// What a certificate of it is about.
    pub(crate) fn subject(&self) -> Result<Subject, Failure> {
        let descriptor = self.algorithm.descriptor();
        let source_sha256 = self.compiled_digest()?;
        Ok(Subject::NativeAlgorithm {
            id: descriptor.id.to_string(),
            version: descriptor.version,
            source_sha256,
        })
    }
}

/// A published 80-byte header, with its hash as it stands in memory or as it is shown.
#[derive(Deserialize)]
struct Header {
    name: String,
    header: String,
    #[serde(alias = "hash_le")]
    hash_raw_le: Option<String>,
    pow_hash_display_be: Option<String>,
}

/// The headers of one list of a file of vectors.
fn headers(text: &str, list: &str) -> Result<Vec<KnownAnswer>, String> {
    let mut file: BTreeMap<String, serde_json::Value> =
        serde_json::from_str(text).map_err(|error| error.to_string())?;
    let list = file.remove(list).ok_or_else(|| format!("no list {list} of known answers"))?;
    let headers: Vec<Header> = serde_json::from_value(list).map_err(|error| error.to_string())?;
    headers.into_iter().map(known_answer).collect()
}

fn known_answer(published: Header) -> Result<KnownAnswer, String> {
    let Header { name, header, hash_raw_le, pow_hash_display_be } = published;
    let wrong = |what: &str| format!("{name}: {what}");
    let input = hex::decode(header).map_err(|_| wrong("the header is not hexadecimal"))?;
    let nonce: [u8; 4] = *input.last_chunk().ok_or_else(|| wrong("the header is too short"))?;
    let shown = hash_raw_le.is_none();
    let hash = hash_raw_le.or(pow_hash_display_be).ok_or_else(|| wrong("no hash"))?;
    let mut bytes = [0; 32];
    hex::decode_to_slice(hash, &mut bytes).map_err(|_| wrong("the hash is not 32 bytes of hexadecimal"))?;
    if shown {
        bytes.reverse();
    }
    let position = u32::from_le_bytes(nonce).into();
    Ok(KnownAnswer { name, input, finding: nonce.into(), position, hash: bytes })
}

/// A Monero block that a node accepted.
#[derive(Deserialize)]
struct MoneroBlock {
    seed_hash: String,
    hashing_blob_after: String,
    nonce_le_hex: String,
    pow_hash_raw: String,
}

/// The Monero block of a file of vectors.
fn hashing_blob(text: &str) -> Result<Vec<KnownAnswer>, String> {
    #[derive(Deserialize)]
    struct Vectors {
        monero_regtest_block: MoneroBlock,
    }
    let vectors: Vectors = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let block = vectors.monero_regtest_block;
    let wrong = |what: &str| format!("the Monero block: its {what} is not hexadecimal or of a wrong length");
    let input =
        hex::decode(block.seed_hash + &block.hashing_blob_after).map_err(|_| wrong("hashing blob"))?;
    let (mut nonce, mut hash) = ([0; 4], [0; 32]);
    hex::decode_to_slice(block.nonce_le_hex, &mut nonce).map_err(|_| wrong("nonce"))?;
    hex::decode_to_slice(block.pow_hash_raw, &mut hash).map_err(|_| wrong("hash"))?;
    let (name, position) = ("a block of Monero's regtest".to_owned(), u32::from_le_bytes(nonce).into());
    Ok(vec![KnownAnswer { name, input, finding: nonce.into(), position, hash }])
}
