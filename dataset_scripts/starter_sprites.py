"""A small set of creatures of our own, drawn on the spot, to try the training without downloading anything.

Nothing but the types and the numbers of line and stage decides about a picture. `starter_art` holds what is drawn.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from pokemon_ddpm.dataset_scripts.starter_art import (
    BACKGROUND,
    BORROWED,
    BUILDS,
    EYES,
    FEATURES,
    FLAT,
    LOOKS,
    MOUTHS,
    NEAR_BLACK,
    OFF_WHITE,
    PATTERNS,
    RAMPS,
    Frame,
    Part,
)
from pokemon_ddpm.vocabulary import ANY, FINISHES, FORMS, NONE, TYPES, VIEWS, nearest

GRID, ZOOM = 48, 2
LINES_PER_TYPE, STAGES = 20, 3
SPLITS = ("train",) * 16 + ("validation",) * 2 + ("test",) * 2  # of the lines of each type

# By stage. The young have large heads and short limbs. Sizes are the longer side in grid pixels, give or take two.
SIZES, HEADS, REACHES = (28, 34, 41), (1.15, 1.0, 0.92), (0.75, 1.0, 1.15)


class Traits(NamedTuple):
    """What tells the lines of a type from each other."""

    larger: int
    head: float
    width: float
    reach: float
    tint: np.ndarray
    face: tuple[Part, ...]
    pattern: tuple[Part, ...]
    extras: list[str]  # features in the order in which they grow


def _traits(type1: str, line: int) -> Traits:
    rng = np.random.default_rng([TYPES.index(type1), line])
    return Traits(
        larger=int(rng.integers(-2, 3)),
        head=rng.uniform(0.9, 1.1),
        width=rng.uniform(0.85, 1.15),
        reach=rng.uniform(0.8, 1.2),
        tint=rng.integers(-14, 15, size=3),
        face=EYES[rng.integers(len(EYES))] + MOUTHS[rng.integers(len(MOUTHS))],
        pattern=PATTERNS[rng.integers(len(PATTERNS))],
        extras=[str(name) for name in rng.permutation(LOOKS[type1].features[1:])],
    )


def _ramp(color: np.ndarray) -> list[np.ndarray]:
    """Outline, shadow, base and light of a colour; shadows lean to violet and lights to cream, as in sunlight."""
    tones = (((24, 14, 44), 72), ((44, 24, 92), 30), ((0, 0, 0), 0), ((255, 252, 228), 45))
    return [(color * (100 - percent) + np.array(other) * percent) // 100 for other, percent in tones]


def _palette(type1: str, type2: str, tint: np.ndarray) -> np.ndarray:
    """The colours, uint8 (15, 3), in the order of `RAMPS` and `FLAT`."""
    look = LOOKS[type1]
    mark = look.accent if type2 == NONE else LOOKS[type2].body
    ramps = [tone for color in (look.body, look.accent, mark) for tone in _ramp(np.array(color) + tint)]
    # Pure white is for the background alone.
    inks = np.array([*ramps, OFF_WHITE, NEAR_BLACK]).clip(0, max(OFF_WHITE))
    return np.array([BACKGROUND, *inks], dtype=np.uint8)


def _stretched(part: Part, reach: float) -> Part:
    """Makes what sticks out of the frame's ellipse `reach` times as long."""
    distance = np.sqrt((part.points**2).sum(axis=1, keepdims=True)).clip(10)
    return replace(part, points=part.points * (1 + (reach - 1) * (1 - 10 / distance)))


def _assembled(type1: str, type2: str, traits: Traits, stage: int) -> list[Part]:
    """All parts of a creature from back to front, each still in its frame."""
    look, reach = LOOKS[type1], traits.reach * REACHES[stage]
    back, front = [], []
    if type2 != NONE:
        badge = FEATURES[LOOKS[type2].features[0]]
        parts = [replace(_stretched(part, 0.8 * reach), ink=BORROWED[part.ink]) for part in badge.parts]
        (front if badge.in_front else back).extend(parts)
    for name in (look.features[0], *traits.extras[:stage]):
        feature = FEATURES[name]
        (front if feature.in_front else back).extend(_stretched(part, reach) for part in feature.parts)
    return [*back, *BUILDS[look.build].parts, *traits.pattern, *front, *traits.face]


def _on_grid(parts: list[Part], frames: dict[str, Frame], size: int) -> list[Part]:
    """The parts in grid pixels, x from the axis and y from the top; with outlines the longer side is `size`."""
    parts = [part.placed((frame.rx / 10, frame.ry / 10), frame.y) for part in parts for frame in [frames[part.frame]]]
    ends = np.concatenate([part.points + sign * part.radii for part in parts for sign in (-1, 1)])
    (_, top), (right, bottom) = ends.min(axis=0), ends.max(axis=0)
    scale = (size - 2) / max(2 * right, bottom - top)
    return [part.placed((scale, scale), (GRID - scale * (top + bottom)) / 2) for part in parts]


