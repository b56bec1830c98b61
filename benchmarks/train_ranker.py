"""Fits the ranker to verdicts of readers, and measures it on sprites that it has not seen.

    python benchmarks/train_ranker.py
    python benchmarks/train_ranker.py --model wesnoth-ddpm-64-fast --verdicts benchmarks/verdicts/units

It is written into the folder of the model, whose probes (fit_probes.py) come before. benchmarks/verdicts has the
sprites, 50 in a row of sprites-1.webp and those after it, and verdicts.csv with the number of the sprite, how it was
made, and what a reader said; blind_reading.py says how. backs-*.webp and backs.csv have the same of backs: whether one
is seen from behind, and from 1 to 5 whether it is the closed body of its front's creature, and its quality. Nothing
but the linear layer is fitted: a few thousand verdicts are too few for a network (fine-tuned for five epochs, it
ranked no better).
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
from pokemon_ddpm.pipelines.sprite_preprocessing import oklab
from pokemon_ddpm.preprocessing import as_arrays
from pokemon_ddpm.ranking import BATCH_SIZE, BODY, PROBES_FILE, RANKER_FILE, VERDICTS, WEIGHTS, SpriteRanker
from pokemon_ddpm.vocabulary import BODIES

FOLDER = Path(__file__).parent / "verdicts"
OF_FRONTS = VERDICTS[:3]
SIDE = 64
PENALTY = 3000.0
FOLDS = 8
USABLE = 3
DARK = 0.3  # a lightness


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Reads the flags."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=RELEASED_FAST_MODEL, help="whose network sees the sprites")
    parser.add_argument("--verdicts", type=Path, default=FOLDER, help="folder of sprites-*.webp and verdicts.csv")
    return parser.parse_args(arguments)


def looks(sprites: torch.Tensor) -> dict[str, np.ndarray]:
    """What a ranker should not simply like: size, darkness, colorfulness, redness and yellowness, each float64 (N,).

    They are the share of the image that is opaque, and of these pixels the share with a lightness below `DARK`, the
    mean chroma and the means of a and b, in OKLab. Sprites are uint8 (N, 4, S, S).
    """
    pixels = as_arrays(sprites)
    opaque, (lightness, a, b) = pixels[..., 3] > 0, np.moveaxis(oklab(pixels[..., :3]), -1, 0)
    size = opaque.mean(axis=(1, 2))
    inside = {"darkness": lightness < DARK, "colorfulness": np.hypot(a, b), "redness": a, "yellowness": b}
    means = {name: (opaque * values).mean(axis=(1, 2)) / np.maximum(size, 1e-6) for name, values in inside.items()}
    return {"size": size, **means}


def read(folder: Path) -> tuple[torch.Tensor, pandas.DataFrame]:
    """The sprites, uint8 (N, 4, S, S), and their mean verdicts: `OF_FRONTS`, usable, readings and seed.

    Readers differ by half a point in what they call good, so each reader's mean quality is moved to that of all.
    """
    table = pandas.read_csv(folder / "verdicts.csv", keep_default_na=False)
    table["usable"], table["known"] = table.quality >= USABLE, table.known != ""
    of_reader, of_reading = (table.groupby(name).quality.transform("mean") for name in ("reader", "reading"))
    table["quality"] += of_reading - of_reader
    means = table.groupby("sprite").agg({**dict.fromkeys((*OF_FRONTS, "usable"), "mean"), "seed": "first"})
    means["readings"] = table.groupby("sprite").size()
    return read_sheets(folder, "sprites")[means.index].contiguous(), means


def read_sheets(folder: Path, name: str) -> torch.Tensor:
    """The sprites of NAME-1.webp and those after it, uint8 (N, 4, S, S)."""
    sheets = [np.array(Image.open(path).convert("RGBA")) for path in sorted(folder.glob(f"{name}-*.webp"))]
    return torch.from_numpy(np.concatenate(sheets)).unfold(0, SIDE, SIDE).unfold(1, SIDE, SIDE).flatten(0, 1)


def read_backs(folder: Path) -> tuple[torch.Tensor, pandas.DataFrame]:
    """The backs, uint8 (N, 4, S, S), and the mean of what readers said: the verdict, and the front each belongs to.

    The verdict is the mean of "same" and quality, and a point less for what is not seen from behind.
    """
    table = pandas.read_csv(folder / "backs.csv").dropna(subset=["sprite"])  # without the real ones
    table["back"] = (table.same + table.quality) / 2 + table.behind - 1
    means = table.groupby("sprite").agg({"back": "mean", "front": "first"})
    return read_sheets(folder, "backs")[means.index.astype(int)].contiguous(), means


def ridge(features: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights (K, F) and biases (K,) of a ridge regression on standardized features, float64 (N, F), of (N, K)."""
    mean, std = features.mean(dim=0), features.std(dim=0) + 1e-6
    scaled, center = (features - mean) / std, (weights @ targets) / weights.sum()
    root = weights.sqrt()[:, None]
    gram = (root * scaled) @ (root * scaled).T + PENALTY * torch.eye(len(scaled), dtype=scaled.dtype)
    solution = ((root * scaled).T @ torch.linalg.solve(gram, root * (targets - center))).T / std
    return solution, center - solution @ mean


