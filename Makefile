# Everything this project does, by name. `make` alone lists it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# The parts of `test` run in the order written; cargo and npm use all cores themselves.
.NOTPARALLEL:

# Daemons and network tools are not in everybody's path.
export PATH := $(PATH):/usr/sbin:/sbin

# For `make run`: flags of `scope launch`.
ARGS ?=
# For `make install`.
PREFIX ?= /usr/local
DESTDIR ?=
# For `make e2e`: only the tests with this in their names.
NAME ?=

WEB := ui/web
FUZZ := gossip/fuzz
# For `make fuzz`: seconds for each target.
FUZZ_SECONDS ?= 5
# Written by npm, in place of stamp files: they go when what they stand for goes.
MODULES := $(WEB)/node_modules/.package-lock.json
PAGE := $(WEB)/dist/index.html
PAGE_SOURCES := $(shell find $(WEB)/src $(WEB)/public -type f 2>/dev/null) \
	$(filter-out $(WEB)/package-lock.json,$(wildcard $(WEB)/*.json $(WEB)/*.ts $(WEB)/*.js $(WEB)/index.html))

TARGET := $(or $(CARGO_TARGET_DIR),target)
IS_ROOT := $(filter 0,$(shell id -u))
SUDO := $(if $(IS_ROOT),,sudo)
# cargo stays the user's own; only the program it starts is root's.
RUNNER := $(if $(IS_ROOT),,--config 'target."cfg(all())".runner = ["sudo", "-E", "env", "PATH=$(PATH)"]')

.PHONY: help
help: ## list what there is to do
	@echo "scope: a live map of your containers, processes and hosts"
	@echo
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 20
	@echo
	@echo '  make run ARGS="--http-addr 127.0.0.1:8080"    flags go to `scope launch`'
	@echo '  make e2e NAME=published                       only the tests named so'

.PHONY: run
run: build ## show this host: build what changed, then launch on port 4040
	$(SUDO) $(TARGET)/release/scope launch $(ARGS)

.PHONY: build
build: setup-run $(PAGE) ## build the page and the release binary
	cargo build --release --locked --package scope

.PHONY: install
install: build ## put the program into $(PREFIX)/bin, /usr/local unless told otherwise
	$(SUDO) install -D -m 755 $(TARGET)/release/scope $(DESTDIR)$(PREFIX)/bin/scope

.PHONY: page
page: setup-run $(PAGE) ## build the page

.PHONY: test
test: setup check-format check-page lint unit fuzz page-e2e e2e ## everything that CI checks
	@echo "== all passed"

.PHONY: setup
setup: ## install what the tests need and is missing
	@scripts/setup.sh test

.PHONY: setup-run
setup-run:
	@scripts/setup.sh run

.PHONY: fmt
fmt: $(MODULES) ## format the code
	cargo fmt --all
	cargo fmt --manifest-path $(FUZZ)/Cargo.toml
	cd $(WEB) && npx prettier --write --log-level warn .

.PHONY: check-format
check-format:
	@echo "== format"
	cargo fmt --all --check
	cargo fmt --manifest-path $(FUZZ)/Cargo.toml --check

.PHONY: check-page
check-page: $(MODULES)
	@echo "== page: types and lints, unit tests, build, size"
	cd $(WEB) && npm run check
	cd $(WEB) && npm test
	$(MAKE) --no-print-directory $(PAGE)
	cd $(WEB) && npm run size

.PHONY: lint
lint: $(PAGE)
	@echo "== lints"
	cargo clippy --locked --workspace --all-targets -- --deny warnings
	cargo clippy --locked --package scope --test e2e --test probe-cost --example traffic -- --deny warnings
	cargo clippy --locked --package scope --no-default-features -- --deny warnings

.PHONY: unit
unit: $(PAGE) ## unit, property and simulation tests: no root, no Docker
	@echo "== unit, property and simulation tests"
	cargo test --locked --workspace

.PHONY: fuzz
fuzz: setup ## try to break what decodes the bytes of other peers, FUZZ_SECONDS for each decoder
	@echo "== fuzz"
	cargo run --locked --quiet --package gossip --example fuzz-seeds -- $(FUZZ)/corpus
	for target in frame payload roster interval fact mesh; do \
		cargo fuzz run --sanitizer none --fuzz-dir $(FUZZ) $$target -- \
			-max_total_time=$(FUZZ_SECONDS) -max_len=4096 -rss_limit_mb=1024 -print_final_stats=1 -verbosity=0; \
	done

.PHONY: simulate
simulate: ## how the mesh does with 10, 100 and 1,000 peers, in virtual time: a quarter of an hour, 6 GB
	cargo run --locked --release --package gossip --example simulate -- --peers 10,100
	cargo run --locked --release --package gossip --example simulate -- --peers 1000 \
		--scenario "all senders,idle,crash,join storm" --check gossip/tests/it/sim_baseline_1000.txt

.PHONY: page-e2e
page-e2e: $(PAGE) ## the page in a browser, against made-up hosts
	@echo "== page in a browser"
	cd $(WEB) && npm run e2e

.PHONY: e2e
e2e: $(PAGE) ## the real program on hosts made of namespaces, with their own Docker
	@echo "== end to end"
	@# Runs in containers that have no libraries.
	cargo rustc --locked --quiet --package scope --example traffic -- -C target-feature=+crt-static -C strip=symbols
	@$(MAKE) --no-print-directory as-root COMMAND="test --locked --package scope --test e2e -- --test-threads=4 $(NAME)"

.PHONY: edges
edges: ## write the table of docs/edges.md anew, from what the end-to-end tests assert
	SCOPE_ACCEPT=1 cargo test --locked --quiet --package scope --test e2e -- the_table_in_the_docs

.PHONY: soak
soak: ## half an hour of churn: whether a peer's memory grows
	@scripts/probe-cost.sh soak

.PHONY: bench
bench: ## measure the hot paths
	cargo bench --locked --package benches

# cargo with COMMAND; what it builds is the user's, what it starts runs as root.
.PHONY: as-root
as-root:
	cargo $(RUNNER) $(COMMAND)

$(MODULES): $(WEB)/package-lock.json
	cd $(WEB) && npm ci --no-audit --no-fund
	@touch $@

$(PAGE): $(MODULES) $(PAGE_SOURCES)
	cd $(WEB) && npm run build
	@touch $@
