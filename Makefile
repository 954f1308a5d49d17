# Needs git, make and Python 3.11 or newer with venv; everything else goes into .venv.
#
#   PYTHON=python3.12     the interpreter that .venv is made with
#   TORCH_INDEX=URL       a further index for pip, such as https://download.pytorch.org/whl/cpu for torch without CUDA
#   FUZZ_SECONDS=60       how long make fuzz tries each target

PYTHON ?= $(shell command -v python3.11 || command -v python3)
TORCH_INDEX ?=
FUZZ_SECONDS ?= 60

VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
	$(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest

# An empty file inside .venv for each set of packages there: an install is repeated only when its inputs change.
PLAIN := $(VENV)/.installed
DEV := $(VENV)/.installed-dev
BENCH := $(VENV)/.installed-bench
INPUTS := pyproject.toml constraints.txt
# Attack libraries to compare with whose packages want torchvision, which the attacks don't use: a folder of their own, and no more.
PEERS := adv-lib==0.2.8 torchattacks==3.5.1 pyautoattack==0.2.0 numba==0.68.1 llvmlite==0.50.0

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-all lint types imports format docs bench fuzz constraints clean

help: ## what there is to make
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "make %-12s %s\n", $$1, $$2 }'

demo: $(PLAIN) ## the whole pipeline on real data, from training to report
	$(BIN)/martensite run

test: lint types imports ## lint, types, layers, and the tests
	$(PYTEST)

test-all: lint types imports ## as test, with the tests that take minutes, and coverage
	$(PYTEST) -m "slow or not slow" --cov

lint: $(DEV) ## ruff: rules and format
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(DEV) ## mypy --strict on src
	$(BIN)/mypy

imports: $(DEV) ## the direction of imports between rooms
	$(BIN)/lint-imports

format: $(DEV) ## let ruff rewrite the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(DEV) ## the documentation, into site/
	$(BIN)/mkdocs build --strict

bench: $(BENCH) ## every benchmark, beside the libraries it is compared with
	@failed=; for script in $$(grep -l __main__ benchmarks/*.py); do \
		echo "== $$script"; $(BIN)/python "$$script" || failed="$$failed $$script"; \
	done; test -z "$$failed" || { echo "failed:$$failed"; exit 1; }

fuzz: $(DEV) ## fuzz what reads a stranger's bytes, FUZZ_SECONDS for each target (60)
	$(BIN)/python scripts/fuzz.py --seconds $(FUZZ_SECONDS)

constraints: | $(BIN)/python ## resolve base and extras together and rewrite constraints.txt
	$(if $(TORCH_INDEX),PIP_EXTRA_INDEX_URL=$(TORCH_INDEX)) $(BIN)/python scripts/constraints.py

clean: ## remove what was built; .venv and runs/ stay
	rm -rf build dist site htmlcov .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find benchmarks scripts src tests -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)

$(PLAIN): $(INPUTS) | $(BIN)/python
	$(PIP_INSTALL) --editable .
	@touch $@

$(DEV): $(INPUTS) | $(BIN)/python
	$(PIP_INSTALL) --editable '.[dev]'
	@touch $(PLAIN) $@

$(BENCH): $(INPUTS) | $(BIN)/python
	$(PIP_INSTALL) --editable '.[bench]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target $(VENV)/peers $(PEERS)
	@touch $(PLAIN) $@
