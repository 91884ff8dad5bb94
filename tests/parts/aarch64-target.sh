#!/usr/bin/env bash
# The paths of the algorithms for 64-bit ARM are checked with it.
source "$(dirname "${BASH_SOURCE[0]}")/place.sh"
rust_target aarch64-unknown-linux-gnu
