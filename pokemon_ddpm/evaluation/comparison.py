"""Comparison of samples with training and held-out images, and for a scale with real and blurred images."""

from typing import Any

import numpy as np
import torch
from scipy import ndimage
from tqdm.auto import tqdm

from pokemon_ddpm.evaluation import metrics
from pokemon_ddpm.evaluation.features import SpriteFeatures, extract_features
from pokemon_ddpm.evaluation.images import random_rows

BLUR = 1 / 32  # of the side: the standard deviation for the blurred images


def blur(images: torch.Tensor, sigma: float) -> torch.Tensor:
    """Images, uint8 (N, 3, S, S) in RGB, blurred with a standard deviation in pixels; white outside the image."""
    pixels = images.numpy().astype(np.float32)
    blurred = ndimage.gaussian_filter(pixels, (0, 0, sigma, sigma), mode="constant", cval=255.0)
    return torch.from_numpy(blurred.round().clip(0, 255).astype(np.uint8))


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
    network: SpriteFeatures,
    seed: int,
) -> list[dict[str, Any]]:
    """Compares samples with training and held-out images, and for a scale also real and blurred images.

    Most distances depend on the number of images, so all rows but the first two use equally many: as many as there
    are samples or held-out images, whichever are fewer. Blurred images are compared with the training images only,
    because they are too similar to their originals.

    Args:
        samples, train, held_out: Their features, float32 (N, D).
        held_out_images: uint8 (M, 3, S, S), which are blurred.

    Returns:
        The result of `compare` for each pair of sets, with their names: "name", and "to", "train" or "held-out".
    """
    count = min(len(samples), len(held_out))
    few_samples, few_train, few_held_out, few_images = (
        each[random_rows(len(each), min(count, len(each)), seed).sort().values]
        for each in (samples, train, held_out, held_out_images)
    )
    blurred = extract_features(network, blur(few_images, BLUR * few_images.shape[-1]))
    pairs = [
        ("all samples", samples, "train", train),
        ("all samples", samples, "held-out", held_out),
        ("samples", few_samples, "train", train),
        ("held-out", few_held_out, "train", train),
        ("blurred", blurred, "train", train),
        ("samples", few_samples, "held-out", held_out),
        ("train", few_train, "held-out", held_out),
    ]
    pairs = tqdm(pairs, "Distances")
    return [{"name": name, "to": to, **compare(one, other, seed)} for name, one, to, other in pairs]
