# What a user and CI run. `make demo` and `make test` set up everything they need (apt, npm) on a bare Debian or Ubuntu
# with Rust, a C compiler and make. Demo and tests share one profile and one target folder.
SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help cost demo faults rules test check fmt web setup setup-servers setup-web soak bench fuzz forecast-disk clean

CARGO ?= cargo
export PROMQLTEST_DIR ?= $(if $(wildcard ../shared/promqltest),$(abspath ../shared/promqltest))
export CAPTURE_FILE ?= $(if $(wildcard ../shared/data/exporters-1s.jsonl.zst),$(abspath ../shared/data/exporters-1s.jsonl.zst))
TARGET_DIR = $(shell $(CARGO) metadata --format-version 1 --no-deps | sed -E 's/.*"target_directory":"([^"]*)".*/\1/')

help: ## this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/^([a-z-]+):[^#]*## /  make \1\t/' | expand -t 22

demo: setup-servers web ## private PostgreSQL and MariaDB, load, `tidewatch up`, two real faults (ONCE=1: unattended)
	$(CARGO) build --bin tidewatch --bin demo
	exec "$(TARGET_DIR)/debug/demo" $(if $(ONCE),--once) $(if $(SCREENSHOTS),--screenshots $(SCREENSHOTS))

rules: setup-servers ## every built-in rule on a real state: made, fired, over; table in docs/rule-pack.md (root, an hour and a half, nothing else running)
	$(CARGO) build --workspace --bins
	"$(TARGET_DIR)/debug/rule_states" --write docs/rule-pack.md

faults: setup-servers ## ten real faults on real servers, one at a time, and what is said of each (ONLY=locks,disk: some)
	$(CARGO) build --workspace --bins
	exec "$(TARGET_DIR)/debug/faults"

test: setup web check ## everything CI runs
	cd web && npm test
	$(CARGO) build --workspace --bins
	$(CARGO) test --workspace --bins --lib --tests
	@echo "make test: all runners passed"

check: ## format and lints
	if $(CARGO) fmt --version >/dev/null 2>&1; then $(CARGO) fmt --all --check; else echo "skipped: no rustfmt in this toolchain"; fi
	if $(CARGO) clippy --version >/dev/null 2>&1; then $(CARGO) clippy --workspace --all-targets -- -D warnings; else echo "skipped: no clippy in this toolchain"; fi

fmt: ## format the code
	$(CARGO) fmt --all

web: setup-web ## build the pages into web/dist
	cd web && npm ci --no-audit --no-fund --silent && npm run check && npm run build

setup: setup-servers setup-web ## install what tests need, by apt
	@tests/setup.sh browser peers kafka pools

setup-servers:
	@tests/setup.sh servers

setup-web:
	@tests/setup.sh node

soak: setup web ## the long runs: kill loop, an hour away (AWAY=seconds), store seeds; results are kept in docs/soak.md
	$(CARGO) build --workspace --bins
	SOAK=1 $(if $(AWAY),TIDEWATCH_AWAY_S=$(AWAY)) $(CARGO) test --workspace --test pipeline_kill --test pipeline_kafka --test server_alertmanager -- --nocapture
	SOAK=1 TIDEWATCH_QUERIES=10000 $(CARGO) test --workspace --test prometheus -- --nocapture
	TIDEWATCH_SEEDS=10000 $(CARGO) test --workspace --lib -- --nocapture store::
	SOAK=1 $(CARGO) test --workspace --lib -- --nocapture mask_fuzz churn
	$(CARGO) build --release --bin tidewatch --bin peers
	"$(TARGET_DIR)/release/peers" --soak 10 --write benches/README.md

bench: ## benches beside Debian's VictoriaMetrics and Prometheus; results in benches/README.md (SIZES=small|middle|all)
	@tests/setup.sh peers
	$(CARGO) build --release --bin tidewatch --bin peers --bin capture --bin forecast
	"$(TARGET_DIR)/release/peers" --sizes $(or $(SIZES),middle) --write benches/README.md
	"$(TARGET_DIR)/release/capture" "$(CAPTURE_FILE)"
	"$(TARGET_DIR)/release/forecast" "$(CAPTURE_FILE)"

fuzz: ## libFuzzer, guided by coverage, on every decoder, SECONDS each (600 unless told; TARGETS="promql rules": some; KEEP=1: into fuzz/corpus)
	@tests/setup.sh fuzz
	RUSTC_WORKSPACE_WRAPPER="$(CURDIR)/fuzz/instrument.sh" $(CARGO) build --workspace --bin guided_fuzz --features tests/guided
	KEEP=$(KEEP) fuzz/run.sh "$(TARGET_DIR)/debug/guided_fuzz" "$(TARGET_DIR)/fuzz" $(or $(SECONDS),600) $(or $(JOBS),2) $(TARGETS)

cost: setup-servers ## ten minutes of the collector beside Debian's exporters: CPU, memory, load on the databases; kept in docs/cost.md
	@tests/setup.sh exporters
	$(CARGO) build --release --bin tidewatch --bin tidewatch-collector
	$(CARGO) run --bin cost -- --programs "$(TARGET_DIR)/release" --write docs/cost.md

forecast-disk: ## a real file system fills up; its forecast must arrive before it is full (root, loop device)
	$(CARGO) build --bin tidewatch --bin tidewatch-collector --bin forecast_disk
	"$(TARGET_DIR)/debug/forecast_disk"

clean: ## forget the pages' build
	rm -rf web/dist web/node_modules
