"""Samples of a model, ranked: all, its best and its worst ones as data sets to fine-tune copies of it on.

    python -m benchmarks.rank_samples --data_dir path/to/pokemon-sprites --output outputs/ranked

The samples have the conditions of random training fronts, half of them the types alone. They are ranked among those of
their first type and kind of body, so that no body wins everywhere (of the body alone, where these are few), without
what size and colors explain of the score, so that the best are not the small ones. Instead, how much size and colors
are like those of real sprites of this type counts, and whether the type and the color that a sample was conditioned on
are recognized in it. Samples are kept in OUTPUT/samples, and the same command continues an interrupted run.
OUTPUT/all, best and worst are for `train_conditional.py --dataset_name`, see docs/sampling.md; a third of the best are
real fronts. Of a model of own classes they are folders of images, for `--train_data_dir`.
"""

import argparse
import csv
import functools
import itertools
import shutil
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import torch
from huggingface_hub.utils import tqdm
from PIL import Image

from benchmarks.train_ranker import looks
from pokemon_ddpm import RELEASED_MODEL
from pokemon_ddpm.data import SpriteTensors, load_tensors
from pokemon_ddpm.dataset_scripts.pokemon_sprites import FEATURES, load_sprites
from pokemon_ddpm.evaluation.features import RELEASED_FEATURES, SpriteFeatures, all_logits, load_features
from pokemon_ddpm.evaluation.images import random_rows, row_requests
from pokemon_ddpm.generation import GenerationSettings, SpriteRequest
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.postprocessing import MIN_FRAGMENT, PALETTE_SIZE
from pokemon_ddpm.preprocessing import as_tensor, on_white, over_white
from pokemon_ddpm.ranking import BODY, ranker_for
from pokemon_ddpm.studio import Job, generate_files
from pokemon_ddpm.vocabulary import ANY, CONDITIONS, SIZE_LIMITS, SIZES, TYPES, USUAL

SHARE = 0.2  # of the samples that are the best, and the worst
REAL = 0.5  # real fronts for each of the best samples, which then stay like real ones
CELL = 15  # samples of a type and a body, at least, that are ranked among themselves
# In standard deviations of the score: one of the likeness to real sprites, and a condition that is not recognized
LIKENESS, MISSED = 0.7, 1.5
HEIGHTS = (SIZE_LIMITS[0] - 1, *SIZE_LIMITS)  # of each size: the data set has heights


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Reads the flags."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=RELEASED_MODEL, help="folder or Hub name")
    parser.add_argument("--data_dir", required=True, help="the sprite archive, or own images")
    parser.add_argument("--features", type=Path, default=RELEASED_FEATURES, help="of benchmarks/fit_features.py")
    parser.add_argument(
        "--guidance_scales",
        type=float,
        nargs="+",
        default=[1.5, 2.5, 3.5],
        help="in turn: good and bad samples differ more among several; a student has 1 alone",
    )
    parser.add_argument("--num_samples", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=1_000_000, help="of the first sample; the others follow")
    parser.add_argument("--dtype", default="bfloat16", choices=("float32", "bfloat16"))
    parser.add_argument("--output", type=Path, required=True)
    return parser.parse_args(arguments)


def generate(
    options: argparse.Namespace, settings: GenerationSettings, pipeline: PokemonDDPMPipeline
) -> tuple[list[SpriteRequest], list[Path], SpriteTensors]:
    """The requests, the files of their processed samples, which exist then, and the real sprites."""
    data = load_tensors(options.data_dir, "train", pipeline.sample_shape[-1], config_name="front", mode="pixel")
    rows = random_rows(len(data), options.num_samples, options.seed)
    requests = row_requests(data, pipeline.conditioner, rows, options.seed)
    for i, request in enumerate(requests[1::2]):  # what these do not have is drawn
        usual = {name: value for name, value in request.attributes.items() if name in USUAL}
        requests[2 * i + 1] = replace(request, attributes=usual)
    folder, paths, count = options.output / "samples", [Path()] * len(requests), len(options.guidance_scales)
    folder.mkdir(parents=True, exist_ok=True)
    for i, scale in enumerate(options.guidance_scales):
        job = Job(pipeline, replace(settings, guidance_scale=scale), requests[i::count])
        list(tqdm(generate_files(job, folder), f"Generating at {scale}", len(job.requests)))
        paths[i::count] = [folder / job.file_name(request) for request in job.requests]
    return requests, paths, data


def missed(sprites: torch.Tensor, requests: list[SpriteRequest], features: SpriteFeatures) -> np.ndarray:
    """How many of a request's color, if it has one, and its first type are not recognized in its sample, int (N,)."""
    logits = all_logits(features, over_white(sprites))
    colors, types = features.vocabulary.get("color", ()), list(features.vocabulary["type"])
    first = torch.tensor([types.index(request.pokemon_type[0]) for request in requests])
    wrong = (logits["type"].gather(1, first[:, None])[:, 0] <= 0).numpy().astype(int)
    for i, k in enumerate(logits["color"].argmax(dim=1).tolist() if colors else ()):
        wrong[i] += requests[i].attributes.get("color", ANY) not in (ANY, colors[k])
    return wrong


