# The two commands of the README: `make leaderboard` and `make test`. Both set up .venv first.
PYTHON ?= python3
WORKERS ?= 2
STORE ?= results
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: leaderboard test test-all lint format bench clean

leaderboard: $(STAMP)
	$(BIN)/nasbench-rec leaderboard --store $(STORE) --workers $(WORKERS)

test: $(STAMP)
	$(BIN)/pytest -n $(WORKERS)

test-all: $(STAMP)
	$(BIN)/pytest -m "slow or not slow" -n $(WORKERS)

# Types are checked on the package as it is installed: five folders, one package.
lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	rm -rf build/typed && mkdir -p build/typed
	cp -R nasbench_rec build/typed/nasbench_rec
	cp -R methods datasets studies reports build/typed/nasbench_rec/
	cd build/typed && $(CURDIR)/$(BIN)/mypy --config-file $(CURDIR)/pyproject.toml -p nasbench_rec

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)
	$(BIN)/python benchmarks/throughput.py --out docs/benchmarks.md $(if $(PEER_PYTHON),--peer-python $(PEER_PYTHON))

# The pinned torch of constraints.txt keeps the CUDA packages out.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $(STAMP)

clean:
	rm -rf $(VENV) build dist *.egg-info
