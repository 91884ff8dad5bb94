//! Writes the assembly of `src/avx512_sha.rs` and of `src/avx2_sha.rs`, which say why it is made by a program.
//!
//! Each is two streams of instructions, of the vector units and of the SHA unit, that are made apart and shuffled into
//! each other.

mod avx2;
mod avx512;
mod instructions;

use std::{env, error::Error, fs, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=kernel");
    let out = env::var("OUT_DIR")?;
    let out = Path::new(&out);
    fs::write(out.join("avx512_sha.s"), avx512::function().text())?;
    fs::write(out.join("avx2_sha.s"), avx2::function().text())?;
    Ok(())
}
