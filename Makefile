# The front door. Needs python3.11 with venv, make and a C compiler; everything else goes into .venv.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
LOCKS  := config/lock
READY  := $(VENV)/.dev $(VENV)/.warm

COMPILE := $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes \
  --no-emit-index-url --no-header --no-annotate
INSTALL := $(BIN)/uv pip install -q --python $(BIN)/python

# One native thread each: numeric libraries that all grab every core are slower, not faster.
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1
export DO_NOT_TRACK ?= 1
export PREFECT_SERVER_ANALYTICS_ENABLED ?= false

.PHONY: demo up down test test-fast lint format lock clean help install install-dev \
  bench-ingest bench-panel bench-layout bench-forecast bench-detect bench-replay bench-scale bench-models bench-report bench-start eval-forecast eval-detect \
  eval-prescale image-test docs notebooks
.DEFAULT_GOAL := help

help:            ## Show what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/ —/'

demo: $(VENV)/.warm      ## Simulate a cluster and run the whole pipeline on it; ends by naming the report
	$(BIN)/foretide demo

up: $(VENV)/.warm        ## Start a Prefect server, MLflow, a worker and all deployments here; prints where
	$(BIN)/python -m pipelines.local_stack up $(ARGS)

down: $(VENV)/.runtime   ## End what `make up` started
	$(BIN)/python -m pipelines.local_stack down

test: $(READY)             ## Every test, the end-to-end ones on real servers included
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-fast: $(READY)        ## The tests that start no server
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not e2e"

lint: $(VENV)/.dev       ## ruff, pyright (strict) and the layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

format: $(VENV)/.dev     ## Format and fix what can be fixed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

install: $(VENV)/.warm      ## Only the environment
install-dev: $(READY)      ## The environment with the development tools

lock: $(BIN)/uv          ## Resolve the dependencies anew (pins and hashes, no addresses)
	echo 'uv>=0.8' | $(COMPILE) -o $(LOCKS)/uv.txt -
	$(COMPILE) -o $(LOCKS)/runtime.txt pyproject.toml --group build
	$(COMPILE) -o $(LOCKS)/dev.txt pyproject.toml --group build --group dev -c $(LOCKS)/runtime.txt
	$(COMPILE) -o $(LOCKS)/bench.txt pyproject.toml --group build --group dev --group bench \
	  -c $(LOCKS)/dev.txt

notebooks: $(VENV)/.dev   ## Run the notebooks and keep them with their outputs
	$(BIN)/python tests/kit/notebook_rendering.py

bench-ingest: $(VENV)/.bench   ## Pull 8 M samples from a real server, beside a raw read and prometheus-api-client
	$(BIN)/python tests/bench/ingest.py

bench-panel: $(READY)      ## The store's files to a Panel, beside a raw Parquet read
	$(BIN)/python tests/bench/panel.py

bench-layout: $(READY)     ## Encodings, compression and row groups of the samples' files
	$(BIN)/python tests/bench/layout.py

bench-forecast: $(VENV)/.bench ## Prophet's fit beside stock and prophet-batch; the weekly training of 10,000 workloads
	$(BIN)/python tests/bench/forecast.py $(ARGS)

bench-replay: $(READY)     ## A week of 1,000 workloads at 15 s steps, every policy of the replay
	$(BIN)/python tests/bench/replay.py $(ARGS)

bench-report: $(READY)     ## The report of 1,000 workloads: size, and how soon it is open in a browser
	$(BIN)/python tests/bench/report.py $(ARGS)

bench-start: $(READY)      ## How soon foretide --help answers
	$(BIN)/python tests/bench/start.py

bench-scale: $(READY)      ## Ingest to plan of 1,000 to 50,000 workloads: time, memory, task runs
	$(BIN)/python tests/bench/scale.py $(ARGS)

bench-models: $(READY)     ## One workload of a registered version of 10,000, loaded
	$(BIN)/python tests/bench/registry.py $(ARGS)

bench-detect: $(READY)     ## Isolation forests beside scikit-learn; a tick of 10,000 workloads; diagnose
	$(BIN)/python tests/bench/detect.py $(ARGS)

DATA ?= ../shared/data

eval-forecast: $(READY)    ## The forecasts held against last week on the samples files of DATA
	$(BIN)/python tests/eval/forecast.py $(DATA) $(ARGS)

eval-detect: $(READY)      ## Anomalies, leaks, causes and incidents held against labels on the files of DATA
	$(BIN)/python tests/eval/detect.py $(DATA) $(ARGS)

eval-prescale: $(READY)    ## Pre-scaling held beside the HPA alone, one-line rules and an oracle; Monday mornings
	$(BIN)/python tests/eval/prescale.py $(DATA) $(ARGS)

docs: $(VENV)/.dev       ## The figures and the generated pages of docs/
	$(BIN)/python docs/make/reference.py
	$(BIN)/python docs/make/cli.py
	$(BIN)/python docs/make/figures.py

IMAGE_ROOT ?= /var/tmp/foretide-image

image-test: $(READY)       ## The image's scripts in a bare Debian, as nobody on a read-only root; needs root, minutes
	FORETIDE_IMAGE_ROOT=$(IMAGE_ROOT) $(BIN)/python -m pytest tests/e2e/test_image.py -s -p no:xdist

clean:           ## Remove the environment and what was made
	rm -rf $(VENV) foretide-demo .pytest_cache .ruff_cache

$(BIN)/python:
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && apt-get install -y -qq $(notdir $(PYTHON))-venv; \
	  else \
	    echo "$(PYTHON) has no venv module: apt-get install $(notdir $(PYTHON))-venv" >&2; exit 1; \
	  fi; }
	$(PYTHON) -m venv $(VENV)

$(BIN)/uv: $(LOCKS)/uv.txt | $(BIN)/python
	$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r $(LOCKS)/uv.txt
	@touch $@

$(VENV)/.runtime: $(LOCKS)/runtime.txt pyproject.toml | $(BIN)/uv
	$(INSTALL) --require-hashes -r $(LOCKS)/runtime.txt
	$(INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.warm: $(VENV)/.runtime
	@echo "compiling the numeric kernels, once (about a minute)"
	$(BIN)/python -m pipelines.warm
	@touch $@

$(VENV)/.bench: $(LOCKS)/bench.txt $(READY)
	$(INSTALL) --require-hashes -r $(LOCKS)/bench.txt
	@touch $@

$(VENV)/.dev: $(LOCKS)/dev.txt $(VENV)/.runtime
	$(INSTALL) --require-hashes -r $(LOCKS)/dev.txt
	@touch $@
