//! The example guests, built from their sources.

use std::{fs, path::Path, process::Command};
use wit_component::ComponentEncoder;

/// The component of the guest `name`; `workspace` is the folder `guests` of this package.
pub fn build(workspace: &Path, name: &str) -> Vec<u8> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guests");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--locked", "--release", "--target", "wasm32-unknown-unknown"])
        .arg("--manifest-path")
        .arg(workspace.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "rustup target add wasm32-unknown-unknown; {complaint}");
    let module = target.join("wasm32-unknown-unknown/release").join(name.replace('-', "_"));
    let module = fs::read(module.with_extension("wasm")).unwrap();
    ComponentEncoder::default().module(&module).unwrap().validate(true).encode().unwrap()
}
