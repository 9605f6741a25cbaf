# Rubrics as Rewards, executable. `make help` lists the targets.
PROFILE ?= laptop
MINUTES ?= 60
BIN := .venv/bin
export PYTHON
# Times: two CPU cores, nothing in any cache (cold) or all packages and weights there (warm).
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup reproduce book serve study test test-adapters lint lock clean

help:  ## this list (at once)
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "PROFILE=smoke|laptop|gpu, now $(PROFILE); PYTHON=/path/to/python3.11 to choose one"

setup:  ## .venv from the lock of PROFILE (1 min cold, at once when up to date)
	@python3 env/setup.py --profile $(PROFILE)

reproduce: setup  ## run what is missing or changed of the notebooks, then build the book (38 min from nothing on cores with bf16, 2.4 h with AVX2 alone, seconds unchanged)
	$(BIN)/rar reproduce --profile $(PROFILE)

book: setup  ## build the book from the notebooks of PROFILE already run (10 s)
	$(BIN)/rar book --profile $(PROFILE)

serve:  ## show the book of PROFILE at port 8000 of 127.0.0.1, to this machine only (until Ctrl-C)
	python3 -m http.server 8000 --bind 127.0.0.1 --directory _build/$(PROFILE)/book/html

study: setup  ## train and grade what results/study lacks, begun within MINUTES, then its table (resumable, not timed yet)
	$(BIN)/python -m results.study.run --minutes $(MINUTES) && $(BIN)/python -m results.study.table

test: PROFILE := smoke
test: setup lint  ## set-up, lint, the smoke model and all tests (20 min cold on two AVX-512 cores)
	@bash env/browser.sh
	$(BIN)/rar fetch smollm2-135m
	$(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder

test-adapters: setup  ## the reward in verl, ms-swift, OpenRLHF, verifiers, and Ray, in environments of their own (3 min warm, 2.1 GB)
	bash env/adapters.sh

lint: setup  ## ruff, mypy, import layers, no re-exports, notebooks without outputs (9 s, longer the first time)
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/mypy rar_lib && $(BIN)/lint-imports
	$(BIN)/nbstripout --verify notebooks/*.ipynb
	$(BIN)/python -m pytest -q tests/test_face.py -k "taken_from_its_home or exported_twice"  # no re-exports
	@$(BIN)/python env/rooms.py

lock: setup  ## the locks of laptop and gpu from pyproject.toml, newest allowed releases (10 s)
	bash env/lock.sh

clean:  ## remove _build: executed notebooks and the book (at once)
	rm -rf _build
