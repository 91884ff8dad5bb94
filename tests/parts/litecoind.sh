#!/usr/bin/env bash
# litecoind from PATH, else the Debian package and the libraries it lacks here, unpacked into .parts: no root, nothing installed.
source "$(dirname "${BASH_SOURCE[0]}")/place.sh"
# Debian's /usr/bin/litecoind is a wrapper that edits the user's configuration.
have litecoind "$LITECOIND_OLDEST" /usr/lib/litecoin/litecoind && exit
for program in apt-get dpkg-deb; do
    need "$program" "this is no Debian; put litecoind $LITECOIND_OLDEST or newer on PATH"
done

apt=$parts/apt root=$parts/litecoin
rm -rf "$root" "$apt/archives" # so that only this package and its missing libraries are unpacked
mkdir -p "$apt/lists/partial" "$apt/archives/partial" "$apt/cache" "$root"
apt_get() {
    apt-get -qq -c "$here/apt.conf" -o Dir::State::lists="$apt/lists" -o Dir::Cache="$apt/cache" \
        -o Dir::Cache::archives="$apt/archives" -o APT::Sandbox::User="$(id -un)" "$@"
}
apt_get update || { echo "apt-get update failed: is the Debian archive reachable?" >&2; exit 1; }
apt_get install --download-only --yes --no-install-recommends litecoind ||
    { echo "apt has no litecoind $LITECOIND_VERSION: is the archive reachable, and is it Debian 12's main one?" >&2; exit 1; }
for package in "$apt"/archives/*.deb; do dpkg-deb -x "$package" "$root"; done

libraries=$(find "$root/usr/lib" -maxdepth 1 -type d -name '*-linux-gnu*')
rm -f "$bin/litecoind"
cat >"$bin/litecoind" <<WRAPPER
#!/bin/sh
LD_LIBRARY_PATH='$libraries' exec '$root/usr/lib/litecoin/litecoind' "\$@"
WRAPPER
chmod +x "$bin/litecoind"
have litecoind "$LITECOIND_VERSION" ||
    { echo "the unpacked litecoind does not run:" >&2; "$bin/litecoind" --version >&2; exit 1; }
