"""A small procedural data set, to try the training without a download and without license questions.

A sprite is a list of `Part`s, ovals and polygons, from the tables below. Only the right half is described; the left
half mirrors it. The types, the line and the stage decide everything about an image.
"""

from collections.abc import Iterator
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
BODY, ACCENT, MARK = RAMPS = (1, 5, 9)
SPOT, PATCH, WHITE, DARK = 7, 11, 13, 14
SECOND_TYPE_COLORS = {BODY: MARK, ACCENT: MARK, SPOT: PATCH}  # of a feature of the second type
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


def oval(frame: str, color: int, x: float, y: float, rx: float, ry: float) -> Part:
    return Part(frame, color, np.array([(x, y)], dtype=float), np.array((rx, ry), dtype=float))


def poly(frame: str, color: int, corners: str) -> Part:
    """A polygon; its corners are written as in SVG: "x,y x,y ..."."""
    return Part(frame, color, np.array([corner.split(",") for corner in corners.split()], dtype=float), np.zeros(2))


# The formatter would need three times as many lines.
# fmt: off
HEAD, TORSO = oval("head", BODY, 0, 0, 10, 10), oval("body", BODY, 0, 0, 10, 10)
# Shape, then y, rx and ry of the ellipses of head and body, and the parts from back to front.
BODY_PLANS = {
    "lizard": ("upright", (-7, 7, 6), (5, 6, 7), [oval("body", BODY, 6, 10, 5, 2.5), TORSO,
        oval("body", BODY, 10, -1, 2.5, 5), HEAD, oval("head", BODY, 0, 5, 6, 4)]),
    "cat": ("quadruped", (-5, 8, 6.5), (6, 7, 6), [oval("body", BODY, 9, 6, 4, 5), TORSO,
        poly("body", BODY, "2,0 7,0 7,12 2,12"), HEAD]),
    "bird": ("wings", (-5, 6, 5.5), (4, 7, 8), [poly("body", ACCENT, "1,8 6,8 5,13 2,13"), TORSO, HEAD,
        poly("head", ACCENT, "0,1 4,4 0,10")]),
    "sheet": ("blob", (-3, 8, 8), (4, 8, 9), [oval("body", BODY, 12, 0, 4, 2.5),
        poly("head", BODY, "0,-10 5,-9 9,-5 10,0 12,17 9,14 7,21 4,15 2,19 0,15")]),
    "fish": ("fish", (-2, 9, 8), (2, 8, 8), [poly("body", ACCENT, "0,8 3,9 7,13 15,16 14,23 5,21 0,15"),
        poly("head", BODY, "0,-10 6,-9 10,-3 10,3 7,10 3,16 0,17")]),
    "beetle": ("bug-wings", (-7, 5, 4.5), (4, 5, 7), [oval("body", ACCENT, 15, -6, 9, 5),
        oval("body", ACCENT, 13, 3, 6, 4), oval("body", BODY, 0, 3, 8, 9), oval("body", BODY, 0, -3, 10, 6), HEAD]),
}
FEATURES = {
    "antennae": [poly("head", ACCENT, "2,-8 8,-20 10,-19 5,-7"), oval("head", ACCENT, 9, -20, 3, 3)],
    "bat wings": [poly("body", ACCENT, "5,-5 17,-18 27,-14 27,-2 22,-5 19,2 15,-1 8,5")],
    "bolts": [poly("head", ACCENT, "3,-6 10,-14 4,-14 10,-25 18,-25 13,-18 20,-18 8,-4")],
    "bow": [poly("head", ACCENT, "0,-10 9,-16 11,-6 0,-7"), oval("head", ACCENT, 0, -9, 2.5, 2.5)],
    "ears": [oval("head", BODY, 8, -9, 4.5, 5.5), oval("head", SPOT, 8, -9, 2, 3)],
    "fins": [poly("head", ACCENT, "0,-18 3,-16 6,-8 0,-8"), poly("head", ACCENT, "7,-5 18,-9 15,-3 19,2 15,8 7,6")],
    "flame": [poly("head", ACCENT, "0,-33 3,-24 6,-27 7,-19 12,-22 12,-10 7,-4 0,-4")],
    "headband": [poly("head", ACCENT, "0,-7 10,-5 10,-2 0,-4"), poly("head", ACCENT, "9,-5 16,-2 15,4 9,-2")],
    "horns": [poly("head", ACCENT, "4,-8 7,-15 15,-20 12,-13 9,-5")],
    "icicles": [poly("head", ACCENT, "0,-22 3,-15 3,-6 0,-6"), poly("head", ACCENT, "3,-8 12,-19 9,-5 18,-9 9,1")],
    "leaves": [poly("head", ACCENT, "0,-8 5,-19 15,-21 13,-13 5,-7"), poly("head", ACCENT, "3,-6 13,-11 20,-6 6,-3")],
    "mound": [poly("body", ACCENT, "0,7 5,9 9,5 13,8 16,13 0,14")],
    "orbs": [oval("head", ACCENT, 15, -9, 3.5, 4)],
    "plates": [poly("head", ACCENT, "0,-17 2,-12 8,-11 10,-5 0,-7"), oval("head", WHITE, 6, -9, 0.8, 0.8)],
    "pointed ears": [poly("head", BODY, "2,-8 10,-22 10,-3"), poly("head", SPOT, "5,-8 9,-17 9,-6")],
    "rocks": [poly("body", ACCENT, "6,-8 10,-14 16,-12 16,-5 9,-2"), poly("head", ACCENT, "0,-14 4,-13 7,-7 0,-5")],
    "slime": [poly("head", ACCENT, "0,-12 6,-10 10,-5 11,3 9,3 8,-5 4,-6 3,-3 2,-6 0,-6")],
    "spikes": [poly("body", ACCENT, "7,-9 16,-12 10,-3 17,-3 9,4 15,7 6,9")],
    "tail": [poly("body", BODY, "5,8 13,8 14,0 18,-4 19,6 15,12 6,12")],
    "wings": [poly("body", ACCENT, "5,-5 16,-16 28,-17 25,-11 26,-8 22,-5 22,-1 17,0 6,4")],
    "wisps": [poly("head", ACCENT, "18,-20 21,-11 19,-7 16,-7 14,-11")],
}
IN_FRONT = {"bow", "headband", "mound", "plates", "slime"}  # others are behind
# What tells a type from the others: the label of the color, the colors, body plan and features. Creatures with this
# second type have its first feature.
TYPE_STYLES = {
    "bug": ("green", (156, 190, 48), (222, 236, 178), "beetle", ("antennae", "spikes", "horns")),
    "dark": ("black", (76, 70, 88), (214, 52, 66), "cat", ("pointed ears", "tail", "spikes")),
    "dragon": ("blue", (66, 76, 188), (244, 190, 84), "lizard", ("bat wings", "tail", "horns")),
    "electric": ("yellow", (252, 214, 44), (110, 190, 250), "cat", ("bolts", "tail", "spikes")),
    "fairy": ("pink", (252, 186, 216), (240, 92, 150), "sheet", ("bow", "tail", "ears")),
    "fighting": ("red", (178, 76, 54), (240, 222, 190), "lizard", ("headband", "tail", "spikes")),
    "fire": ("red", (240, 106, 44), (255, 206, 64), "lizard", ("flame", "tail", "spikes")),
    "flying": ("blue", (132, 190, 246), (238, 240, 244), "bird", ("wings", "tail", "horns")),
    "ghost": ("purple", (104, 82, 164), (176, 226, 220), "sheet", ("wisps", "horns", "spikes")),
    "grass": ("green", (104, 196, 92), (40, 134, 62), "lizard", ("leaves", "tail", "ears")),
    "ground": ("brown", (212, 166, 96), (128, 84, 48), "fish", ("mound", "horns", "spikes")),
    "ice": ("white", (206, 240, 246), (92, 198, 224), "sheet", ("icicles", "orbs", "horns")),
    "normal": ("brown", (206, 180, 148), (246, 232, 206), "cat", ("ears", "tail", "horns")),
    "poison": ("purple", (164, 66, 172), (150, 210, 72), "fish", ("slime", "spikes", "horns")),
    "psychic": ("pink", (240, 84, 144), (120, 216, 232), "bird", ("orbs", "tail", "horns")),
    "rock": ("brown", (150, 126, 92), (104, 92, 84), "beetle", ("rocks", "spikes", "horns")),
    "steel": ("gray", (158, 170, 186), (96, 110, 134), "beetle", ("plates", "spikes", "horns")),
    "water": ("blue", (56, 136, 232), (140, 224, 250), "fish", ("fins", "tail", "horns")),
}
PATTERNS = [[oval("body", PATCH, 0, 4, 5.5, 5)], [oval("body", PATCH, 0, 3, 2, 2), oval("body", PATCH, 5, 5, 2, 2)]]
EYES = [
    [oval("head", DARK, 4, 0, 2, 3), oval("head", WHITE, 3.6, -1.2, 0.8, 0.8)],
    [oval("head", WHITE, 4, 0, 2.8, 3), oval("head", DARK, 3.6, 0.4, 1.4, 1.8)],
]
MOUTHS = [oval("head", DARK, 0, 5, 2.5, 0.7), poly("head", DARK, "0,5.5 3,4 4.4,4 3,6.4 0,7.2")]
# fmt: on


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
    _, *colors, plan, (first, *others) = TYPE_STYLES[type1]
    _, (y, rx, ry), (body_y, body_rx, body_ry), body = BODY_PLANS[plan]
    head, width = np.multiply(rng.uniform((0.9, 0.85), (1.1, 1.15)), (HEADS[stage], 1))
    pattern, eyes, mouth = (table[rng.integers(len(table))] for table in (PATTERNS, EYES, MOUTHS))
    features = [] if type2 == NONE else [(TYPE_STYLES[type2][4][0], SECOND_TYPE_COLORS)]
    features += [(name, {}) for name in (first, *rng.permutation(others)[:stage])]
    behind, in_front = [], []
    for name, new in features:
        recolored = [part._replace(color=new.get(part.color, part.color)) for part in FEATURES[name]]
        (in_front if name in IN_FRONT else behind).extend(recolored)
    frames = {"head": (y, rx * head, ry * head), "body": (body_y, body_rx * width, body_ry)}
    parts = [*behind, *body, *pattern, *in_front, *eyes, mouth]
    parts = [part.placed((rx / 10, ry / 10), y) for part in parts for y, rx, ry in [frames[part.frame]]]
    ends = np.concatenate([part.points + sign * part.radii for part in parts for sign in (-1, 1)])
    (_, top), (right, bottom) = ends.min(axis=0), ends.max(axis=0)
    scale = (side - 2) / max(2 * right, bottom - top)  # without the outlines
    half = np.zeros((GRID, GRID // 2), dtype=np.uint8)
    for part in parts:
        _paint(half, part.placed((scale, scale), (GRID - scale * (top + bottom)) / 2))
    whole = np.concatenate([half[:, ::-1], half], axis=1).repeat(ZOOM, axis=0).repeat(ZOOM, axis=1)
    ramps = np.array([*colors, colors[1] if type2 == NONE else TYPE_STYLES[type2][1]])[:, None]
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
        (color, *_, plan, _), height = TYPE_STYLES[type1], (SIDES[stage] + line % 5) ** 2 // 100
        name = f"{type1.title()} {number + 1:02d} {'I' * (stage + 1)}"
        yield {
            "image": Image.fromarray(starter_sprite(type1, type2, line, stage)),
            "split": SPLIT_OF_LINE[number], "type1": type1, "type2": type2, "color": color,
            "shape": BODY_PLANS[plan][0], "body": ANY, **SAME_LABELS, "height": height, "weight": 3 * height**2,
            "tags": [], "name": name, "dex_number": index + 1, "index": index, "line": line,
            "evolves_from": index - 1 if stage else None, "path": f"{name}.png",
        }  # fmt: skip