def _mask(part: Part) -> np.ndarray:
    """The pixels of the right half whose centres are inside the part, bool (48, 24)."""
    x, y = np.arange(GRID // 2) + 0.5, np.arange(GRID)[:, None] + 0.5
    if part.radii.any():
        rx, ry = part.radii.clip(0.75)  # a smaller oval could fall between the pixel centres and vanish
        return ((x - part.points[0, 0]) / rx) ** 2 + ((y - part.points[0, 1]) / ry) ** 2 <= 1
    # A centre is inside if a ray from it to the right crosses an odd number of edges.
    x0, y0 = part.points.T[:, :, None, None]
    x1, y1 = np.roll(part.points, -1, axis=0).T[:, :, None, None]
    crossing = x0 + (y - y0) * ((x1 - x0) / np.where(y0 == y1, 1, y1 - y0))
    return np.logical_xor.reduce(((y0 <= y) != (y1 <= y)) & (x < crossing))


def _paint(canvas: np.ndarray, part: Part) -> None:
    """Writes the part's palette numbers into the right half of the picture, uint8 (48, 24), in place."""
    mask = _mask(part)
    if part.ink in FLAT:
        canvas[mask & (canvas > 0)] = FLAT[part.ink]  # a patch has no outline and must not hang over the edge
        return
    outline = mask | np.roll(mask, 1, axis=0) | np.roll(mask, -1, axis=0)
    outline[:, 1:] |= mask[:, :-1]
    outline[:, :-1] |= mask[:, 1:]
    depth = 2 if mask.any(axis=1).sum() > 8 else 1
    base, light = mask & np.roll(mask, -depth, axis=0), mask & ~np.roll(mask, depth, axis=0)
    for tone, pixels in enumerate((outline, mask, base, light)):
        canvas[pixels] = RAMPS[part.ink] + tone


def draw_starter_sprite(type1: str, type2: str, line: int, stage: int) -> np.ndarray:
    """Draws a creature.

    Args:
        type1: A word of `TYPES`; it decides the body.
        type2: Another one, which lends its colour and its badge, or "none".
        line: The number of the creature's evolution line, 0 or more; it decides the proportions, the face and so on.
        stage: 0, 1 or 2: how grown the creature is.

    Returns:
        The picture, uint8 (96, 96, 3): up to 15 colours, one of them the pure white that only the background has.

    Raises:
        ValueError: If a type is unknown.
    """
    for name, known in ((type1, TYPES), (type2, (*TYPES, NONE))):
        if name not in known:
            raise ValueError(f"Unknown type {name!r}. {nearest(name, known)}")
    traits, build = _traits(type1, line), BUILDS[LOOKS[type1].build]
    head = traits.head * HEADS[stage]
    frames = {
        "head": Frame(build.head.y, build.head.rx * head, build.head.ry * head),
        "body": Frame(build.body.y, build.body.rx * traits.width, build.body.ry),
    }
    half = np.zeros((GRID, GRID // 2), dtype=np.uint8)
    for part in _on_grid(_assembled(type1, type2, traits, stage), frames, SIZES[stage] + traits.larger):
        _paint(half, part)
    whole = np.concatenate([half[:, ::-1], half], axis=1).repeat(ZOOM, axis=0).repeat(ZOOM, axis=1)
    return _palette(type1, type2, traits.tint)[whole]


def _second_type(type_id: int, number: int) -> str:
    """Every other line of a type has one; the steps from type to type differ, so that many pairs of types occur."""
    if number % 2 == 0:
        return NONE
    step = 1 + (type_id + 3 * (number // 2)) % (len(TYPES) - 1)
    return TYPES[(type_id + step) % len(TYPES)]


def starter_sprites() -> Iterator[tuple[dict, np.ndarray]]:
    """Draws the whole set: of each type 20 lines of 3 stages, 1,080 creatures, always in the same order.

    Yields:
        The labels and the picture, uint8 (96, 96, 3). The labels are `split`, words of the vocabulary (`type1`,
        `type2`, `color`, `shape`, `game`, `view`, `finish`, `form`), `frame` (always 1), `legendary` (always False),
        `height` in decimetres, `weight` in hectograms, `name`, and the numbers `dex_number` (from 1), `index` (from 0)
        and `line` (from 0; the three stages share it, and the split with it).
    """
    for index in range(len(TYPES) * LINES_PER_TYPE * STAGES):
        line, stage = divmod(index, STAGES)
        type_id, number = divmod(line, LINES_PER_TYPE)
        type1, type2 = TYPES[type_id], _second_type(type_id, number)
        height = (SIZES[stage] + _traits(type1, line).larger) ** 2 // 100
        labels = {
            "split": SPLITS[number],
            "type1": type1,
            "type2": type2,
            "color": LOOKS[type1].color,
            "shape": BUILDS[LOOKS[type1].build].shape,
            "game": ANY,
            "view": VIEWS[0],
            "finish": FINISHES[0],
            "form": FORMS[0],
            "frame": 1,
            "legendary": False,
            "height": height,
            "weight": 3 * height**2,
            "name": f"{type1.title()} {number + 1:02d} {'I' * (stage + 1)}",
            "dex_number": index + 1,
            "index": index,
            "line": line,
        }
        yield labels, draw_starter_sprite(type1, type2, line, stage)
