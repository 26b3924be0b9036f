# The front door. Every target is what a person could type; `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
IPV    := $(BIN)/ipv-bench
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# What pretrain, finetune and report work on; the defaults are the sample data and the tiny preset.
PRESET ?= tiny
MODEL  ?= contextwm
DATA   ?= data/shards/ssv2-sample
TASK   ?= dmc/cheetah_run
SEED   ?= 0
RUN    ?=
RUNS   ?= runs
JOBS   ?= 2

DATA_NAME     = $(shell $(BIN)/python -c "from ipv_bench.shard_set import read_manifest as m; print('+'.join(m(d).name for d in '$(DATA)'.split()))")
PRETRAIN_RUN  = $(if $(RUN),$(RUN),runs/pretrain/$(DATA_NAME)/$(MODEL)/seed$(SEED))
FROM_NOTHING  = dreamerv2 drqv2 isodream
ALONE         = $(filter $(FROM_NOTHING),$(MODEL))
FINETUNE_INIT = $(if $(ALONE),none,$(PRETRAIN_RUN))

.PHONY: help install system-libraries demo test test-slow test-robosuite lint docs wheel prepare pretrain finetune report bench clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18
	@echo
	@echo "pretrain, finetune and report take PRESET= MODEL= DATA= TASK= SEED= RUN="
	@echo "(now: PRESET=$(PRESET) MODEL=$(MODEL) DATA=$(DATA) TASK=$(TASK) SEED=$(SEED))"

system-libraries:
	@$(PYTHON) ipv_bench/system_libraries.py

$(VENV)/.installed: pyproject.toml constraints.txt | system-libraries
	$(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade pip || echo "pip stays as it is: if it is old, finding out which files fit takes longer"
	$(PIP) --use-pep517 --editable '.[all,dev]'
	$(if $(filter 3.13,$(shell $(PYTHON) -c 'print("%d.%d" % __import__("sys").version_info[:2])')),$(PIP) --no-deps dm-control)
	@touch $@

install: $(VENV)/.installed ## make .venv with everything, GL libraries included (through apt when run as root)

demo: install ## the main job on the sample data: videos → shards → pre-training → agents → figures
	$(IPV) demo --out demo

test: install ## all tests, with the time per room
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile

test-slow: install ## the proofs that take minutes
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m slow --timeout=1800

test-robosuite: system-libraries ## robosuite's tests, in an environment of their own (.venv-robosuite)
	PYTHON=$(PYTHON) tests/robosuite.sh

lint: install ## formatting, lint, types, and the arrows between the packages
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: install ## the documentation site in site/, offline, strict on broken links: open site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo "site/index.html"

wheel: install ## dist/: sdist and wheel, checked; the wheel installs without this folder: pip install 'dist/FILE.whl[train,dmc]'
	rm -rf dist
	$(BIN)/python -m hatchling build --directory dist
	$(BIN)/python -m tests.distribution dist

data/raw/ssv2-sample: | $(VENV)/.installed
	$(IPV) sample $@ --dataset ssv2

data/shards/ssv2-sample/manifest.json: | data/raw/ssv2-sample
	$(IPV) prepare ssv2 --source data/raw/ssv2-sample --out data/shards/ssv2-sample

prepare: install data/shards/ssv2-sample/manifest.json ## shards of the sample data

pretrain: $(if $(ALONE),,install $(if $(filter data/shards/ssv2-sample,$(DATA)),data/shards/ssv2-sample/manifest.json)) ## pre-train MODEL on DATA
	$(if $(ALONE),@echo "$(MODEL) learns without pre-training: nothing to do before make finetune",$(IPV) pretrain --preset $(PRESET) --set method=$(MODEL) $(foreach d,$(DATA),--data $(d)) --seed $(SEED) $(if $(RUN),--run $(RUN)))

finetune: $(if $(ALONE),install,pretrain) ## fine-tune the pre-trained MODEL on TASK (dreamerv2, drqv2, isodream: without pre-training)
	$(IPV) finetune --preset $(PRESET) --set method=$(MODEL) --task $(TASK) --init $(FINETUNE_INIT) --seed $(SEED)

report: install ## figures, tables and one page from RUNS
	$(IPV) report $(RUNS)

bench: install ## the benchmarks, each in its quick form, and 20 random kills of a prepare job
	@for script in $$(grep -l -- '"--quick"' benchmarks/*.py); do echo "== $$script --quick"; $(BIN)/python $$script --quick || exit 1; done
	IPV_BENCH_KILLS=20 $(BIN)/python -m pytest -q tests/pipelines/jobs/test_resume.py -k kill_9

clean: ## remove .venv and caches; data, runs and reports stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
