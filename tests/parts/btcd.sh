#!/usr/bin/env bash
# btcd, a Bitcoin node, from PATH, else built from its pinned Go module.
source "$(dirname "${BASH_SOURCE[0]}")/place.sh"
have btcd "$BTCD_OLDEST" && exit
go_tool btcd btcd github.com/btcsuite/btcd
have btcd "$BTCD_VERSION"
