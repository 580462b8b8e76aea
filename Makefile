# make demo and make test are all that a newcomer needs. Both need only Python 3.10 or newer with venv.
PYTHON ?= python3
VENV ?= .venv
# Which: all, if none are named.
TESTS ?=
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test test-slow lint docs clean
.DEFAULT_GOAL := test

$(READY): pyproject.toml .ci/constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint .ci/constraints.txt --editable '.[dev]'
	touch $@

demo: $(READY)
	$(BIN)/lightning-hp search configs/digits.yaml --trials 24 --root runs/demo
	@echo "look at it:      $(BIN)/tensorboard --logdir runs/demo, then http://localhost:6006 in a browser"

# Two at a time, since the smallest machine that this is for has two cores.
test: $(READY)
	$(BIN)/python -m pytest -n 2 -m 'not slow and not exhaustive' $(TESTS)

# What takes longer: killed processes, workers that start anew, all that the README says.
test-slow: $(READY)
	$(BIN)/python -m pytest -n 2 -m 'slow and not exhaustive' $(TESTS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Importing all names first: two of them are only imported when they are used.
docs: $(READY)
	$(BIN)/python -c 'from lightning_hp import *; from pdoc.__main__ import cli; cli()' --docformat google --output-directory build/docs lightning_hp
	@echo "read them:       build/docs/lightning_hp.html"

clean:
	rm -rf $(VENV) runs build *.egg-info
