"""How like two sprites are: whether a back or a next stage is the drawing of its reference again."""

import numpy as np
import torch
from PIL import Image
from scipy import ndimage

from pokemon_ddpm.pipelines.sprite_preprocessing import oklab
from pokemon_ddpm.preprocessing import as_arrays, as_tensor

# The largest silhouette IoU that is no copy, by relation: 95 % of the real next stages are below, of the real backs
# 65 %; and the least change of color, that of the nearest of 200 real pairs.
MAX_IOU = {"same": 0.8, "next": 0.62}
MIN_COLOR_CHANGE = {"same": 0.037, "next": 0.115}
MAX_PALETTE_DISTANCE = 0.095  # 95 % of 200 real next stages have colors that are nearer to those of their references
COPIES = ("silhouette", "colors")  # what a copy has of its reference
TORN = 0.1  # share of the largest part above which a second one tears a sprite, unless its reference has one


def opaque(images: torch.Tensor) -> torch.Tensor:
    """The foreground, bool (K, S, S), of RGBA sprites, uint8 (K, 4, S, S)."""
    return images[:, 3] > 127


def silhouette_iou(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Intersection over union of the opaque pixels, float64 (K,), of two sets of RGBA sprites, uint8 (K, 4, S, S)."""
    first, second = opaque(one), opaque(other)
    return (first & second).sum(dim=(1, 2)).double() / (first | second).sum(dim=(1, 2))


def color_change(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Mean distance in OKLab where both are opaque, float64 (K,), of two sets of RGBA sprites, uint8 (K, 4, S, S)."""
    both = (opaque(one) & opaque(other)).double()
    distance = torch.from_numpy(np.linalg.norm(lab(one) - lab(other), axis=3))
    return (distance * both).sum(dim=(1, 2)) / both.sum(dim=(1, 2))


def likeness(one: torch.Tensor, other: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """`silhouette_iou` and `color_change` with a set or with its mirror images, whichever is more alike."""
    (iou, mirrored_iou), (change, mirrored_change) = (
        [measure(one, each) for each in (other, other.flip(3))] for measure in (silhouette_iou, color_change)
    )
    return torch.maximum(iou, mirrored_iou), torch.fmin(change, mirrored_change)


def palette_distance(references: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Mean distance in OKLab of the opaque pixels of images to the nearest color of their references, float64 (K,).

    Both are RGBA sprites, uint8 (K, 4, S, S).
    """
    sets = (torch.from_numpy(lab(references)), opaque(references), torch.from_numpy(lab(images)), opaque(images))
    exact = {"compute_mode": "donot_use_mm_for_euclid_dist"}
    distances = (torch.cdist(one[shown], other[seen], **exact) for other, seen, one, shown in zip(*sets, strict=True))
    return torch.stack([each.amin(dim=1).mean() for each in distances])


def lab(images: torch.Tensor) -> np.ndarray:
    """OKLab, float64 (K, S, S, 3), of sprites, uint8 (K, C, S, S)."""
    return oklab(as_arrays(images)[..., :3])


def is_torn(sprite: Image.Image) -> bool:
    """Whether a sprite, RGBA, is empty or has a second part of more than `TORN` of the largest one's pixels."""
    parts, _ = ndimage.label(np.asarray(sprite)[..., 3] > 127, structure=np.ones((3, 3)))
    *_, second, first = np.sort([0, 0, *np.bincount(parts.ravel())[1:]])
    return not first or second > TORN * first


def fault(sample: Image.Image, sprite: Image.Image, reference: Image.Image | None, relation: str | None) -> str | None:
    """What is wrong with a sprite: one of `COPIES`, "torn", "palette" (of other colors), "smaller"; or None.

    Args:
        sample: Before its fragments were removed, RGBA.
        sprite: Processed, as is its reference, if it has one.
        relation: What it is to that: "same" from another side, or "next".
    """
    if is_torn(sample) and not (reference and is_torn(reference)):
        return "torn"
    if relation not in MAX_IOU or reference is None:
        return None
    one, other = as_tensor([reference]), as_tensor([sprite])
    iou, change = likeness(one, other)
    if not iou <= MAX_IOU[relation]:
        return "silhouette"
    if change < MIN_COLOR_CHANGE[relation]:
        return "colors"
    if relation == "next" and palette_distance(one, other) > MAX_PALETTE_DISTANCE:
        return "palette"
    return "smaller" if relation == "next" and opaque(other).sum() <= opaque(one).sum() else None
