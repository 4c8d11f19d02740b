# make demo   train a sparse network beside its dense twin and write a page that compares them
# make test   run the tests
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: campaign demo test lint install clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt CMakeLists.txt $(wildcard src/gossamer/kernels/cpu/*)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "gossamer needs Python 3.11 or newer; choose one with: make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "1 of 3: a virtual environment in $(VENV)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade pip
	@echo "2 of 3: what the build needs (scikit-build-core, nanobind, cmake, ninja)"
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt "scikit-build-core>=0.10" "nanobind>=2.2" "cmake>=3.18" ninja
	@echo "3 of 3: PyTorch and the other packages, a few hundred megabytes, then the C++ kernels: some minutes"
	@$(BIN)/python -m pip install --constraint constraints.txt --no-build-isolation --editable ".[dev]"
	@touch $@

demo: $(INSTALLED)
	$(BIN)/gossamer train digits --seeds 3 --out runs/demo --overwrite

# Two processes share the processors: threads that wait in a loop would take the time of those that work.
test: $(INSTALLED)
	OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -n 2

campaign: $(INSTALLED)
	$(BIN)/python -m tests.campaign

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

clean:
	rm -rf build runs $(VENV)
