# `make` lists what there is.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# CI holds the committed Cargo.lock; elsewhere cargo may add to it.
locked := $(if $(CI),--locked)
# Once built, `make run` shows pagemill's words and not cargo's.
target := $(or $(CARGO_TARGET_DIR),target)
quiet := $(if $(wildcard $(target)/debug/pagemill),--quiet)
nextest := $(shell command -v cargo-nextest)

.PHONY: help
help: ## List these targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | while IFS=$$'\t' read -r name text; do printf '  make %-11s %s\n' "$$name" "$$text"; done

.PHONY: run
run: ## Pull a report from the built-in simulator into ./pagemill-data, nothing else needed (ARGS="--date 2025-01-31")
	@cargo run $(quiet) -p pagemill-cli --bin pagemill -- run $(ARGS)

.PHONY: test
test: ## Run all tests, with a private RabbitMQ and PostgreSQL (started, and installed, if need be)
	@scripts/servers up
	@env=$$(scripts/servers env); eval "$$env"; \
	cargo test --doc --workspace --all-features $(locked); \
	$(if $(nextest),cargo nextest run --workspace --all-features $(locked) $(ARGS),cargo test --workspace --all-features --lib --bins --tests $(locked) $(ARGS))

.PHONY: schedules
schedules: ## Run each of the pool's checks under 200,000 schedules, two million in all; takes minutes (SCHEDULES=10000)
	PAGEMILL_POOL_SCHEDULES=$(or $(SCHEDULES),200000) cargo test -p pagemill-pool --lib $(locked) schedules::

.PHONY: torture
torture: schedules ## Run the pool's schedules, the tests that need a broker of their own, and 100,000 seeds of the stepper; takes hours (SEEDS=1000)
	@scripts/servers up
	@env=$$(scripts/servers env); eval "$$env"; \
	cargo build --workspace --bins --all-features $(locked); \
	cargo test -p pagemill-cli --all-features --test system $(locked) -- --ignored --test-threads=1; \
	export PAGEMILL_STEPPER_SEEDS=$(or $(SEEDS),100000); \
	$(if $(nextest),cargo nextest run --profile torture --success-output immediate -p pagemill-engine --all-features --lib $(locked) -E 'test(/^stepper::/)',cargo test -p pagemill-engine --all-features --lib $(locked) stepper:: -- --nocapture)

.PHONY: planted
planted: ## Plant each mistake of tests/planted in a copy of the tree: its tests must find it; takes hours (ONLY="quota-*")
	@scripts/servers up
	@env=$$(scripts/servers env); eval "$$env"; scripts/planted $(ONLY)

.PHONY: bench
bench: ## Measure quota and speed beside other programs, into docs/bench (bench/peers/install; ARGS="speed --quick")
	@scripts/servers up
	cargo build --release --bins -p pagemill-cli -p pagemill-bench $(locked)
	@env=$$(scripts/servers env); eval "$$env"; $(target)/release/pagemill-bench $(ARGS)

.PHONY: check
check: ## Formatting, lints, documentation, licences, scripts: what CI checks before the tests
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --all-features $(locked) -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --lib --no-deps --all-features $(locked)
	cargo clippy -p pagemill-cli --no-default-features --lib --bins $(locked) -- -D warnings
	@scripts/check-dependencies
	@if command -v shellcheck >/dev/null; then shellcheck scripts/* .ci/run bench/peers/install && echo "shellcheck: ok"; \
	else echo "shellcheck is not installed (apt-get install shellcheck): scripts not checked"; fi

.PHONY: build
build: ## Build the three binaries for use, into target/release
	cargo build --release -p pagemill-cli --no-default-features --bin pagemill-producer --bin pagemill-consumer $(locked)
	cargo build --release -p pagemill-cli --bin pagemill $(locked)

.PHONY: up
up: ## Start the RabbitMQ and PostgreSQL that the tests use
	@scripts/servers up
	@echo 'for this shell:  eval "$$(scripts/servers env)"'

.PHONY: down
down: ## Stop them; their data stays
	@scripts/servers down

.PHONY: clean-data
clean-data: ## Stop them, and delete their data and ./pagemill-data
	@scripts/servers clean
	rm -rf pagemill-data
