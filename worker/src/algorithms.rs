//! The algorithms that are compiled in.

use crate::search::thread_time;
use algorithm_api::{Algorithm, Descriptor, InvalidInput, Search};
use algorithm_blake3::Blake3;
use algorithm_randomx::RandomX;
use algorithm_scrypt::{OnPath as ScryptOnPath, Scrypt1024};
use algorithm_sha256d::{Sha256d, Sha256dOnPath};
use bus_schemas::{AlgorithmId, Blob, TimestampMs, id::InvalidId};
use certification::{Digest, Subject};
use std::sync::LazyLock;
use worker_core::{Clearance, Offered};

/// An algorithm on the path that is fastest on this processor. It is tried by the first thread that searches it, in that
/// thread's class, and never by a worker that searches something else.
struct Fastest<A: 'static> {
    /// Judges a single finding, for which nothing need be tried.
    plain: &'static dyn Algorithm,
    descriptor: fn() -> &'static Descriptor,
    on_path: LazyLock<A>,
}

impl<A: Algorithm> Algorithm for Fastest<A> {
    fn descriptor(&self) -> &Descriptor {
        (self.descriptor)()
    }

    fn prepare(&self, input: &[u8]) -> Result<Box<dyn Search>, InvalidInput> {
        self.on_path.prepare(input)
    }

    fn verify(&self, input: &[u8], finding: &[u8]) -> Result<[u8; 32], InvalidInput> {
        self.plain.verify(input, finding)
    }
}

static SHA256D: Fastest<Sha256dOnPath> = Fastest {
    plain: &Sha256d,
    descriptor: || Sha256d.descriptor(),
    on_path: LazyLock::new(|| {
        let algorithm = Sha256d::fastest(thread_time);
        tracing::info!(path = %algorithm.path(), "sha256d is fastest on this path");
        algorithm
    }),
};

static SCRYPT: Fastest<ScryptOnPath> = Fastest {
    plain: &Scrypt1024,
    descriptor: Scrypt1024::any_path,
    on_path: LazyLock::new(|| {
        let algorithm = Scrypt1024::fastest(thread_time);
        tracing::info!(path = %algorithm.path(), "scrypt is fastest on this path");
        algorithm
    }),
};

static RANDOM_X: RandomX = RandomX::new();

include!(concat!(env!("OUT_DIR"), "/source_digests.rs"));

/// An algorithm and the crate that it was compiled from, of which `build.rs` knows the digest.
struct Native {
    package: &'static str,
    algorithm: &'static dyn Algorithm,
}

static NATIVE: [Native; 4] = [
    Native { package: "dcmf-algorithm-sha256d", algorithm: &SHA256D },
    Native { package: "dcmf-algorithm-scrypt", algorithm: &SCRYPT },
    Native { package: "dcmf-algorithm-blake3", algorithm: &Blake3 },
    Native { package: "dcmf-algorithm-randomx", algorithm: &RANDOM_X },
];

/// From so much working memory of a thread on, in bytes, an algorithm lives in the caches that other programs need.
pub(crate) const MEMORY_HARD_FROM: u64 = 64 * 1024;

impl Native {
    /// What its certificate is about. A crate that `build.rs` does not name has a digest that nobody certifies.
    fn subject(&self) -> Subject {
        let descriptor = self.algorithm.descriptor();
        let compiled = SOURCE_DIGESTS.iter().find(|(package, _)| *package == self.package);
        let digest = compiled.and_then(|(_, digest)| digest.parse().ok());
        Subject::NativeAlgorithm {
            id: descriptor.id.to_string(),
            version: descriptor.version,
            source_sha256: digest.unwrap_or(Digest::from_bytes([0; 32])),
        }
    }
}

/// All of them.
pub fn offered() -> Result<Vec<Offered>, InvalidId> {
    let describe = |native: &Native| {
        let descriptor = native.algorithm.descriptor();
        let id = AlgorithmId::new(&*descriptor.id)?;
        let memory_hard = descriptor.memory_bytes_per_thread >= MEMORY_HARD_FROM;
        let digest = Blob(native.subject().digest().as_bytes().to_vec());
        Ok(Offered { id, version: descriptor.version, digest, memory_hard })
    };
    NATIVE.iter().map(describe).collect()
}

/// What the certificates of all of them are about.
pub fn subjects() -> Vec<Subject> {
    NATIVE.iter().map(Native::subject).collect()
}

/// Those that `clearances` permit at `now`.
pub fn permitted(clearances: &[Clearance], now: TimestampMs) -> Vec<&'static dyn Algorithm> {
    let is_permitted = |native: &&Native| {
        let subject = native.subject();
        let digest = subject.digest();
        let of = |c: &&Clearance| c.digest.0 == digest.as_bytes();
        clearances.iter().find(of).is_some_and(|c| c.verdict.as_ref().is_ok_and(|until| now < *until))
    };
    NATIVE.iter().filter(is_permitted).map(|native| native.algorithm).collect()
}

/// The algorithm of this id and version.
pub fn find(id: &AlgorithmId, version: u32) -> Option<&'static dyn Algorithm> {
    NATIVE.iter().map(|native| native.algorithm).find(|algorithm| {
        let descriptor = algorithm.descriptor();
        descriptor.id == id.as_str() && descriptor.version == version
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_offered_algorithm_is_found_by_its_id_and_version() {
        let offered = offered().unwrap();
        assert_eq!(offered.len(), 4);
        for Offered { id, version, memory_hard, .. } in offered {
            let is_hard = ["scrypt-1024-1-1", "randomx-v1"].contains(&id.as_str());
            assert_eq!(memory_hard, is_hard, "{id}");
            assert_eq!(find(&id, version).map(|a| &*a.descriptor().id), Some(id.as_str()));
            assert!(find(&id, version + 1).is_none());
        }
    }

    #[test]
    fn every_algorithm_has_the_digest_of_what_it_was_compiled_from() {
        let subjects = subjects();
        let digests: BTreeSet<String> = subjects.iter().map(|subject| subject.digest().to_string()).collect();
        let compiled = SOURCE_DIGESTS.iter().map(|(_, digest)| (*digest).to_owned());
        assert_eq!(digests, compiled.collect(), "build.rs and the table differ");
        assert_eq!(digests.len(), subjects.len());
    }
}
