"""Whether samples are new or copies: how near the nearest training picture is, beside that of held-out pictures."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy import stats
from tqdm.auto import tqdm

from pokemon_ddpm.evaluation.intervals import LEVEL, Share, share

MAX_SHIFT = 2
QUANTILE = 0.05
NUM_PAIRS = 20
_BATCH = 32
# Pictures whose distances are computed again exactly. In float32 a squared distance is known to a millionth of the
# pictures' own squared norm, so near that the nearest may not come out as the first, but as one of the first.
_CANDIDATES = 8


@dataclass(frozen=True)
class Nearest:
    """The nearest training picture of each picture.

    Attributes:
        distance: float64 (N,). Of pixels, the root of the mean square difference in grey levels, in [0, 255].
        index: int64 (N,), places in the training set; of pictures that are equally near, the first.
    """

    distance: torch.Tensor
    index: torch.Tensor


def nearest_by_pixels(
    images: torch.Tensor, train: torch.Tensor, max_shift: int = MAX_SHIFT, description: str = ""
) -> Nearest:
    """Finds the nearest training picture by pixels, over mirror images and shifts in all directions.

    Pictures count as lying on white without end, so that what a shift moves out of the frame counts too. Then
    |s(x) - t|^2 = |x|^2 + |t|^2 - 2 <s(x), t>, with the ink 255 - x for x, depends on the shift s through a product
    within the frame alone, and matrix products find it for all shifts and training pictures. The nearest by these, in
    float32, are compared again exactly, so that the result does not depend on batches.

    It takes 4 N M (2 max_shift + 1)^2 3 S^2 operations, and memory for the training pictures in float32.

    Args:
        images: uint8 (N, 3, S, S).
        train: uint8 (M, 3, S, S), M from 1. It is computed on this tensor's device.
        max_shift: In pixels, along each axis.
        description: For the progress bar.

    Raises:
        ValueError: If there is no training picture, or the pictures differ in size.
    """
    if not len(train) or images.shape[1:] != train.shape[1:]:
        raise ValueError(
            f"The nearest of {len(train)} training pictures {tuple(train.shape[1:])} cannot be found for pictures "
            f"{tuple(images.shape[1:])}: there must be some, of the same size."
        )
    ink = (255 - train).flatten(1)
    norms = _squared_norms(ink)
    columns = ink.float().T
    distances, indices = [], []
    for start in tqdm(range(0, len(images), _BATCH), desc=description or "Nearest by pixels"):
        batch = 255 - images[start : start + _BATCH].to(train.device)
        moved = _moved(batch, max_shift)  # (B, V, 3 S^2)
        overlap = (moved.flatten(0, 1).float() @ columns).view(len(batch), -1, len(train)).amax(dim=1)
        near = (norms.float() - 2 * overlap).topk(min(_CANDIDATES, len(train)), largest=False).indices
        near = near.sort(dim=1).values
        # Whole numbers below 2^53: nothing is rounded.
        exact = (moved.double() @ ink[near].double().transpose(1, 2)).amax(dim=1)
        squared = (_squared_norms(batch.flatten(1))[:, None] + norms[near] - 2 * exact).cpu().numpy()
        first = squared.argmin(axis=1)  # numpy's is the first of equal ones
        distances.append(np.sqrt(np.take_along_axis(squared, first[:, None], axis=1)[:, 0] / ink.shape[1]))
        indices.append(np.take_along_axis(near.cpu().numpy(), first[:, None], axis=1)[:, 0])
    return _as_nearest(distances, indices)


def nearest_by_features(features: torch.Tensor, mirrored: torch.Tensor, train: torch.Tensor) -> Nearest:
    """Finds the nearest training picture by the Euclidean distance of features, over mirror images.

    Args:
        features: Float (N, D).
        mirrored: Float (N, D), of the mirror images of the same pictures (`images.flip(-1)`).
        train: Float (M, D), M from 1.

    Raises:
        ValueError: If there is no training picture, or the shapes do not fit.
    """
    if not len(train) or features.shape != mirrored.shape or features.shape[1] != train.shape[1]:
        raise ValueError(
            "Features must be (N, D), (N, D) and (M, D), M from 1, but are "
            f"{tuple(features.shape)}, {tuple(mirrored.shape)} and {tuple(train.shape)}."
        )
    distances, indices = [], []
    train = train.double()
    for start in range(0, len(features), _BATCH):
        views = (each[start : start + _BATCH].double() for each in (features, mirrored))
        # Not by matrix products, in which equal features would not be at distance 0.
        found = [torch.cdist(view, train, compute_mode="donot_use_mm_for_euclid_dist") for view in views]
        least = torch.minimum(*found).cpu().numpy()
        distances.append(least.min(axis=1))
        indices.append(least.argmin(axis=1))
    return _as_nearest(distances, indices)


def _squared_norms(ink: torch.Tensor) -> torch.Tensor:
    """uint8 (N, P) to float64 (N,), in batches since a float64 copy of all would be eight times as large."""
    return torch.cat([part.double().square().sum(dim=1) for part in ink.split(256)])


def _moved(ink: torch.Tensor, max_shift: int) -> torch.Tensor:
    """Ink (B, 3, S, S), its mirror image, and both shifted: (B, V, 3 S^2)."""
    side = ink.shape[-1]
    views = torch.stack([ink, ink.flip(-1)], dim=1)
    padded = torch.nn.functional.pad(views, [max_shift] * 4)
    starts = range(2 * max_shift + 1)
    windows = [padded[..., y : y + side, x : x + side] for y in starts for x in starts]
    return torch.stack(windows, dim=2).flatten(1, 2).flatten(2)


def _as_nearest(distances: list[np.ndarray], indices: list[np.ndarray]) -> Nearest:
    distance = np.concatenate(distances) if distances else np.empty(0)
    index = np.concatenate(indices) if indices else np.empty(0, dtype=np.int64)
    return Nearest(torch.from_numpy(distance), torch.from_numpy(index))


@dataclass(frozen=True)
class Novelty:
    """How near samples come to the training pictures, on the scale of held-out pictures.

    Attributes:
        threshold: The 5 % quantile of the held-out pictures' distances.
        nearer: Share of the samples that are nearer than that. About 5 % is what new pictures show.
        chance_low: Lower end of what the share is, 95 times in 100, if samples are as new as held-out pictures are.
        chance_high: Upper end.
        median: Median distance of the samples.
        held_out_median: That of the held-out pictures.
        copies: Samples at distance 0.
        n: Samples.
        m: Held-out pictures.
        warnings: What to keep in mind.
    """

    threshold: float
    nearer: Share
    chance_low: float
    chance_high: float
    median: float
    held_out_median: float
    copies: int
    n: int
    m: int
    warnings: tuple[str, ...] = ()

    @property
    def memorises(self) -> bool:
        """Whether more samples are near than chance would have."""
        return self.nearer.value > self.chance_high


def novelty(samples: torch.Tensor, held_out: torch.Tensor) -> Novelty:
    """Compares distances to the nearest training picture.

    The threshold is the k-th smallest of m held-out distances, k = ceil(m / 20). If samples' distances come from the
    same distribution, the number of n samples below it has a beta-binomial distribution with parameters k and
    m + 1 - k, whatever that distribution is: so what chance does needs no resampling, and the uncertainty of the
    threshold is in it. (The interval of `nearer` is Wilson's, for this threshold.)

    Args:
        samples: Float (N,), from `nearest_by_pixels` or `nearest_by_features`.
        held_out: Float (M,), of held-out pictures to the same training pictures.

    Raises:
        ValueError: If there are no samples or no held-out pictures.
    """
    n, m = len(samples), len(held_out)
    if not n or not m:
        raise ValueError(f"Novelty needs samples and held-out pictures, but there are {n} and {m}.")
    k = math.ceil(QUANTILE * m)
    threshold = held_out.sort().values[k - 1].item()
    chance = stats.betabinom(n, k, m + 1 - k)
    tail = (1 - LEVEL) / 2
    warnings = []
    if m < 2 / QUANTILE:
        warnings.append(f"The 5 % quantile of {m} held-out pictures is that of the nearest few; it wants 100 or more.")
    if threshold == 0:
        warnings.append("Held-out pictures are among the training pictures: nothing can be nearer than those.")
    return Novelty(
        threshold=threshold,
        nearer=share(int((samples < threshold).sum()), n),
        chance_low=float(chance.ppf(tail)) / n,
        chance_high=float(chance.ppf(1 - tail)) / n,
        median=float(np.median(samples.numpy())),
        held_out_median=float(np.median(held_out.numpy())),
        copies=int((samples == 0).sum()),
        n=n,
        m=m,
        warnings=tuple(warnings),
    )


def closest_pairs(nearest: Nearest, count: int = NUM_PAIRS) -> torch.Tensor:
    """The pictures that are nearest to training pictures, nearest first: int64, at most `count` places."""
    return torch.sort(nearest.distance, stable=True).indices[:count]


def closest_pairs_figure(
    images: torch.Tensor,
    nearest: Nearest,
    train: torch.Tensor | None = None,
    names: Sequence[str] | None = None,
    count: int = NUM_PAIRS,
    columns: int = 10,
) -> Figure:
    """Draws the closest pairs: each sample above its nearest training picture, its name, or both; with the distance.

    Args:
        images: uint8 (N, 3, S, S), the samples.
        nearest: Of the samples.
        train: uint8 (M, 3, S, S); None to leave these pictures out, which belong to others.
        names: M, of the training pictures.
        count: Pairs, nearest first.
        columns: Pairs a row.
    """
    pairs = closest_pairs(nearest, count).tolist()
    sets = {"sample": [images[i] for i in pairs]}
    if train is not None:
        sets["training"] = [train[nearest.index[i]] for i in pairs]
    rows = max(1, -(-len(pairs) // columns))
    height = rows * (1.3 * len(sets) + (0.4 if names else 0))
    figure = Figure(figsize=(1.1 * columns, height), layout="constrained")
    for place, sample in enumerate(pairs):
        row, column = divmod(place, columns)
        for below, (name, pictures) in enumerate(sets.items()):
            line = len(sets) * row + below
            axes = figure.add_subplot(len(sets) * rows, columns, line * columns + column + 1)
            axes.imshow(pictures[place].permute(1, 2, 0).cpu().numpy(), interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
            if column == 0:
                axes.set_ylabel(name, fontsize=8)
            if not below:
                axes.set_title(f"{nearest.distance[sample]:.3g}", fontsize=8)
        if names:
            axes.set_xlabel(names[nearest.index[sample]], fontsize=7)
    return figure
