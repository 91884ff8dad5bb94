//! A search's input: the seed, then a block hashing blob as Monero's nodes give it.

use algorithm_api::InvalidInput;

/// Length of a seed hash in bytes.
pub const SEED_LEN: usize = 32;
/// Length of a nonce in bytes.
pub const NONCE_LEN: usize = 4;
/// Length of a previous block's id in bytes.
const PREVIOUS_ID_LEN: usize = 32;
/// Integers of variable length before it: major version, minor version, time stamp.
const VARIABLE_INTEGERS: usize = 3;
/// Most bytes of an integer of 64 bits in groups of seven.
const MAX_INTEGER_LEN: usize = 10;
/// Shortest blob: it ends with the nonce.
pub(crate) const MIN_BLOB_LEN: usize = VARIABLE_INTEGERS + PREVIOUS_ID_LEN + NONCE_LEN;
/// Longest blob. A real one is below 80 bytes: after the nonce come the root of the transactions and their number.
pub(crate) const MAX_BLOB_LEN: usize = 512;

fn malformed(reason: &'static str) -> InvalidInput {
    InvalidInput::Malformed { what: "input", reason }
}

/// Where the nonce stands in a block hashing blob, and in the block blob which begins in the same way: behind the
/// major version, the minor version, the time stamp and the previous block's id. That is at 39 for a time stamp of
/// five bytes, which all are until the year 3058.
pub fn nonce_offset(blob: &[u8]) -> Result<usize, InvalidInput> {
    let mut at = 0;
    for _ in 0..VARIABLE_INTEGERS {
        let rest = blob.get(at..).unwrap_or_default();
        let more = rest.iter().take(MAX_INTEGER_LEN).position(|byte| byte & 0x80 == 0);
        at += 1 + more.ok_or_else(|| malformed("the blob's version or time stamp does not end"))?;
    }
    at += PREVIOUS_ID_LEN;
    if blob.len() < at + NONCE_LEN {
        return Err(malformed("the blob ends before its nonce"));
    }
    Ok(at)
}

/// An input taken apart.
#[derive(Debug, Clone)]
pub(crate) struct Blob {
    bytes: Vec<u8>,
    nonce_at: usize,
}

impl Blob {
    /// The seed and the blob of an input whose length was checked.
    pub(crate) fn read(input: &[u8]) -> Result<([u8; SEED_LEN], Self), InvalidInput> {
        let (seed, blob) = input.split_first_chunk().ok_or_else(|| malformed("it ends within the seed"))?;
        Ok((*seed, Self { nonce_at: nonce_offset(blob)?, bytes: blob.to_vec() }))
    }

    /// The blob with this nonce.
    pub(crate) fn with(&mut self, nonce: [u8; NONCE_LEN]) -> &[u8] {
        // `nonce_offset` has seen to it that there is room.
        if let Some(place) = self.bytes.get_mut(self.nonce_at..self.nonce_at + NONCE_LEN) {
            place.copy_from_slice(&nonce);
        }
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nonce_stands_behind_two_versions_a_time_stamp_and_the_previous_block_id() {
        let blob = |head: &[u8]| [head, &[0xff; 40]].concat();
        assert_eq!(nonce_offset(&blob(&[16, 16, 0x91, 0x8a, 0x85, 0xd8, 0x06])), Ok(39));
        assert_eq!(nonce_offset(&blob(&[1, 1, 0])), Ok(35));
        assert_eq!(nonce_offset(&blob(&[0x80, 1, 0, 0x80, 0x80, 1])), Ok(38));
    }

    #[test]
    fn a_blob_without_end_of_an_integer_or_without_room_for_the_nonce_is_malformed() {
        assert!(nonce_offset(&[]).is_err());
        assert!(nonce_offset(&[0xff; 400]).is_err());
        assert!(nonce_offset(&[1; 38]).is_err());
        assert_eq!(nonce_offset(&[1; 39]), Ok(35));
    }
}
