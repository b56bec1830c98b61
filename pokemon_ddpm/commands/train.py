"""`pokemon-ddpm train`: the training script, where there is no clone."""

import runpy
import sys

import typer


def train(context: typer.Context) -> None:
    """Trains a model, as train_conditional.py does.

    For several processes: accelerate launch --multi_gpu --num_processes 4 -m pokemon_ddpm.cli train, then the flags.
    """
    sys.argv = ["pokemon-ddpm train", *context.args]
    runpy.run_module("train_conditional", run_name="__main__")
