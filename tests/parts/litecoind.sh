#!/usr/bin/env bash
# litecoind from PATH, else the Debian package and the libraries it lacks here, unpacked into .parts: no root, nothing installed.
source "$(dirname "${BASH_SOURCE[0]}")/place.sh"
# Debian's /usr/bin/litecoind is a wrapper that edits the user's configuration.
have litecoind "$LITECOIND_OLDEST" /usr/lib/litecoin/litecoind && exit
root=$parts/litecoin
debian_package litecoind "$LITECOIND_OLDEST" "$LITECOIND_VERSION" "$root"

libraries=$(find "$root/usr/lib" -maxdepth 1 -type d -name '*-linux-gnu*')
rm -f "$bin/litecoind"
cat >"$bin/litecoind" <<WRAPPER
#!/bin/sh
LD_LIBRARY_PATH='$libraries' exec '$root/usr/lib/litecoin/litecoind' "\$@"
WRAPPER
chmod +x "$bin/litecoind"
have litecoind "$LITECOIND_VERSION" ||
    { echo "the unpacked litecoind does not run:" >&2; "$bin/litecoind" --version >&2; exit 1; }
