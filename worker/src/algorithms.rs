//! The algorithms that are compiled in.

use algorithm_api::Algorithm;
use algorithm_blake3::Blake3;
use algorithm_randomx::RandomX;
use algorithm_scrypt::Scrypt1024;
use algorithm_sha256d::Sha256d;
use bus_schemas::{AlgorithmId, id::InvalidId};
use worker_core::Offered;

static RANDOM_X: RandomX = RandomX::new();
static OFFERED: [&dyn Algorithm; 4] = [&Sha256d, &Scrypt1024, &Blake3, &RANDOM_X];

/// From so much working memory of a thread on, in bytes, an algorithm lives in the caches that other programs need.
const MEMORY_HARD_FROM: u64 = 64 * 1024;

/// All of them.
pub fn offered() -> Result<Vec<Offered>, InvalidId> {
    let describe = |algorithm: &&dyn Algorithm| {
        let descriptor = algorithm.descriptor();
        let id = AlgorithmId::new(descriptor.id)?;
        let memory_hard = descriptor.memory_bytes_per_thread >= MEMORY_HARD_FROM;
        Ok(Offered { id, version: descriptor.version, memory_hard })
    };
    OFFERED.iter().map(describe).collect()
}

/// The algorithm of this id and version.
pub fn find(id: &AlgorithmId, version: u32) -> Option<&'static dyn Algorithm> {
    OFFERED.iter().copied().find(|algorithm| {
        let descriptor = algorithm.descriptor();
        descriptor.id == id.as_str() && descriptor.version == version
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_offered_algorithm_is_found_by_its_id_and_version() {
        let offered = offered().unwrap();
        assert_eq!(offered.len(), 4);
        for Offered { id, version, memory_hard } in offered {
            let is_hard = ["scrypt-1024-1-1", "randomx-v1"].contains(&id.as_str());
            assert_eq!(memory_hard, is_hard, "{id}");
            assert_eq!(find(&id, version).map(|a| a.descriptor().id), Some(id.as_str()));
            assert!(find(&id, version + 1).is_none());
        }
    }
}
