# Assay. Two commands matter: `make run` and `make test`. `make help` lists the rest.
#
# Build artefacts of tests live outside the checkout, in $(ASSAY_CACHE), so that a second run is quick; `make build` alone writes to ./target.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
.NOTPARALLEL:

PYTHON ?= python3
export ASSAY_CACHE ?= $(HOME)/.cache/assay
export CARGO_TARGET_DIR ?= $(ASSAY_CACHE)/target
export CHROMIUM ?= $(firstword $(wildcard /usr/bin/chromium) $(shell command -v chromium chromium-browser google-chrome 2>/dev/null) /usr/bin/chromium)

# Quick to build, fast enough to judge: see [profile.quick] in Cargo.toml. `make build` takes the time to optimise fully.
RUN_PROFILE ?= quick

# How long the long tests of storage are.
SEEDS ?= 10000
FIRST ?= 0
ROUNDS ?= 200

PYTHON_ENV := $(ASSAY_CACHE)/python/tests-$(firstword $(shell { cat tests/requirements.txt; $(PYTHON) --version 2>&1; } | sha256sum))
BENCH_ENV := $(ASSAY_CACHE)/python/bench-$(firstword $(shell { cat tests/requirements.txt tests/bench/requirements.txt; $(PYTHON) --version 2>&1; } | sha256sum))
EXTERNAL_ENV := $(ASSAY_CACHE)/python/external-$(firstword $(shell { cat tests/requirements.txt tests/external/requirements.txt; $(PYTHON) --version 2>&1; } | sha256sum))
UI_SOURCES := $(shell find ui -type f -not -path 'ui/node_modules/*' -not -path 'ui/dist/*' -not -path 'ui/e2e/*' -not -path 'ui/test-results/*' 2>/dev/null)

.PHONY: help run build test check preflight preflight-lints format-check clippy test-rust test-ui test-server test-docs test-external test-distributed chromium ui formats simulate kill soak fuzz bench bench-quick querybench overload outages format clean

help: ## List the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22

# ---------------------------------------------------------------------------------------------------------------- run, build

run: preflight ui ## Build everything and serve it on http://127.0.0.1:8080
	cargo build --locked --profile $(RUN_PROFILE) --package assay
	@printf '\n%s\n' \
	  'Assay:        http://127.0.0.1:8080      (Ctrl-C ends it; data stays in ./assay-data)' \
	  'Demo traffic: press "Send demo traffic" in the UI, or in another terminal:' \
	  '              $(CARGO_TARGET_DIR)/$(RUN_PROFILE)/assay demo' \
	  'Your own:     OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318   (OTLP/HTTP; gRPC on 4317)' ''
	@exec $(CARGO_TARGET_DIR)/$(RUN_PROFILE)/assay serve

build: preflight ui ## Build the release binary, target/release/assay
	CARGO_TARGET_DIR=target cargo build --locked --release --package assay
	@echo 'built target/release/assay'

ui: ui/dist/index.html

ui/dist/index.html: ui/node_modules/.package-lock.json $(UI_SOURCES)
	cd ui && npm run build
	@touch $@

ui/node_modules/.package-lock.json: ui/package-lock.json
	cd ui && npm ci --no-audit --no-fund
	@touch $@

# --------------------------------------------------------------------------------------------------------------------- tests

test: preflight chromium format-check clippy test-ui test-rust test-server ## Run every check and test; CI runs this and nothing else
	@printf '\nAll checks and tests passed: format, clippy, Rust tests, UI checks, server tests, browser journeys, documentation.\n'

check: preflight format-check clippy ## The quick loop: format, lints, Rust tests
	cargo test --locked --workspace

format-check: preflight-lints
	cargo fmt --all --check

clippy: preflight-lints | ui/dist
	cargo clippy --locked --workspace --all-targets -- -D warnings

test-rust: | ui/dist
	cargo test --locked --workspace

test-ui: ui/node_modules/.package-lock.json ## UI only: lint, types, unit tests, build
	cd ui && npm run check
	@touch ui/dist/index.html

test-server: ui chromium $(PYTHON_ENV)/complete ## The tests in tests/, against the real binary; browser journeys included
	cargo build --locked --package assay --package assay-load
	$(PYTHON_ENV)/bin/pytest tests

test-docs: $(PYTHON_ENV)/complete ## What the documentation says against what the code does
	cargo test --locked --package assay-schemas --test docs
	cargo build --locked --package assay
	$(PYTHON_ENV)/bin/pytest tests/test_docs.py tests/test_project.py

