"""How sure a figure is: numbers of pictures, intervals, and warnings where there are too few pictures."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats

LEVEL = 0.95  # of all intervals
NUM_BOOTSTRAPS = 100


@dataclass(frozen=True)
class Estimate:
    """A figure that compares two sets of pictures.

    Attributes:
        value: The figure itself.
        low: Lower end of its 95 % interval; NaN where there is none.
        high: Upper end.
        n: Pictures of the first set (the samples) that it was computed from.
        m: Pictures of the second set (the reference).
        standard_error: Where the interval comes from one, as that of `kid` does; else NaN.
        warnings: What to keep in mind when reading it, one sentence each.
    """

    value: float
    low: float
    high: float
    n: int
    m: int
    standard_error: float = math.nan
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Share:
    """A share of pictures, with the 95 % interval of Wilson 1927 (a binomial proportion's score interval).

    Attributes:
        value: In [0, 1]; NaN where there is no picture.
        low: Lower end.
        high: Upper end.
        n: Number of pictures.
    """

    value: float
    low: float
    high: float
    n: int


def share(hits: int, n: int) -> Share:
    """The share that `hits` of `n` pictures are."""
    if n == 0:
        return Share(math.nan, math.nan, math.nan, 0)
    ends = stats.binomtest(hits, n).proportion_ci(LEVEL, method="wilson")
    return Share(hits / n, float(ends.low), float(ends.high), n)


def check_pair(one: torch.Tensor, other: torch.Tensor, least: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """The features of two sets on the CPU in float64, in which the metrics are computed.

    Args:
        one: Float (N, D).
        other: Float (M, D).
        least: How many rows each must have.

    Raises:
        ValueError: If they are not two matrices of as many columns, have fewer rows, or a number is not finite.
    """
    if one.ndim != 2 or other.ndim != 2 or one.shape[1] != other.shape[1]:
        raise ValueError(
            "Two sets of features must be (N, D) and (M, D), but are "
            f"{tuple(one.shape)} and {tuple(other.shape)}: both must come from one network."
        )
    if min(len(one), len(other)) < least:
        raise ValueError(
            f"At least {least} pictures are needed in each set, but there are {len(one)} and {len(other)}."
        )
    for features in (one, other):
        wrong = int((~features.isfinite().all(dim=1)).sum())
        if wrong:
            raise ValueError(f"{wrong} of {len(features)} rows of features are not finite.")
    return one.detach().cpu().double(), other.detach().cpu().double()


def basic_bootstrap(
    statistic: Callable[[torch.Tensor, torch.Tensor], float],
    one: torch.Tensor,
    other: torch.Tensor,
    value: float,
    num_bootstraps: int = NUM_BOOTSTRAPS,
    seed: int = 0,
) -> tuple[float, float]:
    """The basic bootstrap's 95 % interval (Davison & Hinkley 1997, equation 5.6): 2 value - quantiles of resamples.

    Both sets are resampled. Of a distance that is biased upwards at finite n, such as FID or Wasserstein's, resamples
    are more distant still, by about the same bias, which the reflection takes off: the interval is one for the
    distance of the distributions, and the value itself may lie above its upper end. That happens where the bias
    outweighs the chance, and says that the value is mostly bias. Distances are not negative, so the ends are at
    least 0.

    Args:
        statistic: Of two sets; where `one` and `other` go in.
        one: (N, ...).
        other: (M, ...).
        value: `statistic(one, other)`.
        num_bootstraps: Number of resamples; 0 for no interval.
        seed: Of the resamples.

    Returns:
        The ends; NaN without resamples.
    """
    if num_bootstraps == 0:
        return math.nan, math.nan
    generator = torch.Generator().manual_seed(seed)
    again = np.empty(num_bootstraps)
    for i in range(num_bootstraps):
        rows, others = (torch.randint(len(each), (len(each),), generator=generator) for each in (one, other))
        again[i] = statistic(one[rows], other[others])
    tail = (1 - LEVEL) / 2
    low, high = 2 * value - np.quantile(again, [1 - tail, tail])
    return max(0.0, float(low)), max(0.0, float(high))


def disjoint_blocks(
    one: torch.Tensor, other: torch.Tensor, blocks: int, size: int, seed: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Pairs of random subsets of `size` rows each, of which no two share a row.

    Args:
        one: (N, ...), N at least `blocks` times `size`.
        other: (M, ...), likewise.
        blocks: How many pairs.
        size: Rows.
        seed: Of the division.
    """
    generator = torch.Generator().manual_seed(seed)
    rows, others = (torch.randperm(len(each), generator=generator) for each in (one, other))
    for start in range(0, blocks * size, size):
        yield one[rows[start : start + size]], other[others[start : start + size]]


def half_width(standard_error: float, blocks: int) -> float:
    """Half the 95 % interval of a mean over independent blocks: Student's t times the standard error."""
    return float(stats.t.ppf((1 + LEVEL) / 2, blocks - 1)) * standard_error if blocks > 1 else math.nan
