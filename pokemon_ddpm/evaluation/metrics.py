"""Metrics of features (KID, precision, recall, Fréchet), memorization, condition accuracy, pixel art, and variety.

Features are float (N, D) of the samples and (M, D) of the reference, at least two of each, both from the same network.
All is computed in float64 on the CPU.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from huggingface_hub.utils import tqdm
from scipy import ndimage, stats
from torch import Tensor
from torch.nn import functional

from pokemon_ddpm.likeness import overlaps
from pokemon_ddpm.pipelines.sprite_preprocessing import DARK, oklab, unique_colors
from pokemon_ddpm.preprocessing import as_arrays
from pokemon_ddpm.vocabulary import Vocabulary

LEVEL = 0.95  # of all intervals
TAIL = (1 - LEVEL) / 2
NUM_BOOTSTRAPS = 1000
KID_BLOCKS, KID_BLOCK_SIZE, KID_DIVISIONS = 10, 10, 10
NEIGHBORHOOD = 3  # of precision and recall
QUANTILE = 0.05  # of the held-out images, of memorization
# Of the nearest training images: the largest shift in pixels, and images at once; in float64 they take much memory.
MOVED, IMAGE_BATCH, TRAIN_BATCH = 2, 32, 1024
COPY = 0.5  # of the median distance of held-out images; a sample that is nearer is one
NEAR = 0.7  # the overlap from which two silhouettes are near
CLEAR = 8  # a background pixel with a smaller alpha is invisible
# Plain statistics of pixel art, which no network has learned -> how they are called in a report. All but the first are
# shares and are averaged.
STATISTICS = {
    "colors": "colors, median",
    "clear_background": f"background pixels with an alpha below {CLEAR}",
    "parts": "images with detached parts",
    "dark_outline": "outline pixels that are dark",
    "dark": "pixels that are dark",
}


@dataclass(frozen=True)
class Estimate:
    """A metric of two sets of images, or a share, in [0, 1], of one."""

    value: float  # NaN if there are no images
    low: float  # end of the 95 % interval; NaN if there is none
    high: float
    n: int  # samples used
    m: int | None = None  # reference images used


def share(hits: Tensor) -> Estimate:
    """The share of what is True, bool (N,), with the score interval of Wilson 1927."""
    count, n = int(hits.sum()), len(hits)
    if n == 0:
        return Estimate(math.nan, math.nan, math.nan, 0)
    interval = stats.binomtest(count, n).proportion_ci(LEVEL, method="wilson")
    return Estimate(count / n, float(interval.low), float(interval.high), n)


def line_resamples(lines: np.ndarray, seed: int) -> list[np.ndarray]:
    """Rows of bootstrap resamples of whole lines, int (N,), -1 for none (Davison & Hinkley 1997, section 3.8)."""
    lines = np.where(lines < 0, lines.max(initial=0) + 1 + np.arange(len(lines)), lines)
    different, cluster = np.unique(lines, return_inverse=True)
    shares = np.full(len(different), 1 / len(different))
    times = np.random.default_rng(seed).multinomial(len(different), shares, NUM_BOOTSTRAPS)
    return [np.arange(len(lines)).repeat(counts[cluster]) for counts in times]


def disjoint_blocks(
    samples: Tensor, reference: Tensor, blocks: int, size: int, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields pairs of random subsets of `size` rows each, in float64 on the CPU; no row is in two subsets."""
    samples, reference = samples.cpu().double(), reference.cpu().double()
    generator = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(len(part), generator=generator) for part in (samples, reference)]
    for one, other in zip(*(order[: blocks * size].split(size) for order in orders), strict=True):
        yield samples[one], reference[other]


