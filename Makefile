# Two commands set everything up: `make demo` (the main job, offline) and `make test`.
# Each needs Python 3.11 to 3.13 and make, nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check

.PHONY: demo test soak check audit fix docs ui clean

demo: $(VENV)/.installed
	$(BIN)/tracker sweep --study quickstart
	$(BIN)/tracker compare --study quickstart --metric best_acc
	@echo
	@echo "Browse the runs in the MLflow UI:  $(BIN)/tracker ui"

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

# What takes minutes, or a cluster: the kills, the soak, Ray.
soak: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m "soak or ray"

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@$(MAKE) --no-print-directory audit

# Published advisories about what constraints.txt names; a warning where no service can be asked.
audit: $(VENV)/.installed-dev
	$(BIN)/python audit/advisories.py

fix: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.installed
	$(BIN)/python docs/generate.py

ui: $(VENV)/.installed
	$(BIN)/tracker ui

clean:
	rm -rf $(VENV) build *.egg-info

# An environment whose Python moved or is too old is made anew rather than half-repaired.
$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; ok = (3, 11) <= sys.version_info[:2] <= (3, 13); \
	sys.exit(0 if ok else f"Python 3.11 to 3.13 is needed, {sys.executable} is {sys.version.split()[0]}: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv --clear $(VENV)

$(VENV)/.installed: $(VENV)/pyvenv.cfg setup.cfg constraints.txt
	@echo "installing into $(VENV): a minute or two, torch is large"
	$(PIP) install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP) install --quiet --constraint constraints.txt --editable '.[test]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed-test
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@
