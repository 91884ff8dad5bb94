#!/usr/bin/env bash
# Bitcoin Knots, a second opinion on our blocks, from PATH, else from Debian sid with every library it needs.
# Not among the parts that are installed unasked: install.sh bitcoin-knots.
source "$(dirname "${BASH_SOURCE[0]}")/place.sh"
have bitcoind "$BITCOIND_OLDEST" && exit
sid_package bitcoin-knots bitcoind "$BITCOIND_OLDEST"
