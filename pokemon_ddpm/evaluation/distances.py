"""KID, FID, precision and recall of features, by torch-fidelity.

torch-fidelity takes plain features for all three, in whatever precision they have, and centres them before it makes
covariances. (torchmetrics sums raw products, which loses digits where the features' means are far from 0, draws KID's
subsets from the global generator, and has no precision and recall.) All here is in float64.

Features of samples come first, those of real pictures second; both from one network.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric
from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL, prc_features_to_metric

from pokemon_ddpm.evaluation.intervals import (
    NUM_BOOTSTRAPS,
    Estimate,
    basic_bootstrap,
    check_pair,
    disjoint_blocks,
    half_width,
    share,
)

KID_BLOCKS, KID_LEAST_BLOCK, KID_DIVISIONS = 10, 10, 10
NEIGHBORHOOD = 3
_PRC_BATCH = 2048


def fid(
    samples: torch.Tensor, reference: torch.Tensor, num_bootstraps: int = NUM_BOOTSTRAPS, seed: int = 0
) -> Estimate:
    """Fréchet inception distance (Heusel et al. 2017, equation 6), of whatever features these are.

    |mu_1 - mu_2|^2 + Tr(S_1 + S_2 - 2 (S_1 S_2)^(1/2)) of means and covariances. It is biased upwards, the more so
    the fewer pictures and the more features there are (Chong & Forsyth 2020): compare only figures of the same n, m
    and network. For what its interval means see `basic_bootstrap`.

    Args:
        samples: Float (N, D).
        reference: Float (M, D).
        num_bootstraps: Resamples for the interval, at D = 128 a hundredth of a second each, at D = 2,048 five
            seconds; 0 for none.
        seed: Of the resamples.

    Raises:
        ValueError: See `check_pair`.
    """
    samples, reference = check_pair(samples, reference)
    value = _fid(samples, reference)
    low, high = basic_bootstrap(_fid, samples, reference, value, num_bootstraps, seed)
    (n, dimension), m = samples.shape, len(reference)
    warnings = ()
    if min(n, m) <= dimension:
        warnings = (
            f"FID of {dimension} features from {min(n, m)} pictures: there are no more pictures than features, so the "
            "covariances are singular and the figure is mostly bias. Read KID instead.",
        )
    elif min(n, m) < 10 * dimension:
        warnings = (
            f"FID of {dimension} features from {min(n, m)} pictures is noticeably biased upwards; it wants ten times "
            f"as many pictures as features, {10 * dimension}.",
        )
    return Estimate(value, low, high, n, m, warnings=warnings)


def _fid(samples: torch.Tensor, reference: torch.Tensor) -> float:
    statistics = [fid_features_to_statistics(features) for features in (samples, reference)]
    statistics = [{**each, "sigma": np.atleast_2d(each["sigma"])} for each in statistics]  # of a single feature
    # Of singular covariances rounding leaves a little less than 0.
    return max(0.0, fid_statistics_to_metric(*statistics, verbose=False)[KEY_METRIC_FID])


def kid(samples: torch.Tensor, reference: torch.Tensor, seed: int = 0) -> Estimate:
    """Kernel inception distance (Bińkowski et al. 2018, section 4.1): unbiased at any n, and so below 0 at times.

    The squared maximum mean discrepancy under the kernel (x.y / D + 1)^3. The sets are divided into as many disjoint
    subsets as can be made of at least 10 pictures, 10 at most, and the value is the mean over the subsets of 10 such
    divisions. Subsets of one division are independent, so their spread gives an honest standard error; the usual
    subsets drawn anew from few pictures overlap, and theirs does not. It is that of one division, and the mean over
    ten is no worse. The interval is Student's.

    The kernel is not free of scale: figures compare within one network only.

    Args:
        samples: Float (N, D).
        reference: Float (M, D).
        seed: Of the divisions.

    Returns:
        With fewer than 20 pictures in a set there is a single subset, and no standard error.

    Raises:
        ValueError: See `check_pair`.
    """
    samples, reference = check_pair(samples, reference)
    return _estimate(_divided(samples, reference, seed), len(samples), len(reference))


def kid_difference(one: torch.Tensor, other: torch.Tensor, reference: torch.Tensor, seed: int = 0) -> Estimate:
    """KID of one set less that of another, whose rows were drawn from the same noise in the same order.

    Both are divided alike, so that what they have in common cancels out within each subset, and a small difference is
    seen that the two intervals would hide.

    Args:
        one: Float (N, D).
        other: Float (N, D).
        reference: Float (M, D).
        seed: As in `kid`.

    Raises:
        ValueError: If the two have not as many rows; see `check_pair`.
    """
    if len(one) != len(other):
        raise ValueError(
            f"Two sets of samples from the same noise have as many rows, but these {len(one)} and {len(other)}."
        )
    found = [_divided(*check_pair(samples, reference), seed) for samples in (one, other)]
    return _estimate(found[0] - found[1], len(one), len(reference))


def _divided(samples: torch.Tensor, reference: torch.Tensor, seed: int) -> np.ndarray:
    """KID of each subset of each division: (divisions, subsets)."""
    smaller = min(len(samples), len(reference))
    blocks = max(1, min(KID_BLOCKS, smaller // KID_LEAST_BLOCK))
    seeds = range(seed * KID_DIVISIONS, (seed + 1) * KID_DIVISIONS)
    divisions = (disjoint_blocks(samples, reference, blocks, smaller // blocks, division) for division in seeds)
    return np.array([[_kid(*pair) for pair in pairs] for pairs in divisions])


def _estimate(found: np.ndarray, n: int, m: int) -> Estimate:
    value, blocks = float(found.mean()), found.shape[1]
    error = float(np.sqrt(found.var(axis=1, ddof=1).mean() / blocks)) if blocks > 1 else float("nan")
    half = half_width(error, blocks)
    warnings = ()
    if blocks < KID_BLOCKS:
        least = KID_BLOCKS * KID_LEAST_BLOCK
        warnings = (f"KID from {min(n, m)} pictures is very uncertain; its standard error wants {least}.",)
    return Estimate(value, value - half, value + half, n, m, error, warnings)


def _kid(samples: torch.Tensor, reference: torch.Tensor) -> float:
    """Of two whole sets of one size: the library's only subset is all of them."""
    found = kid_features_to_metric(samples, reference, kid_subsets=1, kid_subset_size=len(samples), verbose=False)
    return found[KEY_METRIC_KID_MEAN]


