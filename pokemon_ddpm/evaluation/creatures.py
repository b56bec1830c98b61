"""Whether sprites show one creature: the backs and next stages of a model's own creatures, beside real ones."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.evaluation.metrics import TAIL, Estimate, line_resamples
from pokemon_ddpm.likeness import MAX_IOU, likeness, opaque, palette_distance
from pokemon_ddpm.preprocessing import as_tensor
from pokemon_ddpm.training.batches import FORM, NEXT, ReferencePairs
from pokemon_ddpm.vocabulary import FINISHES, VIEWS

FRONT, BACK = (VIEWS.index(name) for name in ("front", "back"))
NORMAL = FINISHES.index("normal")
RELATIONS = {"same": "back", "next": "next stage"}


class Pairs(NamedTuple):
    """References and what they should become: rows of a split, int64 (K,) each."""

    references: torch.Tensor
    targets: torch.Tensor


def pairs_of(data: SpriteTensors, relation: str, view: int, finish: int, other_game: bool = False) -> Pairs:
    """Normal fronts, and the image of the same form or of the next stage with a view and a finish.

    One pair for each form that a target has: of the same game and frame if there is one, and of the earliest game.

    Args:
        other_game: Whether a pair must be of two games.
    """
    kind, pairs = FORM if relation == "same" else NEXT, ReferencePairs.of(data.labels)
    columns = (data.labels[name].tolist() for name in ("index", "game", "frame", "view", "finish"))
    sprites, first = list(zip(*columns, strict=True)), {}
    for target, (form, game, frame, *look) in enumerate(sprites):
        for reference in pairs.candidates(kind, target) if look == [view, finish] else ():
            _, game_before, frame_before, *look_before = sprites[reference]
            pair = (game_before != game, frame_before != frame, game, reference, target)
            if look_before == [FRONT, NORMAL] and (pair[0] or not other_game):
                first[form] = min(pair, first.get(form, pair))
    rows = torch.tensor([first[form][3:] for form in sorted(first)], dtype=torch.int64)
    return Pairs(*rows.view(-1, 2).unbind(dim=1))


def more_foreground(references: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Whether images have more opaque pixels than their references, bool (K,), of RGBA sprites, uint8 (K, 4, S, S)."""
    return opaque(images).sum(dim=(1, 2)) > opaque(references).sum(dim=(1, 2))


def over_lines(
    values: torch.Tensor, lines: torch.Tensor, average: Callable[[np.ndarray], float] = np.mean
) -> Estimate:
    """The average of values (K,), with the percentile interval of `line_resamples` of their lines, int64 (K,).

    NaN, as of an empty sprite, is left out.
    """
    known = ~values.double().isnan()
    values, lines = values[known].double().numpy(), lines[known].numpy()
    resampled = [average(values[rows]) for rows in line_resamples(lines, seed=0)]
    low, high = np.quantile(resampled, [TAIL, 1 - TAIL])
    return Estimate(float(average(values)), float(low), float(high), len(values), len(np.unique(lines)))


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
    rows = {
        f"silhouette IoU of at most {MAX_IOU[relation]}": over_lines((iou <= MAX_IOU[relation]).double(), lines),
        "silhouette IoU, median": over_lines(iou, lines, np.median),
        "more foreground": over_lines(more_foreground(references, images), lines),
        "distance to the reference's palette": over_lines(palette_distance(references, images), lines),
    }
    return {f"{name}: {title}": value for title, value in rows.items()}
