# Everything a person or a machine runs. `make` alone prints this list.
.DEFAULT_GOAL := help
.NOTPARALLEL: # two installations into one environment would meet
.PHONY: help setup demo test lint format acceptance bench lock clean

VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=# further arguments, for example: make demo ARGS="--port 8010"

# One stamp a requirements set: a target depends on the set it needs, and nothing runs again until a lock file,
# pyproject.toml or the setup itself changes.
SETUP_INPUTS := pyproject.toml .ci/setup
RUNTIME := $(VENV)/.setup-runtime
DEV := $(VENV)/.setup-dev
BENCH := $(VENV)/.setup-bench

help: ## print this list
	@grep -hE '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

setup: $(DEV) ## make the virtual environment from the locked requirements (incremental, safe to interrupt)

$(RUNTIME): requirements/runtime.txt requirements/build.txt $(SETUP_INPUTS)
	@.ci/setup $(VENV) $@ requirements/runtime.txt requirements/build.txt

$(DEV): requirements/dev.txt $(SETUP_INPUTS)
	@.ci/setup $(VENV) $@ $<

$(BENCH): requirements/bench.txt $(SETUP_INPUTS)
	@.ci/setup $(VENV) $@ $<

demo: $(RUNTIME) ## services, a synthetic district of 21,000 spaces, simulated devices and the live view; Ctrl-C stops all
	$(BIN)/parking demo $(ARGS)

test: lint ## lint, types, contracts and all tests against real services (ARGS go to pytest)
	$(BIN)/python -m pytest -m "not heavy" $(ARGS)

lint: setup ## ruff, format, mypy --strict, import contracts
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: setup ## let ruff mend what it can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

acceptance: setup ## the heavy runs: kills, outages, long load (ARGS go to pytest)
	$(BIN)/python -m pytest -m heavy $(ARGS)

bench: $(DEV) $(BENCH) ## the benchmarks, peers beside ours, one table
	$(BIN)/python -m benchmarks $(ARGS)

lock: setup ## lock the requirements again (ARGS=--upgrade: newest versions)
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements/lock.txt
	.ci/lock $(ARGS)

clean: ## remove the environment and caches of this folder; data under PARKING_HOME stays
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
