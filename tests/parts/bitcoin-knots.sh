#!/usr/bin/env bash
# Bitcoin Knots, a second opinion on our blocks, from Debian sid with every library it needs, run through its own loader.
# Not among the parts that are installed unasked: install.sh bitcoin-knots.
source "$(dirname "${BASH_SOURCE[0]}")/place.sh"
have bitcoind "$BITCOIND_OLDEST" && exit
for program in apt-get dpkg-deb; do
    need "$program" "this is no Debian; put bitcoind $BITCOIND_OLDEST or newer on PATH"
done

apt=$parts/apt-sid root=$parts/bitcoin-knots
rm -rf "$root" "$apt/archives"
mkdir -p "$apt/lists/partial" "$apt/archives/partial" "$apt/cache" "$root"
archive=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m1 '/debian/$') ||
    { echo "no Debian archive among this machine's apt sources" >&2; exit 1; }
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $archive sid main" >"$apt/sources.list"
apt_get() { # knows of nothing that is installed here, so it fetches the C library too
    apt-get -qq -c "$here/apt.conf" -o Dir::State::lists="$apt/lists" -o Dir::State::status=/dev/null \
        -o Dir::Cache="$apt/cache" -o Dir::Cache::archives="$apt/archives" -o Dir::Etc::sourcelist="$apt/sources.list" \
        -o Dir::Etc::sourceparts=/dev/null -o APT::Sandbox::User="$(id -un)" "$@"
}
apt_get update || { echo "apt-get update failed: is the Debian archive reachable?" >&2; exit 1; }
apt_get install --download-only --yes --no-install-recommends bitcoin-knots ||
    { echo "apt has no bitcoin-knots: is the archive reachable, and does sid still have it?" >&2; exit 1; }
for package in "$apt"/archives/*.deb; do dpkg-deb -x "$package" "$root"; done

loader=$(find "$root" -name 'ld-linux*.so.*' -print -quit)
program=$(find "$root" -type f -name bitcoind -print -quit)
libraries=$(find "$root/usr/lib" -maxdepth 1 -type d -name '*-linux-gnu*')
rm -f "$bin/bitcoind"
cat >"$bin/bitcoind" <<WRAPPER
#!/bin/sh
exec '$loader' --library-path '$libraries' '$program' "\$@"
WRAPPER
chmod +x "$bin/bitcoind"
have bitcoind "$BITCOIND_OLDEST" || { echo "the unpacked bitcoind does not run:" >&2; "$bin/bitcoind" --version >&2; exit 1; }
