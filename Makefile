# Two commands do it all: `make demo` and `make test`. Each sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := --workflow-profile workflow/profiles/demo
CODE := Snakefile workflow

.PHONY: help demo unlock test lint format base-model readme clean
.DEFAULT_GOAL := help

help: ## This list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

$(VENV)/.installed: pyproject.toml envs/lock.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "promptpool needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version). Use make PYTHON=python3.12 ..."; exit 1; }
	@echo "Installing into $(VENV) (once; about two minutes)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c envs/lock.txt -e '.[dev]'
	@touch $@

demo: $(VENV)/.installed ## The whole study on what this machine holds: no hub, no GPU, about ten minutes
	@$(BIN)/snakemake $(DEMO) || { echo "If an earlier run was killed and left the directory locked: make unlock"; exit 1; }
	@cat results/demo/summary.txt

unlock: ## Takes away the lock that a killed demo left
	$(BIN)/snakemake $(DEMO) --unlock

test: $(VENV)/.installed ## Every test that needs neither hub nor GPU
	$(BIN)/python -m pytest

lint: $(VENV)/.installed ## ruff, snakefmt, snakemake --lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check $(CODE)
	$(BIN)/snakemake --lint --workflow-profile workflow/profiles/demo

format: $(VENV)/.installed ## Formats the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt $(CODE)

base-model: $(VENV)/.installed ## Trains the demo's base model anew (80 minutes of CPU) and puts it in place
	$(BIN)/snakemake $(DEMO) demo_base_model
	rm -rf workflow/resources/nano-docs
	cp -r results/demo/base_model workflow/resources/nano-docs

readme: $(VENV)/.installed ## Puts the demo's own table and pictures into README.md and docs/
	$(BIN)/python docs/refresh.py

clean: ## Removes the demo's results, keeps the environment
	rm -rf results/demo
