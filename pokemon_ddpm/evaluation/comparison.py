"""Comparison of samples with training and held-out images, and for a scale with real and corrupted images."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from tqdm.auto import tqdm

from pokemon_ddpm.evaluation.corruptions import CORRUPTIONS, blur, posterise, shuffle_patches
from pokemon_ddpm.evaluation.features import FeatureExtractor, extract_features
from pokemon_ddpm.evaluation.metrics import (
    NUM_BOOTSTRAPS,
    Estimate,
    Statistics,
    exact_wasserstein,
    fid,
    image_statistics,
    kid,
    precision_recall,
    sliced_wasserstein,
    wasserstein_of_statistics,
)

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
    statistics: Statistics

    def __len__(self) -> int:
        return len(self.images)

    def subset(self, count: int, seed: int = 0) -> "MeasuredImages":
        """At most `count` of the images, chosen at random."""
        rows = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))[:count].sort().values
        statistics = {name: values[rows] for name, values in self.statistics.items()}
        return MeasuredImages(self.images[rows], self.features[rows], statistics)


def measure_images(extractor: FeatureExtractor, images: torch.Tensor) -> MeasuredImages:
    """Computes features and statistics of images, uint8 (N, 3, S, S)."""
    return MeasuredImages(images, extract_features(extractor, images), image_statistics(images))


@dataclass(frozen=True)
class Distances:
    """The metrics of these names between two sets of images; see the functions."""

    kid: Estimate
    fid: Estimate
    sliced_wasserstein: Estimate
    exact_wasserstein: Estimate
    precision: Estimate
    recall: Estimate
    statistics: dict[str, Estimate]


def compare(
    samples: MeasuredImages, reference: MeasuredImages, seed: int = 0, num_bootstraps: int = NUM_BOOTSTRAPS
) -> Distances:
    """All distances between two sets of at least four images each."""
    one, other = samples.features, reference.features
    precision, recall = precision_recall(one, other, seed)
    return Distances(
        kid=kid(one, other, seed),
        fid=fid(one, other, num_bootstraps, seed),
        sliced_wasserstein=sliced_wasserstein(one, other, num_bootstraps, seed),
        exact_wasserstein=exact_wasserstein(one, other, seed=seed),
        precision=precision,
        recall=recall,
        statistics=wasserstein_of_statistics(samples.statistics, reference.statistics, num_bootstraps, seed),
    )


def comparisons(
    samples: MeasuredImages,
    train: MeasuredImages,
    held_out: MeasuredImages,
    extractor: FeatureExtractor,
    seed: int = 0,
    num_bootstraps: int = NUM_BOOTSTRAPS,
) -> Iterator[tuple[tuple[str, str], Distances]]:
    """Compares samples with training and held-out images, and for a scale also real and corrupted images.

    Most distances depend on the number of images, so all rows but the first two use equally many: as many as there
    are samples or held-out images, whichever are fewer. Corrupted images are compared with the training images only,
    because they are too similar to their originals.

    Yields:
        The names of both sets, the second of which is "train" or "held-out", and their distances.
    """
    count = min(len(samples), len(held_out))
    few_samples, few_train, few_held_out = (each.subset(count, seed) for each in (samples, train, held_out))
    pairs = [
        ("all samples", "train", samples, train),
        ("all samples", "held-out", samples, held_out),
        ("samples", "train", few_samples, train),
        ("held-out", "train", few_held_out, train),
    ]
    for name, (corrupt, strength) in CORRUPTED_SETS.items():
        corrupted = measure_images(extractor, corrupt(few_held_out.images, strength, seed))
        pairs.append((name, "train", corrupted, train))
    pairs += [("samples", "held-out", few_samples, held_out), ("train", "held-out", few_train, held_out)]
    for name, to, one, other in pairs:
        yield (name, to), compare(one, other, seed, num_bootstraps)


@dataclass(frozen=True)
class CorruptionPoint:
    """KID, with its 95 % interval, and FID from corrupted held-out images to the training images."""

    strength: float
    kid: float
    kid_low: float
    kid_high: float
    fid: float


def corruption_curves(
    extractor: FeatureExtractor, train_features: torch.Tensor, held_out: torch.Tensor
) -> dict[str, list[CorruptionPoint]]:
    """The points of each of the `CORRUPTIONS`, from features float32 (N, D) and images uint8 (M, 3, S, S)."""
    curves: dict[str, list[CorruptionPoint]] = {name: [] for name in CORRUPTIONS}
    for name, corrupt in tqdm(CORRUPTIONS.items(), "Corruptions"):
        for strength in STRENGTHS:
            features = extract_features(extractor, corrupt(held_out, strength, 0))
            near, frechet = kid(features, train_features), fid(features, train_features, num_bootstraps=0)
            curves[name].append(CorruptionPoint(strength, near.value, near.low, near.high, frechet.value))
    return curves
