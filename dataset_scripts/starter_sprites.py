"""A small procedural data set, to try the training without a download and without license questions.

A sprite is a list of `Part`s, ovals and polygons, from the tables in starter_sprites.json. Only the right half is
described; the left half mirrors it. The types, the line and the stage decide everything about an image.
"""

import functools
import json
from collections.abc import Iterator
from itertools import starmap
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from pokemon_ddpm.vocabulary import ANY, FINISHES, FORMS, NONE, TYPES, VIEWS

GRID, ZOOM = 48, 2
LINES_PER_TYPE, STAGES = 20, 3
SPLIT_OF_LINE = ("train",) * 16 + ("validation",) * 2 + ("test",) * 2  # of the lines of each type
SAME_LABELS = {"game": ANY, "view": VIEWS[0], "finish": FINISHES[0], "form": FORMS[0], "frame": 1, "legendary": False}
# By stage: the longer side in grid pixels, of some lines up to four more; the young have large heads.
SIDES, HEADS = (26, 32, 39), (1.15, 1.0, 0.92)

# Colors by their number in the palette; 0 is the background. At the first three begin four numbers: outline, shadow,
# base and light of a color. The others are areas of one color.
COLORS = {"body": 1, "accent": 5, "mark": 9, "spot": 7, "patch": 11, "white": 13, "dark": 14}
RAMPS = (1, 5, 9)
SECOND_TYPE_COLORS = {1: 9, 5: 9, 7: 11}  # of a feature of the second type
# The four are mixtures of the color with so many percent of these. Shadows are more violet and lights more yellow.
TONES = np.array([(24, 14, 44), (44, 24, 92), (0, 0, 0), (255, 252, 228)])
TONE_PERCENT = np.array([72, 30, 0, 45])[:, None]


class Part(NamedTuple):
    """A polygon, or an oval if it has radii, in a frame: an ellipse of radius 10, x to the right and y down."""

    frame: str  # "head" or "body"
    color: int
    points: np.ndarray  # float (n, 2), the corners or the one center
    radii: np.ndarray  # float (2,)

    def placed(self, scale: tuple[float, float], y: float) -> "Part":
        return self._replace(points=self.points * scale + (0, y), radii=self.radii * scale)


# Of a body plan the shape, then y, rx and ry of the ellipses of head and body, and the parts from back to front. Of a
# feature its parts; those that are not in front are behind. Of a type what tells it from others: the label of the
# color, the colors, body plan and features, of which creatures with this second type have the first.
TABLES = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))


@functools.cache
def read_part(frame: str, color: str, points: str, radii: str = "0,0") -> Part:
    """A part of the tables, in which points are written as in SVG: "x,y x,y ..."."""
    corners = np.array([point.split(",") for point in points.split()], dtype=float)
    return Part(frame, COLORS[color], corners, np.array(radii.split(","), dtype=float))


