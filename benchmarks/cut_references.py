"""Removes the input for references from a model of version 1: without a reference its images stay as they are.

python benchmarks/cut_references.py path/to/model path/to/new
"""

import argparse
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from pokemon_ddpm.models import PLAIN_WEIGHTS
from pokemon_ddpm.pipelines.hub_mixin import INDEX_FILE, WEIGHTS_KEY

RELATION = "relation_embedding"


def cut_unet(config: dict[str, Any], weights: dict[str, torch.Tensor]) -> None:
    """Removes the input channels that were zero without a reference, which `pixel_unshuffle` has put last."""
    config.pop("reference_channels")
    config.pop("mirrors_references", None)
    kept = config["in_channels"] * config["patch_size"] ** 2
    weights["conv_in.weight"] = weights["conv_in.weight"][:, :kept].clone()


def cut_conditioner(config: dict[str, Any], weights: dict[str, torch.Tensor]) -> None:
    """Adds the embedding of no relation, which was part of each sum, to the two slots of the types."""
    config.pop("_defaults", None)  # of earlier versions
    if config["vocabulary"].pop("relation", None):
        weights.update({name: values.float() for name, values in weights.items()})  # half would round the sum
        weights["tables.type_embedding.weight"] += weights.pop(f"tables.{RELATION}.weight")[-1] / 2


def main() -> None:
    """Reads the command line and writes the new folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="folder of the model")
    parser.add_argument("destination", type=Path, help="new folder")
    arguments = parser.parse_args()
    shutil.copytree(arguments.source, arguments.destination)
    for name, cut in (("unet", cut_unet), ("conditioner", cut_conditioner)):
        folder = arguments.destination / name
        config, weights = json.loads((folder / "config.json").read_text()), load_file(folder / PLAIN_WEIGHTS)
        cut(config, weights)
        save_file(weights, folder / PLAIN_WEIGHTS, metadata={"format": "pt"})
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    index = arguments.destination / INDEX_FILE
    values = json.loads(index.read_text())
    for name in ("image_guidance_scale", "reference_guidance_scale"):
        values.pop(name, None)
    files = {name: arguments.destination / name for name in values.get(WEIGHTS_KEY, {})}
    values[WEIGHTS_KEY] = {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in files.items()}
    index.write_text(json.dumps(values, indent=2) + "\n")


if __name__ == "__main__":
    main()
