#!/usr/bin/env bash
# The standard library of Rust for wasm32-unknown-unknown: the example guests of algorithms/component are built with it.
source "$(dirname "${BASH_SOURCE[0]}")/place.sh"
target=wasm32-unknown-unknown
[[ -d $(rustc --print sysroot)/lib/rustlib/$target/lib ]] && exit
need rustup "install the standard library for $target that belongs to $(rustc --version)"
rustup --quiet target add "$target"
