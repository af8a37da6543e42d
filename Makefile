# `make` lists the targets. Nothing is needed beforehand but Python 3.11 or later, make and a package index.

PYTHON ?= python3
VERSION_OF = $(shell $(1) -c 'import sys; print("%d.%d" % sys.version_info[:2])')

# `make test PYTHON=python3.13` leaves a .venv of another version alone: it uses .venv-3.13.
VENV := .venv
ifneq ($(origin PYTHON),file)
ifneq ($(wildcard .venv/bin/python),)
WANTED := $(call VERSION_OF,$(PYTHON))
ifneq ($(WANTED),$(call VERSION_OF,.venv/bin/python))
VENV := .venv-$(or $(WANTED),of-no-python)
endif
endif
endif
BIN := $(VENV)/bin
EXTRAS := aws otel sentry supabase upstash

.DEFAULT_GOAL := help
.PHONY: help install serve test test-quick test-newest test-pythons lint format tables bench soak deploy-check lock lock-extras sbom clean

help:  ## List the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/installed  ## Install the service into .venv, as .venv/bin/bitespeed, for SQLite, PostgreSQL and Redis

# `make serve PORT=9000` sets BITESPEED_PORT. Other variables of the command line, such as DATABASE_URL, are in the
# environment anyway. A PORT of the environment is not used: it may be another program's.
SETTINGS := HOST PORT PUBLIC HOSTNAMES WORKERS RATE_LIMIT MAX_CONNECTIONS CLIENT_TIMEOUT REGION DEADLINE MAX_WAITING \
	MAX_WAITING_PER_TENANT LARGE_IDENTITY MAX_ANSWER CACHE_TTL DATABASE_POOL DATABASE_TIMEOUT MIGRATE IGNORE_EXISTING \
	LOG_FORMAT LOG_LEVEL SQS_URL
GIVEN = $(foreach name,$(SETTINGS),$(if $(findstring command line,$(origin $(name))),BITESPEED_$(name)='$($(name))'))

serve: $(VENV)/installed  ## Serve on http://127.0.0.1:8000 from a SQLite file in this folder; PORT=9000 and others change it
	@$(strip exec env $(GIVEN) $(BIN)/bitespeed serve)

test: $(VENV)/installed-dev  ## Run every test, with the servers that they need
	@$(BIN)/python tests/support/server_programs.py
	@$(BIN)/python -m pytest -n 3 --dist loadgroup

# What a version of Python changes shows in the rules, the service, SQLite and the commands first, within a minute.
# Left out: what needs other servers, and what takes long because it kills.
QUICK = tests/rules tests/model tests/service tests/sqlite tests/store tests/cli
QUICK_CHOICE = not postgres and not pgbouncer and not (data and api) and not copy and not durability and not interrupted

test-quick: $(VENV)/installed-dev
	@$(BIN)/python -m pytest -n 3 --dist loadgroup -k "$(QUICK_CHOICE)" $(QUICK)

test-newest: $(VENV)/installed-dev  ## Run a quick part of the tests on the newest Python here, if it is newer than that of .venv
	@newest=$$($(BIN)/python tests/support/pythons.py --newer) && [ -z "$$newest" ] || \
		$(MAKE) --no-print-directory test-quick PYTHON="$$newest"

test-pythons: $(VENV)/installed-dev  ## Run every test on each Python here that the service runs on
	@for python in $$($(BIN)/python tests/support/pythons.py); do \
		echo "$$python"; $(MAKE) --no-print-directory test PYTHON="$$python" || exit 1; done

lint: $(VENV)/installed-dev  ## Check style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/basedpyright
	$(BIN)/bandit --quiet --configfile pyproject.toml --severity-level medium --recursive src

format: $(VENV)/installed-dev  ## Put the code in the common style
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

tables: $(VENV)/installed-dev  ## Write the parts of docs and of template.yaml that are derived from code
	$(BIN)/python tests/support/derived_tables.py

bench: $(VENV)/installed-dev  ## Measure against the ceilings of this machine, into docs/benchmarks (needs wrk, PostgreSQL)
	$(BIN)/python -m bench

soak: $(VENV)/installed-dev  ## Watch memory through ten minutes of load (needs wrk) and a minute of hostile clients
	$(BIN)/python -m bench soak
	$(BIN)/python -m bench.hostile

deploy-check: .venv/sam/installed  ## Validate and build what runs on AWS, and list what would be created
	@.venv/sam/bin/python deploy/check.py

# Everything is resolved together first (dev.txt); the other files are parts of it: runtime.txt is what `make serve` needs,
# image.txt has every extra.
COMPILE = $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --custom-compile-command "make lock"
RUNTIME_EXTRAS = $(addprefix --extra ,phone postgres redis)
IN_RUNTIME = $(addprefix --no-emit-package ,$(shell sed -n '/python_/!s/^\([a-z0-9.-]*\).*==.*/\1/p' requirements/runtime.txt))

lock: $(VENV)/installed-dev  ## Resolve the dependencies anew, with hashes
	$(BIN)/pip install --quiet uv
	$(COMPILE) --all-extras --group dev --upgrade -o requirements/dev.txt pyproject.toml requirements/build.in
	$(COMPILE) $(RUNTIME_EXTRAS) -c requirements/dev.txt -o requirements/runtime.txt pyproject.toml requirements/build.in
	$(COMPILE) --all-extras -c requirements/dev.txt -o requirements/image.txt pyproject.toml requirements/build.in
	$(MAKE) lock-extras
	for name in lambda sam emulator; do $(COMPILE) --upgrade -o requirements/$$name.txt requirements/$$name.in || exit 1; done

# A file for each extra that `make serve` does without: what it needs beyond runtime.txt.
lock-extras:
	for name in $(EXTRAS); do $(COMPILE) --extra $$name $(IN_RUNTIME) \
		-c requirements/dev.txt -o requirements/$$name.txt pyproject.toml || exit 1; done

sbom: $(VENV)/installed-dev  ## List what an image consists of, as CycloneDX, into build/
	@mkdir -p build
	$(BIN)/cyclonedx-py requirements requirements/image.txt --pyproject pyproject.toml --output-reproducible -o build/sbom.cdx.json

clean:  ## Remove what was installed and built
	rm -rf .venv .venv-* build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests bench -name __pycache__ -type d -prune -exec rm -rf {} +

# The virtual environment itself. An older Python would fail in ways that are hard to understand.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or later is needed; say where: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "(no ensurepip here, so pip comes from the index)"; \
		$(PYTHON) -m venv --clear --without-pip $(VENV) && $(PYTHON) -m pip --python $(BIN)/python install --quiet pip; }

$(VENV)/installed: $(BIN)/python requirements/runtime.txt pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/runtime.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed requirements/dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r requirements/dev.txt
	@touch $@

# Tools for AWS; every version is in the file, so pip resolves nothing (--no-deps). Installed once, whichever Python is
# tested: they are programs to us.
.venv/sam/installed: requirements/sam.txt | $(VENV)/installed-dev
	@$(BIN)/python -m venv --clear --without-pip .venv/sam
	$(BIN)/pip --python .venv/sam/bin/python install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/sam.txt
	@touch $@
