#!/usr/bin/env bash
# The example guests of algorithms/component are built with it.
source "$(dirname "${BASH_SOURCE[0]}")/place.sh"
rust_target wasm32-unknown-unknown
