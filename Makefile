# `make demo` and `make test` need Python 3.10 or newer and make, nothing else.

PYTHON ?= python3
FLOOR_PYTHON ?= $(PYTHON)
FLOOR_SCRAPY = 2.16.0
VENV = .venv
FLOOR = .venv-floor
WHEEL = .venv-wheel
BENCH = .venv-bench
# curl and aria2c are the distribution's, and so should Python be: one that was compiled
# without its profile-guided optimization takes half as long again.
BENCH_PYTHON ?= $(shell /usr/bin/python3 -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && echo /usr/bin/python3 || echo $(PYTHON))
# Where `make bench` leaves its numbers, tables and chart.
RESULTS = build/bench
PIP = -m pip --disable-pip-version-check --quiet
# What is measured by the clock (slow) runs alone, and once more when the machine was
# busy; the summary says so. What is long runs beside the others, but once.
# The tests that crawl run in both modes; the others do not depend on the mode.
PARALLEL = -n 4 --dist worksteal -m "not slow"
BRIEF = -m "not slow and not long"
# Crawls of their own processes take most of the time: on the floor they run without a
# reactor, on the newest Scrapy with one; `make test` runs all.
HERE = -m "not slow and not process"
BRIEF_HERE = -m "not slow and not long and not process"
MEASURED = -m slow --reruns 1 -rR
# Of what is measured, that which depends on the mode.
STOPS = tests/test_stopping.py tests/test_resume_stopped.py tests/test_closing_full.py \
    tests/test_ends_late.py tests/test_budget.py
CRAWLS = --ignore=tests/rules --ignore=tests/bodies --ignore=tests/store \
    --ignore=tests/example --ignore=tests/benchmarks $(ONCE)
# What the disk keeps, what the docs show, what servers get wrong and what the models
# find does not depend on Scrapy's version.
ONCE = --ignore=tests/test_power_cut.py --ignore=tests/docs
FLOORED = $(ONCE) --ignore=tests/rules/test_resume_model.py --ignore=tests/benchmarks \
    --ignore-glob=tests/test_misbehaving_* --ignore-glob=tests/test_reasons_* \
    --ignore=tests/store/test_store_machine.py --ignore-glob=tests/store/test_store_*crash.py
PYTEST_REACTOR = -o addopts="-ra --strict-markers --strict-config" -p no:asyncio --reactor=asyncio

# Where it is set, each of the many crawls of the tests would compile all modules again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo clean-demo test check lint types docs wheel floor bench clean

help:
	@echo "make demo   run the example: a podcast site, downloaded in the background"
	@echo "make test   run the tests"
	@echo "make check  lint, types, docs, wheel, tests on Scrapy's floor and newest, in both modes"
	@echo "make bench  compare with curl, aria2c and FilesPipeline (needs them and nginx)"

demo: $(VENV)/demo
	@cd example_project && ../$(VENV)/bin/python -m scrapy crawl episodes

clean-demo:
	rm -rf example_project/demo-data

test: $(VENV)/test
	$(VENV)/bin/python -m pytest $(MEASURED)
	$(VENV)/bin/python -m pytest $(PARALLEL)

check: lint types docs wheel floor
	$(VENV)/bin/python -m pytest $(PARALLEL) $(BRIEF) $(PYTEST_REACTOR) $(CRAWLS)
	$(VENV)/bin/python -m pytest $(MEASURED) $(PYTEST_REACTOR) $(STOPS)
	$(VENV)/bin/python -m pytest $(MEASURED)
	$(VENV)/bin/python -m pytest $(PARALLEL) $(HERE)

lint: $(VENV)/lint
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(VENV)/lint
	$(VENV)/bin/mypy

docs: $(VENV)/docs
	$(VENV)/bin/python -m sphinx -W --keep-going -n -q docs docs/_build/html

wheel: $(VENV)/bin/python
	rm -rf build/wheel $(WHEEL)
	$(VENV)/bin/python $(PIP) wheel --no-deps --wheel-dir build/wheel .
	$(PYTHON) -m venv $(WHEEL)
	$(WHEEL)/bin/python $(PIP) install build/wheel/*.whl
	cd build/wheel && ../../$(WHEEL)/bin/python -W error::SyntaxWarning -c \
	"import scrapy_bgfetch as b, pathlib as p; [getattr(b, n) for n in b.__all__]; assert (p.Path(b.__file__).parent / 'py.typed').exists(); print('wheel:', b.__file__)"

floor: $(FLOOR)/test
	$(FLOOR)/bin/python -m pytest $(PARALLEL) $(BRIEF_HERE) $(PYTEST_REACTOR) $(CRAWLS) $(FLOORED)
	$(FLOOR)/bin/python -m pytest $(PARALLEL) $(BRIEF) $(FLOORED)

bench: $(BENCH)/bench
	mkdir -p $(RESULTS)
	$(BENCH)/bin/python -m benchmarks.least | tee $(RESULTS)/least.txt
	sleep 60  # until ext4 no longer avoids the numbers of the files that were deleted
	$(BENCH)/bin/python -m benchmarks.growth --json $(RESULTS)/growth.json --text $(RESULTS)/growth.txt
	$(BENCH)/bin/python -m benchmarks --json $(RESULTS)/results.json --text $(RESULTS)/results.txt
	$(BENCH)/bin/python -m benchmarks.chart $(RESULTS)/results.json $(RESULTS)/ratios.png

clean:
	rm -rf $(VENV) $(FLOOR) $(WHEEL) $(BENCH) build docs/_build

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "scrapy-bgfetch needs Python 3.10 or newer, $(PYTHON) is older: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python $(PIP) install --upgrade "pip>=25.1"

$(VENV)/demo: $(VENV)/bin/python pyproject.toml
	@echo "Installing scrapy-bgfetch into $(VENV) ..."
	$(VENV)/bin/python $(PIP) install --editable ".[bars]"
	@touch $@

$(VENV)/test: $(VENV)/demo
	$(VENV)/bin/python $(PIP) install --group test
	@touch $@

$(BENCH)/bench: pyproject.toml
	$(BENCH_PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python $(PIP) install --upgrade "pip>=25.1"
	$(BENCH)/bin/python $(PIP) install --editable . --group test --group bench
	@touch $@

$(VENV)/lint: $(VENV)/test
	$(VENV)/bin/python $(PIP) install --group lint
	@touch $@

$(VENV)/docs: $(VENV)/test
	$(VENV)/bin/python $(PIP) install --group docs
	@touch $@

$(FLOOR)/test: pyproject.toml
	$(FLOOR_PYTHON) -m venv $(FLOOR)
	$(FLOOR)/bin/python $(PIP) install --upgrade "pip>=25.1"
	$(FLOOR)/bin/python $(PIP) install --editable . --group test "scrapy==$(FLOOR_SCRAPY)" httpx
	@touch $@
