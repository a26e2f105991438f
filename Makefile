# Every recipe is at most three lines; what is longer lives in tools/.
SHELL := /bin/bash
PY := .venv/bin/python

.PHONY: setup lock
setup:
	@bash tools/setup.sh

lock:
	@bash tools/lock.sh
	@bash tools/setup.sh
