# Two commands do all the set-up: `make demo` runs the main job, `make test` passes the tests.
PYTHON ?= python3.11
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
PIP := $(PY) -m pip --disable-pip-version-check
SOURCES := $(wildcard nerfcomp tests benchmarks/*.py train.py compress.py)
# scripts of benchmarks/ that end within two minutes each
QUICK := $(wildcard benchmarks/quick_*.py)

.PHONY: venv test quick lint format demo bench wheel docs coverage clean distclean

venv: $(STAMP)

# torch first and by its exact version: an open range would let pip take the newest build with its CUDA packages.
# nncodec last and without its dependencies (see setup.cfg), built with the pinned tools already in the environment.
$(STAMP): setup.cfg pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) not found: install Python 3.11 or say make PYTHON=..."; exit 1; }
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PIP) install --constraint constraints.txt --upgrade pip
	$(PIP) install --constraint constraints.txt setuptools wheel pybind11
	$(PIP) install --constraint constraints.txt torch
	$(PIP) install --constraint constraints.txt --no-build-isolation --editable '.[dev]'
	$(PIP) install --constraint constraints.txt --no-build-isolation --no-deps nncodec
	$(PY) -c "import torch, lightning, numba, nncodec.nnc_core, nerfcomp"
	touch $@

# two processes with one thread each; all tests of a file in one of them, as they share what they have trained; in their
# order, as files of few tests are often the longest and would come last
test: $(STAMP)
	OMP_NUM_THREADS=1 $(PY) -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(ARGS)

# what trains nothing, starts no processes and takes no half a second: for use while working. pytest keeps what it has
# compiled, also where the environment asks Python not to: all tests of the project are half a minute of it
quick: $(STAMP)
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(PY) -m pytest --numprocesses 2 --dist loadfile \
		--no-loadscope-reorder -m 'not slow' $(ARGS)

lint: $(STAMP)
	$(PY) -m flake8 $(SOURCES)
	$(PY) -m isort --check-only --diff $(SOURCES)
	$(PY) -m black --check --quiet --diff $(SOURCES)
	$(PY) -m mypy $(SOURCES)

format: $(STAMP)
	$(PY) -m isort $(SOURCES)
	$(PY) -m black --quiet $(SOURCES)

demo: $(STAMP)
	$(PY) benchmarks/demo.py $(ARGS)

bench: $(STAMP)
	set -e; for script in $(QUICK); do echo "== $$script"; $(PY) $$script; done

# the wheel, installed into an empty environment, makes a scene, trains on it, encodes and looks into the file; the
# dependencies are those of .venv, which the empty environment sees behind its own packages
wheel: $(STAMP)
	rm -rf build/wheel && mkdir -p build/wheel
	$(PY) -m build --wheel --no-isolation --outdir build/wheel . >build/wheel/log || { cat build/wheel/log; exit 1; }
	$(PYTHON) -m venv build/wheel/venv
	build/wheel/venv/bin/python -m pip --disable-pip-version-check install --quiet --no-deps build/wheel/*.whl
	benchmarks/wheel.sh build/wheel $$($(PY) -c "import sysconfig; print(sysconfig.get_path('purelib'))")

docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --quiet --strict --site-dir build/site

coverage: $(STAMP)
	$(PY) -m coverage run -m pytest $(ARGS)
	$(PY) -m coverage report --skip-covered

clean:
	rm -rf build *.egg-info .mypy_cache .pytest_cache .hypothesis .coverage
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -print0 | xargs -0 rm -rf

distclean: clean
	rm -rf $(VENV)
