#!/usr/bin/env bash
# install.sh PART…: sees to it that .parts/bin holds each part; quick when it does already.
# A part that cannot be had is named loudly and recorded in .parts/missing/, from which `make test` leaves out the tests
# that need it. That ends in failure for nats-server, without which nothing can be tested, and for any part when CI=true.
source "$(dirname "${BASH_SOURCE[0]}")/place.sh"
mkdir -p "$parts/missing"
exec 9>"$parts/lock"
flock 9

failed=0
for part in "$@"; do
    rm -f "$parts/missing/$part"
    if "$here/$part.sh" 9>&-; then continue; fi
    touch "$parts/missing/$part"
    printf '\n!!! MISSING: %s (the reason stands above)\n!!! Every test that has "%s" in its name WILL NOT RUN.\n\n' \
        "$part" "${part//-/_}" >&2
    if [[ $part == nats-server || ${CI:-} == true ]]; then failed=1; fi
done
exit $failed
