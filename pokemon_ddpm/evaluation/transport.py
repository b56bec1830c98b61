"""Wasserstein distances, by POT: of statistics exactly, of features along random directions and exactly on subsets."""

from collections.abc import Callable, Mapping

import numpy as np
import ot
import torch

from pokemon_ddpm.evaluation.intervals import (
    NUM_BOOTSTRAPS,
    Estimate,
    basic_bootstrap,
    check_pair,
    disjoint_blocks,
    half_width,
)

NUM_PROJECTIONS = 64
SUBSET_SIZE, MOST_SUBSETS = 256, 8
_FEW = 100


def sliced_wasserstein(
    samples: torch.Tensor,
    reference: torch.Tensor,
    num_projections: int = NUM_PROJECTIONS,
    num_bootstraps: int = NUM_BOOTSTRAPS,
    seed: int = 0,
) -> Estimate:
    """Sliced 2-Wasserstein distance (Bonneel et al. 2015): the root of the mean square of W_2 along directions.

    The directions follow from seed and D alone, so that figures of one network compare. It is biased upwards at
    finite n, less than the distance in all dimensions. Its interval is that of the squared distance, see
    `basic_bootstrap` for what it means, with the root taken.

    Args:
        samples: Float (N, D).
        reference: Float (M, D).
        num_projections: Number of directions.
        num_bootstraps: Resamples for the interval, a quarter of a second each for 2,048 and 8,140 pictures; 0 for
            none.
        seed: Of the directions and of the resamples.

    Raises:
        ValueError: See `check_pair`.
    """
    samples, reference = check_pair(samples, reference)
    directions = ot.sliced.get_random_projections(samples.shape[1], num_projections, seed)
    # Projected once: a resample of projections is the projection of a resample.
    one, other = (torch.from_numpy(each.numpy() @ directions) for each in (samples, reference))

    def distance(a: torch.Tensor, b: torch.Tensor) -> float:
        # numpy's sorting is three times as fast as torch's here
        return float(np.sqrt(ot.wasserstein_1d(a.numpy(), b.numpy(), p=2).mean()))

    value = distance(one, other)
    low, high = _interval(distance, one, other, value, num_bootstraps, seed)
    return Estimate(value, low, high, len(one), len(other), warnings=_few("Sliced Wasserstein", one, other))


def exact_wasserstein(
    samples: torch.Tensor, reference: torch.Tensor, subset_size: int = SUBSET_SIZE, seed: int = 0
) -> Estimate:
    """2-Wasserstein distance of features between subsets of one size, without entropic smoothing.

    The mean over up to 8 disjoint pairs of subsets, with Student's interval. It is no estimate of the distributions'
    distance, which in many dimensions would take far more pictures: even two subsets of one set are far apart. What
    it estimates without bias is the expected distance of two subsets of this size, which compares with that of real
    pictures to real ones, and only at the same size.

    Args:
        samples: Float (N, D).
        reference: Float (M, D).
        subset_size: Pictures in a subset; the smaller set's number if that is less.
        seed: Of the subsets.

    Returns:
        n and m are the pictures used: of all subsets.

    Raises:
        ValueError: See `check_pair`; or if the subsets have fewer than two pictures.
    """
    if subset_size < 2:
        raise ValueError(f"Subsets need at least 2 pictures, but subset_size is {subset_size}.")
    samples, reference = check_pair(samples, reference)
    smaller = min(len(samples), len(reference))
    size = min(subset_size, smaller)
    blocks = min(MOST_SUBSETS, smaller // size)
    found = [
        ot.emd2([], [], ot.dist(one.numpy(), other.numpy())) ** 0.5  # of squared distances, with equal weights
        for one, other in disjoint_blocks(samples, reference, blocks, size, seed)
    ]
    value, used = float(np.mean(found)), blocks * size
    error = float(np.std(found, ddof=1) / np.sqrt(blocks)) if blocks > 1 else float("nan")
    half = half_width(error, blocks)
    warnings = []
    if size < subset_size:
        warnings.append(
            f"Exact Wasserstein between subsets of {size} pictures, not {subset_size}: smaller subsets are farther "
            "apart, so it does not compare."
        )
    if blocks == 1:
        warnings.append(f"Exact Wasserstein from {smaller} pictures: one subset of {size}, so there is no interval.")
    return Estimate(value, value - half, value + half, used, used, error, tuple(warnings))


def wasserstein_of_statistics(
    samples: Mapping[str, torch.Tensor],
    reference: Mapping[str, torch.Tensor],
    num_bootstraps: int = NUM_BOOTSTRAPS,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Exact 1-Wasserstein distance of each statistic, in the statistic's own unit.

    In one dimension it is the area between the two distribution functions: how far the values must move on average.

    Args:
        samples: Name -> float (N,); see `pokemon_ddpm.evaluation.picture_statistics`.
        reference: Name -> float (M,), the same names.
        num_bootstraps: As in `sliced_wasserstein`, as is its interval's meaning.
        seed: Of the resamples.

    Raises:
        ValueError: If the names differ; see `check_pair`.
    """
    if samples.keys() != reference.keys():
        raise ValueError(f"The statistics differ: {', '.join(samples)} and {', '.join(reference)}.")

    def distance(a: torch.Tensor, b: torch.Tensor) -> float:
        return float(ot.wasserstein_1d(a[:, 0].numpy(), b[:, 0].numpy(), p=1))

    found = {}
    for name, values in samples.items():
        one, other = check_pair(values[:, None], reference[name][:, None])
        value = distance(one, other)
        low, high = _interval(distance, one, other, value, num_bootstraps, seed)
        found[name] = Estimate(value, low, high, len(one), len(other), warnings=_few(name, one, other))
    return found


def _interval(
    distance: Callable[[torch.Tensor, torch.Tensor], float],
    one: torch.Tensor,
    other: torch.Tensor,
    value: float,
    num_bootstraps: int,
    seed: int,
) -> tuple[float, float]:
    """The basic bootstrap's interval of the square, since that is where biases add up.

    Between two samples of one distribution the expected square is sigma^2 (1 / n + 1 / m), and that between their
    resamples twice as much, so that the reflection arrives at 0; the distances themselves grow by the root of 2 only.
    """

    def squared(a: torch.Tensor, b: torch.Tensor) -> float:
        return distance(a, b) ** 2

    low, high = basic_bootstrap(squared, one, other, value**2, num_bootstraps, seed)
    return low**0.5, high**0.5


def _few(what: str, one: torch.Tensor, other: torch.Tensor) -> tuple[str, ...]:
    smaller = min(len(one), len(other))
    return (
        (f"{what} from {smaller} pictures is uncertain and biased upwards; it wants {_FEW}.",)
        if smaller < _FEW
        else ()
    )