def likeness_to_real(
    sprites: torch.Tensor, types: np.ndarray, real: torch.Tensor, real_types: np.ndarray
) -> np.ndarray:
    """How much size and colors are those of real sprites of the type, float (N,) with a standard deviation of 1.

    For each type it is the linear discriminant (Fisher 1936) of its samples and its real sprites, whose covariance is
    that of all types. Sprites are uint8, (N, 4, S, S) and (M, 4, S, S), types int (N,) and (M,); those in `types` are
    among `real_types`.
    """
    own, others = (np.stack(list(looks(images).values()), axis=1) for images in (sprites, real))
    within = np.cov(own.T) + np.cov(others.T) + 1e-9 * np.eye(own.shape[1])
    projected = np.empty(len(own))
    for number in set(types.tolist()):
        rows = types == number
        direction = np.linalg.solve(within, others[real_types == number].mean(axis=0) - own[rows].mean(axis=0))
        projected[rows] = (own[rows] - own[rows].mean(axis=0)) @ direction
    return projected / max(projected.std(), 1e-9)


def cells_of(types: np.ndarray, bodies: np.ndarray) -> np.ndarray:
    """Numbers, int (N,), of the cells of a type and a body; cells with fewer than `CELL` join those of their body."""
    cells = types * (bodies.max() + 1) + bodies
    kinds, counts = np.unique(cells, return_counts=True)
    return np.where(counts[np.searchsorted(kinds, cells)] < CELL, -1 - bodies, cells)


def ranks(
    scores: np.ndarray,
    sprites: torch.Tensor,
    requests: list[SpriteRequest],
    real: SpriteTensors,
    features: SpriteFeatures,
    bodies: np.ndarray,
) -> np.ndarray:
    """The share of the samples of its cell that a sample is better than, float (N,); see the module's docstring.

    Args:
        bodies: int (N,), the kind of body that each sample has.
    """
    columns = np.stack(list(looks(sprites).values()), axis=1)
    columns = np.concatenate([columns, columns**2, np.ones((len(columns), 1))], axis=1)
    rest = scores - columns @ np.linalg.lstsq(columns, scores, rcond=None)[0]
    types = np.array([real.type_names.index(request.pokemon_type[0]) for request in requests])
    likeness = likeness_to_real(sprites, types, real.images, real.labels["type"][:, 0].numpy())
    rest += rest.std() * (LIKENESS * likeness - MISSED * missed(sprites, requests, features))
    result = np.empty(len(scores))
    cells = cells_of(types, bodies)
    for number in set(cells.tolist()):
        rows = np.flatnonzero(cells == number)
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


def write_folder(folder: Path, chosen: list[tuple[SpriteRequest, Path]]) -> None:
    """Samples of own classes as a folder of images with their conditions in metadata.csv."""
    rows = []
    for request, path in chosen:
        shutil.copyfile(path, folder / path.name)
        values = {name: "" if value == ANY else value for name, value in request.attributes.items()}
        rows.append({"file_name": path.name, "label": request.pokemon_type[0], **values})
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)


def write_dataset(folder: Path, chosen: list[tuple[SpriteRequest, Path]], fronts: datasets.Dataset) -> None:
    """Samples with types as a data set with the columns of the sprites; the best ones have real fronts among them."""
    columns = ("image", "type1", "type2", "color", "shape", "game", "view", "finish", "form", "legendary", "height")
    features = datasets.Features({name: FEATURES[name] for name in columns})
    rows = [as_row(*pair) for pair in chosen]
    rows = [{column: row.get(column) for column in columns} for row in rows]
    table = datasets.Dataset.from_list(rows, features=features)
    if folder.name == "best":
        table = datasets.concatenate_datasets([table, fronts.select_columns([*columns]).cast(features)])
    table.to_parquet(folder / "train-00000-of-00001.parquet")


def main(arguments: list[str] | None = None) -> None:
    """Generates, ranks and writes the data sets."""
    options = parse(arguments)
    processed = {"transparent": True, "palette": PALETTE_SIZE, "min_fragment": MIN_FRAGMENT}
    settings = GenerationSettings(options.model, dtype=options.dtype, **processed)
    pipeline = settings.load()
    ranker = ranker_for(pipeline)
    if ranker is None:
        raise SystemExit(f"There is no ranker for the samples of {options.model}.")
    requests, paths, real = generate(options, settings, pipeline)
    sprites = as_tensor(Image.open(path) for path in paths)
    bodies = np.zeros(len(sprites), int)
    if BODY in ranker.probes:
        bodies = ranker.probes[BODY](ranker.all_features(sprites)).argmax(dim=1).numpy(force=True)
    order = ranks(ranker.score(sprites).numpy(), sprites, requests, real, load_features(options.features), bodies)
    write = write_folder
    if real.type_names == TYPES:
        fronts = load_sprites(options.data_dir, "front", split="train", exclude_faulty=True, deduplicate=True)
        some = fronts.select(random_rows(len(fronts), int(REAL * SHARE * len(requests)), options.seed).tolist())
        write = functools.partial(write_dataset, fronts=some)
    for name, chosen in {"all": order > 0, "worst": order < SHARE, "best": order >= 1 - SHARE}.items():
        rows = [*itertools.compress(zip(requests, paths, strict=True), chosen)]
        folder = options.output / name
        folder.mkdir(exist_ok=True)
        write(folder, rows)
        print(f"{len(rows):,} samples in {folder}")


if __name__ == "__main__":
    main()
