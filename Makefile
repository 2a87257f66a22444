# Everything runs in .venv, which the first target that needs it makes. Another Python: make setup PYTHON=python3.12
PYTHON ?= $(shell for p in python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PIP_FLAGS ?= --quiet --disable-pip-version-check --no-compile
VENV := .venv
PY := $(VENV)/bin/python
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup setup-test lab demo ablate study figures docs test lint bench clean distclean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' Makefile | awk -F ':.*## ' '{printf "make %-12s %s\n", $$1, $$2}'

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "found no Python 3.11 or newer; expected python3.11 or python3, or say PYTHON=..."; exit 2; }
	$(PYTHON) -m venv $(VENV)

# A stamp for each set of extras: nothing is installed again until what is declared changes.
$(VENV)/.core: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PY) -m pip install $(PIP_FLAGS) -c constraints.txt -e .
	@touch $@

$(VENV)/.%: $(VENV)/.core
	$(PY) -m pip install $(PIP_FLAGS) -c constraints.txt -e '.[$*]'
	@touch $@

$(VENV)/.test: $(VENV)/.notebooks

setup: $(VENV)/.core ## make .venv and install asdkit with the tested versions

setup-test: $(VENV)/.test ## the same with what the tests need

lab: $(VENV)/.notebooks ## install JupyterLab and open it on the notebooks
	$(VENV)/bin/jupyter lab --ServerApp.root_dir=notebooks

demo: $(VENV)/.core ## simulate a small data set, fit, score, table, figures
	$(PY) -m asdkit simulate data/demo --machines fan bearing valve --train 100 --target 10 --test 25 --jobs 2
	$(PY) -m asdkit run data/demo --out runs/demo --jobs 2 --systems asdkit report log-mel log-mel-whitened msm msm-untrained statistics texture ridge modulation
	@echo "The table, the scores and the figures are in runs/demo"

ablate: $(VENV)/.notebooks ## recompute figures/tables: simulated machines, and those in ASDKIT_REAL_DATA (hours; continues)
	$(PY) -m asdkit simulate data/study/machines --train 190 --target 10 --test 25 --seed 21 --jobs 2
	$(PY) -m asdkit ablate data/study/machines $(ASDKIT_REAL_DATA) --out runs/ablate --jobs 2 $(ARGS)
	mkdir -p figures/tables && cp runs/ablate/tables/* figures/tables/

study: $(VENV)/.notebooks ## recompute the tables of goals: new machines, noise, few clips; and ASDKIT_REAL_DATA (hours; continues)
	$(PY) -m asdkit.experiments.study $(if $(ASDKIT_REAL_DATA),--real $(ASDKIT_REAL_DATA)) --jobs 2 $(ARGS)
	mkdir -p figures/tables && cp runs/study/tables/* figures/tables/

figures: $(VENV)/$(if $(QUICK),.notebooks,.core) ## draw figures/ from its tables (QUICK=1: from nothing on small data, in runs/quick)
ifdef QUICK
	$(PY) -m asdkit simulate data/quick --machines fan valve --train 30 --target 5 --test 8 --seconds 6 --jobs 2
	$(PY) -m asdkit ablate data/quick --out runs/quick --bases asdkit --seeds 0 --scenes 3 --jobs 2 --quick
	$(PY) -m asdkit figures runs/quick/tables --out runs/quick/figures
else
	$(PY) -m asdkit figures figures/tables --out figures
endif

docs: $(VENV)/.docs $(if $(EXECUTE),$(VENV)/.notebooks) ## build the website in build/docs (EXECUTE=1: with the outputs of the notebooks)
	EXECUTE="$(EXECUTE)" $(PY) -m sphinx -E -W --keep-going -q docs build/docs
	@echo "The website is build/docs/index.html"

test: $(VENV)/.test ## run the tests and the notebooks, two at a time (ARGS='-k knn' for a few)
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --nbmake --nbmake-timeout=300 tests asdkit notebooks $(ARGS)

lint: $(VENV)/.test ## ruff
	$(PY) -m ruff check .

bench: $(VENV)/.core ## time and memory of one full-size machine, stage by stage
	$(PY) benchmarks/machine.py $(ARGS)

clean: ## remove caches and build leftovers; data/, runs/ and .venv stay
	rm -rf build docs/walkthrough dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find asdkit tests benchmarks notebooks -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## and .venv
	rm -rf $(VENV)
