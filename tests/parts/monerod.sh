#!/usr/bin/env bash
# monerod from PATH, else the Debian package and the libraries it lacks here, unpacked into .parts: no root, nothing installed.
source "$(dirname "${BASH_SOURCE[0]}")/place.sh"
have monerod "$MONEROD_OLDEST" && exit
root=$parts/monero
# The pin is the release, not the revision: a security update of it must not break the build.
debian_package monero "$MONEROD_OLDEST" "$MONEROD_VERSION" "$root" "monero=$MONEROD_VERSION+*"

libraries=$(find "$root/usr/lib" "$root/lib" -maxdepth 1 -type d -name '*-linux-gnu*' 2>/dev/null | paste -sd: || true)
rm -f "$bin/monerod"
cat >"$bin/monerod" <<WRAPPER
#!/bin/sh
LD_LIBRARY_PATH='$libraries' exec '$root/usr/bin/monerod' "\$@"
WRAPPER
chmod +x "$bin/monerod"
have monerod "$MONEROD_VERSION" ||
    { echo "the unpacked monerod does not run:" >&2; "$bin/monerod" --version >&2; exit 1; }
