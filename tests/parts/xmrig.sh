#!/usr/bin/env bash
# xmrig, the miner that RandomX is measured against, from PATH, else from Debian sid with every library it needs.
source "$(dirname "${BASH_SOURCE[0]}")/place.sh"
have xmrig "$XMRIG_OLDEST" && exit
sid_package xmrig xmrig "$XMRIG_OLDEST"
