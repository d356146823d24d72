# The two commands of the README: `make demo` and `make test`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: venv demo test lint docs clean

venv: $(STAMP)

$(STAMP): setup.py $(wildcard requirements/*.txt)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --upgrade pip setuptools wheel
	$(BIN)/python -m pip install torch torchvision
	$(BIN)/python -m pip install -r requirements/mminstall.txt
	$(BIN)/python -m pip install -e '.[tests]'
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/python tools/demo.py

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m flake8 ovseg_mm
	$(BIN)/vulture

docs: $(STAMP)
	$(BIN)/python -m mkdocs build

clean:
	rm -rf $(VENV) build site dist *.egg-info work_dirs/demo
