"""Variety within a type: how alike silhouettes, colors, features and kinds of bodies are.

The kernel diversity depends on the number of images, so compare equal numbers. Sprites are uint8 (N, 4, S, S); a pixel
is in the foreground if its alpha is above 127.
"""

from typing import Any

import numpy as np
import torch
from scipy import stats

from pokemon_ddpm import RELEASED_FAST_MODEL
from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.evaluation.features import SpriteFeatures, extract_features
from pokemon_ddpm.evaluation.images import GeneratedSets, default_output, random_rows
from pokemon_ddpm.evaluation.metrics import averages, given_values, label_values
from pokemon_ddpm.likeness import overlaps
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.pipelines.sprite_preprocessing import oklab
from pokemon_ddpm.preprocessing import as_arrays, over_white
from pokemon_ddpm.ranking import BODY, SpriteRanker, load_ranker
from pokemon_ddpm.vocabulary import BODIES

NEAR = 0.7  # the overlap from which two silhouettes are near


def color_distances(images: torch.Tensor) -> np.ndarray:
    """Distances in OKLab of all pairs of mean foreground colors, float64 (N, N)."""
    pixels = as_arrays(images)
    foreground = pixels[..., 3:] > 127
    area = np.maximum(foreground.sum(axis=(1, 2)), 1)
    means = (oklab(pixels[..., :3]) * foreground).sum(axis=(1, 2)) / area
    return np.linalg.norm(means[:, None] - means, axis=2)


def rke(features: torch.Tensor) -> float:
    """The number of modes, by the order-2 Rényi kernel entropy (Jalali et al. 2023, definition 1 and equation 4).

    1 / ||K / N||_F^2 for the kernel exp(-|x - y|^2 / (2 sigma^2)) of features (N, D). They have a standard deviation
    of 1 over the training images, whose root mean square distance is sqrt(2 D); sigma is half of it. It is 1 if all
    images are the same, and at most N.
    """
    distances = torch.cdist(features.double(), features.double(), compute_mode="donot_use_mm_for_euclid_dist")
    kernel = (-distances.square() / features.shape[1]).exp()
    return 1 / kernel.square().mean().item()


def effective_number(shares: np.ndarray) -> np.ndarray:
    """exp of the entropy of shares or counts (..., K): K if all are equal, 1 if there is only one."""
    return np.exp(stats.entropy(shares, axis=-1))


def variety(images: torch.Tensor, features: torch.Tensor | None) -> dict[str, float]:
    """Figures of the sprites of one type, at least two, and their features, float (N, D), if there are any.

    Returns:
        "near": Share of the pairs with an overlap of at least `NEAR`.
        "overlap", "color": Means over all pairs of `overlaps` and `color_distances`.
        "rke": `rke`; NaN without features.
    """
    pairs = np.triu_indices(len(images), 1)
    overlap, color = overlaps(images, images).numpy()[pairs], color_distances(images)[pairs]
    means = {"near": (overlap >= NEAR).mean(), "overlap": overlap.mean(), "color": color.mean()}
    return {**means, "rke": np.nan if features is None else rke(features)}


def evaluate_variety(
    sets: GeneratedSets, train: SpriteTensors, network: SpriteFeatures | None, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Variety within a type of samples beside as many training images, all as `default_output`.

    `sets` and `train` are as generated and as the model was trained on; "rke" is left out without a network.

    Returns:
        Name of the images -> "near", "overlap", "color" and "rke": means over types, see `variety` and `averages`; and
        "n", the number of images.
    """
    names, order = train.type_names, random_rows(len(train), len(train), seed)
    has = label_values(train.labels["type"], len(names))
    alone, given = (given_values(each.conditions, {"type": names})["type"] for each in (sets.alone, sets.samples))
    chosen = [order[has[order, k]][: alone[:, k].sum()] for k in range(len(names))]
    real = torch.arange(len(names)).repeat_interleave(torch.tensor([*map(len, chosen)]))
    rows = sets.rows.unique()  # more samples than training images repeat conditions
    compared = {
        "by type alone": (sets.alone.images, alone),
        "real": (train.images[torch.cat(chosen)], torch.nn.functional.one_hot(real, len(names)).bool()),
        "by conditions of training images": (sets.samples.images, given),
        "these images": (train.images[rows], has[rows]),
    }
    found = {}
    for name, (images, has) in compared.items():
        images = default_output(images)
        features = None if network is None else extract_features(network, over_white(images))
        types = [own for own in has.T if own.sum() > 1]
        of_types = [variety(images[own], None if features is None else features[own]) for own in types]
        figures = {key: np.array([each[key] for each in of_types]) for key in ("near", "overlap", "color", "rke")}
        found[name] = {**averages(figures, seed), "n": len(images)}
    return found


def load_probe(pipeline: PokemonDDPMPipeline) -> SpriteRanker | None:
    """The released ranker with its probe of bodies, if the pipeline's samples are sprites that it knows."""
    ranker = load_ranker(RELEASED_FAST_MODEL, str(pipeline.device))
    return ranker if ranker.fits(pipeline) else None


def bodies_of(ranker: SpriteRanker, images: torch.Tensor) -> torch.Tensor:
    """The place of each sprite's body in `BODIES`, int64 (N,)."""
    return ranker.probes[BODY](ranker.all_features(images)).argmax(dim=1).cpu()


def count_bodies(sets: GeneratedSets, held_out: SpriteTensors, ranker: SpriteRanker, seed: int = 0) -> dict[str, Any]:
    """Kinds of body of equally many samples and held-out images, all as `default_output`.

    Training images would be seen more surely, since the probe learned from them.

    Returns:
        Name of the images -> "shares", body -> share; "effective", see `effective_number`; and "n".
    """
    compared = {"by type alone": sets.alone.images, "by conditions of training images": sets.samples.images}
    compared["held-out"] = held_out.images
    n, found = min(map(len, compared.values())), {}
    for name, images in compared.items():
        bodies = bodies_of(ranker, default_output(images[random_rows(len(images), n, seed)]))
        shares = bodies.bincount(minlength=len(BODIES)).numpy() / n
        effective = float(effective_number(shares))
        found[name] = {"shares": dict(zip(BODIES, shares.tolist(), strict=True)), "effective": effective, "n": n}
    return found
