#!/usr/bin/env bash
# Alertmanager from PATH under either of its names, else the Debian package, unpacked into .parts: no root, nothing installed.
source "$(dirname "${BASH_SOURCE[0]}")/place.sh"

have alertmanager "$ALERTMANAGER_OLDEST" "$(type -P prometheus-alertmanager || true)" && exit
root=$parts/alertmanager
# The pin is the release, not the revision: a security update of it must not break the build.
debian_package prometheus-alertmanager "$ALERTMANAGER_OLDEST" "$ALERTMANAGER_VERSION" "$root" \
    "prometheus-alertmanager=$ALERTMANAGER_VERSION-*"

# Debian's Alertmanager looks for its templates below /usr/share only; in a name space of its own that is the unpacked folder.
rm -f "$bin/alertmanager"
cat >"$bin/alertmanager" <<WRAPPER
#!/bin/sh
exec unshare --mount $([[ $(id -u) == 0 ]] || echo --map-root-user) sh -c \\
    'mount --bind "\$0/usr/share" /usr/share && exec "\$0/usr/bin/prometheus-alertmanager" "\$@"' '$root' "\$@"
WRAPPER
chmod +x "$bin/alertmanager"
have alertmanager "$ALERTMANAGER_OLDEST" ||
    { echo "the unpacked Alertmanager does not run:" >&2; "$bin/alertmanager" --version >&2; exit 1; }
