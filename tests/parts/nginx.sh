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
for program in apt-get dpkg-deb; do
    need "$program" "this is no Debian; put nginx $NGINX_OLDEST or newer on PATH"
done

apt=$parts/apt root=$parts/nginx
rm -rf "$root" "$apt/archives" # so that only this package and its missing libraries are unpacked
mkdir -p "$apt/lists/partial" "$apt/archives/partial" "$apt/cache" "$root"
apt_get() {
    apt-get -qq -c "$here/apt.conf" -o Dir::State::lists="$apt/lists" -o Dir::Cache="$apt/cache" \
        -o Dir::Cache::archives="$apt/archives" -o APT::Sandbox::User="$(id -un)" "$@"
}
apt_get update || { echo "apt-get update failed: is the Debian archive reachable?" >&2; exit 1; }
# The pin is the release, not the revision: a security update of it must not break the build.
apt_get install --download-only --yes --no-install-recommends "nginx=$NGINX_VERSION-*" ||
    { echo "apt has no nginx $NGINX_VERSION: is the archive reachable, and is it Debian 12's main one?" >&2; exit 1; }
for package in "$apt"/archives/*.deb; do dpkg-deb -x "$package" "$root"; done

libraries=$(find "$root/usr/lib" "$root/lib" -maxdepth 1 -type d -name '*-linux-gnu*' 2>/dev/null | paste -sd: || true)
wrap "$root/usr/sbin/nginx" "$libraries" ||
    { echo "the unpacked nginx does not run:" >&2; "$bin/nginx" --version >&2; exit 1; }
