# `make` alone lists the targets. Each does its own set-up; what it fetches lies in .parts/, what it builds in target/.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run test test-knots simulate lint parts deny bench-share bench-idle bench-hash fuzz clean

# One place each for what a person may choose:  make run CHAIN=litecoin FOR=60s
CHAIN ?= embedded
FOR ?=
QUICK ?=
ONLY ?=
PEER ?=
FUZZ_TARGET ?=
FUZZ_SECONDS ?= 60
SEEDS ?= 500
WORKERS ?=

install := tests/parts/install.sh
# RandomX's reference library is built with it; `make parts` and `make run` see to it that it is there.
export CMAKE ?= $(CURDIR)/.parts/bin/cmake
cargo_tools := $(CURDIR)/.parts/cargo
parts_of_embedded := nats-server
parts_of_bitcoin := nats-server btcd
parts_of_litecoin := nats-server litecoind
parts_of_monero := nats-server monerod
parts_of_run = $(or $(parts_of_$(CHAIN)),$(error CHAIN=$(CHAIN) is unknown: embedded, bitcoin, litecoin or monero))
# What a farm consists of; the rest of the workspace waits until it is wanted.
programs_of_run := $(addprefix --package ,dcmf-coordinator dcmf-worker dcmf-system-tests) \
    $(addprefix --bin ,dcmf-coordinator dcmf-worker farm)
# The algorithms that are Rust throughout: what they have for 64-bit ARM is checked on any machine.
written_for_arm := $(addprefix --package dcmf-algorithm-,sha256d scrypt blake3)
# Tests of a part that is not there; the name of a test holds the parts that it needs (nats_cli for nats-cli).
skip = $(foreach part,$(shell ls .parts/missing 2>/dev/null),--skip $(subst -,_,$(part))) \
    $(if $(wildcard .parts/bin/bitcoind),,--skip bitcoin_knots)

help: ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

run: ## start one farm on this machine (CHAIN=embedded|bitcoin|litecoin|monero, FOR=30s ends it by itself)
	@$(install) cmake $(parts_of_run) nats-cli
	@test -e "$${CARGO_TARGET_DIR:-target}/debug/farm" || echo "--- Compiling the farm, once: some four minutes on two processors. Then it mines."
	cargo build $(programs_of_run)
	"$${CARGO_TARGET_DIR:-target}/debug/farm" --chain $(CHAIN) $(if $(FOR),--for $(FOR))

test: parts lint ## everything a change must pass: parts, lint, all tests
	@for part in $(subst --skip,,$(skip)); do echo "!!! NOT RUN for want of a part: tests named *$$part* (make parts test-knots)"; done
	cargo build --workspace --all-targets
	cargo test --workspace $(if $(strip $(skip)),-- $(strip $(skip)))

test-knots: ## the tests against Bitcoin Knots, from Debian sid (make test runs them too once it is installed)
	@$(install) cmake nats-server btcd bitcoin-knots
	cargo build --workspace --all-targets
	cargo test --workspace -- bitcoin_knots

simulate: ## farms under virtual time on a bus that fails in every way (SEEDS=, WORKERS= of each; each seed chooses without)
	cargo run --release --package dcmf-simulation -- --seeds $(SEEDS) $(if $(WORKERS),--workers $(WORKERS))

lint: ## formatting and clippy, warnings denied; what is written for 64-bit ARM is compiled
	@$(install) aarch64-target
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	$(if $(wildcard .parts/missing/aarch64-target),@echo "!!! NOT CHECKED: the paths for 64-bit ARM",\
	    cargo clippy --target aarch64-unknown-linux-gnu $(written_for_arm) --lib -- -D warnings)

parts: ## install the real components that the tests run against into .parts/
	@$(install) cmake nats-server nats-cli btcd litecoind monerod xmrig wasm32-target alertmanager

deny: ## check licences, sources, duplicates and advisories (fetches the advisory database)
	@source tests/parts/versions.env; cargo install --quiet --locked --root $(cargo_tools) cargo-deny@$$CARGO_DENY_VERSION
	$(cargo_tools)/bin/cargo-deny --workspace check --hide-inclusion-graph licenses bans sources
	$(cargo_tools)/bin/cargo-deny --workspace check --hide-inclusion-graph advisories

bench-share: ## shares judged and credited a second (QUICK=1 for a rough answer)
	@$(install) cmake nats-server
	cargo run --release --package dcmf-system-tests --bin bench-share -- $(if $(QUICK),--quick)

bench-idle: ## what the main application notices of mining, and what is noise (QUICK=1: rough; ONLY="--load 33 --mode worker")
	@$(install) cmake nats-server nginx
	cargo build --release --workspace --bins
	cargo run --release --quiet --package dcmf-system-tests --bin bench-idle -- $(if $(QUICK),--quick) $(ONLY)

bench-hash: ## how fast each algorithm searches (QUICK=1; PEER=/path/of/xmrig takes turns; ONLY="--algorithm sha256d")
	@$(install) cmake
	cargo run --release --quiet --package dcmf-system-tests --bin bench-hash -- $(if $(QUICK),--quick) $(if $(PEER),--peer $(PEER)) $(ONLY)

fuzz: ## fuzz the decoders of the bus (nightly Rust and cargo-fuzz; FUZZ_TARGET=, FUZZ_SECONDS=)
	cd bus-schemas && for target in $(or $(FUZZ_TARGET),$$(cargo +nightly fuzz list)); do \
	    mkdir -p fuzz/corpus/$$target; \
	    cargo +nightly fuzz run $$target fuzz/corpus/$$target golden -- -max_total_time=$(FUZZ_SECONDS); done

clean: ## remove everything built, fetched or written by a run
	rm -rf target .parts .run
