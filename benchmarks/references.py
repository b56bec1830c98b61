"""Backs, shinies and next stages of real held-out fronts beside the real ones, and what their colors and features say.

    python benchmarks/references.py --data_dir path/to/pokemon-sprites --output outputs/references

They are recolored as in `pokemon-ddpm creature`. OUTPUT/references.json has the results, and OUTPUT/sets.png fronts,
shinies, backs and real backs of some forms.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm.auto import tqdm

from pokemon_ddpm import RELEASED_MODEL, PokemonDDPMPipeline
from pokemon_ddpm.data import SpriteTensors, load_tensors
from pokemon_ddpm.evaluation.creatures import BACK, FRONT, NORMAL, Pairs, more_foreground, over_lines, pairs_of
from pokemon_ddpm.evaluation.features import SpriteFeatures, extract_features, load_features
from pokemon_ddpm.evaluation.images import default_output, row_requests
from pokemon_ddpm.evaluation.metrics import Estimate
from pokemon_ddpm.evaluation.report import estimate, write_references
from pokemon_ddpm.generation import GenerationSettings, generate
from pokemon_ddpm.likeness import color_change, lab, opaque
from pokemon_ddpm.palette_transport import share_palette, swap_palette
from pokemon_ddpm.postprocessing import limit_chroma, reduce_palette
from pokemon_ddpm.preprocessing import as_arrays, as_tensor, over_white
from pokemon_ddpm.vocabulary import FINISHES

SHINY = FINISHES.index("shiny")


def nearer(queries: torch.Tensor, gallery: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """How many rows of the gallery, features (M, D), are nearer to a query (K, D) than its own row, int64 (K,)."""
    distances = torch.cdist(queries.double(), gallery.double())
    return (distances < distances.gather(1, places[:, None])).sum(dim=1)


def mean_color(images: torch.Tensor) -> torch.Tensor:
    """Mean OKLab color of the opaque pixels, float64 (K, 3), of RGBA sprites, uint8 (K, 4, S, S)."""
    weights = opaque(images)[..., None].double()
    return (torch.from_numpy(lab(images)) * weights).sum(dim=(1, 2)) / weights.sum(dim=(1, 2))


def measure(
    pipeline: PokemonDDPMPipeline,
    data: SpriteTensors,
    network: SpriteFeatures,
    seed: int,
    image_guidance_scale: float | None = None,
) -> tuple[dict[str, dict[str, Estimate]], list[torch.Tensor]]:
    """Generates backs, shinies and next stages of the fronts of a split, and compares them with the real ones.

    Args:
        data: In RGBA, with the columns of the sprites.
        network: For features.

    Returns:
        Question -> row -> `Estimate`, in which n is the number of pairs and m that of lines; and the images of the
        sets, uint8 (K, 4, S, S): fronts, shinies, backs and real backs, of the forms that have all of them.

    Raises:
        ValueError: If the split has no such pairs.
    """
    backs, shinies = (pairs_of(data, "same", view, finish) for view, finish in ((BACK, NORMAL), (FRONT, SHINY)))
    stages = pairs_of(data, "next", FRONT, NORMAL)
    both = sorted(set(backs.references.tolist()) & set(shinies.references.tolist()))
    if not (both and len(stages.targets)):
        raise ValueError("The images need backs, shinies and next stages of the same forms.")

    def made(pairs: Pairs, relation: str, is_shiny: bool = False) -> torch.Tensor:
        """Sprites with the conditions of the targets, uint8 (K, 4, S, S), recolored as in `creature`."""
        count, references = len(pairs.targets), data.images[pairs.references]
        requests = row_requests(data, pipeline.conditioner, pairs.targets, range(seed, seed + count))
        given = {"references": references.float() / 127.5 - 1, "image_guidance_scale": image_guidance_scale}
        samples = generate(pipeline, requests, **(given if relation == "same" else {}))
        images = default_output(as_tensor(tqdm(samples, "Generating", count)))
        return _recolored(images, references, is_shiny)

    made_backs, made_shinies = made(backs, "same"), made(shinies, "same", is_shiny=True)
    numbers = {
        **_back(data, backs, made_backs, network),
        "shiny": _shiny(data, shinies, made_shinies),
        "next stage": _next(data, stages, made(stages, "next"), network),
    }
    ones, others = ([pairs.references.tolist().index(row) for row in both] for pairs in (backs, shinies))
    sets = [made_shinies[others], made_backs[ones]]
    return numbers, [data.images[both], *sets, data.images[backs.targets[ones]]]


def _recolored(images: torch.Tensor, references: torch.Tensor, is_shiny: bool) -> torch.Tensor:
    """With the colors of the references or, as a shiny, with their drawings; both are RGBA sprites."""
    sprites, others = (map(Image.fromarray, as_arrays(each)) for each in (images, references))
    pairs = zip(sprites, map(reduce_palette, others), strict=True)
    if is_shiny:
        return as_tensor(limit_chroma(swap_palette(other, other, sprite)) for sprite, other in pairs)
    return as_tensor(share_palette(*pair) for pair in pairs)


def _back(
    data: SpriteTensors, backs: Pairs, made: torch.Tensor, network: SpriteFeatures
) -> dict[str, dict[str, Estimate]]:
    """How often the real back of the right form is the nearest of all forms, or among the five nearest."""
    lines, forms = (data.labels[name][backs.targets] for name in ("line", "index"))
    gallery, all_forms = _features(network, data.images[backs.targets]), torch.arange(len(forms))
    fronts = pairs_of(data, "same", FRONT, NORMAL, other_game=True).targets
    rows, places = (data.labels["index"][fronts][:, None] == forms).nonzero(as_tuple=True)
    queries = {
        "generated": (made, all_forms),
        "real front of another game": (data.images[fronts[rows]], places),
    }
    found: dict[str, dict[str, Estimate]] = {"right back nearest": {}, "right back among the five nearest": {}}
    for name, (images, places) in queries.items():
        others = nearer(_features(network, images), gallery, places)
        for rows, most in zip(found.values(), (0, 4), strict=True):
            rows[name] = over_lines(others <= most, lines[places])
            rows["chance"] = Estimate((most + 1) / len(forms), np.nan, np.nan, len(forms), len(forms))
    return found


def _shiny(data: SpriteTensors, shinies: Pairs, made: torch.Tensor) -> dict[str, Estimate]:
    references, real = (data.images[rows] for rows in shinies)
    lines, found = data.labels["line"][shinies.targets], {}
    for name, images in {"generated": made, "real": real}.items():
        found[f"{name}: change of color"] = over_lines(color_change(references, images), lines)
    return found


def _next(data: SpriteTensors, stages: Pairs, made: torch.Tensor, network: SpriteFeatures) -> dict[str, Estimate]:
    references, real = (data.images[rows] for rows in stages)
    lines, before, found = data.labels["line"][stages.targets], _features(network, references), {}
    for name, images in {"generated": made, "real": real}.items():
        distance = torch.cdist(mean_color(images), mean_color(references))
        color = (distance.diagonal()[:, None] <= distance).double().mean(dim=1)
        rank = nearer(_features(network, images), before, torch.arange(len(real))) / max(1, len(real) - 1)
        for title, values in (
            ("more foreground", more_foreground(references, images)),
            ("color nearer than that of other lines", color),
            ("nearer to its own line than to others", 1 - rank),
        ):
            found[f"{name}: {title}"] = over_lines(values, lines)
    return found


def _features(network: SpriteFeatures, images: torch.Tensor) -> torch.Tensor:
    return extract_features(network, over_white(images))


def main(arguments: list[str] | None = None) -> None:
    """Reads the flags, generates and measures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", required=True, help="the sprite archive")
    parser.add_argument("--model", default=RELEASED_MODEL, help="folder or Hub name of a model with references")
    parser.add_argument("--split", default="validation", choices=("validation", "test"))
    parser.add_argument("--image_guidance_scale", type=float, help="by default the model's own")
    parser.add_argument("--seed", type=int, default=0, help="of the first sprite")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args(arguments)
    pipeline = GenerationSettings(options.model).load()
    if "relation" not in pipeline.conditioner.vocabulary:
        parser.error(f"{options.model} was not trained with reference sprites.")
    data = load_tensors(options.data_dir, options.split, pipeline.sample_shape[1], config_name="all")
    network = load_features()
    about = {"features": network.name, **{name: str(value) for name, value in vars(options).items()}}
    numbers, sets = measure(pipeline, data, network, options.seed, options.image_guidance_scale)
    options.output.mkdir(parents=True, exist_ok=True)
    for question, rows in write_references(options.output, "references", numbers, sets, about, options.seed).items():
        for name, found in rows.items():
            print(f"{question}, {name}: {estimate(found)} ({found['n']} pairs)")


if __name__ == "__main__":
    main()
