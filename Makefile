# Two commands are enough on a fresh machine with Python 3.11 and make: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test selftest faults kills mutants fuzz aa bench lint format lock wheel gallery clean
.DEFAULT_GOAL := demo

$(READY): requirements/dev.lock pyproject.toml hatch_build.py src/fanlab/load/bulk.c
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "fanlab needs Python 3.11 or later; set PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/dev.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(READY)  ## three nodes, one Redis, one crash, one report
	$(BIN)/fanlab demo

test: $(READY)  ## every test that this machine can run; the others say why not
	$(BIN)/python -m pytest $(ARGS)

selftest: $(READY)  ## plant faults whose truth is known, and see every checker find them; QUICK=1: some minutes
	$(BIN)/python tests/selftest/selftest.py $(if $(QUICK),--quick) $(ARGS)

faults: $(READY)  ## each kind of fault, ten times: does it bite and heal, and when; ARGS="--backends process docker"
	$(BIN)/python tests/faults/faults.py $(ARGS)

kills: $(READY)  ## end fanlab in every way, at random instants: nothing is left; ARGS="--backends process docker"
	$(BIN)/python tests/kills/kills.py $(ARGS)

mutants: $(READY)  ## change the ledger and the analysis in thousands of ways, and see a test notice each; an hour and a half or so
	$(BIN)/python tests/mutation/mutants.py $(ARGS)

fuzz: $(READY)  ## hostile inputs by the thousand: scenario files, WebSocket peers, secrets, names; a quarter of an hour
	$(BIN)/python tests/fuzz/fuzz.py $(ARGS)

bench: $(READY)  ## what receiving costs fanlab beside k6, Locust, Artillery and a floor in C; an hour; ARGS="--rounds 1"
	$(BIN)/python benchmarks/bench/bench.py $(ARGS)
	$(BIN)/python benchmarks/bench/nodecost.py
	$(BIN)/python benchmarks/bench/promises.py

aa: $(READY)  ## do comparisons cry wolf on this machine: 154 short runs, 300 comparisons resampled; half an hour or so
	$(BIN)/python benchmarks/compare_aa.py $(ARGS)

lint: $(READY)  ## style, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)  ## rewrite what ruff can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(READY)  ## renew the lock files: versions and hashes, no addresses
	$(PYTHON) -m pip install --quiet uv
	uv pip compile pyproject.toml --group dev --all-extras --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-header --no-annotate --quiet --upgrade --output-file requirements/dev.lock
	uv pip compile pyproject.toml --extra redis-server --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-header --no-annotate --quiet --constraint requirements/dev.lock --output-file requirements/runtime.lock
	uv pip compile nodes/websockets/requirements.in --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-header --no-annotate --quiet --constraint requirements/runtime.lock \
	  --output-file nodes/websockets/requirements.lock
	uv pip compile nodes/picows/requirements.in --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-header --no-annotate --quiet --constraint requirements/runtime.lock \
	  --output-file nodes/picows/requirements.lock

wheel: $(READY)  ## dist/*.whl, with scenarios and nodes inside
	$(BIN)/python -m build --wheel --no-isolation --outdir dist .

gallery: $(READY)  ## renew the sample report that the README shows
	$(BIN)/fanlab demo
	mkdir -p reports/gallery/quickstart
	cp reports/runs/quickstart/latest/report.html reports/runs/quickstart/latest/charts/heatmap.png reports/gallery/quickstart/

clean:
	rm -rf $(VENV) dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
