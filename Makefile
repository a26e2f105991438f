# Every recipe is at most three lines; what is longer lives in tools/.
SHELL := /bin/bash
PY := .venv/bin/python

.PHONY: help setup lock check quick test demo bench bench-quality soak docs clean
.DEFAULT_GOAL := help

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile

setup: ## .venv by hash; nothing to do when it is current
	@bash tools/setup.sh

lock: setup ## requirements/*.txt from pyproject.toml (UPGRADE=--upgrade for new versions)
	@bash tools/lock.sh
	@bash tools/setup.sh

check: setup ## style, types, import contracts
	$(PY) -m ruff check . && $(PY) -m ruff format --check .
	$(PY) -m mypy $(wildcard src tests tools bench)
	.venv/bin/lint-imports --no-cache --no-logo

quick: setup ## check, and the tests that need nothing but this process
	@bash tools/tests.sh quick

test: setup ## everything but the soak
	@bash tools/tests.sh all

demo: setup ## a real training on two nodes of two ranks, from submit to result
	@bash examples/demo.sh

bench: setup ## medians, each next to a floor or a peer
	$(PY) -m bench

bench-quality: setup ## how well placement packs, against FGD on the traces (minutes)
	$(PY) -m bench.quality

soak: setup ## the long form of the fault tests
	@bash tools/tests.sh soak

docs: setup ## reference pages from schema, errors, events, settings, commands
	$(PY) -m tools.docs

clean: ## what tests and builds leave; .venv stays
	rm -rf .cache .tmp .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
