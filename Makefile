# Two commands are all the set-up: `make demo` and `make test`. See README.md.
SHELL := /bin/bash
VENV  := .venv
BIN   := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test soak check bench lab drills lab-mutants containerlab clean lock venv
.DELETE_ON_ERROR:

demo: venv
	@scripts/needs demo
	@$(BIN)/anycast-agent demo $(ARGS)

# Two at a time, where that is safe: tests/conftest.py says where.
test: venv
	@scripts/needs test
	$(BIN)/python -m pytest -n 2 $(ARGS)

# Random faults against the real parts, for an hour. As root.
soak: venv
	@scripts/needs test
	$(BIN)/python -m tests.faults.driver $(ARGS)

check: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: venv
	@scripts/needs test
	$(BIN)/python -m tests.bench $(ARGS)

# A datacenter loses power: two sites with real routers, in network namespaces. As root.
lab: venv
	@scripts/needs lab
	@scripts/anycast-lab drill site-power --live --report build/lab $(ARGS)

# Every drill, in every variant: half an hour. build/drills/index.html shows every run that was kept.
drills: venv
	@scripts/needs lab
	@scripts/anycast-lab drill --all --keep build/drills $(ARGS)

# Breaks the lab in every known way, and expects a drill to catch each: half an hour.
lab-mutants: venv
	@scripts/needs lab
	@$(BIN)/python -m tests.lab.mutants $(ARGS)

# The lab as containerlab deploys it, from deploy to destroy: ten minutes. As root, with containerlab and a Docker engine.
containerlab: venv
	@scripts/needs lab
	@$(BIN)/python -m tests.lab.containers $(ARGS)

venv: $(STAMP)

# The stamp is written last: a set-up that was interrupted is done again.
$(STAMP): requirements.lock pyproject.toml scripts/venv
	@scripts/venv $(VENV)
	@touch $@

# Needs uv on the PATH; the lock holds for Python 3.11 to 3.13.
lock:
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-emit-find-links \
	  --extra dev pyproject.toml -o requirements.lock
	echo setuptools | uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
	  --no-emit-find-links --no-annotate --constraint requirements.lock pyproject.toml - -o containerlab/edge/requirements.lock

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