# $(call with-feature,FEATURE,CRATE): lints and tests of a feature that CRATE has, and a binary with it beside the one without
define with-feature
cargo clippy --locked --package assay --package assay-$(2) --features $(1) --all-targets -- -D warnings
cargo test --locked --package assay --package assay-$(2) --features $(1) $(1)
cargo build --locked --package assay --features $(1)
cp $(CARGO_TARGET_DIR)/debug/assay $(CARGO_TARGET_DIR)/debug/assay-with-$(1)
cargo build --locked --package assay
endef

test-external: ui/dist $(EXTERNAL_ENV)/complete ## deploy/ against Helm, Compose, systemd; MinIO, Azurite, fake-gcs-server; Kafka: needs Go, Java, Maven, Node, perl, strace, systemd-analyze, root
	@for tool in go java keytool mvn node npm perl strace systemd-analyze; do command -v $$tool >/dev/null || { echo "missing: $$tool: found nothing, expected it for these tests" >&2; exit 1; }; done
	$(call with-feature,kafka,collector)
	$(EXTERNAL_ENV)/bin/pytest tests/external

test-distributed: ui/dist $(PYTHON_ENV)/complete ## Queries over several nodes (feature `distributed`): answers of one, nodes killed, absent, strangers; needs openssl
	@command -v openssl >/dev/null || { echo 'missing: openssl: found nothing, expected it for these tests' >&2; exit 1; }
	$(call with-feature,distributed,query)
	$(PYTHON_ENV)/bin/pytest tests/distributed

formats: ui $(PYTHON_ENV)/complete ## Keep what today's version writes in tests/formats: needed when a format has changed
	cargo build --locked --package assay
	$(PYTHON_ENV)/bin/python tests/formats.py

simulate: preflight ## Storage in a world that fails, SEEDS=10000 times, from seed FIRST=0 on: one node, and several over one bucket
	ASSAY_SIMULATE_SEEDS=$(SEEDS) ASSAY_SIMULATE_FIRST=$(FIRST) cargo test --locked --profile $(RUN_PROFILE) --package assay-storage --lib \
	  lose_nothing_and_double_nothing -- --nocapture --test-threads=1

kill: preflight ## Storage under load, killed with kill -9 ROUNDS=200 times
	ASSAY_KILL_ROUNDS=$(ROUNDS) cargo test --locked --profile $(RUN_PROFILE) --package assay-storage --test kill

soak: preflight ui/dist $(PYTHON_ENV)/complete ## Probers under load while the server is killed KILLS times (200), optimised build
	cargo build --locked --profile $(RUN_PROFILE) --package assay
	ASSAY_BINARY=$(CARGO_TARGET_DIR)/$(RUN_PROFILE)/assay ASSAY_SOAK_KILLS=$(or $(KILLS),200) $(PYTHON_ENV)/bin/pytest -s tests/test_soak.py -k kill_9

fuzz: preflight ## Every decoder of outside bytes under libFuzzer, MINUTES each (1); TARGETS="filter sql" for some; needs a C++ compiler
	@command -v c++ >/dev/null || { echo 'missing: C++ compiler: found no `c++`, expected one. On Debian: apt-get install g++' >&2; exit 1; }
	RUSTC_WORKSPACE_WRAPPER=$(CURDIR)/fuzz/instrument.sh cargo build --locked --package assay-fuzz --features libfuzzer
	$(PYTHON) fuzz/run.py --binary $(CARGO_TARGET_DIR)/debug/assay-fuzz --minutes $(or $(MINUTES),1) --corpus $(ASSAY_CACHE)/fuzz $(TARGETS:%=--target %)

bench: preflight ui $(PYTHON_ENV)/complete ## Measure the release binary: what ingest, disk and reads cost (an hour)
	CARGO_TARGET_DIR=target cargo build --locked --release --package assay --package assay-load
	ASSAY_BINARY=$(CURDIR)/target/release/assay $(PYTHON_ENV)/bin/python tests/bench

querybench: preflight ui $(BENCH_ENV)/complete ## SQL over 5 M spans beside DuckDB and the ClickHouse engine on the same rows
	CARGO_TARGET_DIR=target cargo build --locked --release --package assay
	ASSAY_BINARY=$(CURDIR)/target/release/assay $(BENCH_ENV)/bin/python tests/bench querybench

