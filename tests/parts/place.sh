# Sourced by the script of each part: where parts lie, and whether the one at hand is new enough.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
parts=$(cd "$here/../.." && pwd)/.parts
bin=$parts/bin
source "$here/versions.env"
mkdir -p "$bin"

# version_of PROGRAM: the first dotted number it prints for --version; nothing if it does not run.
version_of() { { "$1" --version 2>/dev/null || true; } | grep -oE '[0-9]+(\.[0-9]+)+' | sed -n 1p || true; }

# at_least VERSION OLDEST
at_least() { [[ -n $1 && $(printf '%s\n' "$2" "$1" | sort -V | sed -n 1p) == "$2" ]]; }

# have NAME OLDEST [PROGRAM…]: true when one of the PROGRAMs, NAME on PATH or .parts/bin/NAME is new enough;
# .parts/bin/NAME then is that one, so everything else looks in .parts/bin only.
have() {
    local name=$1 oldest=$2 program
    shift 2
    for program in "$@" "$(type -P "$name" || true)"; do
        [[ -x $program && ! $program -ef $bin/$name ]] || continue
        if at_least "$(version_of "$program")" "$oldest"; then
            ln -sfn "$program" "$bin/$name"
            return
        fi
    done
    [[ -x $bin/$name ]] && at_least "$(version_of "$bin/$name")" "$oldest"
}

# need PROGRAM WHY: stops with what to do when PROGRAM is not on PATH.
need() { type -P "$1" >/dev/null || { echo "$1 is not on PATH: $2" >&2; exit 1; }; }

# debian_package NAME OLDEST VERSION ROOT [WHICH]: unpacks Debian's package NAME, or WHICH as apt names it, and the libraries that
# are missing here into ROOT: no root, nothing installed.
debian_package() {
    local name=$1 oldest=$2 version=$3 root=$4 which=${5:-$1} apt=$parts/apt program package
    for program in apt-get dpkg-deb; do
        need "$program" "this is no Debian; put $name $oldest or newer on PATH"
    done
    rm -rf "$root" "$apt/archives" # so that only this package and its missing libraries are unpacked
    mkdir -p "$apt/lists/partial" "$apt/archives/partial" "$apt/cache" "$root"
    apt_get() {
        apt-get -qq -c "$here/apt.conf" -o Dir::State::lists="$apt/lists" -o Dir::Cache="$apt/cache" \
            -o Dir::Cache::archives="$apt/archives" -o APT::Sandbox::User="$(id -un)" "$@"
    }
    apt_get update || { echo "apt-get update failed: is the Debian archive reachable?" >&2; exit 1; }
    apt_get install --download-only --yes --no-install-recommends "$which" ||
        { echo "apt has no $name $version: is the archive reachable, and is it Debian 12's main one?" >&2; exit 1; }
    for package in "$apt"/archives/*.deb; do dpkg-deb -x "$package" "$root"; done
}

# sid_package NAME PROGRAM OLDEST: unpacks NAME of Debian sid into a folder of its own with all that it needs, the C library too, and
# makes .parts/bin/PROGRAM, which runs through the loader found there: no root, nothing installed.
sid_package() {
    local name=$1 program=$2 oldest=$3 apt=$parts/apt-sid root=$parts/$1 archive tool package loader found libraries
    for tool in apt-get dpkg-deb; do
        need "$tool" "this is no Debian; put $program $oldest or newer on PATH"
    done
    rm -rf "$root" "$apt/archives"
    mkdir -p "$apt/lists/partial" "$apt/archives/partial" "$apt/cache" "$root"
    archive=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m1 '/debian/$') ||
        { echo "no Debian archive among this machine's apt sources" >&2; exit 1; }
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $archive sid main" >"$apt/sources.list"
    apt_get() { # knows of nothing that is installed here, so it fetches every library
        apt-get -qq -c "$here/apt.conf" -o Dir::State::lists="$apt/lists" -o Dir::State::status=/dev/null \
            -o Dir::Cache="$apt/cache" -o Dir::Cache::archives="$apt/archives" -o Dir::Etc::sourcelist="$apt/sources.list" \
            -o Dir::Etc::sourceparts=/dev/null -o APT::Sandbox::User="$(id -un)" "$@"
    }
    apt_get update || { echo "apt-get update failed: is the Debian archive reachable?" >&2; exit 1; }
    apt_get install --download-only --yes --no-install-recommends "$name" ||
        { echo "apt has no $name: is the archive reachable, and does sid still have it?" >&2; exit 1; }
    for package in "$apt"/archives/*.deb; do dpkg-deb -x "$package" "$root"; done

    loader=$(find "$root" -name 'ld-linux*.so.*' -print -quit)
    found=$(find "$root" -type f -name "$program" -print -quit)
    libraries=$(find "$root/usr/lib" -maxdepth 1 -type d -name '*-linux-gnu*')
    rm -f "$bin/$program"
    printf '#!/bin/sh\nexec "%s" --library-path "%s" "%s" "$@"\n' "$loader" "$libraries" "$found" >"$bin/$program"
    chmod +x "$bin/$program"
    have "$program" "$oldest" ||
        { echo "the unpacked $program does not run:" >&2; "$bin/$program" --version >&2; exit 1; }
}

# go_tool FOLDER NAME PACKAGE: builds PACKAGE as pinned by FOLDER/go.mod and go.sum.
go_tool() {
    need go "install Go 1.25 or newer, or put $2 on PATH"
    rm -f "$bin/$2" # never write through a link into the user's own program
    (cd "$here/$1" && go build -trimpath -o "$bin/$2" "$3") ||
        { echo "go build $3 failed: is the Go module proxy reachable (go env GOPROXY)?" >&2; exit 1; }
}

# rust_target TARGET: the standard library for TARGET of the Rust that is on PATH.
rust_target() {
    [[ -d $(rustc --print sysroot)/lib/rustlib/$1/lib ]] && return
    need rustup "install the standard library for $1 that belongs to $(rustc --version)"
    rustup --quiet target add "$1"
}
