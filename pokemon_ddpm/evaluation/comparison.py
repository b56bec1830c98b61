"""Comparison of samples with training and held-out images, and for a scale with real and corrupted images."""

from dataclasses import dataclass
from typing import Any

import torch
from tqdm.auto import tqdm

from pokemon_ddpm.evaluation import metrics
from pokemon_ddpm.evaluation.corruptions import CORRUPTIONS, blur, posterise, shuffle_patches
from pokemon_ddpm.evaluation.features import FeatureExtractor, extract_features

STRENGTHS = (0.0, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)

# Corruptions of the held-out images that are compared with the training images, and their strengths.
CORRUPTED_SETS = {
    "blurred": (blur, 0.25),
    "posterised": (posterise, 0.75),
    "patch-shuffled": (shuffle_patches, 0.5),
}


@dataclass(frozen=True)
class MeasuredImages:
    """Images, uint8 (N, 3, S, S), their features, float32 (N, D), and their `image_statistics`."""

    images: torch.Tensor
    features: torch.Tensor
    statistics: metrics.Statistics

    @classmethod
    def of(cls, extractor: FeatureExtractor, images: torch.Tensor) -> "MeasuredImages":
        return cls(images, extract_features(extractor, images), metrics.image_statistics(images))

    def subset(self, count: int, seed: int) -> "MeasuredImages":
        """At most `count` of the images, chosen at random."""
        rows = torch.randperm(len(self.images), generator=torch.Generator().manual_seed(seed))[:count].sort().values
        statistics = {name: values[rows] for name, values in self.statistics.items()}
        return MeasuredImages(self.images[rows], self.features[rows], statistics)


def compare(samples: MeasuredImages, reference: MeasuredImages, seed: int) -> dict[str, Any]:
    """All distances between two sets of at least four images each, by the names of their functions."""
    features = samples.features, reference.features
    of_features = (metrics.kid, metrics.fid, metrics.sliced_wasserstein, metrics.exact_wasserstein)
    found = {metric.__name__: metric(*features, seed) for metric in of_features}
    found["precision"], found["recall"] = metrics.precision_recall(*features, seed)
    statistics = metrics.wasserstein_of_statistics(samples.statistics, reference.statistics, seed)
    return {**found, "statistics": statistics}


def comparisons(
    samples: MeasuredImages, train: MeasuredImages, held_out: MeasuredImages, extractor: FeatureExtractor, seed: int
) -> list[dict[str, Any]]:
    """Compares samples with training and held-out images, and for a scale also real and corrupted images.

    Most distances depend on the number of images, so all rows but the first two use equally many: as many as there
    are samples or held-out images, whichever are fewer. Corrupted images are compared with the training images only,
    because they are too similar to their originals.

    Returns:
        The result of `compare` for each pair of sets, with their names: "name", and "to", "train" or "held-out".
    """
    count = min(len(samples.images), len(held_out.images))
    few_samples, few_train, few_held_out = (each.subset(count, seed) for each in (samples, train, held_out))
    corrupted = {
        name: MeasuredImages.of(extractor, corrupt(few_held_out.images, strength, seed))
        for name, (corrupt, strength) in CORRUPTED_SETS.items()
    }
    pairs = [
        ("all samples", samples, "train", train),
        ("all samples", samples, "held-out", held_out),
        ("samples", few_samples, "train", train),
        ("held-out", few_held_out, "train", train),
        *((name, images, "train", train) for name, images in corrupted.items()),
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
