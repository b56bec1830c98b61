"""Fits the probes of bodies, colors, shapes and tags, and measures them on held-out evolution lines.

    python benchmarks/fit_probes.py --data_dir path/to/pokemon-sprites

A probe is a linear classifier on the features of the released ranker: of kinds of body, fitted to the annotations, for
other scripts; of colors and shapes, to choose sprites that have what was asked for, and of each tag that the
model knows. They are written beside the ranker, and are fitted again when its network is released anew.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas
import torch
from safetensors.torch import save_file
from scipy.stats import entropy
from torch.nn.functional import cross_entropy

from pokemon_ddpm import RELEASED_FAST_MODEL, PokemonDDPMPipeline
from pokemon_ddpm.data import sprite_tensors
from pokemon_ddpm.dataset_scripts.pokemon_sprites import load_sprites
from pokemon_ddpm.models import weights_digest
from pokemon_ddpm.pipelines.sprite_conditioner import TAGS
from pokemon_ddpm.ranking import BODY, PROBES_FILE, SpriteRanker
from pokemon_ddpm.vocabulary import BODIES

FOLDER = Path(__file__).parent / "annotations"
SHRINKAGE = 1.0  # added to the covariance of standardized features, of which there are many beside 318 lines
PROBED = (BODY, "color", "shape")
TEMPERATURES = (1, 2, 3, 4, 6, 8)  # a discriminant of so many features is too sure


def read(name: str = "annotations") -> pandas.DataFrame:
    """A table of annotations by the path in the archive."""
    table = pandas.read_csv(FOLDER / f"{name}.csv", keep_default_na=False)
    return table.set_index("sprites/" + table.sprite.str.replace("/", "/front/normal/") + ".png")


def load_fronts(ranker: SpriteRanker, data_dir: str, split: str) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Features, float32 (N, F), of the fronts, and the place of what each probe has to find, int64 (N,)."""
    rows = load_sprites(data_dir, "front", split=split, exclude_faulty=True, deduplicate=True)
    sprites = sprite_tensors(rows, ranker.sample_shape[-1])
    bodies = pandas.Categorical(read().body[rows["path"][:]], BODIES).codes
    places = {name: sprites.labels[name].long() for name in PROBED if name != BODY}
    if known := ranker.conditioner.vocabulary.get(TAGS):
        places[TAGS] = sprites.with_values({"type": sprites.type_names, TAGS: known}).labels[TAGS]
    return ranker.all_features(sprites.images), places | {BODY: torch.tensor(bodies).long()}


def discriminant(features: torch.Tensor, classes: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights (K, F) and biases (K,) of a linear discriminant analysis (Fisher 1936) of features (N, F).

    All classes are equally likely beforehand: with the shares of the training fronts it would see too many bipeds.
    """
    mean, std = features.mean(dim=0), features.std(dim=0) + 1e-6
    scaled = (features - mean) / std
    centers = torch.stack([scaled[classes == k].mean(dim=0) for k in range(count)])
    rest = scaled - centers[classes]
    within = rest.T @ rest / len(rest) + SHRINKAGE * torch.eye(rest.shape[1], dtype=rest.dtype)
    weight = torch.linalg.solve(within, centers.T).T
    bias = -(weight * centers).sum(dim=1) / 2
    return weight / std, bias - weight @ (mean / std)


def tag_discriminants(features: torch.Tensor, tags: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """As `discriminant`, for each of K tags, bool (N, K), whether a sprite has it; 0 for those that none or all have.

    All have the covariance of the features themselves, and with and without a tag are equally likely beforehand.
    """
    mean, std = features.mean(dim=0), features.std(dim=0) + 1e-6
    scaled, has = (features - mean) / std, tags.to(features.dtype)
    count = has.sum(dim=0)[:, None]
    one, other = has.T @ scaled / count.clamp(min=1), (1 - has).T @ scaled / (len(has) - count).clamp(min=1)
    within = scaled.T @ scaled / len(scaled) + SHRINKAGE * torch.eye(scaled.shape[1], dtype=scaled.dtype)
    weight = torch.linalg.solve(within, (one - other).T).T * ((count > 0) & (count < len(has)))
    bias = -(weight * (one + other)).sum(dim=1) / 2
    return weight / std, bias - weight @ (mean / std)


def main(arguments: list[str] | None = None) -> None:
    """Fits, measures and saves the probes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", required=True, help="the sprite archive")
    parser.add_argument("--model", default=RELEASED_FAST_MODEL, help="folder whose network sees the sprites")
    options = parser.parse_args(arguments)
    pipeline = PokemonDDPMPipeline.from_pretrained(options.model)
    ranker, probes = SpriteRanker(pipeline), {}
    (features, labels), (others, held_out) = (
        load_fronts(ranker, options.data_dir, s) for s in ("train", "validation")
    )
    for name in PROBED:
        has, expected = labels[name] < len(ranker.values(name)), held_out[name]
        known = expected < len(ranker.values(name))
        weight, bias = discriminant(features[has].double(), labels[name][has], len(ranker.values(name)))
        logits, expected = others[known].double() @ weight.T + bias, expected[known]
        sharpness = 1 / min(TEMPERATURES, key=lambda t: cross_entropy(logits / t, expected).item())
        probes |= {f"{name}.weight": (sharpness * weight).half(), f"{name}.bias": (sharpness * bias).half()}
        right, counts = (logits.argmax(dim=1) == expected).float().mean(), expected.bincount()
        most = counts.max() / counts.sum()
        print(f"{name}: {right:.0%} of {len(expected)} held-out fronts; the most frequent is {most:.0%}")
        numbers = [np.exp(entropy(values.bincount())) for values in (expected, logits.argmax(dim=1))]
        print("  effective number: true {:.1f}, of the probe {:.1f}".format(*numbers))
    if TAGS in labels:
        weight, bias = tag_discriminants(features.double(), labels[TAGS])
        probes |= {f"{TAGS}.weight": weight.half(), f"{TAGS}.bias": bias.half()}
        logits, has = others.double() @ weight.T + bias, held_out[TAGS]
        rates = [(logits > 0).float()[part].mean() for part in (has, ~has)]
        print("{}: seen in {:.0%} of the held-out fronts that have one, in {:.0%} of the others".format(TAGS, *rates))
    annotations, second = read(), read("second")
    print(f"two readers agree on the body in {(annotations.body[second.index] == second.body).mean():.0%}")
    metadata = {"weights": weights_digest(pipeline.unet, pipeline.conditioner)}
    save_file(probes, Path(options.model, PROBES_FILE), metadata)


if __name__ == "__main__":
    main()