def kid(samples: Tensor, reference: Tensor, seed: int = 0) -> Estimate:
    """Kernel inception distance (Bińkowski et al. 2018, section 4.1): unbiased, and so sometimes below 0.

    It is the mean over 10 divisions of both sets into up to 10 disjoint subsets of at least 10 images. The subsets of
    a division are independent, so their spread gives a valid standard error; that of overlapping ones is too small.
    """
    from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric  # an extra has it

    smaller = min(len(samples), len(reference))
    blocks = max(1, min(KID_BLOCKS, smaller // KID_BLOCK_SIZE))
    size, values = smaller // blocks, np.empty((KID_DIVISIONS, blocks))
    for division, of_blocks in enumerate(values):
        own_seed = (seed * KID_DIVISIONS + division) % 2**63  # A generator takes no larger one.
        for block, pair in enumerate(disjoint_blocks(samples, reference, blocks, size, own_seed)):
            result = kid_features_to_metric(*pair, kid_subsets=1, kid_subset_size=size, verbose=False)
            of_blocks[block] = result[KEY_METRIC_KID_MEAN]
    value = float(values.mean())
    error = float(np.sqrt(values.var(axis=1, ddof=1).mean() / blocks)) if blocks > 1 else math.nan
    half = float(stats.t.ppf((1 + LEVEL) / 2, blocks - 1)) * error  # Student's interval
    return Estimate(value, value - half, value + half, len(samples), len(reference))


def frechet(samples: Tensor, reference: Tensor, seed: int = 0) -> Estimate:
    """Fréchet distance (Heusel et al. 2017, equation 6) of equally many images, without an interval.

    It is biased upwards, more for fewer images (Chong & Forsyth 2020): compare only values of the same numbers.
    """
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

    size = min(len(samples), len(reference))
    (pair,) = disjoint_blocks(samples, reference, 1, size, seed)
    moments = map(fid_features_to_statistics, pair)
    # Rounding can give slightly less than 0 for singular covariances.
    value = max(0.0, fid_statistics_to_metric(*moments, verbose=False)[KEY_METRIC_FID])
    return Estimate(float(value), math.nan, math.nan, size, size)


def precision_recall(samples: Tensor, reference: Tensor, seed: int = 0) -> tuple[Estimate, Estimate]:
    """Improved precision and recall (Kynkäänniemi et al. 2019, equations 1 and 2), with Wilson's intervals.

    The neighborhoods are larger in a smaller set, so the larger set is reduced at random to the size of the other.
    """
    from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL, prc_features_to_metric

    size = min(len(samples), len(reference))
    ((samples, reference),) = disjoint_blocks(samples, reference, 1, size, seed)
    center = reference.mean(dim=0)  # torch-fidelity computes |a|^2 + |b|^2 - 2 a.b, which is exact near the origin
    options = {"prc_neighborhood": NEIGHBORHOOD, "prc_batch_size": 2048, "save_cpu_ram": True, "verbose": False}
    shares = prc_features_to_metric(samples - center, reference - center, **options)
    counts = [round(shares[key] * size) for key in (KEY_METRIC_PRECISION, KEY_METRIC_RECALL)]
    precision, recall = (replace(share(torch.arange(size) < count), m=size) for count in counts)
    return precision, recall


class Nearest(NamedTuple):
    """The nearest training image of each image."""

    distance: Tensor  # float64 (N,), the root mean square difference in [0, 255]
    index: Tensor  # int64 (N,), positions in the training set; the first of equally near images


def nearest_by_pixels(images: Tensor, train: Tensor) -> Nearest:
    """Finds the nearest training image by pixels, over mirror images and shifts of up to 2 pixels along each axis.

    Images are uint8 (N, 3, S, S), `train` on the device to compute on, on an infinite white background: pixels that a
    shift moves out of the frame count too. With x = 255 - image, |s(x) - t|^2 = |x|^2 + |t|^2 - 2 <s(x), t> for shifts
    s. All are whole numbers below 2^53, so in float64 nothing is rounded.
    """
    squared, indices = [], []
    for batch in tqdm(images.split(IMAGE_BATCH), "Nearest training images"):
        batch = 255 - batch.to(train.device)
        views = _mirrored_and_shifted(batch).flatten(0, 1).double()
        relative = []  # to the norm of the image, which is the same for all
        for part in train.split(TRAIN_BATCH):
            inverted = (255 - part).flatten(1).double()
            products = (views @ inverted.T).view(len(batch), -1, len(part)).amax(dim=1)
            relative.append(inverted.square().sum(dim=1) - 2 * products)
        least = torch.cat(relative, dim=1).min(dim=1)
        squared.append((batch.double().square().sum(dim=(1, 2, 3)) + least.values).cpu())
        indices.append(least.indices.cpu())
    # NumPy rounds the root correctly; PyTorch does not.
    distance = np.sqrt(torch.cat(squared).numpy() / train[0].numel())
    return Nearest(torch.from_numpy(distance), torch.cat(indices))


def _mirrored_and_shifted(inverted: Tensor) -> Tensor:
    """Inverted images (B, 3, S, S) and their mirror images, with all shifts: (B, V, 3 S^2)."""
    side = inverted.shape[-1]
    views = torch.stack([inverted, inverted.flip(-1)], dim=1)
    padded = functional.pad(views, [MOVED] * 4)
    windows = padded.unfold(3, side, 1).unfold(4, side, 1)  # (B, 2, 3, 5, 5, S, S)
    return windows.permute(0, 1, 3, 4, 2, 5, 6).flatten(1, 3).flatten(2)


def count_copies(samples: Tensor, train: Tensor, held_out: Tensor) -> int:
    """How many samples are at most `COPY` times as far from a training image as held-out images usually are.

    All are uint8 (N, 3, S, S), `train` on the device to compute on.
    """
    usual = nearest_by_pixels(held_out, train).distance.median().item()
    return int((nearest_by_pixels(samples, train).distance <= COPY * usual).sum())


def memorization(samples: Tensor, held_out: Tensor) -> dict[str, Any]:
    """Compares the distances to the nearest training image, float (N,) of samples and (M,) of held-out images.

    "nearer" is the `share` of samples below the "threshold", the k-th smallest of the M held-out distances with k =
    ceil(M / 20). "chance_low" and "chance_high" are its 95 % range if samples have the same distribution: their number
    is then beta-binomial with parameters N, k and M + 1 - k. "identical" is the number of samples at distance 0.
    """
    n, m = len(samples), len(held_out)
    k = math.ceil(QUANTILE * m)
    threshold = held_out.kthvalue(k).values.item()
    chance_low, chance_high = (float(end) / n for end in stats.betabinom.interval(LEVEL, n, k, m + 1 - k))
    counts = {"nearer": share(samples < threshold), "identical": int((samples == 0).sum()), "n": n, "m": m}
    return {"threshold": threshold, "chance_low": chance_low, "chance_high": chance_high, **counts}


def given_values(conditions: Sequence[Mapping[str, Any]], vocabulary: Vocabulary) -> dict[str, Tensor]:
    """The values that N samples were conditioned on: attribute -> bool (N, K), of the K values in the vocabulary.

    The conditions are of each sample attribute -> a value, or a pair of types.
    """
    given = {}
    for attribute, known in vocabulary.items():
        values = [condition.get(attribute) for condition in conditions]
        values = [value if isinstance(value, (list, tuple)) else [value] for value in values]
        given[attribute] = torch.tensor([[name in names for name in known] for names in values], dtype=torch.bool)
    return given


def label_values(ids: Tensor, count: int) -> Tensor:
    """Bool (N, `count`) from the ids of values, int64 (N,) or for types (N, 2); other ids count as no value."""
    return (ids.view(len(ids), -1, 1) == torch.arange(count)).any(dim=1)


def condition_accuracy(
    values: Sequence[str], predicted: Tensor, given: Tensor, real: tuple[Tensor, Tensor] | None = None
) -> dict[str, Any]:
    """Condition accuracy of one attribute with K values: shares in which all given values are recognized.

    Args:
        predicted: Bool (N, K), see `features.predict`.
        given: Bool (N, K), see `given_values`; at least one sample has a value, and those without are left out.
        real: What is predicted of real images, and what they have, bool (M, K) both.

    Returns:
        "accuracy" of the samples, "real" of the real images that have a label, and both "by_value", of those that have
        the value; "chance", of all pairs of a sample and the condition of any sample; "majority", if only the values
        given most often, as many as the longest condition has, were recognized in all samples.
    """
    conditioned = given.any(dim=1)
    predicted, given = predicted[conditioned], given[conditioned]
    counts = given.sum(dim=0)
    by_value = {}
    for k in counts.nonzero().flatten().tolist():
        of_real = real and share(real[0][real[1][:, k], k])
        by_value[values[k]] = {"accuracy": share(predicted[given[:, k], k]), "real": of_real}
    most_given = torch.zeros(len(values), dtype=torch.bool)
    most_given[counts.sort(descending=True, stable=True).indices[: given.sum(dim=1).max()]] = True
    different, occurrences = given.unique(dim=0, return_counts=True)
    missing = different.double() @ (~predicted).double().T  # values of a condition that are not predicted
    return {
        "accuracy": share((predicted | ~given).all(dim=1)),
        "real": real and share((real[0] | ~real[1]).all(dim=1)[real[1].any(dim=1)]),
        "chance": float((occurrences * (missing == 0).sum(dim=1)).sum()) / len(given) ** 2,
        "majority": share((most_given | ~given).all(dim=1)).value,
        "by_value": by_value,
    }


def pixel_statistics(images: Tensor) -> dict[str, np.ndarray]:
    """The `STATISTICS` of images in RGBA, uint8 (N, 4, S, S): name -> float64 (N,), NaN where there is no such pixel.

    A pixel is in the foreground if its alpha is above 127; the background is what is not and is connected to the
    border. An outline pixel is beside the background or the border, not diagonally.
    """
    rows = [_statistics_of(image) for image in tqdm(as_arrays(images), "Statistics of pixels")]
    return {name: np.array([row[name] for row in rows]) for name in STATISTICS}


def _statistics_of(pixels: np.ndarray) -> dict[str, float]:
    foreground = pixels[..., 3] > 127
    if not foreground.any():
        return {name: 0 if name == "colors" else np.nan for name in STATISTICS}
    background = ~ndimage.binary_fill_holes(foreground)
    outline = foreground & ndimage.binary_dilation(background, border_value=1)
    _, count = ndimage.label(foreground, structure=np.ones((3, 3)))
    dark = oklab(pixels[..., :3])[..., 0] < DARK
    return {
        "colors": len(unique_colors(pixels[foreground, :3])),
        "clear_background": (pixels[background, 3] < CLEAR).mean() if background.any() else np.nan,
        "parts": float(count > 1),
        "dark_outline": dark[outline].mean() if outline.any() else np.nan,
        "dark": dark[foreground].mean(),
    }


def variety(images: Tensor) -> dict[str, float]:
    """How alike at least two sprites of one type are, uint8 (N, 4, S, S): means over all pairs of them.

    "near" is the share of the pairs with an overlap of at least `NEAR`, "color" the mean of `color_distances`.
    """
    pairs = np.triu_indices(len(images), 1)
    near = overlaps(images, images).numpy() >= NEAR
    return {"near": near[pairs].mean(), "color": color_distances(images)[pairs].mean()}


def color_distances(images: Tensor) -> np.ndarray:
    """Distances in OKLab of all pairs of mean foreground colors, float64 (N, N)."""
    pixels = as_arrays(images)
    foreground = pixels[..., 3:] > 127
    area = np.maximum(foreground.sum(axis=(1, 2)), 1)
    means = (oklab(pixels[..., :3]) * foreground).sum(axis=(1, 2)) / area
    return np.linalg.norm(means[:, None] - means, axis=2)


def averages(values: dict[str, np.ndarray], seed: int = 0) -> dict[str, dict[str, Any]]:
    """Mean of each statistic, of "colors" the median, with the 95 % interval of a percentile bootstrap over images.

    "n" is the number of images that have it; "value", "low" and "high" are NaN if there is none.
    """
    result, options = {}, {"n_resamples": NUM_BOOTSTRAPS, "batch": 100, "method": "percentile", "rng": seed}
    for name, known in values.items():
        known, average = known[~np.isnan(known)], np.median if name == "colors" else np.mean
        value = low = high = np.nan
        if len(known) > 1:
            low, high = stats.bootstrap((known,), average, confidence_level=LEVEL, **options).confidence_interval
            value = average(known)
        result[name] = {"value": float(value), "low": float(low), "high": float(high), "n": len(known)}
    return result
