# make quickstart   everything from nothing to a checked bundle for a Raspberry Pi 5
# make test         everything from nothing to lint, types and tests
#
# Both set up .venv first, with the versions in constraints.txt; the second time that takes no time.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
  $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && command -v $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt

.PHONY: help quickstart test models bench clean distclean

help:
	@sed -n 's/^# \{0,1\}//p' Makefile | head -4

quickstart: $(VENV)/ready
	$(BIN)/edgedistill build --target rpi5

test: $(VENV)/ready-for-tests
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

# Rebuild the embedded teacher and student from seeds alone: under two hours on 2 CPU cores.
models: $(VENV)/ready
	$(BIN)/python -m recipes.quickstart.make

# Speed and size, printed; run it on an idle machine.
bench: $(VENV)/ready-for-tests
	for script in tests/bench/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

clean:
	rm -rf runs dist build *.egg-info .pytest_cache .mypy_cache .ruff_cache

distclean: clean
	rm -rf $(VENV)

# Stamps: written last, so an interrupted installation is done again.
$(VENV)/ready: pyproject.toml constraints.txt $(VENV)/made
	@echo "installing into $(VENV); llama-cpp-python is compiled where no wheel is at hand, about 8 minutes on 2 cores"
	$(INSTALL) --editable .
	touch $@

$(VENV)/ready-for-tests: $(VENV)/ready
	$(INSTALL) --editable '.[dev]'
	touch $@

$(VENV)/made:
	@test -n '$(PYTHON)' || { echo 'error: Python 3.11 or later is needed; name it with `make PYTHON=…`' >&2; exit 2; }
	$(PYTHON) -m venv --clear $(VENV)
	touch $@
