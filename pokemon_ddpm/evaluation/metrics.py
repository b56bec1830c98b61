"""Metrics between two sets of images: KID, FID, precision and recall, Wasserstein distances, each with an interval.

Features are float (N, D) of the samples and (M, D) of the reference, both from the same network; metrics of different
networks are not comparable. All is computed in float64 on the CPU. Metrics of features raise ValueError if a set has
too few images or a feature is not finite.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import ot
import torch
from scipy import stats
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric
from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL, prc_features_to_metric

LEVEL = 0.95  # of all intervals
TAIL = (1 - LEVEL) / 2
NUM_BOOTSTRAPS, NUM_LINE_BOOTSTRAPS = 100, 1000
KID_BLOCKS, KID_BLOCK_SIZE, KID_DIVISIONS = 10, 10, 10
NEIGHBORHOOD = 3  # of precision and recall
NUM_PROJECTIONS = 64  # of the sliced Wasserstein distance
SUBSET_SIZE, MAX_SUBSETS = 256, 8  # of the exact Wasserstein distance


@dataclass(frozen=True)
class Estimate:
    """A metric between two sets of images."""

    value: float
    low: float  # end of the 95 % interval; NaN if there is none
    high: float
    n: int  # samples used
    m: int  # reference images used
    standard_error: float = math.nan  # if the interval is computed from one
    warnings: tuple[str, ...] = ()  # what a reader must know, one sentence each


@dataclass(frozen=True)
class Share:
    """A share of `n` images, in [0, 1], with its 95 % interval; NaN if `n` is 0."""

    value: float
    low: float
    high: float
    n: int


def share(hits: int, n: int) -> Share:
    """The share of `hits` in `n`, with the score interval of Wilson 1927."""
    if n == 0:
        return Share(math.nan, math.nan, math.nan, 0)
    interval = stats.binomtest(hits, n).proportion_ci(LEVEL, method="wilson")
    return Share(hits / n, float(interval.low), float(interval.high), n)


def basic_bootstrap(
    statistic: Callable[[torch.Tensor, torch.Tensor], float],
    samples: torch.Tensor,
    reference: torch.Tensor,
    seed: int,
    power: int = 1,
) -> Estimate:
    """A distance and its interval by the basic bootstrap (Davison & Hinkley 1997, equation 5.6).

    Both sets are resampled. The ends, 2 value - quantiles of the resamples, contain no bias: the interval is for the
    distance between the distributions. A value that is mostly bias, such as FID of few images, is above its interval.

    The interval is computed for the `power` of the distance in which bias is additive. For Wasserstein distances this
    is 2: the expected square between two sets from one distribution is sigma^2 (1 / n + 1 / m), and twice that between
    their resamples.
    """
    value, resampled = statistic(samples, reference), np.empty(NUM_BOOTSTRAPS)
    generator = torch.Generator().manual_seed(seed)
    for i in range(NUM_BOOTSTRAPS):
        pair = (each[torch.randint(len(each), (len(each),), generator=generator)] for each in (samples, reference))
        resampled[i] = statistic(*pair) ** power
    ends = 2 * value**power - np.quantile(resampled, [1 - TAIL, TAIL])
    low, high = (max(0.0, float(end)) ** (1 / power) for end in ends)
    return Estimate(value, low, high, len(samples), len(reference))


def line_resamples(lines: np.ndarray, seed: int) -> list[np.ndarray]:
    """Rows of bootstrap resamples of whole evolution lines (Davison & Hinkley 1997, section 3.8).

    Images of one line, int (N,), resemble each other. An image without a line, -1, is one of its own.
    """
    lines = np.where(lines < 0, lines.max(initial=0) + 1 + np.arange(len(lines)), lines)
    different, cluster = np.unique(lines, return_inverse=True)
    shares = np.full(len(different), 1 / len(different))
    times = np.random.default_rng(seed).multinomial(len(different), shares, NUM_LINE_BOOTSTRAPS)
    return [np.arange(len(lines)).repeat(each[cluster]) for each in times]


def disjoint_blocks(
    samples: torch.Tensor, reference: torch.Tensor, blocks: int, size: int, seed: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yields pairs of random subsets of `size` rows each; no row is in two subsets."""
    generator = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(len(each), generator=generator) for each in (samples, reference)]
    for one, other in zip(*(order[: blocks * size].split(size) for order in orders), strict=True):
        yield samples[one], reference[other]


def _block_estimate(found: np.ndarray, n: int, m: int, warnings: tuple[str, ...]) -> Estimate:
    """The mean of values (divisions, independent blocks) with its standard error, and Student's interval."""
    value, blocks = float(found.mean()), found.shape[1]
    error = float(np.sqrt(found.var(axis=1, ddof=1).mean() / blocks)) if blocks > 1 else math.nan
    half = float(stats.t.ppf((1 + LEVEL) / 2, blocks - 1)) * error
    return Estimate(value, value - half, value + half, n, m, error, warnings)


