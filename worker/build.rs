//! Puts the digests of the algorithms' sources into the worker, by which their certificates are found. A row here for each row
//! of the table in `src/algorithms.rs`.

fn main() -> Result<(), source_digest::SourceError> {
    source_digest::for_build_script(&[
        "dcmf-algorithm-sha256d",
        "dcmf-algorithm-scrypt",
        "dcmf-algorithm-blake3",
        "dcmf-algorithm-randomx",
    ])
}
