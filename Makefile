# make demo   set up .venv, run the main job on the embedded pictures, end with a report
# make test   set up .venv, run the test suite in two processes, a file in one of them
# Nothing needs to be installed but Python 3.11 or newer and GNU make. The second call skips the set-up.

PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.set-up
WORKSPACE ?= zoo-workspace

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test test-slow multihost multihost-all chaos chaos-store lint format docs bench mutants clean distclean

help:
	@echo "make demo    the main job on embedded pictures: train, fill, score, clean, retrain, report"
	@echo "make test    the test suite, but for what takes minutes on its own"
	@echo "make multihost a cluster of three hosts in network namespaces of this machine, from clean hosts to none; needs root, sshd and rsync"
	@echo "make multihost-all that, and what is found before work starts there"
	@echo "make chaos   half an hour of random faults on such hosts while a sweep runs; MINUTES=2 for less, SEED=n to repeat, FAULTS=cut,head for these alone"
	@echo "make chaos-store two writers of a workspace at every pair of their storage calls; minutes"
	@echo "make test-slow the slow tests, those among them that make test leaves out"
	@echo "make lint    ruff (check and format) and mypy --strict"
	@echo "make format  let ruff rewrite what it can"
	@echo "make docs    write docs/commands.md and docs/treatments.md again from the program itself"
	@echo "make bench   speed and memory, paired and interleaved; figures go to docs/LOG.md by hand"
	@echo "make mutants can the tests fail? faults planted one at a time in a copy, and which of them no test notices"
	@echo "make setup   only the virtual environment in $(VENV)"
	@echo "make clean   remove caches and builds; distclean removes $(VENV) too. Workspaces are never removed."
	@echo "PYTHON=python3.12 make ... chooses the interpreter for the set-up."

setup: $(STAMP)

# Constraints hold for the build environment too; old pip reads the first name there, new pip the second.
$(STAMP): export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
$(STAMP): export PIP_BUILD_CONSTRAINT := $(CURDIR)/constraints.txt
$(STAMP): export PIP_DISABLE_PIP_VERSION_CHECK := 1
$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "zoo: no interpreter named '$(PYTHON)'. Install Python 3.11 or newer, or: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "zoo: $$($(PYTHON) --version) is too old: Python 3.11 or newer is needed. Name one: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { echo "zoo: $(PYTHON) has no venv module. On Debian and Ubuntu install python3-venv." >&2; exit 1; }
	@echo "Setting up $(VENV) (once; some minutes, mostly torch) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(STAMP)
	@$(VENV)/bin/zoo demo --workspace $(WORKSPACE)

test: $(STAMP)
	$(VENV)/bin/python -m pytest -q --timeout=600 -n 2 --dist loadfile

HOSTS_SECONDS ?= 1800
multihost: $(STAMP)
	$(VENV)/bin/python -m pytest -q --timeout=$(HOSTS_SECONDS) -m multihost tests/multihost -k from_clean_hosts_to_none

multihost-all: $(STAMP)
	$(VENV)/bin/python -m pytest -q --timeout=1800 -m multihost tests/multihost

MINUTES ?= 30
chaos: $(STAMP)
	PYTHONPATH=tests $(VENV)/bin/python -m tests.multihost.chaos --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) $(if $(FAULTS),--faults $(FAULTS))

# A line for every violation, with the pair that replays it: ... --mode gc --pair 0,89
chaos-store: $(STAMP)
	PYTHONPATH=tests $(VENV)/bin/python -m tests.store.two_writers

test-slow: $(STAMP)
	$(VENV)/bin/python -m pytest -q --timeout=1800 -m slow

lint: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: $(STAMP)
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

docs: $(STAMP)
	$(VENV)/bin/python -m tools.make_reference

bench: $(STAMP)
	$(VENV)/bin/python -m tools.bench

mutants: $(STAMP)
	$(VENV)/bin/python -m tools.mutants

clean:
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find zoo experiments tests tools -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)
