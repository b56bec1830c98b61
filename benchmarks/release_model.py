"""Saves a trained pipeline as a released model, in pokemon_ddpm/released: weights in float16, and no code.

python benchmarks/release_model.py outputs/released-32 pokemon_ddpm/released/pokemon-ddpm-32
"""

import argparse
from pathlib import Path

import torch

from pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.pipelines.hub_mixin import CONDITIONER_FILE, UNET_FILE, code_files

NO_CODE = """raise ImportError(
    "This folder is a part of the pokemon-ddpm package and has no code of its own. Load it with "
    "pokemon_ddpm.PokemonDDPMPipeline.from_pretrained, or publish it with its code: pokemon-ddpm push."
)
"""


def main() -> None:
    """Reads the command line and saves the model; a card in the destination stays as it is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", help="folder of a trained pipeline")
    parser.add_argument("destination", type=Path, help="folder of the released model")
    arguments = parser.parse_args()
    pipeline = PokemonDDPMPipeline.from_pretrained(arguments.source, dtype=torch.float16)
    pipeline.save_pretrained(arguments.destination)
    components = [arguments.destination / name for name in (CONDITIONER_FILE, UNET_FILE)]
    for path in code_files(arguments.destination) + components:  # the package has it
        path.unlink(missing_ok=True)
    (arguments.destination / "pipeline.py").write_text(NO_CODE, encoding="utf-8")  # what DiffusionPipeline would run


if __name__ == "__main__":
    main()
