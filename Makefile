# make demo: the embedded study.   make test: the tests.   make check: style and types.
PYTHON ?= python3
UV_VERSION := 0.13.8
BIN := .venv/bin

.PHONY: demo test attacks test-slurm slurm check format docs screenshots constraints clean

demo: .venv/.complete
	$(BIN)/snakemake --cores all --resources gpu=1

# The longest files go first, so that both processes have work to the end.
test: .venv/.complete
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder \
		tests/workflow/test_reruns.py tests/workflow/test_faults.py tests/workflow/test_kills.py tests/workflow tests/attacks tests/report tests/trained tests/bench tests/unit

# All attacks, also those that take long, and many kills; `make test` has a choice of them.
attacks: .venv/.complete
	PURELENS_ATTACKS=all PURELENS_KILLS=20 $(BIN)/python -m pytest -n 2 --dist loadfile tests/attacks tests/workflow/test_kills.py

# The workflow on a SLURM of one node, which the test starts and stops itself; needs root, slurm-wlm and munge.
test-slurm: slurm
	$(BIN)/python -m pytest tests/workflow/test_slurm.py

# What a cluster needs besides; not installed by default because it slows every start of Snakemake down.
slurm: .venv/.complete
	UV_FIND_LINKS="$(PIP_FIND_LINKS)" $(BIN)/uv pip install --python $(BIN)/python -e '.[slurm]' -c envs/constraints.txt

check: .venv/.complete
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/mypy
	$(BIN)/python tests/compiled_rules.py

format: .venv/.complete
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile rules

# Writes config.schema.json and the table of keys in README.md from the configuration model.
docs: .venv/.complete
	PYTHONPATH=workflow_scripts $(BIN)/python -m purelens.config.reference

# The pictures of the explorer in README.md; needs Chromium and the results of the demo.
screenshots: .venv/.complete
	$(BIN)/python -m purelens.report.screenshot results/report/index.html docs/explorer.png
	$(BIN)/python -m purelens.report.screenshot results/report/index.html docs/explorer_neuron.png \
		--route '#scene_cnn/layer3/neuron/9' --height 1100 --dark

# uv does not read pip's settings: a folder of local wheels, if there is one, is handed on.
.venv/.complete: pyproject.toml envs/constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.12 ..." if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet uv==$(UV_VERSION)
	UV_FIND_LINKS="$(PIP_FIND_LINKS)" $(BIN)/uv pip install --compile-bytecode --python $(BIN)/python -e '.[dev]' -c envs/constraints.txt
	touch $@

# Pins every package anew, at the newest versions that go together.
constraints: .venv/.complete
	printf 'torch==2.13.0\ntorchvision==0.28.0\n' | $(BIN)/uv pip compile --universal --python-version 3.11 \
		--extra dev --extra slurm --no-header --no-annotate --upgrade -c - -o envs/constraints.txt pyproject.toml

clean:
	rm -rf .venv .snakemake .pytest_cache .mypy_cache .ruff_cache
