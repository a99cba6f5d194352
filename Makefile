# make train: environment, requirements, then the main job (draw a fleet, train, evaluate, export).
# make app:   environment, requirements, then the application in the browser; ARGS="bundle=<folder>" for its settings.
# make test:  environment, requirements, then the tests.
# make lint:  style and types.   make audit: known faults of the pinned packages.   make bench: the short benchmarks.
# make docs:  the documentation as a site, in site/.   make wheel: the package as a file, in dist/.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
WORKERS ?= 3
BENCH ?= runs/bench

.PHONY: train app test lint audit bench docs wheel clean

train: $(VENV)/.installed
	$(BIN)/python train.py $(ARGS)

app: $(VENV)/.installed
	$(BIN)/reid app $(ARGS)

test: $(VENV)/.installed
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

audit: $(VENV)/.installed
	$(BIN)/uv tool run pip-audit --disable-pip --no-deps --requirement requirements.txt

# Without the rivals' clones, ten minutes on two cores; benchmarks/README.md has the commands of the published figures.
bench: $(VENV)/.installed
	$(BIN)/python benchmarks/loader.py count=256 turns=3 output=$(BENCH)
	$(BIN)/python benchmarks/shards.py size=tiny count=96 turns=3 output=$(BENCH)
	$(BIN)/python benchmarks/step.py turns=2 output=$(BENCH)
	$(BIN)/python benchmarks/image_to_image.py queries=400 turns=1 output=$(BENCH)
	$(BIN)/python benchmarks/reranking.py queries=400 gallery=4000 output=$(BENCH)
	$(BIN)/python benchmarks/track_to_track.py queries=100 turns=1 output=$(BENCH)
	$(BIN)/python benchmarks/vector_stores.py vectors=20000 stores=[exact,lance] folder=$(BENCH)/stores output=$(BENCH)
	$(BIN)/python benchmarks/drills/damaged_inputs.py count=200 output=$(BENCH)

docs: $(VENV)/.installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

wheel: $(VENV)/.installed
	$(BIN)/python -m hatchling build --target wheel

clean:
	rm -rf $(VENV)

# uv installs the stack several times faster than pip; pip does the work where uv cannot. Bytecode is written now: without it
# every first import costs twice. The project itself comes last, from this folder, so that `reid` is a command.
$(VENV)/.installed: requirements.txt pyproject.toml
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or newer is needed; this is ' + sys.version.split()[0] + '. Name another: make PYTHON=python3.12')"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --compile-bytecode --python $(BIN)/python -r requirements.txt || $(BIN)/python -m pip install -r requirements.txt
	$(BIN)/python -m pip install --quiet --force-reinstall --no-deps `grep '^opencv-python-headless' requirements.txt`
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@
