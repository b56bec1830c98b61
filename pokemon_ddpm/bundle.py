"""Makes a trained pipeline a model that the package carries: `python -m pokemon_ddpm.bundle FROM TO`."""

import sys
from pathlib import Path

import torch

from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.pipelines.saving import CODE_FILES


def bundle(source: Path, destination: Path) -> None:
    """Saves a pipeline's weights in float16 and its configurations, without the code, which the package has.

    Args:
        source: Folder of a trained pipeline.
        destination: Folder to write; a model card in it stays as it is.
    """
    PokemonDDPMPipeline.from_pretrained(source, dtype=torch.float16).save_pretrained(destination)
    for code in CODE_FILES:
        (destination / code).unlink()


if __name__ == "__main__":
    bundle(Path(sys.argv[1]), Path(sys.argv[2]))
