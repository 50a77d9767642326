# make app, make test: each does all of its own set-up.

PYTHON ?= python3
PORT   ?= 8501
RUN    ?= mine
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
# Two processes, each with one thread for its arithmetic; a file's tests stay together, they share a server.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help app test train bench soak clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

app: $(READY)  ## open the dashboard at 127.0.0.1:8501 (PORT=... for another)
	@$(BIN)/python -m dashboard --port $(PORT)

train: $(READY)  ## train a run called mine (RUN=... for another) with the shipped run's recipe
	$(BIN)/python -m vae train --preset large --run $(RUN)

test: $(READY)  ## lint, types, and every test, the browser's among them
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@if sh tests/e2e/ensure_browser.sh; then \
	  echo "$(PYTEST) -m 'not long'"; $(PYTEST) -m "not long"; \
	else \
	  $(PYTEST) -m "not browser and not long"; status=$$?; sh tests/e2e/ensure_browser.sh --say; exit $$status; \
	fi

bench: $(READY)  ## figures of this machine, each beside its baseline: 5 minutes (FULL=1: hours)
	$(BIN)/python tests/benchmarks $(if $(FULL),--full)

soak: $(READY)  ## long and brutal: the long tests; trainings killed at random moments; stops timed; fifty visitors at once
	$(BIN)/python -m pytest -q -m long
	$(BIN)/python tests/soak/kill_training.py
	$(BIN)/python tests/soak/kill_dashboard.py
	$(BIN)/python tests/soak/stop_jobs.py
	$(BIN)/python tests/soak/fifty_visitors.py

clean:  ## remove what the set-up and the tools made (not data, not runs)
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis dashboard/static

# NOTE: touched last, so a set-up that was cut is done again, and one that is done starts at once.
$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed; '$(PYTHON)' is $$($(PYTHON) -V 2>&1). Name another: make PYTHON=python3.12 ..." >&2; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "Python's venv module is missing. On Debian or Ubuntu: apt-get install python3-venv" >&2; exit 2; }
	@echo "Setting up $(VENV): downloading the packages in requirements.txt, once. On Linux, PyTorch with CUDA makes that"
	@echo "about 3 GB (7 GB on disk); a CPU build of PyTorch, as on macOS, about 0.5 GB (2 GB on disk)."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -r requirements.txt
	@$(BIN)/python -m pip install --disable-pip-version-check -q --no-deps --no-build-isolation -e .
	@touch $@
