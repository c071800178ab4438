# Thin aliases: every line below is a command which can be typed as well.
#   make demo ARGS="quick=true"      make test ARGS="-m 'not e2e' -k divergence"
# PYTHON=/path/to/python3.12 chooses the interpreter of a new environment.

VENV_PYTHON := .venv/bin/python
BOOTSTRAP := @sh scripts/bootstrap.sh --extras
PYTEST := $(VENV_PYTHON) -m pytest
# pytest's status where ARGS choose no test of this half.
NOTHING_CHOSEN := [ $$? -eq 5 ]
ARGS ?=

.PHONY: help demo test lint bench vllm fetch setup-demo setup-test

help:
	@echo "make demo    environment, Lean, model, then python -m recipes.opsd_skeleton [ARGS]"
	@echo "make test    the same with the test extra, then pytest [ARGS]"
	@echo "make lint    ruff and pyright"
	@echo "make vllm    add vLLM for the CPU to the environment"
	@echo "make bench   the benchmarks in scripts/bench [ARGS]"

demo: setup-demo fetch
	@$(VENV_PYTHON) -m recipes.opsd_skeleton $(ARGS)

test: setup-test fetch
	@$(PYTEST) -n 2 --dist loadgroup --e2e skip $(ARGS) || $(NOTHING_CHOSEN)
	@$(PYTEST) --e2e only $(ARGS) || $(NOTHING_CHOSEN)

lint:
	$(BOOTSTRAP) cpu,lean,report,dev
	@$(VENV_PYTHON) -m ruff check .
	@$(VENV_PYTHON) -m ruff format --check .
	@$(VENV_PYTHON) -m pyright --pythonpath $(VENV_PYTHON)

vllm:
	$(BOOTSTRAP) cpu,cpu-vllm,lean,report

bench: setup-demo fetch
	@for bench in scripts/bench/[a-z]*.py; do $(VENV_PYTHON) $$bench $(ARGS) || exit 1; done

setup-demo:
	$(BOOTSTRAP) cpu,lean,report

setup-test:
	$(BOOTSTRAP) cpu,cpu-vllm,dev,lean,report

# Lean and the model, at the same time; both return at once when they are there.
fetch:
	@$(VENV_PYTHON) -m rewards.lean.install & lean=$$!; \
	$(VENV_PYTHON) -m recipes.demo_model; model=$$?; \
	wait $$lean && exit $$model
