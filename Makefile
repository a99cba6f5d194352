# make train: environment, requirements, then the main job (draw a fleet, train, evaluate, export).
# make app:   environment, requirements, then the application in the browser; ARGS="bundle=<folder>" for its settings.
# make test:  environment, requirements, then the tests.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
WORKERS ?= 2

.PHONY: train app test lint clean

train: $(VENV)/.installed
	$(BIN)/python train.py $(ARGS)

app: $(VENV)/.installed
	$(BIN)/streamlit run reid_lightning/app/main.py -- $(ARGS)

test: $(VENV)/.installed
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf $(VENV)

# uv installs the stack several times faster than pip; pip does the work where uv cannot.
$(VENV)/.installed: requirements.txt
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or newer is needed; this is ' + sys.version.split()[0] + '. Name another: make PYTHON=python3.12')"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --python $(BIN)/python -r requirements.txt || $(BIN)/python -m pip install -r requirements.txt
	$(BIN)/python -m pip install --quiet --force-reinstall --no-deps `grep '^opencv-python-headless' requirements.txt`
	@touch $@
