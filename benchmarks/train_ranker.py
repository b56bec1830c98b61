"""Fits the ranker to verdicts of readers, and measures it on sprites that it has not seen.

    python benchmarks/train_ranker.py
    python benchmarks/train_ranker.py --model wesnoth-ddpm-64-fast --verdicts benchmarks/verdicts/units

It is written into the folder of the model, whose probes (fit_probes.py) come before. benchmarks/verdicts has the
sprites, 50 in a row of sprites-1.png and those after it, and verdicts.csv with the number of the sprite, how it was
made, and what a reader said; blind_reading.py says how. Nothing but the linear layer is fitted: a few thousand
verdicts are too few for a network (fine-tuned for five epochs, it ranked no better).
"""

import argparse
from pathlib import Path

import numpy as np
import pandas
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from scipy.stats import spearmanr

from pokemon_ddpm import RELEASED_FAST_MODEL, PokemonDDPMPipeline
from pokemon_ddpm.models import locate_model, weights_digest
from pokemon_ddpm.ranking import (
    BATCH_SIZE,
    BODY,
    PROBES_FILE,
    RANKER_FILE,
    VERDICTS,
    WEIGHTS,
    SpriteRanker,
    looks,
)
from pokemon_ddpm.vocabulary import BODIES

FOLDER = Path(__file__).parent / "verdicts"
SIDE = 64
PENALTY = 3000.0
FOLDS = 8
USABLE = 3


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Reads the flags."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=RELEASED_FAST_MODEL, help="whose network sees the sprites")
    parser.add_argument("--verdicts", type=Path, default=FOLDER, help="folder of sprites-*.png and verdicts.csv")
    return parser.parse_args(arguments)


def read(folder: Path) -> tuple[torch.Tensor, pandas.DataFrame]:
    """The sprites, uint8 (N, 4, S, S), and their mean verdicts: `VERDICTS`, usable, readings and seed.

    Readers differ by half a point in what they call good, so each reader's mean quality is moved to that of all.
    """
    table = pandas.read_csv(folder / "verdicts.csv", keep_default_na=False)
    table["usable"], table["known"] = table.quality >= USABLE, table.known != ""
    of_reader, of_reading = (table.groupby(name).quality.transform("mean") for name in ("reader", "reading"))
    table["quality"] += of_reading - of_reader
    means = table.groupby("sprite").agg({**dict.fromkeys((*VERDICTS, "usable"), "mean"), "seed": "first"})
    means["readings"] = table.groupby("sprite").size()
    sheets = [np.array(Image.open(path).convert("RGBA")) for path in sorted(folder.glob("sprites-*.png"))]
    sprites = torch.from_numpy(np.concatenate(sheets)).unfold(0, SIDE, SIDE).unfold(1, SIDE, SIDE).flatten(0, 1)
    return sprites[means.index].contiguous(), means


def ridge(features: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights (K, F) and biases (K,) of a ridge regression on standardized features, float64 (N, F), of (N, K)."""
    mean, std = features.mean(dim=0), features.std(dim=0) + 1e-6
    scaled, center = (features - mean) / std, (weights @ targets) / weights.sum()
    root = weights.sqrt()[:, None]
    gram = (root * scaled) @ (root * scaled).T + PENALTY * torch.eye(len(scaled), dtype=scaled.dtype)
    solution = ((root * scaled).T @ torch.linalg.solve(gram, root * (targets - center))).T / std
    return solution, center - solution @ mean


@torch.no_grad()
def main(arguments: list[str] | None = None) -> None:
    """Fits, measures and saves the ranker."""
    options = parse(arguments)
    sprites, means = read(options.verdicts)
    folder = Path(locate_model(options.model))
    pipeline = PokemonDDPMPipeline.from_pretrained(folder)
    ranker = SpriteRanker(pipeline)
    features = torch.cat([ranker.features(part) for part in sprites.split(BATCH_SIZE)]).double()
    targets = torch.from_numpy(means[list(VERDICTS)].to_numpy(float))
    appearance = looks(sprites)
    if (folder / PROBES_FILE).is_file():
        probes = {name: each.double() for name, each in load_file(folder / PROBES_FILE).items()}
        bodies = (features @ probes[f"{BODY}.weight"].T + probes[f"{BODY}.bias"]).softmax(dim=1)
        appearance |= dict(zip(BODIES, bodies.T.numpy(), strict=True))
    # A regression makes more of size, color and body than readers do, and the best samples would all be bipeds. So the
    # verdicts are fitted without what these explain.
    design = torch.from_numpy(np.stack([each - each.mean() for each in appearance.values()], axis=1))
    targets = targets - design @ torch.linalg.lstsq(design, targets - targets.mean(dim=0)).solution
    weights = torch.from_numpy(1 / (1 + 1 / means.readings.to_numpy(float)))  # a verdict is half chance
    # A seed is the same start noise in every setting, so all its sprites are in one fold.
    seeds = np.random.default_rng(0).permutation(means.seed.unique())
    fold = torch.tensor(means.seed.map({seed: i % FOLDS for i, seed in enumerate(seeds)}).tolist())
    predicted = torch.zeros_like(targets)
    for number in range(FOLDS):
        others, own = fold != number, fold == number
        solution, bias = ridge(features[others], targets[others], weights[others])
        predicted[own] = features[own] @ solution.T + bias
    scores = (predicted @ torch.tensor(WEIGHTS, dtype=predicted.dtype)).numpy()
    best = np.argsort(-scores)[: len(scores) // FOLDS]
    print(f"{len(means):,} sprites, {int(means.readings.sum()):,} verdicts; seeds that the ranker has not seen:")
    print(f"rank correlation with the readers' quality {spearmanr(scores, means.quality).statistic:.2f}")
    for name in (*VERDICTS, "usable"):
        print(f"{name}: all {means[name].mean():.2f}, best eighth {means[name].iloc[best].mean():.2f}")
    for name, values in appearance.items():
        of_readers = spearmanr(means.quality, values).statistic
        print(f"{name}: rank correlation {spearmanr(scores, values).statistic:.2f}, of the readers {of_readers:.2f}")
    solution, bias = ridge(features, targets, weights)
    ranker.head.weight.copy_(solution), ranker.head.bias.copy_(bias)
    metadata = {"weights": weights_digest(pipeline.unet, pipeline.conditioner)}
    save_file(ranker.head.state_dict(), folder / RANKER_FILE, metadata)


if __name__ == "__main__":
    main()
