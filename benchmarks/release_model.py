"""Saves a trained pipeline as a released model, in pokemon_ddpm/released: weights in float16, and no code.

python benchmarks/release_model.py outputs/released-64 pokemon_ddpm/released/pokemon-ddpm-64

Of several pipelines it saves a sum of the weights: OUTPUTS=0.6 counts 0.6 times. Without factors it is the mean
(Wortsman et al. 2022, *Model soups*). What two trainings from the same start have learned adds up, too (Ilharco et al.
2023, *Editing Models with Task Arithmetic*): start + a (one - start) + b (other - start). Network and conditions are
those of the first one. A model that is replaced keeps its scheduler and defaults, so the new weights must be for the
same noise schedule and, where it is a student, steps.

`--extrapolate color=2` moves the embeddings of the colors away from that of "any". This is guidance by the color
without a further pass of the network.
"""

import argparse
import re
from pathlib import Path

import torch

from pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.pipelines.hub_mixin import CODE_FILES, INDEX_FILE

NO_CODE = """raise ImportError(
    "This folder is a part of the pokemon-ddpm package and has no code of its own. Load it with "
    "pokemon_ddpm.PokemonDDPMPipeline.from_pretrained, or publish it with its code: pokemon-ddpm push."
)
"""


def factor(text: str) -> tuple[str, float | None]:
    """A name and a factor, as "color=2", or None."""
    name, _, number = text.partition("=")
    return name, float(number) if number else None


def weighted_sum(states: list[dict[str, torch.Tensor]], factors: list[float]) -> dict[str, torch.Tensor]:
    """The sum of weights times factors, float32; earlier models know fewer augmentations, which are columns."""
    total = {name: torch.zeros_like(weight, dtype=torch.float32) for name, weight in states[0].items()}
    for state, times in zip(states, factors, strict=True):
        for name, weight in state.items():
            total[name][tuple(map(slice, weight.shape))] += times * weight
    return total


@torch.no_grad()
def extrapolate(table: torch.Tensor, scale: float) -> None:
    """Moves the rows of a table of embeddings away from the last one, that of "any", in place."""
    table.copy_(torch.lerp(table[-1:].clone(), table, scale))


def main() -> None:
    """Reads the command line and saves the model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sources", nargs="+", type=factor, help="folders of trained pipelines, each with =FACTOR")
    parser.add_argument("destination", type=Path, help="folder of the released model")
    parser.add_argument("--extrapolate", type=factor, default=("", None), metavar="ATTRIBUTE=FACTOR")
    arguments = parser.parse_args()
    attribute, scale = arguments.extrapolate
    index = arguments.destination / INDEX_FILE
    pipelines = [PokemonDDPMPipeline.from_pretrained(source) for source, _ in arguments.sources]
    factors = [1 / len(pipelines) if times is None else times for _, times in arguments.sources]
    pipeline = PokemonDDPMPipeline.from_pretrained(arguments.destination) if index.exists() else pipelines[0]
    pipeline.register_modules(unet=pipelines[0].unet, conditioner=pipelines[0].conditioner)
    for name in ("unet", "conditioner"):
        network = getattr(pipeline, name)
        network.load_state_dict(weighted_sum([getattr(source, name).state_dict() for source in pipelines], factors))
        if name == "conditioner" and attribute:
            extrapolate(network.tables[f"{attribute}_embedding"].weight, scale)
        network.half()
    pipeline.save_pretrained(arguments.destination)
    for path in [path for pattern in CODE_FILES for path in arguments.destination.glob(pattern)]:  # the package has it
        path.unlink()
    text = re.sub("__[0-9a-f]{8}", "", index.read_text(encoding="utf-8"))  # digests of the code
    index.write_text(text.replace("pipeline_pokemon_ddpm", "pipeline"), encoding="utf-8")
    (arguments.destination / "pipeline.py").write_text(NO_CODE, encoding="utf-8")  # what DiffusionPipeline would run


if __name__ == "__main__":
    main()
