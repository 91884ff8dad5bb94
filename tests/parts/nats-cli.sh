#!/usr/bin/env bash
# The `nats` program from PATH, else built from its pinned Go module.
source "$(dirname "${BASH_SOURCE[0]}")/place.sh"
have nats "$NATS_CLI_OLDEST" && exit
go_tool nats-cli nats github.com/nats-io/natscli/nats
have nats "$NATS_CLI_VERSION"
