# The whole life of the project by name: `make help` lists it. Needs Python 3.11 or newer, npm and the package registries.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup run test unit integration browser check format bench docs db-check migrate viewer tools clients interop lock clean

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
# Nothing here ever asks a question or draws a bar where no person looks.
export PIP_NO_INPUT := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export DEBIAN_FRONTEND := noninteractive
PYTEST := $(BIN)/python -m pytest
# A file's tests share servers that its fixtures start, so a file stays on one of the two workers.
PARALLEL := -n 2 --dist loadfile

# Requirements of the project and of the named extras, one a line; the project itself is run from its tree.
REQUIREMENTS := import sys, tomllib; \
	project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
	extras = [line for extra in sys.argv[1:] for line in project["optional-dependencies"][extra]]; \
	print(*project["dependencies"], *extras, sep="\n")

# $(call install,EXTRAS): fill the virtual environment with exactly the pinned versions.
define install
	@echo "» Cài đặt các gói Python / Installing Python packages ($(strip $(1)))"
	@$(BIN)/python -c '$(REQUIREMENTS)' $(1) > $(VENV)/requirements.txt
	@$(BIN)/python -m pip install --progress-bar off \
		--constraint constraints.txt --requirement $(VENV)/requirements.txt 2> $(VENV)/pip.log \
		| sed -un 's/^ *Downloading \([^ ]*\) \((.*)\)$$/  \1 \2/p; s/^Installing collected packages.*/  .../p' \
		|| { tail -n 20 $(VENV)/pip.log >&2; exit 1; }
endef

# $(call debian,PACKAGES,WHY): install Debian packages, or say which to ask an administrator for.
define debian
	if [ "$$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then \
		echo "make: $(2): install the Debian packages '$(1)' first (as root: apt-get install $(1))" >&2; exit 1; \
	fi; \
	echo "» Cài đặt / Installing: $(1)"; \
	apt-get update -qq < /dev/null; \
	apt-get install -y -qq --no-install-recommends $(1) < /dev/null > $(VENV)/apt.log 2>&1 \
		|| { tail -n 20 $(VENV)/apt.log >&2; exit 1; }
endef

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-12s %s\n", $$1, $$2}'

# --- what must be there ---------------------------------------------------------------------------------------------

$(BIN)/python:
	@mkdir -p $(VENV)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "make: Python 3.11 or newer is needed; $(PYTHON) is older (make PYTHON=/path/to/python3.11 ...)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2> /dev/null || { $(call debian,python3-venv,the virtual environment); }
	@$(PYTHON) -m venv $(VENV)

# A stamp holds the time at which an installation succeeded; a second run finds it newer than its inputs and stops.
$(VENV)/.run: pyproject.toml constraints.txt | $(BIN)/python
	$(call install,embedded)
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(call install,embedded dev)
	@touch $(VENV)/.run $@

setup: $(VENV)/.dev ## install everything, for work on the project

tools: | $(BIN)/python
	@missing=""; \
	command -v storescu > /dev/null && command -v dcmsend > /dev/null || missing="$$missing dcmtk"; \
	command -v chromium > /dev/null || missing="$$missing chromium"; \
	command -v strace > /dev/null || missing="$$missing strace"; \
	[ -x /usr/sbin/Orthanc ] || missing="$$missing orthanc"; \
	[ -e /usr/share/orthanc/plugins/libOrthancDicomWeb.so ] || missing="$$missing orthanc-dicomweb"; \
	command -v npm > /dev/null || missing="$$missing npm"; \
	command -v curl > /dev/null || missing="$$missing curl"; \
	command -v gdcmscu > /dev/null || missing="$$missing libgdcm-tools"; \
	if [ -n "$$missing" ]; then $(call debian,$${missing# },the tests drive DCMTK, Orthanc, GDCM and Chromium and watch system calls); fi

viewer: $(VENV)/.run
	@$(BIN)/python -m viewer_api.viewer_setup

clients: $(VENV)/.dev
	@$(BIN)/python -m tests.interop.npm

# --- running --------------------------------------------------------------------------------------------------------

run: $(VENV)/.run ## the archive, ready to try: database, DICOM node, web service, demo province
	@exec $(BIN)/python -m archive.launch

migrate: $(VENV)/.run ## bring the index of the configured archive to this release
	@$(BIN)/python -m archive migrate

# --- proving --------------------------------------------------------------------------------------------------------

test: $(VENV)/.dev tools viewer clients ## every test, with real PostgreSQL, S3 server, DCMTK and Chromium
	@$(PYTEST) $(PARALLEL)

unit: $(VENV)/.dev ## tests without servers
	@$(PYTEST) $(PARALLEL) tests/unit

integration: $(VENV)/.dev tools viewer ## tests of running servers, without a browser
	@$(PYTEST) $(PARALLEL) -m 'not browser' tests/integration tests/conformance tests/e2e

browser: $(VENV)/.dev tools viewer clients ## tests that drive Chromium
	@$(PYTEST) -m browser tests

interop: $(VENV)/.dev tools viewer clients ## clients of other makers against every service; writes docs/interoperability.md
	@$(PYTEST) $(PARALLEL) tests/interop || true; $(BIN)/python -m tests.interop.table

check: $(VENV)/.dev ## style, types, layers, and documents that must follow the code
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(PYTEST) -q tests/unit/test_docs.py

format: $(VENV)/.dev ## rewrite the code in the house format
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

db-check: $(VENV)/.dev ## migrate an empty database and compare it with the models
	@folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	env -u PACS_DATABASE__URL PACS_CONFIG=archive/demo/pacs.toml PACS_DATA_DIR="$$folder/data" $(BIN)/python -m archive db-check

$(VENV)/.bench: $(VENV)/.dev
	$(call install,embedded dev bench)
	@touch $(VENV)/.run $(VENV)/.dev $@

bench: $(VENV)/.bench tools viewer ## measure against Orthanc and DCMTK; BENCH_QUICK=1: 25 minutes
	@[ -e /usr/share/orthanc/plugins/libOrthancPostgreSQLIndex.so ] \
		|| { $(call debian,orthanc-postgresql,one of the rivals is Orthanc with its index in PostgreSQL); }
	@exec $(BIN)/python -m benchmarks

docs: $(VENV)/.dev ## write the generated tables of docs/
	@$(BIN)/python -m docs.generate

lock: $(VENV)/.dev ## pin what the virtual environment holds now, after a change of pyproject.toml
	@$(BIN)/python -m pip freeze > constraints.txt

# var/ is never touched: it may hold the only copy of somebody's images.
clean: ## remove the virtual environment, builds and caches; data in var/ stays
	@rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