bench-quick: preflight ui $(PYTHON_ENV)/complete ## The same at a thousandth of the size, to see that it works
	cargo build --locked --package assay --package assay-load
	$(PYTHON_ENV)/bin/python tests/bench --scale 0.001

ui/dist:
	@mkdir -p $@

$(PYTHON_ENV)/complete:
	$(PYTHON) -m venv --clear $(PYTHON_ENV)
	$(PYTHON_ENV)/bin/pip install --quiet --disable-pip-version-check --requirement tests/requirements.txt
	@touch $@

$(BENCH_ENV)/complete:
	$(PYTHON) -m venv --clear $(BENCH_ENV)
	$(BENCH_ENV)/bin/pip install --quiet --disable-pip-version-check --requirement tests/requirements.txt --requirement tests/bench/requirements.txt
	@touch $@

$(EXTERNAL_ENV)/complete:
	$(PYTHON) -m venv --clear $(EXTERNAL_ENV)
	$(EXTERNAL_ENV)/bin/pip install --quiet --disable-pip-version-check --requirement tests/requirements.txt --requirement tests/external/requirements.txt
	@touch $@

overload: ui $(PYTHON_ENV)/complete ## Overload ten times as large as in `make test`: 10 000 idle connections, a million attribute keys
	cargo build --locked --package assay
	ASSAY_OVERLOAD_SCALE=10 $(PYTHON_ENV)/bin/pytest tests/test_overload.py

outages: ui $(PYTHON_ENV)/complete ## A bucket and ClickHouse failing under load in each of five ways, for MINUTES each (5)
	cargo build --locked --package assay
	ASSAY_OUTAGE_SECONDS=$$((60 * $(or $(MINUTES),5))) $(PYTHON_ENV)/bin/pytest -s tests/test_outages.py

# ------------------------------------------------------------------------------------------------------------- what it needs

# $(call need,name,command that prints a version,lowest version,what to do)
define need
found=$$($(2) 2>&1 | grep -oE '[0-9]+(\.[0-9]+)+' | head -n 1 || true); \
if [ -z "$$found" ]; then echo 'missing: $(1): found nothing, expected $(3) or newer. $(4)' >&2; missing=1; \
elif ! printf '%s\n' '$(3)' "$$found" | sort --version-sort --check=silent; then \
  echo "missing: $(1): found $$found, expected $(3) or newer. $(4)" >&2; missing=1; fi;
endef

preflight: ## Say what is missing on this machine
	@missing=0; \
	$(call need,Rust,rustc --version,1.95,Install it with rustup.) \
	$(call need,Cargo,cargo --version,1.95,It comes with Rust.) \
	$(call need,Node,node --version,20.19,Install Node 20 or newer.) \
	$(call need,npm,npm --version,9.0,It comes with Node.) \
	$(call need,Python,$(PYTHON) --version,3.11,Install Python 3; PYTHON=… names another one.) \
	if ! $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
	  echo 'missing: Python venv: found a Python without `ensurepip`, expected the `venv` module. On Debian: apt-get install python3-venv' >&2; missing=1; fi; \
	if ! command -v cc >/dev/null; then \
	  echo 'missing: C compiler and linker: found no `cc`, expected one. On Debian: apt-get install gcc libc6-dev' >&2; missing=1; fi; \
	exit $$missing

preflight-lints:
	@for tool in fmt clippy; do cargo $$tool --version >/dev/null 2>&1 || { \
	  echo "missing: cargo $$tool: found nothing, expected the component of this toolchain. rustup component add rustfmt clippy" >&2; exit 1; }; done

chromium:
	@if [ -x '$(CHROMIUM)' ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo 'browser tests need Chromium: installing the Debian package'; \
	  apt-get update --quiet=2 && DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes --no-install-recommends chromium >/dev/null; \
	else echo 'missing: Chromium: found nothing at `$(CHROMIUM)`, expected a browser for the browser tests. On Debian: apt-get install chromium; CHROMIUM=… names another one' >&2; exit 1; fi

# ---------------------------------------------------------------------------------------------------------------- housekeeping

format: ## Format Rust and UI sources
	cargo fmt --all
	cd ui && npm run format

clean: ## Remove what was built, in the checkout and in the cache
	rm -rf target ui/dist ui/node_modules $(ASSAY_CACHE)/target $(ASSAY_CACHE)/python
