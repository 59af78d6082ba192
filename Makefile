# Needs python3 (3.11-3.13) and make. Nothing is installed outside .venv.
PYTHON ?= python3
PY = .venv/bin/python

.PHONY: setup quickstart test check lock clean

setup: .venv/.ok

.venv/.ok: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "cvjax needs Python 3.11, 3.12 or 3.13; say which: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 2; }
	@$(PYTHON) -m venv .venv || { echo "python3 cannot make a virtual environment; on Debian: apt install python3-venv"; exit 2; }
	@echo "installing into .venv ..."
	@$(PY) -m pip install -q --disable-pip-version-check uv==0.13.9
	@.venv/bin/uv pip install -q --python $(PY) --compile-bytecode --require-hashes -r requirements.lock
	@.venv/bin/uv pip install -q --python $(PY) --no-deps -e .
	@touch $@

quickstart: .venv/.ok
	@$(PY) launch.py train --config=experiments/digits.py --workdir=runs/quickstart
	@$(PY) launch.py report --workdir=runs/quickstart

test: .venv/.ok
	$(PY) -m pytest

# Style and types; tests do not need it.
check: .venv/.ok
	.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy cvjax launch.py

# Writes requirements.lock anew from pyproject.toml, with the newest versions.
lock: .venv/.ok
	.venv/bin/uv pip compile -q --universal --upgrade --generate-hashes --no-header --extra dev pyproject.toml -o requirements.lock

clean:
	rm -rf .venv .cache
