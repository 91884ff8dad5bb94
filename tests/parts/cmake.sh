#!/usr/bin/env bash
# CMake from PATH, else from its pinned wheel: the reference library of RandomX is built with it.
source "$(dirname "${BASH_SOURCE[0]}")/place.sh"
have cmake "$CMAKE_OLDEST" && exit
need python3 "install Python 3 with pip, or put cmake $CMAKE_OLDEST or newer on PATH"

root=$parts/cmake
rm -rf "$root"
python3 -m pip install --quiet --root-user-action=ignore --no-deps --only-binary=:all: --require-hashes --target "$root" \
    --requirement "$here/cmake.requirements" ||
    { echo "pip could not fetch cmake $CMAKE_VERSION with the right digest: is the package index reachable?" >&2; exit 1; }
# The program finds its modules beside itself, so it is called where it lies.
rm -f "$bin/cmake"
printf '#!/bin/sh\nexec "%s" "$@"\n' "$root/cmake/data/bin/cmake" >"$bin/cmake"
chmod +x "$bin/cmake" "$root/cmake/data/bin/cmake"
have cmake "$CMAKE_VERSION"
