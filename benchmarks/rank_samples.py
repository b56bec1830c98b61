"""Samples of a model, ranked: its best and its worst ones as two data sets to fine-tune copies of it on.

    python benchmarks/rank_samples.py --data_dir path/to/pokemon-sprites --output outputs/ranked

The samples have the conditions of random training fronts, half of them the types alone. They are ranked among those of
their first type, without what size and colors explain of the score, so that the best are not the small ones. Instead,
how much size and colors are like those of real sprites of this type counts, and whether the type and the color that a
sample was conditioned on are recognized in it. Samples are kept in OUTPUT/samples, and the same command continues an
interrupted run. OUTPUT/best and OUTPUT/worst are for `train_conditional.py --dataset_name`, see docs/sampling.md.
"""

import argparse
import itertools
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import torch
from PIL import Image
from tqdm.auto import tqdm

from pokemon_ddpm import RELEASED_FAST_MODEL, RELEASED_MODEL
from pokemon_ddpm.data import SpriteTensors, load_tensors
from pokemon_ddpm.dataset_scripts.pokemon_sprites import FEATURES
from pokemon_ddpm.evaluation.features import all_logits, load_features
from pokemon_ddpm.evaluation.images import random_rows, row_requests
from pokemon_ddpm.generation import GenerationSettings, SpriteRequest, generate_files
from pokemon_ddpm.postprocessing import MIN_FRAGMENT, PALETTE_SIZE
from pokemon_ddpm.preprocessing import as_tensor, on_white, over_white
from pokemon_ddpm.ranking import load_ranker, looks
from pokemon_ddpm.vocabulary import ANY, CONDITIONS, SIZE_LIMITS, SIZES, TYPES

GUIDANCE_SCALES = (1.5, 2.5, 3.5)  # in turn: good and bad samples differ more among several
SHARE = 0.2  # of the samples that are the best, and the worst
# In standard deviations of the score: one of the likeness to real sprites, and a condition that is not recognized
LIKENESS, MISSED = 0.7, 1.5
HEIGHTS = (SIZE_LIMITS[0] - 1, *SIZE_LIMITS)  # of each size: the data set has heights


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Reads the flags."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=RELEASED_MODEL, help="folder or Hub name")
    parser.add_argument("--data_dir", required=True, help="the sprite archive")
    parser.add_argument("--num_samples", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=1_000_000, help="of the first sample; the others follow")
    parser.add_argument("--dtype", default="bfloat16", choices=("float32", "bfloat16"))
    parser.add_argument("--output", type=Path, required=True)
    return parser.parse_args(arguments)


def generate(options: argparse.Namespace) -> tuple[list[SpriteRequest], list[Path], SpriteTensors]:
    """The requests, the files of their processed samples, which exist then, and the real sprites."""
    settings = GenerationSettings(
        options.model,
        dtype=options.dtype,
        transparent=True,
        palette=PALETTE_SIZE,
        min_fragment=MIN_FRAGMENT,
    )
    pipeline = settings.load()
    data = load_tensors(options.data_dir, "train", pipeline.sample_shape[-1], config_name="front", mode="pixel")
    rows = random_rows(len(data), options.num_samples, options.seed)
    requests = row_requests(data, pipeline.conditioner, rows, options.seed)
    others = dict.fromkeys(set(pipeline.conditioner.vocabulary) - {"type", "view", "finish", "relation"}, ANY)
    requests = [
        replace(each, attributes={**each.attributes, **others}) if i % 2 else each for i, each in enumerate(requests)
    ]
    folder, paths = options.output / "samples", {}
    folder.mkdir(parents=True, exist_ok=True)
    for i, scale in enumerate(GUIDANCE_SCALES):
        of_scale = requests[i :: len(GUIDANCE_SCALES)]
        files = generate_files(pipeline, replace(settings, guidance_scale=scale), of_scale, folder)
        for path in tqdm(files, f"Generating at {scale}", len(of_scale)):
            paths[path.name] = path
    return requests, [paths[each.file_name] for each in requests], data


