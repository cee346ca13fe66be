# Everything runs from .venv, which is made on first need and made anew when what is pinned changes.
#   make demo [ONCE=1] [PORT=8080] [LANG=zh]    make test    make check    make bench
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python3.14; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
bin := .venv/bin

.PHONY: help demo test check bench soak conformance docs lock clean
help:         ## what can be made
	@grep -hE '^[a-z]+: .*##' Makefile | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 22
demo: .venv/base.stamp          ## the life of real tables, from offer to settlement and proof; ONCE=1 to end when done
	@$(bin)/dujiang demo $(if $(filter 1,$(ONCE)),--once) $(if $(PORT),--port $(PORT)) $(if $(filter command,$(origin LANG)),--lang $(LANG))
test: .venv/test.stamp          ## all tests that need only this clone, in two processes; with ARGS=… in one
	@$(bin)/python $(if $(ARGS),-m pytest tests --ignore=tests/conformance --ignore=tests/soak $(ARGS),tests/lanes.py)
check: .venv/test.stamp         ## format, lint, types, import order, house tests
	@$(bin)/ruff format --check -q --output-format concise . && $(bin)/ruff check -q . && $(bin)/basedpyright && $(bin)/lint-imports && $(bin)/python -m pytest -q tests/house
bench: .venv/test.stamp         ## the numbers of docs/BENCHMARKS.md, written to bench/results.json
	@$(bin)/python -m bench $(ARGS)
soak: .venv/test.stamp          ## the long crash and load runs
	@$(bin)/python -m pytest tests/soak $(ARGS)
conformance: .venv/conformance.stamp   ## outside judges (DUJIANG_JUDGES names their folder); a missing one is named and skipped
	@$(bin)/python -m pytest -rs tests/conformance $(ARGS)
docs: .venv/test.stamp          ## the pages drawn from the tables
	@$(bin)/python docs/draw.py
lock: .venv/base.stamp          ## pin the newest versions with their hashes
	@$(bin)/python requirements/lock.py
clean:                          ## remove .venv and what tools left
	@rm -rf .venv dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache .grimp_cache

.venv/base.stamp: requirements/base.txt requirements/install.py pyproject.toml
	@test -n "$(PYTHON)" || { echo "[dujiang] Python 3.11 or newer is needed; none was found on PATH (or: make PYTHON=/path/to/python)."; exit 1; }
	@$(PYTHON) requirements/install.py base
.venv/conformance.stamp: requirements/conformance.txt requirements/judges.txt .venv/test.stamp
	@$(PYTHON) requirements/install.py conformance
.venv/test.stamp: requirements/test.txt .venv/base.stamp
	@$(PYTHON) requirements/install.py test
