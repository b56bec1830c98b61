"""How like sprites are, and what is wrong with those of one creature."""

from itertools import product

import numpy as np
import torch
from PIL import Image
from scipy import ndimage
from torch.nn import functional

from pokemon_ddpm.pipelines.sprite_preprocessing import oklab
from pokemon_ddpm.preprocessing import as_arrays, as_tensor

# What is no copy, by relation: the largest `shared_drawing` of a back and the largest silhouette IoU of a next stage,
# each above 95 % of the real ones; and its least change of color, that of the nearest of 200 real pairs.
MAX_LIKENESS = {"same": 0.4, "next": 0.62}
MIN_COLOR_CHANGE = 0.115
MAX_PALETTE_DISTANCE = 0.095  # 95 % of 200 real next stages have colors that are nearer to those of the stage before
MIN_GROWTH = 1.15  # of a next stage; of two real ones in ten it is less, and in the mean 1.6
# Of two faults, how bad they are: a next stage that is like the one before is still one.
SEVERITY = {None: 0, "silhouette": 1, "torn": 2, "palette": 2, "face": 2, "smaller": 3, "colors": 3, "drawing": 3}
SAME_COLOR, MAX_SHIFT = 0.06, 3  # a distance in OKLab, and pixels
TORN = 0.1  # share of the largest part above which a second one tears a sprite, unless that before has one


def opaque(images: torch.Tensor) -> torch.Tensor:
    """The foreground, bool (K, S, S), of RGBA sprites, uint8 (K, 4, S, S)."""
    return images[:, 3] > 127


def silhouettes(images: torch.Tensor) -> torch.Tensor:
    """The `opaque` pixels, each sprite's with the center of their bounding box in the center, bool (K, S, S)."""
    masks = opaque(images).numpy()
    for mask in masks:
        for axis in (0, 1):
            places = np.flatnonzero(mask.any(axis=1 - axis))
            shift = (len(mask) - 1 - places[0] - places[-1]) // 2 if len(places) else 0
            mask[:] = np.roll(mask, shift, axis)
    return torch.from_numpy(masks)


def overlaps(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Intersection over union of the `silhouettes` of K and of N sprites, the better facing, float64 (K, N)."""
    # Whole numbers below 2^24 are exact in float32.
    first, second, mirrored = (silhouettes(sprites).flatten(1).float() for sprites in (one, other, other.flip(3)))
    common = torch.maximum(first @ second.T, first @ mirrored.T).double()
    union = first.sum(dim=1)[:, None] + second.sum(dim=1) - common
    return torch.where(union > 0, common / union, 1)


def color_change(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Mean distance in OKLab where both are opaque, float64 (K,), of two sets of RGBA sprites, uint8 (K, 4, S, S)."""
    both = (opaque(one) & opaque(other)).double()
    distance = torch.from_numpy(np.linalg.norm(lab(one) - lab(other), axis=3))
    return (distance * both).sum(dim=(1, 2)) / both.sum(dim=(1, 2))


def shared_drawing(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """How much more of the common foreground has the same color than by chance, float64 (K,), of 1 for all of it.

    Of two sets of RGBA sprites, uint8 (K, 4, S, S), after the best shift, perhaps mirrored: Cohen's kappa (1960), in
    which chance is that of two random pixels. Outlines tell no copy: a turned body has that of its mirror image.
    """
    side, colors, shown = one.shape[3], torch.from_numpy(lab(one)), opaque(one)
    share = torch.zeros(len(one), dtype=torch.float64)
    for view in (other, other.flip(3)):
        padded = functional.pad(view, [MAX_SHIFT] * 4)
        other_colors, other_shown = torch.from_numpy(lab(padded)), opaque(padded)
        for top, left in product(range(2 * MAX_SHIFT + 1), repeat=2):
            window = np.s_[:, top : top + side, left : left + side]
            both = shown & other_shown[window]
            same = both & ((colors - other_colors[window]).norm(dim=3) < SAME_COLOR)
            share = torch.maximum(share, same.sum(dim=(1, 2)).double() / both.sum(dim=(1, 2)).clip(min=1))
    chance = torch.tensor([*map(_same_by_chance, as_arrays(one), as_arrays(other))], dtype=torch.float64)
    return torch.where(chance < 1, (share - chance) / (1 - chance), 0)  # of one color nobody can tell


def _same_by_chance(one: np.ndarray, other: np.ndarray) -> float:
    """The share of all pairs of opaque pixels of two sprites, uint8 (S, S, 4), that have the same color."""
    colors, counts = np.unique(one[one[..., 3] > 127, :3], axis=0, return_counts=True)
    others, weights = np.unique(other[other[..., 3] > 127, :3], axis=0, return_counts=True)
    same = np.linalg.norm(oklab(colors)[:, None] - oklab(others), axis=2) < SAME_COLOR
    return counts @ same @ weights / max(1, counts.sum() * weights.sum())


def palette_distance(before: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Mean distance in OKLab of the opaque pixels of images, uint8 (K, 4, S, S), to the nearest color before."""
    means = []
    for one, shown, other, seen in zip(lab(images), opaque(images), lab(before), opaque(before), strict=True):
        colors, others = torch.from_numpy(one)[shown], torch.from_numpy(other)[seen]
        distances = torch.cdist(colors, others, compute_mode="donot_use_mm_for_euclid_dist")
        means.append(distances.amin(dim=1).mean())
    return torch.stack(means)


def growth(before: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """How many times the opaque pixels of those before images have, float64 (K,), of uint8 (K, 4, S, S)."""
    return opaque(images).sum(dim=(1, 2)) / opaque(before).sum(dim=(1, 2)).double().clip(min=1)


def lab(images: torch.Tensor) -> np.ndarray:
    """OKLab, float64 (K, S, S, 3), of sprites, uint8 (K, C, S, S)."""
    return oklab(as_arrays(images)[..., :3])


def is_torn(sprite: Image.Image) -> bool:
    """Whether a sprite, RGBA, is empty or has a second part of more than `TORN` of the largest one's pixels."""
    parts, _ = ndimage.label(np.asarray(sprite)[..., 3] > 127, structure=np.ones((3, 3)))
    *_, second, first = np.sort([0, 0, *np.bincount(parts.ravel())[1:]])
    return not first or second > TORN * first


def fault(
    sample: Image.Image,
    sprite: Image.Image,
    before: Image.Image | None,
    relation: str | None,
    least_growth: float = MIN_GROWTH,
) -> str | None:
    """What is wrong with a sprite: one of `SEVERITY` but "face"; "drawing", "colors", "silhouette": a copy.

    The sample, RGBA, has its fragments; the sprite is processed, as is the one before. The relation to that is "same"
    from another side, or "next".
    """
    if is_torn(sample) and not (before and is_torn(before)):
        return "torn"
    if relation not in MAX_LIKENESS or before is None:
        return None
    one, other = as_tensor([before]), as_tensor([sprite])
    if relation == "same":
        return "drawing" if shared_drawing(one, other) > MAX_LIKENESS["same"] else None
    if growth(one, other) < least_growth:
        return "smaller"
    if torch.fmin(color_change(one, other), color_change(one, other.flip(3))) < MIN_COLOR_CHANGE:
        return "colors"
    if palette_distance(one, other) > MAX_PALETTE_DISTANCE:
        return "palette"
    return "silhouette" if overlaps(one, other) > MAX_LIKENESS["next"] else None
