# Everything runs in .venv, which is created when first needed. PYTHON selects the interpreter (3.11 or newer).
PYTHON ?= python3
BIN := .venv/bin
DEMO := outputs/demo
SHEET := --type all --num-images 4 --panels 2
# One thread a process; the tests of a file stay together, since they share fixtures.
WORKERS := --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
# Two minutes are a few hundred updates: enough for the types only, with a short warm-up.
DEMO_FLAGS := --max_train_seconds 120 --train_batch_size 16 --learning_rate 1e-3 --lr_warmup_steps 50 --conditions type

.PHONY: help demo test test-slow lint format clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-10s %s\n", $$1, $$2}' Makefile

.venv/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

demo: .venv/installed ## generates all 18 types, then trains for two minutes on the starter sprites and samples those
	mkdir -p $(DEMO)
	$(BIN)/pokemon-ddpm generate $(SHEET) --output $(DEMO)/released.png
	$(BIN)/accelerate launch train_conditional.py $(DEMO_FLAGS) --output_dir $(DEMO)/starter --overwrite_output_dir
	$(BIN)/pokemon-ddpm generate --model $(DEMO)/starter $(SHEET) --guidance-scale 6 --output $(DEMO)/starter.png
	@echo "See $(DEMO)/released.png (the released model) and $(DEMO)/starter.png (after two minutes of training on the"
	@echo "types only: their colors and rough shapes)."

test: .venv/installed ## the test suite; with POKEMON_SPRITES_DIR=path/to/pokemon-sprites also on the real sprites
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --quiet $(WORKERS)

test-slow: .venv/installed ## the tests that take minutes
	$(BIN)/python -m pytest --quiet -m slow

lint: .venv/installed ## ruff, mypy, and the schemas of the workflows and the citation
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff

format: .venv/installed ## ruff's automatic fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## removes .venv and the output of the demo
	rm -rf .venv $(DEMO)
