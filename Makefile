# openbell: everything a working tree needs. `make help` lists it.
# Needs a C compiler and a Python of at least 3.11 with venv; all else goes into $(VENV).

ifndef PYTHON
PYTHON := $(shell for python in python3.13 python3.12 python3.11 python3; do \
	$$python -c 'import ensurepip, os, sys, sysconfig, venv; \
		headers = os.path.join(sysconfig.get_paths()["include"], "Python.h"); \
		sys.exit(sys.version_info < (3, 11) or not os.path.exists(headers))' \
		>/dev/null 2>&1 && echo $$python && break; done)
endif
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALLED := $(VENV)/.installed
BUILT := $(VENV)/.built
NATIVE := $(wildcard src/_native/*.pyx src/_native/*.h src/openbell/_native/*.pxd src/openbell/_native/*.h)
PEERS_VENV ?= .venv-peers
PEERS := $(PEERS_VENV)/bin/python
DEMO_DIR ?= openbell-demo
CHROMIUM ?= chromium

.DEFAULT_GOAL := help
.PHONY: help demo test fuzz build lint format bench bench-save bench-readme bench-check bench-peers \
	guard soak wheel pictures clean

help: ## List what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

demo: $(BUILT) ## Replay a synthetic session through the engine, and export it
	$(BIN)/openbell demo $(DEMO_DIR)

test: $(BUILT) ## Run the tests; ARGS="-k name" for some of them
	$(BIN)/python -m pytest $(ARGS)

fuzz: $(BUILT) ## Run the property tests on many more examples, for some minutes
	OPENBELL_HYPOTHESIS=ci $(BIN)/python -m pytest tests/property tests/parity tests/memory \
		tests/lifecycle/test_live_faults.py tests/lifecycle/test_live_seam.py $(ARGS)

build: $(BUILT) ## Install in place, and build the native modules that changed

lint: $(INSTALLED) ## Check style, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict src

format: $(INSTALLED) ## Put the code into its form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(BUILT) ## Measure each goal beside its reference, on this machine
	$(BIN)/python -m benchmarks

bench-save: $(BUILT) ## The same, and keep the result to compare with
	$(BIN)/python -m benchmarks --save

bench-readme: $(BUILT) ## The same, and quote the result in the README
	$(BIN)/python -m benchmarks --readme

bench-check: $(BUILT) ## Measure, and fail where it is slower than the kept result
	$(BIN)/python -m benchmarks --check

guard: $(BUILT) ## Count the instructions of the native paths, here and at the merge base
	$(BIN)/python -m benchmarks.guard

bench-peers: $(PEERS_VENV)/.openbell ## The same work in NautilusTrader, polars and others; ARGS="--only replay"
	$(PEERS) -m benchmarks.peers $(ARGS)

soak: $(BUILT) ## Run live days for an hour while symbols come and go; ARGS="--minutes 10"
	$(BIN)/python -m benchmarks.soak_live $(ARGS)

# build/lib* would bring modules that no longer exist into the wheel.
wheel: $(INSTALLED) ## Build a wheel into dist/
	rm -rf build/lib* build/bdist* dist
	$(PIP) wheel --quiet --no-deps --wheel-dir dist .

pictures: demo ## Draw the pictures of the README; needs Chromium
	COLUMNS=100 $(BIN)/openbell show $(DEMO_DIR)/session.json --svg docs/session.svg
	$(CHROMIUM) --headless=new --disable-gpu --hide-scrollbars --window-size=1280,1150 \
		$$(test "$$(id -u)" != 0 || echo --no-sandbox) --timeout=20000 --virtual-time-budget=20000 \
		--screenshot=docs/report.png "file://$(abspath $(DEMO_DIR))/session.html"

clean: ## Remove all that was built, the environment included
	rm -rf $(VENV) $(PEERS_VENV) build dist out src/*.egg-info src/openbell/_native/*.so
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@test -n "$(PYTHON)" || { \
		echo "no Python >= 3.11 with venv and its C headers found; name one: make PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The tools of the build are installed and used as they are: later builds need them too.
$(INSTALLED): pyproject.toml setup.py | $(BIN)/python
	@echo "installing into $(VENV) and compiling the native modules: some minutes, once"
	@$(BIN)/python -c 'import tomllib; build = tomllib.load(open("pyproject.toml", "rb"))["build-system"]; \
		print(*build["requires"], sep="\n")' > $(VENV)/build-requires.txt
	$(PIP) install --quiet --requirement $(VENV)/build-requires.txt
	$(PIP) install --quiet --no-build-isolation --editable '.[dev]'
	@touch $@

# The installation has built everything; only what changed after it is built here.
$(BUILT): $(INSTALLED) $(NATIVE)
	@test -z "$$(find $(NATIVE) -newer $(INSTALLED))" || \
		{ set -x; $(BIN)/python setup.py --quiet build_ext --inplace; }
	@touch $@

# A peer that cannot be installed here keeps no other out; the table names it.
$(PEERS_VENV)/.installed: benchmarks/peers/requirements.txt
	$(PYTHON) -m venv $(PEERS_VENV)
	$(PEERS) -m pip install --quiet --requirement $< || grep -v '^#' $< | while read -r one; do \
		$(PEERS) -m pip install --quiet "$$one" || echo "not installed: $$one" >&2; done
	@touch $@

# Installed as a wheel: what is built in place belongs to $(VENV).
$(PEERS_VENV)/.openbell: $(PEERS_VENV)/.installed pyproject.toml setup.py $(NATIVE) \
		$(shell find src/openbell -name '*.py')
	rm -rf build/lib* build/bdist*
	$(PEERS) -m pip install --quiet .
	@touch $@
