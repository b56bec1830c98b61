"""Whether backs and next stages of a model's creatures are drawings of their own, beside real ones."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import torch
from PIL import Image

from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.evaluation.metrics import Estimate
from pokemon_ddpm.evaluation.same_creature import BACK, FRONT, NORMAL, over_lines, pairs_of
from pokemon_ddpm.likeness import MAX_IOU, likeness, opaque, palette_distance
from pokemon_ddpm.preprocessing import as_tensor

RELATIONS = {"same": "back", "next": "next stage"}


def evaluate_creatures(
    creatures: Sequence[Mapping[str, Image.Image]], data: SpriteTensors | None
) -> dict[str, dict[str, Estimate]]:
    """Question -> row -> `Estimate`, in which n is the number of pairs and m that of creatures, or of real lines.

    Args:
        creatures: Name of a part -> sprite, of creatures with as many stages.
        data: Real sprites to compare with, in RGBA, with the columns of the sprites.
    """
    fronts = sorted(name for name in creatures[0] if name.endswith("-front"))
    pairs = {"same": [(each, each.replace("front", "back")) for each in fronts], "next": list(pairwise(fronts))}
    numbers: dict[str, dict[str, Estimate]] = {}
    for relation, names in pairs.items():
        found = numbers[RELATIONS[relation]] = {}
        if names:
            ones, others = (as_tensor(each[pair[i]] for each in creatures for pair in names) for i in (0, 1))
            found |= _measure("generated", relation, ones, others, torch.arange(len(ones)) // len(names))
        if data is not None:
            real = pairs_of(data, relation, BACK if relation == "same" else FRONT, NORMAL)
            lines = data.labels["line"][real.targets]
            found |= _measure("real", relation, data.images[real.references], data.images[real.targets], lines)
    return numbers


def _measure(
    name: str, relation: str, references: torch.Tensor, images: torch.Tensor, lines: torch.Tensor
) -> dict[str, Estimate]:
    iou, _ = likeness(references, images)
    grown = (opaque(images).sum(dim=(1, 2)) > opaque(references).sum(dim=(1, 2))).double()
    rows = {
        f"silhouette IoU of at most {MAX_IOU[relation]}": over_lines((iou <= MAX_IOU[relation]).double(), lines),
        "silhouette IoU, median": over_lines(iou, lines, np.median),
        "more foreground": over_lines(grown, lines),
        "distance to the reference's palette": over_lines(palette_distance(references, images), lines),
    }
    return {f"{name}: {title}": value for title, value in rows.items()}
