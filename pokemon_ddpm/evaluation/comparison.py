"""All distances between two sets of pictures, and what they are between real pictures and worse ones."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from pokemon_ddpm.evaluation.corruptions import blur, posterise, shuffle_patches
from pokemon_ddpm.evaluation.distances import fid, kid, precision_recall
from pokemon_ddpm.evaluation.intervals import NUM_BOOTSTRAPS, Estimate
from pokemon_ddpm.evaluation.picture_statistics import picture_statistics
from pokemon_ddpm.evaluation.protocols import FeatureExtractor, extract_features
from pokemon_ddpm.evaluation.transport import exact_wasserstein, sliced_wasserstein, wasserstein_of_statistics

FLOORS: dict[str, tuple[Callable[[torch.Tensor, float, int], torch.Tensor], float]] = {
    "blurred": (blur, 0.25),  # a pixel's standard deviation at 32x32
    "posterised": (posterise, 0.75),  # seven levels a channel
    "patch-shuffled": (shuffle_patches, 0.5),  # eight of sixteen patches
}
"""What held-out pictures are made into for the scale of the figures, and with what strength."""


@dataclass(frozen=True)
class MeasuredPictures:
    """Pictures and what is computed of each alone.

    Attributes:
        images: uint8 (N, 3, S, S), RGB on white.
        features: float32 (N, D).
        statistics: Name -> float64 (N,).
    """

    images: torch.Tensor
    features: torch.Tensor
    statistics: dict[str, torch.Tensor]

    def __len__(self) -> int:
        return len(self.images)

    def rows(self, chosen: torch.Tensor) -> "MeasuredPictures":
        """Some of the pictures, by their places, int64, or by truth values, bool (N,)."""
        statistics = {name: values[chosen] for name, values in self.statistics.items()}
        return MeasuredPictures(self.images[chosen], self.features[chosen], statistics)

    def some(self, count: int, seed: int = 0) -> "MeasuredPictures":
        """At most so many of the pictures, at random."""
        generator = torch.Generator().manual_seed(seed)
        return self.rows(torch.randperm(len(self), generator=generator)[:count].sort().values)


@dataclass(frozen=True)
class Distances:
    """What is said of two sets of pictures; see the functions of these names.

    Each figure with a title is a column of the report. `compare` fills them.

    Attributes:
        kid: Of features, as everything but the statistics.
        fid: Fréchet distance.
        sliced_wasserstein: Along random directions.
        exact_wasserstein: Between subsets of 256.
        precision: Share of the first set that lies among the second.
        recall: Share of the second that lies among the first.
        statistics: Wasserstein's distance of each statistic of the pictures, in its unit.
    """

    kid: Estimate = field(metadata={"title": "KID"})
    fid: Estimate = field(metadata={"title": "FID"})
    sliced_wasserstein: Estimate = field(metadata={"title": "sliced Wasserstein"})
    exact_wasserstein: Estimate = field(metadata={"title": "exact Wasserstein"})
    precision: Estimate = field(metadata={"title": "precision"})
    recall: Estimate = field(metadata={"title": "recall"})
    statistics: dict[str, Estimate]


def measure_pictures(extractor: FeatureExtractor, images: torch.Tensor) -> MeasuredPictures:
    """Features and statistics of pictures, uint8 (N, 3, S, S)."""
    return MeasuredPictures(images, extract_features(extractor, images), picture_statistics(images))


def compare(
    samples: MeasuredPictures, reference: MeasuredPictures, seed: int = 0, num_bootstraps: int = NUM_BOOTSTRAPS
) -> Distances:
    """All distances between two sets.

    Args:
        samples: N pictures.
        reference: M pictures, measured with the same network.
        seed: Of subsets, directions and resamples.
        num_bootstraps: Resamples for the intervals of FID and of Wasserstein's distances.

    Raises:
        ValueError: See `pokemon_ddpm.evaluation.intervals.check_pair`.
    """
    one, other = samples.features, reference.features
    among = precision_recall(one, other, seed=seed)
    return Distances(
        kid=kid(one, other, seed),
        fid=fid(one, other, num_bootstraps, seed),
        sliced_wasserstein=sliced_wasserstein(one, other, num_bootstraps=num_bootstraps, seed=seed),
        exact_wasserstein=exact_wasserstein(one, other, seed=seed),
        precision=among.precision,
        recall=among.recall,
        statistics=wasserstein_of_statistics(samples.statistics, reference.statistics, num_bootstraps, seed),
    )


@dataclass(frozen=True)
class Row:
    """Distances of one set to one reference.

    Attributes:
        name: What is compared.
        to: "train" or "held-out".
        distances: The figures.
    """

    name: str
    to: str
    distances: Distances


def comparison_rows(
    samples: MeasuredPictures,
    train: MeasuredPictures,
    held_out: MeasuredPictures,
    extractor: FeatureExtractor,
    seed: int = 0,
    num_bootstraps: int = NUM_BOOTSTRAPS,
    done: Callable[[str], None] = lambda name: None,
) -> list[Row]:
    """Distances of samples to training and held-out pictures, and what gives them a scale.

    FID, Wasserstein's distances, precision and recall depend on how many pictures there are, so below the rows of all
    samples stand rows of equally many: as many samples, or training pictures, as there are held-out ones. Worse
    pictures are compared with the training pictures only, since to their own originals they are nearer than two sets
    of real pictures are to each other.

    Args:
        samples: N pictures.
        train: M training pictures.
        held_out: Pictures that the model was not trained on.
        extractor: The network that all were measured with.
        seed: Of subsets, directions and resamples.
        num_bootstraps: See `compare`.
        done: Called with the name of each row that is finished.
    """
    few = min(len(samples), len(held_out))
    some, same = samples.some(few, seed), held_out.some(few, seed)
    pairs = [
        ("all samples", "train", samples, train),
        ("all samples", "held-out", samples, held_out),
        ("samples", "train", some, train),
        ("held-out", "train", same, train),
    ]
    for name, (corrupt, strength) in FLOORS.items():
        pairs.append((name, "train", measure_pictures(extractor, corrupt(same.images, strength, seed)), train))
    pairs += [("samples", "held-out", some, held_out), ("train", "held-out", train.some(few, seed), held_out)]
    rows = []
    for name, to, one, other in pairs:
        rows.append(Row(name, to, compare(one, other, seed, num_bootstraps)))
        done(f"{name} to {to}")
    return rows