def _paint(canvas: np.ndarray, part: Part) -> None:
    """Writes the part's palette numbers into the right half, uint8 (48, 24), where it has the centers of pixels."""
    x, y = np.arange(GRID // 2) + 0.5, np.arange(GRID)[:, None] + 0.5
    if part.radii.any():
        rx, ry = part.radii.clip(0.75)  # a smaller oval could fall between the pixel centers and vanish
        mask = ((x - part.points[0, 0]) / rx) ** 2 + ((y - part.points[0, 1]) / ry) ** 2 <= 1
    else:  # a center is inside if a ray from it to the right crosses an odd number of edges
        (x0, y0), (x1, y1) = (points.T[:, :, None, None] for points in (part.points, np.roll(part.points, -1, axis=0)))
        crossing = x0 + (y - y0) * ((x1 - x0) / np.where(y0 == y1, 1, y1 - y0))
        mask = np.logical_xor.reduce(((y0 <= y) != (y1 <= y)) & (x < crossing))
    if part.color not in RAMPS:
        canvas[mask & (canvas > 0)] = part.color  # has no outline and stays inside the sprite
        return
    wide, depth = np.pad(mask, 1), 2 if mask.any(axis=1).sum() > 8 else 1
    outline = wide[1:-1, :-2] | wide[1:-1, 2:] | wide[:-2, 1:-1] | wide[2:, 1:-1]
    base, light = mask & np.roll(mask, -depth, axis=0), mask & ~np.roll(mask, depth, axis=0)
    for tone, pixels in enumerate((outline, mask, base, light)):
        canvas[pixels] = part.color + tone


def starter_sprite(type1: str, type2: str, line: int, stage: int) -> np.ndarray:
    """Generates a sprite, uint8 (96, 96, 3), of up to 15 colors; only the background is pure white.

    The first type decides the body, the second one, which may be "none", one color and one feature, and the number of
    the evolution line the proportions, the face and the pattern. There are three stages, from 0.
    """
    rng, side = np.random.default_rng([TYPES.index(type1), line]), SIDES[stage] + line % 5
    _, *colors, plan, (first, *others) = TABLES["types"][type1]
    _, (y, rx, ry), (body_y, body_rx, body_ry), body = TABLES["body_plans"][plan]
    head, width = np.multiply(rng.uniform((0.9, 0.85), (1.1, 1.15)), (HEADS[stage], 1))
    pattern, eyes, mouth = (TABLES[name][rng.integers(len(TABLES[name]))] for name in ("patterns", "eyes", "mouths"))
    features = [] if type2 == NONE else [(TABLES["types"][type2][4][0], SECOND_TYPE_COLORS)]
    features += [(name, {}) for name in (first, *rng.permutation(others)[:stage])]
    behind, in_front = [], []
    for name, new in features:
        parts = starmap(read_part, TABLES["features"][name])
        recolored = [part._replace(color=new.get(part.color, part.color)) for part in parts]
        (in_front if name in TABLES["in_front"] else behind).extend(recolored)
    frames = {"head": (y, rx * head, ry * head), "body": (body_y, body_rx * width, body_ry)}
    parts = [*behind, *starmap(read_part, [*body, *pattern]), *in_front, *starmap(read_part, [*eyes, *mouth])]
    for place, part in enumerate(parts):
        y, rx, ry = frames[part.frame]
        parts[place] = part.placed((rx / 10, ry / 10), y)
    ends = np.concatenate([part.points + sign * part.radii for part in parts for sign in (-1, 1)])
    (_, top), (right, bottom) = ends.min(axis=0), ends.max(axis=0)
    scale = (side - 2) / max(2 * right, bottom - top)  # without the outlines
    half = np.zeros((GRID, GRID // 2), dtype=np.uint8)
    for part in parts:
        _paint(half, part.placed((scale, scale), (GRID - scale * (top + bottom)) / 2))
    whole = np.concatenate([half[:, ::-1], half], axis=1).repeat(ZOOM, axis=0).repeat(ZOOM, axis=1)
    ramps = np.array([*colors, colors[1] if type2 == NONE else TABLES["types"][type2][1]])[:, None]
    ramps = ((ramps + rng.integers(-14, 15, size=3)) * (100 - TONE_PERCENT) + TONES * TONE_PERCENT) // 100
    foreground = np.array([*ramps.reshape(-1, 3), (248, 248, 248), (28, 22, 38)]).clip(0, 248)
    return np.array([(255, 255, 255), *foreground], dtype=np.uint8)[whole]


def starter_sprites() -> Iterator[dict[str, Any]]:
    """Generates the whole set, for each type 20 lines of 3 stages: every column of the data set, and "split"."""
    for index in range(len(TYPES) * LINES_PER_TYPE * STAGES):
        line, stage = divmod(index, STAGES)
        type_id, number = divmod(line, LINES_PER_TYPE)
        type1 = TYPES[type_id]
        # Every second line has a second type. The step from type to type varies, which gives many pairs of types.
        step = 1 + (type_id + 3 * (number // 2)) % (len(TYPES) - 1)
        type2 = TYPES[(type_id + step) % len(TYPES)] if number % 2 else NONE
        (color, *_, plan, _), height = TABLES["types"][type1], (SIDES[stage] + line % 5) ** 2 // 100
        name = f"{type1.title()} {number + 1:02d} {'I' * (stage + 1)}"
        yield {
            "image": Image.fromarray(starter_sprite(type1, type2, line, stage)),
            "split": SPLIT_OF_LINE[number], "type1": type1, "type2": type2, "color": color,
            "shape": TABLES["body_plans"][plan][0], "body": ANY, "height": height, "weight": 3 * height**2,
            **SAME_LABELS, "tags": [], "name": name, "dex_number": index + 1, "index": index, "line": line,
            "evolves_from": index - 1 if stage else None, "path": f"{name}.png",
        }  # fmt: skip
