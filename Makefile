# Every command of the project. `make help` lists them.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PORT ?= 8000
DATA ?= var/demo
PY := .venv/bin/python

export PYTHONUNBUFFERED := 1
# One thread for each process: more only fight over the cores that the processes share.
export OMP_NUM_THREADS ?= 1

.PHONY: help demo bootstrap test test-fast test-faults lint format schema messages screenshots \
        bench bench-index bench-ingest bench-search clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Loupe with sample pictures on http://127.0.0.1:8000 (PORT=8000 DATA=var/demo); Ctrl-C stops it
	@scripts/bootstrap
	@exec $(PY) manage.py quickstart --port $(PORT) --data $(DATA)

bootstrap: ## the development environment in .venv
	@scripts/bootstrap dev

test: bootstrap ## everything: lint, then all tests on the embedded default and on real Postgres, Redis, S3, Chromium
	@scripts/system-packages
	@scripts/bootstrap-swift
	@$(MAKE) --no-print-directory lint
	@scripts/run-tests

test-fast: bootstrap ## only the tests that need no services and no browser
	@$(PY) -m pytest -n 2 -m "not services and not browser and not slow"

test-faults: bootstrap ## kills, outages, damage and races, on real services
	@scripts/system-packages
	@scripts/bootstrap-swift
	@LOUPE_FAULTS=full $(PY) -m tests.services -- $(PY) -m pytest tests/faults tests/security/test_hostile_http.py

lint: bootstrap ## style, types, layers, missing migrations, API schema
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check --quiet .
	@$(PY) -m mypy config images search workers
	@.venv/bin/lint-imports > /dev/null || { .venv/bin/lint-imports; exit 1; }
	@$(PY) manage.py makemigrations --check --dry-run
	@scripts/check-schema

format: bootstrap ## rewrite the code in the project's style
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

schema: bootstrap ## write docs/openapi.yaml from the code
	@$(PY) manage.py spectacular --validate --fail-on-warn --file docs/openapi.yaml

messages: bootstrap ## the texts for translators: locale/*/LC_MESSAGES/django.po from the code, and what Django reads of it
	@$(PY) manage.py makemessages --all --no-obsolete --no-location --no-wrap --ignore '.venv*' --ignore var --ignore tests --ignore benchmarks
	@sed -i '/^"POT-Creation-Date:/d; /^"Report-Msgid-Bugs-To:/d' locale/*/LC_MESSAGES/django.po
	@$(PY) manage.py compilemessages --ignore '.venv*' --ignore var

screenshots: bootstrap ## the pictures of the documentation, taken from a running demo
	@scripts/system-packages
	@$(PY) -m tests.browser.screenshots

bench: bench-index bench-ingest bench-search ## all benchmarks, side by side with the published recipes

bench-index: bootstrap ## recall, latency and size of the index kinds
	@$(PY) benchmarks/index.py

bench-ingest: bootstrap ## pictures per second from file to embedding
	@$(PY) -m benchmarks.ingest
	@$(PY) -m benchmarks.searchable

bench-search: bootstrap ## latency of whole queries
	@$(PY) benchmarks/search.py

clean: ## remove environments, caches and the demo's data
	rm -rf .venv .venv-swift var/demo .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
