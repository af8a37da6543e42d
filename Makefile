# `make` lists the targets. Nothing is needed beforehand but Python 3.11 or later, make and a package index.

PYTHON ?= python3
BIN := .venv/bin
EXTRAS := aws otel sentry supabase upstash

.DEFAULT_GOAL := help
.PHONY: help install serve test lint format tables bench soak deploy-check lock lock-extras sbom clean

help:  ## List the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: .venv/installed  ## Install the service into .venv, as .venv/bin/bitespeed, for SQLite, PostgreSQL and Redis

# `make serve PORT=9000` sets BITESPEED_PORT. Other variables of the command line, such as DATABASE_URL, are in the
# environment anyway. A PORT of the environment is not used: it may be another program's.
SETTINGS := HOST PORT PUBLIC HOSTNAMES WORKERS RATE_LIMIT MAX_CONNECTIONS CLIENT_TIMEOUT REGION DEADLINE MAX_WAITING \
	MAX_WAITING_PER_TENANT LARGE_IDENTITY MAX_ANSWER CACHE_TTL DATABASE_POOL DATABASE_TIMEOUT MIGRATE LOG_FORMAT LOG_LEVEL SQS_URL
GIVEN = $(foreach name,$(SETTINGS),$(if $(findstring command line,$(origin $(name))),BITESPEED_$(name)='$($(name))'))

serve: .venv/installed  ## Serve on http://127.0.0.1:8000 from a SQLite file in this folder; PORT=9000 and others change it
	@$(strip exec env $(GIVEN) $(BIN)/bitespeed serve)

test: .venv/installed-dev  ## Run every test, with the servers that they need
	@$(BIN)/python tests/support/server_programs.py
	@$(BIN)/python -m pytest -n 3 --dist loadfile

lint: .venv/installed-dev  ## Check style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/basedpyright
	$(BIN)/bandit --quiet --configfile pyproject.toml --severity-level medium --recursive src

format: .venv/installed-dev  ## Put the code in the common style
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

tables: .venv/installed-dev  ## Write the parts of docs and of template.yaml that are derived from code
	$(BIN)/python tests/support/derived_tables.py

bench: .venv/installed-dev  ## Measure against the ceilings of this machine, into docs/benchmarks (needs wrk, PostgreSQL)
	$(BIN)/python -m bench

soak: .venv/installed-dev  ## Watch memory through ten minutes of load (needs wrk)
	$(BIN)/python -m bench soak

deploy-check: .venv/sam/installed  ## Validate and build what runs on AWS, and list what would be created
	@.venv/sam/bin/python deploy/check.py

# Everything is resolved together first (dev.txt); the other files are parts of it: runtime.txt is what `make serve` needs,
# image.txt has every extra.
COMPILE = $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --custom-compile-command "make lock"
RUNTIME_EXTRAS = $(addprefix --extra ,phone postgres redis)
IN_RUNTIME = $(addprefix --no-emit-package ,$(shell sed -n '/python_/!s/^\([a-z0-9.-]*\).*==.*/\1/p' requirements/runtime.txt))

lock: .venv/installed-dev  ## Resolve the dependencies anew, with hashes
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

sbom: .venv/installed-dev  ## List what an image consists of, as CycloneDX, into build/
	@mkdir -p build
	$(BIN)/cyclonedx-py requirements requirements/image.txt --pyproject pyproject.toml --output-reproducible -o build/sbom.cdx.json

clean:  ## Remove what was installed and built
	rm -rf .venv build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests bench -name __pycache__ -type d -prune -exec rm -rf {} +

# The virtual environment itself. An older Python would fail in ways that are hard to understand.
.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or later is needed; say where: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv .venv || { echo "(no ensurepip here, so pip comes from the index)"; \
		$(PYTHON) -m venv --clear --without-pip .venv && $(PYTHON) -m pip --python .venv/bin/python install --quiet pip; }

.venv/installed: .venv/bin/python requirements/runtime.txt pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/runtime.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.venv/installed-dev: .venv/installed requirements/dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

# Tools for AWS; every version is in the file, so pip resolves nothing (--no-deps).
.venv/sam/installed: .venv/installed-dev requirements/sam.txt
	@$(BIN)/python -m venv --clear --without-pip .venv/sam
	$(BIN)/pip --python .venv/sam/bin/python install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/sam.txt
	@touch $@
