# Two commands on a machine with Python 3.11 or later: `make demo` and `make test`. Both set themselves up.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO_HOME ?= .vector_pipeline/demo

.PHONY: demo test quick lint types floors unit covered dev clean

demo: $(VENV)/.installed
	@sh examples/demo.sh $(BIN) $(DEMO_HOME)

test: lint types floors covered

# The same without the tests that start Dagster, kill servers or take a second or more: a minute and a half on two cores.
quick: lint types floors
	@$(MAKE) --no-print-directory unit PYTEST_ARGS='-m "not slow" -q $(PYTEST_ARGS)'

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

floors: $(VENV)/.installed-dev
	$(BIN)/lint-imports

unit: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 3 --dist worksteal $(PYTEST_ARGS)

# Of the code that runs in the tests' own processes. Commands run in processes of their own and are not counted.
covered: $(VENV)/.installed-dev
	@$(MAKE) --no-print-directory unit PYTEST_ARGS='--cov --cov-report=term:skip-covered $(PYTEST_ARGS)'

dev: $(VENV)/.installed
	$(BIN)/vector-pipeline dev

$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or later is needed; say which with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The stamps are older than these files when what is to be installed has changed.
$(VENV)/.installed: $(VENV)/bin/pip pyproject.toml constraints.txt
	@echo "Installing into $(VENV), which takes about a minute"
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[documents]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/bin/pip pyproject.toml constraints.txt
	@echo "Installing into $(VENV), which takes one to two minutes"
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(VENV)/.installed $@

clean:
	rm -rf $(VENV) .vector_pipeline .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
