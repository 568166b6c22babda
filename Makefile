# One word does the job; `make help` lists the words.  Needs Python 3.11+ and a POSIX shell.

PYTHON ?= python3
VENV := .venv
VIEWERS := .venv-viewers
BIN := $(VENV)/bin
PACKAGE := $(VENV)/.installed-package
DEVELOP := $(VENV)/.installed-develop
DOCUMENT := $(VENV)/.installed-docs
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt

# One process a core is enough.  It is set here, since plug-ins of pytest load numpy before any code of a test.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test check bench viewers mutants docs dist

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

demo: $(PACKAGE) ## simulate a noisy scan, clean it, map it; prints where the report is
	$(BIN)/xanesum demo -o demo
	@report=$$(find "$(CURDIR)/demo" -name '*.html' | sort | head -n 1); \
	test -n "$$report" || { echo 'the demo left no report' >&2; exit 1; }; \
	echo "report: $$report"

test: $(DEVELOP) ## run all tests on two processes, a file on one of them; COVER=1 notes the lines they run
	$(ONE_THREAD) $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder \
		$(if $(COVER),--cov --cov-report= --cov-fail-under=0)

check: $(DEVELOP) ## style, types, unused code, layers, documentation, coverage of the tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/vulture
	$(BIN)/python -m pytest -q tests/test_layers.py tests/test_docs.py
	@if test -f .coverage; then $(BIN)/coverage report; \
	else echo 'coverage: not known; make test COVER=1 notes it' >&2; fi

bench: $(DEVELOP) ## run every benchmark in order; BENCH=--quick for small scans
	@set -e; for script in benchmarks/[!_]*.py; do test -e "$$script" || continue; \
		echo "== $$script $(BENCH)"; $(BIN)/python "$$script" $(BENCH); \
	done
	$(BIN)/python -m benchmarks.paper $(BENCH)

docs: $(DOCUMENT) ## write the documentation site; prints where it is
	$(BIN)/python -m sphinx --builder html --fail-on-warning --keep-going --quiet docs build/site
	@echo "site: $(CURDIR)/build/site/index.html"

dist: $(DEVELOP) ## build wheel and source archive; install the wheel in an empty environment, run the demo there
	$(BIN)/python tools/release.py

viewers: ## install napari and HyperSpy beside, for their tests; prints the variables that name them
	$(PYTHON) -m venv $(VIEWERS)
	$(VIEWERS)/bin/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt \
		--editable '.[napari,hyperspy]' PyQt6
	@echo "XANESUM_NAPARI=$(CURDIR)/$(VIEWERS)/bin/python XANESUM_HYPERSPY=$(CURDIR)/$(VIEWERS)/bin/python"

mutants: $(DEVELOP) ## plant faults in a copy, one at a time: each must fail a test
	$(BIN)/python tools/mutants.py

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'xanesum needs Python 3.11 or newer: make PYTHON=/path/to/python3.11' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The stamps are newer than these files, or the installation runs again.  The package holds the version.
SOURCES := pyproject.toml constraints.txt src/xanesum/__init__.py

$(PACKAGE): $(SOURCES) | $(BIN)/python
	$(INSTALL) --editable .
	@touch $@

$(DEVELOP): $(SOURCES) | $(BIN)/python
	$(INSTALL) --editable '.[dev]'
	@$(INSTALL) --editable '.[bm3d]' || echo 'bm3d cannot be installed here; its tests will be skipped'
	@$(INSTALL) --editable '.[cluster]' || echo 'dask cannot be installed here; its tests will be skipped'
	@$(INSTALL) --editable '.[hdf5plugin,codecs]' || echo 'codecs cannot be installed here; their tests will be skipped'
	@$(INSTALL) --editable '.[browser]' || echo 'playwright cannot be installed here; tests in a browser will be skipped'
	@touch $(PACKAGE) $@

$(DOCUMENT): $(SOURCES) | $(BIN)/python
	$(INSTALL) --editable '.[docs]'
	@touch $(PACKAGE) $@
