# Two commands start everything: `make demo` and `make test`. Each sets up what it needs.
PYTHON ?= $(shell for p in python3.12 python3.13 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null && { echo $$p; break; }; done)
BIN := .venv/bin
UV := UV_PYTHON_DOWNLOADS=never $(BIN)/python -m uv pip install --quiet --compile-bytecode \
	--python $(BIN)/python -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo demo-table gpu test test-all lint format bench clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: .venv/training  ## train a sweep, fit its law, test the forecast on held-out runs, plan, report (6 minutes)
	@$(BIN)/python examples/sweep_story.py

gpu: .venv/training  ## on a machine with a GPU: how fast it trains, a sweep from 1M to 200M, its table (half an hour)
	@sh examples/gpu_check.sh

demo-table: .venv/core  ## from the raw Chinchilla table to a forecast, a plan, figures and a report (3 minutes)
	@$(BIN)/python examples/chinchilla.py

test: .venv/dev  ## the tests (6 minutes)
	@$(BIN)/python -m pytest -n 2 --dist loadfile

test-all: .venv/dev  ## also the slow and the statistical ones (an hour)
	@$(BIN)/python -m pytest -m ""

lint: .venv/dev  ## format, lint, types, layers
	@$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/pyright && $(BIN)/lint-imports --no-cache

format: .venv/dev  ## format and fix
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

bench: .venv/dev  ## every published figure, measured here (an hour)
	@$(BIN)/python -m benchmarks

clean:  ## remove the environment and what the demo made
	rm -rf .venv demo demo-table

.venv/uv:
	@test -n "$(PYTHON)" || { echo "bayescale needs Python 3.12 or newer on the PATH (or make PYTHON=/path/to/python3.12)"; exit 1; }
	@echo "Setting up .venv with $$($(PYTHON) --version) (once; a minute or two)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@touch $@

.venv/core: .venv/uv pyproject.toml constraints.txt
	@$(UV) -e .
	@touch $@

.venv/training: .venv/core
	@echo "Adding PyTorch (once; a minute, several GB)"
	@$(UV) -e ".[training]"
	@touch $@

.venv/dev: .venv/core
	@$(UV) -e ".[dev]"
	@touch $@
