#!/usr/bin/env bash
# nginx from PATH, else the Debian package and the libraries it lacks here, unpacked into .parts: no root, nothing installed.
source "$(dirname "${BASH_SOURCE[0]}")/place.sh"

# wrap PROGRAM [LIBRARIES]: nginx tells its version only for -v and on stderr; the wrapper answers --version as others do.
wrap() {
    rm -f "$bin/nginx"
    cat >"$bin/nginx" <<WRAPPER
#!/bin/sh
LD_LIBRARY_PATH='${2:-}'; export LD_LIBRARY_PATH
[ "\$1" = --version ] && exec '$1' -v 2>&1
exec '$1' "\$@"
WRAPPER
    chmod +x "$bin/nginx"
    at_least "$(version_of "$bin/nginx")" "$NGINX_OLDEST"
}

[[ -x $bin/nginx ]] && at_least "$(version_of "$bin/nginx")" "$NGINX_OLDEST" && exit
for program in "$(type -P nginx || true)" /usr/sbin/nginx; do
    if [[ -x $program && ! $program -ef $bin/nginx ]] && wrap "$program"; then exit; fi
done
root=$parts/nginx
# The pin is the release, not the revision: a security update of it must not break the build.
debian_package nginx "$NGINX_OLDEST" "$NGINX_VERSION" "$root" "nginx=$NGINX_VERSION-*"

libraries=$(find "$root/usr/lib" "$root/lib" -maxdepth 1 -type d -name '*-linux-gnu*' 2>/dev/null | paste -sd: || true)
wrap "$root/usr/sbin/nginx" "$libraries" ||
    { echo "the unpacked nginx does not run:" >&2; "$bin/nginx" --version >&2; exit 1; }