def kid_by_word(
    samples: torch.Tensor,
    asked: torch.Tensor,
    reference: torch.Tensor,
    labels: torch.Tensor,
    words: Sequence[str],
    seed: int = 0,
) -> dict[str, Estimate]:
    """KID of the samples asked for a word, such as a type, to the real pictures that have it.

    Args:
        samples: Float (N, D).
        asked: Bool (N, K): the words that each sample was asked for; see `pokemon_ddpm.evaluation.obedience`.
        reference: Float (M, D).
        labels: Bool (M, K): the words of each real picture.
        words: The K words.
        seed: As in `kid`.

    Returns:
        Word -> KID; NaN, with n and m and a warning, where either has fewer than two pictures.

    Raises:
        ValueError: See `check_pair`.
    """
    found = {}
    for k, word in enumerate(words):
        one, other = samples[asked[:, k]], reference[labels[:, k]]
        if min(len(one), len(other)) < 2:
            few = f"KID of {word} needs two pictures in each set, but there are {len(one)} and {len(other)}."
            nan = float("nan")
            found[word] = Estimate(nan, nan, nan, len(one), len(other), warnings=(few,))
        else:
            found[word] = kid(one, other, seed)
    return found


@dataclass(frozen=True)
class PrecisionRecall:
    """Improved precision and recall.

    Attributes:
        precision: Share of the samples that lie among real pictures.
        recall: Share of the real pictures that lie among samples.
    """

    precision: Estimate
    recall: Estimate


def precision_recall(
    samples: torch.Tensor, reference: torch.Tensor, neighborhood: int = NEIGHBORHOOD, seed: int = 0
) -> PrecisionRecall:
    """Improved precision and recall (Kynkäänniemi et al. 2019, equations 1 and 2).

    A picture lies among a set if it is no farther from one of its pictures than that one's k-th nearest neighbour in
    the set. The balls grow as sets get smaller, so the larger set is reduced to the smaller's size, at random.

    The intervals are Wilson's for the share of pictures, given the balls of the other set. (Resampling would repeat
    pictures and so shrink the balls.)

    Args:
        samples: Float (N, D).
        reference: Float (M, D).
        neighborhood: k.
        seed: Of the reduction.

    Raises:
        ValueError: See `check_pair`; each set must have more than k pictures.
    """
    samples, reference = check_pair(samples, reference, least=neighborhood + 1)
    size = min(len(samples), len(reference))
    ((samples, reference),) = disjoint_blocks(samples, reference, 1, size, seed)
    center = reference.mean(dim=0)  # the library's distances are |a|^2 + |b|^2 - 2 a.b, exact near the origin
    found = prc_features_to_metric(
        samples - center,
        reference - center,
        prc_neighborhood=neighborhood,
        prc_batch_size=_PRC_BATCH,
        save_cpu_ram=True,
        verbose=False,
    )
    warnings = ()
    if size < 100 * neighborhood:
        warnings = (f"Precision and recall from {size} pictures are too high: balls around so few are large.",)
    shares = [share(round(found[key] * size), size) for key in (KEY_METRIC_PRECISION, KEY_METRIC_RECALL)]
    return PrecisionRecall(*(Estimate(s.value, s.low, s.high, size, size, warnings=warnings) for s in shares))
