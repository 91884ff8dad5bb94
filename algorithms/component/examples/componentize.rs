//! Makes a component of a core module that was built with `wit-bindgen` for `wasm32-unknown-unknown`, and prints its digest.
//!
//! `cargo run -p dcmf-algorithm-component --example componentize -- MODULE.wasm COMPONENT.wasm`

use std::{error::Error, fs};
use wit_component::ComponentEncoder;

fn main() -> Result<(), Box<dyn Error>> {
    let mut paths = std::env::args().skip(1);
    let (Some(module), Some(component)) = (paths.next(), paths.next()) else {
        return Err("give the path of the core module and of the component to be written".into());
    };
    let bytes = ComponentEncoder::default().module(&fs::read(module)?)?.validate(true).encode()?;
    fs::write(&component, &bytes)?;
    println!(
        "{component}: {} bytes, sha256 {}",
        bytes.len(),
        hex::encode(algorithm_component::digest(&bytes))
    );
    Ok(())
}