def missed(sprites: torch.Tensor, requests: list[SpriteRequest]) -> np.ndarray:
    """How many of a request's color, if it has one, and its first type are not recognized in its sample, int (N,)."""
    features = load_features()
    logits = all_logits(features, over_white(sprites))
    colors, types = features.vocabulary["color"], list(features.vocabulary["type"])
    color = [each.attributes.get("color", ANY) for each in requests]
    wrong = [
        name not in (ANY, colors[k]) for name, k in zip(color, logits["color"].argmax(dim=1).tolist(), strict=True)
    ]
    first = torch.tensor([types.index(each.pokemon_type[0]) for each in requests])
    return np.array(wrong, dtype=int) + (logits["type"].gather(1, first[:, None])[:, 0] <= 0).numpy()


def likeness_to_real(
    sprites: torch.Tensor, types: np.ndarray, real: torch.Tensor, real_types: np.ndarray
) -> np.ndarray:
    """How much size and colors are those of real sprites of the type, float (N,) with a standard deviation of 1.

    For each type it is the linear discriminant (Fisher 1936) of its samples and its real sprites, whose covariance is
    that of all types. Sprites are uint8, (N, 4, S, S) and (M, 4, S, S), types int (N,) and (M,); those in `types` are
    among `real_types`.
    """
    own, others = (np.stack(list(looks(each).values()), axis=1) for each in (sprites, real))
    within = np.cov(own.T) + np.cov(others.T) + 1e-9 * np.eye(own.shape[1])
    projected = np.empty(len(own))
    for number in set(types.tolist()):
        rows = types == number
        direction = np.linalg.solve(within, others[real_types == number].mean(axis=0) - own[rows].mean(axis=0))
        projected[rows] = (own[rows] - own[rows].mean(axis=0)) @ direction
    return projected / max(projected.std(), 1e-9)


def ranks(scores: np.ndarray, sprites: torch.Tensor, requests: list[SpriteRequest], real: SpriteTensors) -> np.ndarray:
    """The share of the samples of its type that a sample is better than, float (N,); see the module's docstring."""
    columns = np.stack(list(looks(sprites).values()), axis=1)
    columns = np.concatenate([columns, columns**2, np.ones((len(columns), 1))], axis=1)
    rest = scores - columns @ np.linalg.lstsq(columns, scores, rcond=None)[0]
    types = np.array([TYPES.index(each.pokemon_type[0]) for each in requests])
    likeness = likeness_to_real(sprites, types, real.images, real.labels["type"][:, 0].numpy())
    rest += rest.std() * (LIKENESS * likeness - MISSED * missed(sprites, requests))
    result = np.empty(len(scores))
    for number in set(types.tolist()):
        rows = np.flatnonzero(types == number)
        result[rows[rest[rows].argsort()]] = (np.arange(len(rows)) + 0.5) / len(rows)
    return result


def as_row(request: SpriteRequest, path: Path) -> dict[str, object]:
    """A sample as a row of the data set of sprites; conditions that it does not have are missing."""
    values = {name: value for name, value in request.attributes.items() if value != ANY and name in CONDITIONS}
    if "size" in values:
        values["height"] = HEIGHTS[SIZES.index(values.pop("size"))]
    if "legendary" in values:
        values["legendary"] = values["legendary"] == "yes"
    first, second = request.pokemon_type
    return {"image": on_white(Image.open(path)), "type1": first, "type2": second, **values}


def main(arguments: list[str] | None = None) -> None:
    """Generates, ranks and writes both data sets."""
    options = parse(arguments)
    requests, paths, real = generate(options)
    sprites = as_tensor(Image.open(path) for path in paths)
    order = ranks(load_ranker(RELEASED_FAST_MODEL).score(sprites).numpy(), sprites, requests, real)
    columns = ("image", "type1", "type2", "color", "shape", "game", "view", "finish", "form", "legendary", "height")
    features = datasets.Features({name: FEATURES[name] for name in columns})
    for name, chosen in {"worst": order < SHARE, "best": order >= 1 - SHARE}.items():
        rows = [as_row(*each) for each in itertools.compress(zip(requests, paths, strict=True), chosen)]
        rows = [{column: row.get(column) for column in columns} for row in rows]
        folder = options.output / name
        folder.mkdir(exist_ok=True)
        datasets.Dataset.from_list(rows, features=features).to_parquet(folder / "train-00000-of-00001.parquet")
        print(f"{len(rows):,} samples in {folder}")


if __name__ == "__main__":
    main()
