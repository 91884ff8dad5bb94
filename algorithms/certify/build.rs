//! Puts the digests of the algorithms' sources into the program: it certifies what it was compiled from, nothing else.

fn main() -> Result<(), source_digest::SourceError> {
    source_digest::for_build_script(&[
        "dcmf-algorithm-sha256d",
        "dcmf-algorithm-scrypt",
        "dcmf-algorithm-blake3",
        "dcmf-algorithm-randomx",
    ])
}