def unseen(
    features: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, groups: pandas.Series
) -> torch.Tensor:
    """Predictions, float64 (N, K), for groups of images that the regression has not seen.

    A seed is the same start noise in every setting, so all its sprites are one group.
    """
    numbers = np.random.default_rng(0).permutation(groups.unique())
    fold = torch.tensor(groups.map({number: i % FOLDS for i, number in enumerate(numbers)}).tolist())
    predicted = torch.zeros_like(targets)
    for number in range(FOLDS):
        others, own = fold != number, fold == number
        solution, bias = ridge(features[others], targets[others], weights[others])
        predicted[own] = features[own] @ solution.T + bias
    return predicted


def features_of(ranker: SpriteRanker, sprites: torch.Tensor) -> torch.Tensor:
    """The features of sprites, float64 (N, F)."""
    return torch.cat([ranker.features(part) for part in sprites.split(BATCH_SIZE)]).double()


def backs_as_fronts(solution: torch.Tensor, bias: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights (1, F) and bias (1,) of the score of a front without its face, of those of `OF_FRONTS`."""
    counted = torch.tensor([[WEIGHTS[0], 0.0, WEIGHTS[2]]], dtype=solution.dtype)
    return counted @ solution, counted @ bias


def fit_backs(ranker: SpriteRanker, folder: Path) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Weights (1, F) and bias (1,) of the verdict on backs; None without any."""
    if not (folder / "backs.csv").is_file():
        return None
    sprites, means = read_backs(folder)
    features, targets = features_of(ranker, sprites), torch.tensor(means[["back"]].to_numpy(float))
    weights = torch.ones(len(targets), dtype=targets.dtype)
    correlation = spearmanr(unseen(features, targets, weights, means.front)[:, 0], means.back).statistic
    print(f"{len(means):,} backs: rank correlation with the readers' verdict {correlation:.2f}")
    return ridge(features, targets, weights)


@torch.no_grad()
def main(arguments: list[str] | None = None) -> None:
    """Fits, measures and saves the ranker."""
    options = parse(arguments)
    sprites, means = read(options.verdicts)
    folder = Path(locate_model(options.model))
    pipeline = PokemonDDPMPipeline.from_pretrained(folder)
    ranker = SpriteRanker(pipeline)
    features = features_of(ranker, sprites)
    targets = torch.from_numpy(means[list(OF_FRONTS)].to_numpy(float))
    appearance = looks(sprites)
    if (folder / PROBES_FILE).is_file():
        probes = {name: weight.double() for name, weight in load_file(folder / PROBES_FILE).items()}
        bodies = (features @ probes[f"{BODY}.weight"].T + probes[f"{BODY}.bias"]).softmax(dim=1)
        appearance |= dict(zip(BODIES, bodies.T.numpy(), strict=True))
    # A regression makes more of size, color and body than readers do, and the best samples would all be bipeds. So the
    # verdicts are fitted without what these explain.
    design = torch.from_numpy(np.stack([values - values.mean() for values in appearance.values()], axis=1))
    # Bodies sum to 1, and the default driver's answer for such a design is another one from call to call.
    explained = torch.linalg.lstsq(design, targets - targets.mean(dim=0), rcond=1e-9, driver="gelsd")
    targets = targets - design @ explained.solution
    weights = torch.from_numpy(1 / (1 + 1 / means.readings.to_numpy(float)))  # a verdict is half chance
    predicted = unseen(features, targets, weights, means.seed)
    scores = (predicted @ torch.tensor(WEIGHTS[: len(OF_FRONTS)], dtype=predicted.dtype)).numpy()
    best = np.argsort(-scores)[: len(scores) // FOLDS]
    print(f"{len(means):,} sprites, {int(means.readings.sum()):,} verdicts; seeds that the ranker has not seen:")
    print(f"rank correlation with the readers' quality {spearmanr(scores, means.quality).statistic:.2f}")
    for name in (*OF_FRONTS, "usable"):
        print(f"{name}: all {means[name].mean():.2f}, best eighth {means[name].iloc[best].mean():.2f}")
    for name, values in appearance.items():
        of_readers = spearmanr(means.quality, values).statistic
        print(f"{name}: rank correlation {spearmanr(scores, values).statistic:.2f}, of the readers {of_readers:.2f}")
    fronts = ridge(features, targets, weights)
    layers = [fronts, fit_backs(ranker, options.verdicts) or backs_as_fronts(*fronts)]
    ranker.head.weight.copy_(torch.cat([weight for weight, _ in layers]))
    ranker.head.bias.copy_(torch.cat([bias for _, bias in layers]))
    metadata = {"weights": weights_digest(pipeline.unet, pipeline.conditioner)}
    save_file(ranker.head.state_dict(), folder / RANKER_FILE, metadata)


if __name__ == "__main__":
    main()
