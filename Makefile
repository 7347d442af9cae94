# The targets that people and .ci/run call. PYTHON names the interpreter that the environment is made of.
PYTHON ?= python3
VENV := .venv
LOWEST := .venv-lowest
BIN := $(VENV)/bin

.PHONY: demo example test test-loaded test-ray check format docs docs-api bench prove lowest catalog constraints clean

demo: $(VENV)/.demo   ## an agent, an outage and the bill, against a local AWS
	@$(BIN)/python -m langchain_modelmgr demo

example: $(VENV)/.demo   ## the design guide's supply chain application: three questions, three personas
	@LANGSMITH_TRACING=false LANGCHAIN_TRACING_V2=false $(BIN)/python -m examples.supply_chain

test: $(VENV)/.dev   ## everything: checks, tests with coverage, notebooks
	@$(MAKE) --no-print-directory check
	$(BIN)/python -m pytest -n 4 --cov --cov-report=term --nbmake notebooks tests

test-loaded: $(VENV)/.dev   ## the tests beside four busy processes: they may depend on no machine's speed
	$(BIN)/python -m scripts.loaded 4 $(BIN)/python -m pytest -n 4 tests

test-ray: $(VENV)/.dev   ## the tests of the engine ray, which needs a machine that does nothing else
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,ray]'
	$(BIN)/python -m pytest tests/batch/ray_engine.py

check: $(VENV)/.dev   ## style, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/basedpyright
	$(BIN)/lint-imports

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.dev   ## build the documentation's site in site/; a broken link is an error
	$(BIN)/zensical build --clean --strict

docs-api: $(VENV)/.dev   ## generate docs/api.md from the docstrings of the public names
	$(BIN)/python -m scripts.make_api_docs

bench: $(VENV)/.dev   ## ratios against what a user would take instead
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,bench]'
	$(BIN)/python -m benchmarks.calls
	$(BIN)/python -m benchmarks.metrics
	$(BIN)/python -m benchmarks.budgets
	$(BIN)/python -m benchmarks.batch

prove: $(VENV)/.dev   ## the long proofs: killed writers, spenders and batch jobs, two backlogs, and 20,000 mixed calls counted four times
	$(BIN)/python -m tests.ledger.killed_writers --seconds 60 --processes 5 --threads 3
	$(BIN)/python -m tests.ledger.delivered_backlog --megabytes 31 --writers 1
	$(BIN)/python -m tests.ledger.delivered_backlog --megabytes 31 --writers 40
	$(BIN)/python -m tests.ledger.equal_figures --calls 20000
	$(BIN)/python -m tests.budgets.killed_spenders --seconds 60 --processes 4 --threads 16
	$(BIN)/python -m tests.budgets.killed_spenders --seconds 60 --processes 4 --threads 16 --valkey
	$(BIN)/python -m tests.batch.killed_jobs --engine local --kills 50 --rows 20000
	$(BIN)/python -m tests.batch.killed_jobs --engine local --kills 50 --rows 20000 --s3
	$(BIN)/python -m tests.batch.killed_jobs --engine dask --kills 50 --rows 20000
	$(BIN)/python -m tests.batch.killed_bedrock_jobs --kills 50 --rows 9000
	$(BIN)/python -m tests.batch.killed_bedrock_jobs --kills 50 --rows 9000 --s3

lowest: $(VENV)/.dev   ## the tests with the oldest versions that pyproject.toml allows, in an environment of its own
	$(BIN)/python -m scripts.lowest > $(LOWEST)-requirements.txt
	$(PYTHON) -m venv --clear $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check -r $(LOWEST)-requirements.txt
	$(LOWEST)/bin/python -m pytest -n 2 tests

catalog: $(VENV)/.dev   ## generate data/models.json from its sources, and show what changed
	$(BIN)/python -m scripts.make_catalog

constraints: $(VENV)/.dev   ## the versions of this environment, for constraints.txt
	$(BIN)/python -m pip list --format=freeze --exclude-editable --exclude pip --exclude setuptools --exclude langchain-modelmgr > constraints.txt

clean:
	rm -rf $(VENV) $(LOWEST) $(LOWEST)-requirements.txt

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, PYTHON=... names one; this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing the package, LangChain and the local AWS into $(VENV). This takes about a minute, once."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[demo]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@ $(VENV)/.demo
