//! The algorithms that are compiled in.

use algorithm_api::Algorithm;
use algorithm_scrypt::Scrypt1024;
use algorithm_sha256d::Sha256d;
use bus_schemas::{AlgorithmId, id::InvalidId};

static OFFERED: [&dyn Algorithm; 2] = [&Sha256d, &Scrypt1024];

/// Ids and versions of all.
pub fn offered() -> Result<Vec<(AlgorithmId, u32)>, InvalidId> {
    let describe = |algorithm: &&dyn Algorithm| {
        let descriptor = algorithm.descriptor();
        Ok((AlgorithmId::new(descriptor.id)?, descriptor.version))
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
        assert_eq!(offered.len(), 2);
        for (id, version) in offered {
            assert_eq!(find(&id, version).map(|a| a.descriptor().id), Some(id.as_str()));
            assert!(find(&id, version + 1).is_none());
        }
    }
}
