"""Comparison of samples with training and held-out images, and for a scale with real and corrupted images.

A corruption takes images, uint8 (N, 3, S, S) in RGB on white, a strength from 0 (no change) to 1, and a seed. It
returns images of the same shape. Strengths of different corruptions are not comparable.
"""

from typing import Any

import numpy as np
import torch
from scipy import ndimage
from tqdm.auto import tqdm

from pokemon_ddpm.evaluation import metrics
from pokemon_ddpm.evaluation.features import FeatureExtractor, extract_features
from pokemon_ddpm.evaluation.images import random_rows

PATCHES = 4


def blur(images: torch.Tensor, strength: float, seed: int = 0) -> torch.Tensor:
    """Gaussian blur with a standard deviation of `strength` times S / 8; white outside the image."""
    sigma = strength * images.shape[-1] / 8
    pixels = images.numpy().astype(np.float32)
    return _as_uint8(ndimage.gaussian_filter(pixels, (0, 0, sigma, sigma), mode="constant", cval=255.0))


def posterise(images: torch.Tensor, strength: float, seed: int = 0) -> torch.Tensor:
    """Rounds every channel to 2^(8 - 7 strength) evenly spaced levels."""
    steps = round(2 ** (8 - 7 * strength)) - 1
    return _as_uint8(np.round(images.numpy() * (steps / 255)) * (255 / steps))


def shuffle_patches(images: torch.Tensor, strength: float, seed: int = 0) -> torch.Tensor:
    """Moves a share of `strength` of the patches in a grid of 4 x 4 to each other's places; S is a multiple of 4."""
    count, channels, side, _ = images.shape
    size, total = side // PATCHES, PATCHES**2
    grid = images.view(count, channels, PATCHES, size, PATCHES, size).permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
    order = torch.from_numpy(np.random.default_rng(seed).random((count, total)).argsort(axis=1))
    moved = order[:, : round(strength * total)]
    source = torch.arange(total).repeat(count, 1)
    source.scatter_(1, moved, moved.roll(1, dims=1))  # a cycle, in which no patch keeps its place
    grid = grid[torch.arange(count)[:, None], source].unflatten(1, (PATCHES, PATCHES))
    return grid.permute(0, 3, 1, 4, 2, 5).reshape(images.shape)


def _as_uint8(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels.round().clip(0, 255).astype(np.uint8))


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
