"""Comparison of samples with training and held-out images, and for a scale with real and corrupted images."""

from typing import Any

import torch
from tqdm.auto import tqdm

from pokemon_ddpm.evaluation import metrics
from pokemon_ddpm.evaluation.corruptions import CORRUPTIONS, blur, posterise, shuffle_patches
from pokemon_ddpm.evaluation.features import FeatureExtractor, extract_features
from pokemon_ddpm.evaluation.images import random_rows

STRENGTHS = (0.0, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)

# Corruptions of the held-out images that are compared with the training images, and their strengths.
CORRUPTED_SETS = {
    "blurred": (blur, 0.25),
    "posterised": (posterise, 0.75),
    "patch-shuffled": (shuffle_patches, 0.5),
}


def compare(samples: torch.Tensor, reference: torch.Tensor, seed: int) -> dict[str, metrics.Estimate]:
    """All distances between the features of two sets of at least four images each, by the names of their functions."""
    of_features = (metrics.kid, metrics.fid, metrics.sliced_wasserstein, metrics.exact_wasserstein)
    found = {metric.__name__: metric(samples, reference, seed) for metric in of_features}
    found["precision"], found["recall"] = metrics.precision_recall(samples, reference, seed)
    return found


def comparisons(
    samples: torch.Tensor,
    train: torch.Tensor,
    held_out: torch.Tensor,
    held_out_images: torch.Tensor,
    extractor: FeatureExtractor,
    seed: int,
) -> list[dict[str, Any]]:
    """Compares samples with training and held-out images, and for a scale also real and corrupted images.

    Most distances depend on the number of images, so all rows but the first two use equally many: as many as there
    are samples or held-out images, whichever are fewer. Corrupted images are compared with the training images only,
    because they are too similar to their originals.

    Args:
        samples, train, held_out: Their features, float32 (N, D).
        held_out_images: uint8 (M, 3, S, S), which are corrupted.

    Returns:
        The result of `compare` for each pair of sets, with their names: "name", and "to", "train" or "held-out".
    """
    count = min(len(samples), len(held_out))
    few_samples, few_train, few_held_out, few_images = (
        each[random_rows(len(each), min(count, len(each)), seed).sort().values]
        for each in (samples, train, held_out, held_out_images)
    )
    corrupted = {
        name: extract_features(extractor, corrupt(few_images, strength, seed))
        for name, (corrupt, strength) in CORRUPTED_SETS.items()
    }
    pairs = [
        ("all samples", samples, "train", train),
        ("all samples", samples, "held-out", held_out),
        ("samples", few_samples, "train", train),
        ("held-out", few_held_out, "train", train),
        *((name, features, "train", train) for name, features in corrupted.items()),
        ("samples", few_samples, "held-out", held_out),
        ("train", few_train, "held-out", held_out),
    ]
    pairs = tqdm(pairs, "Distances")
    return [{"name": name, "to": to, **compare(one, other, seed)} for name, one, to, other in pairs]


def corruption_curves(
    extractor: FeatureExtractor, train_features: torch.Tensor, held_out: torch.Tensor
) -> dict[str, list[dict[str, float]]]:
    """KID, with its interval, and FID of corrupted held-out images, uint8 (M, 3, S, S), to the training images.

    Returns:
        Name of the corruption -> for each of the `STRENGTHS` "strength", "kid", "kid_low", "kid_high" and "fid".
    """
    curves = {}
    for name, corrupt in tqdm(CORRUPTIONS.items(), "Corruptions"):
        curves[name] = []
        for strength in STRENGTHS:
            features = extract_features(extractor, corrupt(held_out, strength, 0))
            kid, fid = metrics.kid(features, train_features), metrics.fid_value(features, train_features)
            point = {"strength": strength, "kid": kid.value, "kid_low": kid.low, "kid_high": kid.high, "fid": fid}
            curves[name].append(point)
    return curves
