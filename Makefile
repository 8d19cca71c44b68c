# Every target sets up what it needs first, and says what it installs; a second call installs nothing.
.DEFAULT_GOAL := help
.PHONY: run test check lint types imports bench exact chaos setup proto catalogue reference lock format clean help
BIN := .venv/bin

run: setup  ## train the Fashion-MNIST example through the service, end to end, on this machine
	@tools/dataset
	$(BIN)/python examples/run_example.py

test: setup .venv-lowest/.ready .venv-proto/.ready  ## run every test
	@tools/dataset
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

check: lint types imports test  ## what CI runs: lint, types, import rules, stubs and catalogue fresh, tests

lint: setup  ## ruff: rules and format
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: setup  ## mypy, strict
	$(BIN)/mypy

imports: setup  ## import-linter: which part may import which
	$(BIN)/lint-imports --no-cache

bench: setup .venv-bench/.ready  ## measure training speed against Keras and a hand-written loop, and what the service costs and bears
	@tools/dataset
	@status=0; for bench in training_speed training_overheads service_cost service_load; do \
	  $(BIN)/python -m tests.bench.$$bench || status=1; done; exit $$status

exact: setup  ## hold every optimizer with every option of groups to the same weights on 1, 2 and 4 replicas (half an hour)
	$(BIN)/python -m tests.exactness

chaos: setup  ## kill, stop, stall and refuse for MINUTES (10) and see that every invariant holds; SEED does it again
	$(BIN)/python -m tests.faults --minutes $(or $(MINUTES),10) $(if $(SEED),--seed $(SEED))

setup: .venv/.ready  ## make .venv from requirements.lock

.venv/.ready: requirements.lock pyproject.toml
	@tools/environment dev
.venv-proto/.ready: proto/requirements.lock
	@tools/environment proto
.venv-lowest/.ready: tests/lowest.lock
	@tools/environment lowest
.venv-bench/.ready: tests/bench/requirements.lock
	@tools/environment bench

proto: setup  ## make the stubs of proto/ anew
	@tools/proto

catalogue: setup  ## make the catalogue of components anew from the installed Keras
	@file=service/gradloom/catalogue/$$($(BIN)/python -c 'from gradloom.catalogue import FILE_NAME; print(FILE_NAME)') && \
	  $(BIN)/python -m gradloom.trainer catalogue >.venv/catalogue.json && mv .venv/catalogue.json $$file && echo "made $$file"

reference: setup  ## make the tables of docs/reference.md anew from the code
	$(BIN)/python -m tools.reference

lock: setup  ## refresh the locks to the newest versions that pyproject.toml allows
	@tools/lock

format: setup  ## format the code and sort its imports
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:  ## remove environments, caches and the data of `make run`
	rm -rf .venv .venv-proto .venv-lowest .venv-bench .gradloom .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find service tests examples -name __pycache__ -type d -prune -exec rm -rf {} +

help:  ## list the targets
	@awk -F ':.*##  *' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