def _checked(samples: torch.Tensor, reference: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Both in float64 on the CPU."""
    if min(len(samples), len(reference)) < 2:
        raise ValueError(f"Each set needs at least two images, but they have {len(samples)} and {len(reference)}.")
    if not all(features.isfinite().all() for features in (samples, reference)):
        raise ValueError("The features are not finite. Check the weights of the feature network.")
    return samples.cpu().double(), reference.cpu().double()


def fid(samples: torch.Tensor, reference: torch.Tensor, seed: int = 0) -> Estimate:
    """Fréchet inception distance (Heusel et al. 2017, equation 6); see `basic_bootstrap` for the interval.

    It is biased upwards, more for fewer images and more features (Chong & Forsyth 2020): compare only values of the
    same n and m.
    """
    samples, reference = _checked(samples, reference)
    estimate = basic_bootstrap(fid_value, samples, reference, seed)
    smaller, dimension = min(len(samples), len(reference)), samples.shape[1]
    warning = f"FID of {dimension} features from {smaller} images is too high; use KID or {10 * dimension} images."
    return replace(estimate, warnings=(warning,)) if smaller < 10 * dimension else estimate


def fid_value(samples: torch.Tensor, reference: torch.Tensor) -> float:
    """`fid` without an interval."""
    moments = [fid_features_to_statistics(features.double()) for features in (samples, reference)]
    # Rounding can give slightly less than 0 for singular covariances.
    return max(0.0, fid_statistics_to_metric(*moments, verbose=False)[KEY_METRIC_FID])


def kid(samples: torch.Tensor, reference: torch.Tensor, seed: int = 0) -> Estimate:
    """Kernel inception distance (Bińkowski et al. 2018, section 4.1): unbiased, and so sometimes below 0.

    The squared maximum mean discrepancy with the kernel (x.y / D + 1)^3. Both sets are divided into up to 10 disjoint
    subsets of at least 10 images, and the value is the mean over 10 such divisions. The subsets of one division are
    independent, so their spread gives a valid standard error; that of overlapping subsets would be too small.
    """
    samples, reference = _checked(samples, reference)
    smaller = min(len(samples), len(reference))
    blocks = max(1, min(KID_BLOCKS, smaller // KID_BLOCK_SIZE))
    size, found = smaller // blocks, []
    for division in range(seed * KID_DIVISIONS, (seed + 1) * KID_DIVISIONS):
        for pair in disjoint_blocks(samples, reference, blocks, size, division):
            result = kid_features_to_metric(*pair, kid_subsets=1, kid_subset_size=size, verbose=False)
            found.append(result[KEY_METRIC_KID_MEAN])
    values = np.array(found).reshape(KID_DIVISIONS, blocks)
    warning = f"KID from {smaller} images is uncertain; use {KID_BLOCKS * KID_BLOCK_SIZE} or more."
    return _block_estimate(values, len(samples), len(reference), (warning,) if blocks < KID_BLOCKS else ())


def precision_recall(samples: torch.Tensor, reference: torch.Tensor, seed: int = 0) -> tuple[Estimate, Estimate]:
    """Improved precision and recall (Kynkäänniemi et al. 2019, equations 1 and 2), with Wilson's intervals.

    The neighborhoods are larger in a smaller set, so the larger set is reduced at random to the size of the other.
    """
    samples, reference = _checked(samples, reference)
    size = min(len(samples), len(reference))
    ((samples, reference),) = disjoint_blocks(samples, reference, 1, size, seed)
    center = reference.mean(dim=0)  # torch-fidelity computes |a|^2 + |b|^2 - 2 a.b, which is exact near the origin
    options = {"prc_neighborhood": NEIGHBORHOOD, "prc_batch_size": 2048, "save_cpu_ram": True, "verbose": False}
    found = prc_features_to_metric(samples - center, reference - center, **options)
    warning = f"Precision and recall from {size} images are too high; use {100 * NEIGHBORHOOD} or more."
    warnings = (warning,) if size < 100 * NEIGHBORHOOD else ()
    precision, recall = (share(round(found[key] * size), size) for key in (KEY_METRIC_PRECISION, KEY_METRIC_RECALL))
    return tuple(Estimate(**vars(each), m=size, warnings=warnings) for each in (precision, recall))


def sliced_wasserstein(samples: torch.Tensor, reference: torch.Tensor, seed: int = 0) -> Estimate:
    """Sliced 2-Wasserstein distance (Bonneel et al. 2015), biased upwards; see `basic_bootstrap` for the interval."""
    samples, reference = _checked(samples, reference)
    directions = ot.sliced.get_random_projections(samples.shape[1], NUM_PROJECTIONS, seed)
    projections = (torch.from_numpy(each.numpy() @ directions) for each in (samples, reference))

    def distance(one: torch.Tensor, other: torch.Tensor) -> float:
        # NumPy sorts three times as fast as PyTorch here.
        return float(np.sqrt(ot.wasserstein_1d(one.numpy(), other.numpy(), p=2).mean()))

    return basic_bootstrap(distance, *projections, seed, power=2)


def exact_wasserstein(samples: torch.Tensor, reference: torch.Tensor, seed: int = 0) -> Estimate:
    """Mean 2-Wasserstein distance between up to 8 disjoint pairs of subsets of 256 images, with Student's interval.

    This is the expected distance between two sets of this size. It is larger than the distance between the
    distributions. n and m count the images in all subsets.
    """
    samples, reference = _checked(samples, reference)
    smaller = min(len(samples), len(reference))
    size = min(SUBSET_SIZE, smaller)
    blocks = min(MAX_SUBSETS, smaller // size)
    found = [
        ot.emd2([], [], ot.dist(one.numpy(), other.numpy())) ** 0.5  # squared distances, equal weights
        for one, other in disjoint_blocks(samples, reference, blocks, size, seed)
    ]
    warning = f"Exact Wasserstein distance of subsets of {size} images, not comparable with {SUBSET_SIZE}."
    n, warnings = blocks * size, (warning,) if size < SUBSET_SIZE else ()
    return _block_estimate(np.array([found]), n, n, warnings)
