"""A small procedural data set, to try the training without a download and without license questions.

A creature is a list of `Part`s, ovals and polygons, from the tables below. Only the right half is described; the left
half mirrors it. The types, the line and the stage decide everything about an image.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from pokemon_ddpm.vocabulary import ANY, FINISHES, FORMS, NONE, TYPES, VIEWS, nearest

GRID, ZOOM = 48, 2
LINES_PER_TYPE, STAGES = 20, 3
SPLIT_OF_LINE = ("train",) * 16 + ("validation",) * 2 + ("test",) * 2  # of the lines of each type

# By stage. The young have large heads and short limbs. Sizes are the longer side in grid pixels, plus or minus two.
SIZES, HEADS, REACHES = (28, 34, 41), (1.15, 1.0, 0.92), (0.75, 1.0, 1.15)

# Color roles. The first three have an outline, a shadow and a light; the others are areas of one color.
BODY, ACCENT, MARK = "body", "accent", "mark"
SHADE, LIGHT, SPOT, PATCH, WHITE, DARK = "body shade", "body light", "spot", "patch", "white", "dark"
RAMPS = {BODY: 1, ACCENT: 5, MARK: 9}  # where their four colors begin in the palette; 0 is the background
FLAT = {SHADE: 2, LIGHT: 4, SPOT: 7, PATCH: 11, WHITE: 13, DARK: 14}
# Role in a feature -> role where the feature comes from the second type.
SECOND_TYPE_ROLES = {BODY: MARK, ACCENT: MARK, SPOT: PATCH, WHITE: WHITE}
BACKGROUND, OFF_WHITE, NEAR_BLACK = (255, 255, 255), (248, 248, 248), (28, 22, 38)


@dataclass(frozen=True)
class Part:
    """A polygon, or an oval if it has radii, in a frame: an ellipse of radius 10, x to the right and y down."""

    frame: str  # "head" or "body"
    role: str
    points: np.ndarray  # float (n, 2), the corners or the one center
    radii: np.ndarray  # float (2,)

    def placed(self, scale: tuple[float, float], y: float) -> "Part":
        return replace(self, points=self.points * scale + (0, y), radii=self.radii * scale)


def oval(frame: str, role: str, x: float, y: float, rx: float, ry: float) -> Part:
    return Part(frame, role, np.array([(x, y)], dtype=float), np.array((rx, ry), dtype=float))


def poly(frame: str, role: str, corners: str) -> Part:
    """A polygon; its corners are written as in SVG: "x,y x,y ..."."""
    return Part(frame, role, np.array([corner.split(",") for corner in corners.split()], dtype=float), np.zeros(2))


class Frame(NamedTuple):
    """The ellipse, centered on the creature's axis, to which the parts of a head or of a body are relative."""

    y: float
    rx: float
    ry: float


class BodyPlan:
    """The body of a type: the name of its shape, its frames, and its parts from back to front."""

    def __init__(self, shape: str, head: Frame, body: Frame, *parts: Part):
        self.shape, self.head, self.body, self.parts = shape, head, body, parts


class BodyFeature:
    """Parts behind those of the body plan, or in front of them."""

    def __init__(self, *parts: Part, in_front: bool = False):
        self.parts, self.in_front = parts, in_front


class TypeStyle(NamedTuple):
    """What tells a type from the others. Creatures with this second type have its first feature."""

    color: str
    body: tuple[int, int, int]
    accent: tuple[int, int, int]
    plan: str
    features: tuple[str, ...]


# The formatter would need three times as many lines.
# fmt: off
HEAD, TORSO = oval("head", BODY, 0, 0, 10, 10), oval("body", BODY, 0, 0, 10, 10)
BODY_PLANS = {
    "lizard": BodyPlan("upright", Frame(-7, 7, 6), Frame(5, 6, 7), oval("body", BODY, 6, 10, 5, 2.5), TORSO,
        oval("body", BODY, 10, -1, 2.5, 5), HEAD, oval("head", BODY, 0, 5, 6, 4)),
    "cat": BodyPlan("quadruped", Frame(-5, 8, 6.5), Frame(6, 7, 6), oval("body", BODY, 9, 6, 4, 5), TORSO,
        poly("body", BODY, "2,0 7,0 7,12 2,12"), HEAD),
    "dress": BodyPlan("humanoid", Frame(-6, 6.5, 6), Frame(7, 6, 8), poly("body", BODY, "3,-7 15,-1 15,3 4,-1"),
        poly("body", BODY, "0,-10 4,-9 12,9 6,8 4,10 0,9"), HEAD),
    "thinker": BodyPlan("humanoid", Frame(-4, 10, 7.5), Frame(8, 4.5, 6), oval("body", BODY, 10, -1, 7, 2.5),
        oval("body", BODY, 7, 8, 7, 3), TORSO, poly("head", BODY, "0,-9 3,-11 8,-9 11,-3 9,4 5,10 0,11")),
    "boxer": BodyPlan("arms", Frame(-9, 4.5, 4.5), Frame(1, 7, 6), poly("body", BODY, "1,7 8,7 9,17 2,17"),
        poly("body", BODY, "0,-11 11,-9 7,9 0,10"), oval("body", BODY, 13, -3, 4, 7),
        oval("body", ACCENT, 14, 7, 5, 5.5), HEAD),
    "bird": BodyPlan("wings", Frame(-5, 6, 5.5), Frame(4, 7, 8), poly("body", ACCENT, "1,8 6,8 5,13 2,13"), TORSO,
        HEAD, poly("head", ACCENT, "0,1 4,4 0,10")),
    "sheet": BodyPlan("blob", Frame(-3, 8, 8), Frame(4, 8, 9), oval("body", BODY, 12, 0, 4, 2.5),
        poly("head", BODY, "0,-10 5,-9 9,-5 10,0 12,17 9,14 7,21 4,15 2,19 0,15")),
    "sprout": BodyPlan("legs", Frame(0, 8, 7.5), Frame(3, 8, 7), oval("body", BODY, 6, 11, 4, 3),
        poly("head", BODY, "0,-11 3,-8 8,-2 10,5 8,11 3,13 0,13")),
    "mole": BodyPlan("armor", Frame(-1, 8, 7), Frame(3, 11, 8), poly("body", BODY, "0,-11 5,-10 9,-6 11,1 11,8 0,9"),
        poly("body", SHADE, "0,-9 5,-8 9,-2 7,-4 4,-6 0,-7"), oval("head", BODY, 0, 5, 8, 7),
        oval("body", ACCENT, 8, 7, 3, 3)),
    "crystal": BodyPlan("upright", Frame(-2, 7, 8), Frame(4, 7, 8),
        poly("head", BODY, "0,-14 5,-10 10,-1 9,8 4,17 0,18"), poly("head", SHADE, "10,-1 9,8 4,17 6,7"),
        poly("head", WHITE, "0,-12 4,-9 2,-6 0,-7")),
    "jellyfish": BodyPlan("tentacles", Frame(-4, 10, 7.5), Frame(3, 9, 8), poly("body", BODY, "0,0 2,0 3,8 1,15 0,15"),
        poly("body", BODY, "4,0 7,0 9,8 6,13"), poly("body", BODY, "7,-2 10,-2 14,5 12,11 11,5"),
        poly("head", BODY, "0,-11 6,-9 10,-3 11,5 8,8 4,6 0,8")),
    "boulders": BodyPlan("heads", Frame(-1, 8, 7.5), Frame(4, 8, 7),
        poly("head", BODY, "9,-4 14,-6 18,-2 18,5 12,7 9,5"),
        oval("head", DARK, 13, 0, 0.8, 1.2), oval("head", DARK, 16, 0, 0.8, 1.2),
        poly("head", BODY, "0,-13 5,-12 10,-5 12,13 0,14"), poly("head", SHADE, "10,-5 12,13 7,5"),
        poly("head", LIGHT, "0,-12 4,-11 7,-6 0,-4")),
    "robot": BodyPlan("armor", Frame(-6, 6.5, 5), Frame(5, 7, 6), poly("body", BODY, "2,8 8,8 9,16 1,16"),
        poly("body", BODY, "0,-10 10,-10 10,7 7,10 0,10"), poly("body", ACCENT, "8,-12 15,-12 17,4 11,4"),
        poly("head", BODY, "0,-10 8,-10 10,-7 10,8 8,10 0,10"), poly("head", DARK, "0,-4 9,-4 9,5 0,5")),
    "fish": BodyPlan("fish", Frame(-2, 9, 8), Frame(2, 8, 8),
        poly("body", ACCENT, "0,8 3,9 7,13 15,16 14,23 5,21 0,15"),
        poly("head", BODY, "0,-10 6,-9 10,-3 10,3 7,10 3,16 0,17")),
    "beetle": BodyPlan("bug-wings", Frame(-7, 5, 4.5), Frame(4, 5, 7), oval("body", ACCENT, 15, -6, 9, 5),
        oval("body", ACCENT, 13, 3, 6, 4), oval("body", BODY, 0, 8, 6, 6), oval("body", BODY, 0, 3, 8, 6),
        oval("body", BODY, 0, -3, 10, 6), HEAD),
    "spark": BodyPlan("ball", Frame(0, 8, 8), Frame(2, 8, 8),
        poly("head", BODY, "0,-10 2,-9 6,-14 7,-8 14,-8 10,-1 15,4 9,5 10,12 4,9 0,15")),
}
BODY_FEATURES = {
    "antennae": BodyFeature(poly("head", ACCENT, "2,-8 8,-20 10,-19 5,-7"), oval("head", ACCENT, 9, -20, 3, 3)),
    "bat wings": BodyFeature(poly("body", ACCENT, "5,-5 17,-18 27,-14 27,-2 22,-5 19,2 15,-1 8,5"),
        poly("head", ACCENT, "3,-8 7,-16 14,-21 11,-14 9,-5")),
    "bolts": BodyFeature(poly("head", BODY, "3,-6 10,-14 4,-14 10,-25 18,-25 13,-18 20,-18 8,-4")),
    "bow": BodyFeature(poly("head", ACCENT, "0,-10 9,-16 11,-6 0,-7"), oval("head", ACCENT, 0, -9, 2.5, 2.5),
        in_front=True),
    "bubbles": BodyFeature(oval("head", ACCENT, 13, -10, 3, 3), oval("head", ACCENT, 17, -3, 2, 2)),
    "butterfly wings": BodyFeature(oval("body", ACCENT, 14, -8, 8, 7), oval("body", ACCENT, 12, 4, 5, 5)),
    "cheeks": BodyFeature(oval("head", SPOT, 7, 4, 2.2, 1.8), in_front=True),
    "claws": BodyFeature(poly("body", ACCENT, "6,8 13,8 12,13 10,10 8,13"), in_front=True),
    "collar": BodyFeature(poly("body", ACCENT, "0,-7 7,-9 9,-6 4,-3 0,-1"), in_front=True),
    "crest": BodyFeature(poly("head", ACCENT, "0,-19 3,-14 7,-17 6,-6 0,-6")),
    "ears": BodyFeature(oval("head", BODY, 8, -9, 4.5, 5.5), oval("head", SPOT, 8, -9, 2, 3)),
    "fins": BodyFeature(poly("head", ACCENT, "0,-18 3,-16 6,-8 0,-8"),
        poly("head", ACCENT, "7,-5 18,-9 15,-3 19,2 14,3 15,8 7,6")),
    "flame": BodyFeature(poly("head", ACCENT, "0,-33 3,-24 6,-27 7,-19 12,-22 12,-10 7,-4 0,-4"),
        poly("head", BODY, "0,-21 2,-15 5,-17 6,-8 0,-7")),
    "flame arms": BodyFeature(poly("body", ACCENT, "7,-2 13,-9 14,-3 19,-5 15,4 9,6")),
    "gem": BodyFeature(poly("head", ACCENT, "0,-9 3,-6 0,-2"), in_front=True),
    "headband": BodyFeature(poly("head", ACCENT, "0,-7 10,-5 10,-2 0,-4"),
        poly("head", ACCENT, "9,-5 16,-2 15,4 9,-2"), in_front=True),
    "horns": BodyFeature(poly("head", ACCENT, "4,-8 7,-15 15,-20 12,-13 9,-5")),
    "icicles": BodyFeature(poly("head", ACCENT, "0,-22 3,-15 3,-6 0,-6"), poly("head", ACCENT, "3,-8 12,-19 9,-5"),
        poly("head", ACCENT, "7,-5 18,-9 9,1")),
    "leaves": BodyFeature(poly("head", ACCENT, "0,-8 5,-19 15,-21 13,-13 5,-7"),
        poly("head", ACCENT, "3,-6 13,-11 20,-6 14,-3 6,-3")),
    "mound": BodyFeature(poly("body", ACCENT, "0,7 5,9 9,5 13,8 16,13 0,14"), in_front=True),
    "orbs": BodyFeature(oval("head", ACCENT, 15, -9, 3.5, 4)),
    "petals": BodyFeature(oval("head", MARK, 0, -13, 4, 4), oval("head", MARK, 6, -11, 4, 4)),
    "plates": BodyFeature(poly("head", ACCENT, "0,-17 2,-12 8,-11 10,-5 0,-7"), oval("head", WHITE, 6, -9, 0.8, 0.8),
        in_front=True),
    "pointed ears": BodyFeature(poly("head", BODY, "2,-8 10,-22 10,-3"), poly("head", SPOT, "5,-8 9,-17 9,-6")),
    "rocks": BodyFeature(poly("body", ACCENT, "6,-8 10,-14 16,-12 16,-5 9,-2"),
        poly("head", ACCENT, "0,-14 4,-13 7,-7 0,-5")),
    "slime": BodyFeature(poly("head", ACCENT, "0,-12 6,-10 10,-5 11,3 9,3 8,-5 4,-6 3,-3 2,-6 0,-6"), in_front=True),
    "spikes": BodyFeature(poly("body", ACCENT, "7,-9 16,-12 10,-4"), poly("body", ACCENT, "8,-3 17,-3 9,3"),
        poly("body", ACCENT, "8,4 15,7 6,9")),
    "tail": BodyFeature(poly("body", BODY, "5,8 13,8 14,0 18,-4 19,6 15,12 6,12")),
    "warts": BodyFeature(oval("head", SPOT, 5, -6, 1.6, 1.6), oval("head", SPOT, 0, -8, 1.2, 1.2), in_front=True),
    "wings": BodyFeature(poly("body", ACCENT, "5,-5 16,-16 28,-17 25,-11 26,-8 22,-5 22,-1 17,0 6,4")),
    "wisps": BodyFeature(poly("head", ACCENT, "18,-20 21,-11 19,-7 16,-7 14,-11")),
}
TYPE_STYLES = {
    "bug": TypeStyle("green", (156, 190, 48), (222, 236, 178), "beetle", ("antennae", "spikes", "warts", "collar")),
    "dark": TypeStyle("black", (76, 70, 88), (214, 52, 66), "cat", ("pointed ears", "tail", "spikes", "collar")),
    "dragon": TypeStyle("blue", (66, 76, 188), (244, 190, 84), "lizard", ("bat wings", "spikes", "tail", "gem")),
    "electric": TypeStyle("yellow", (252, 214, 44), (110, 190, 250), "spark", ("bolts", "spikes", "orbs", "claws")),
    "fairy": TypeStyle("pink", (252, 186, 216), (240, 92, 150), "dress",
        ("bow", "butterfly wings", "cheeks", "collar")),
    "fighting": TypeStyle("red", (178, 76, 54), (240, 222, 190), "boxer", ("headband", "collar", "spikes", "crest")),
    "fire": TypeStyle("red", (240, 106, 44), (255, 206, 64), "lizard", ("flame", "flame arms", "tail", "claws")),
    "flying": TypeStyle("blue", (132, 190, 246), (238, 240, 244), "bird", ("wings", "cheeks", "crest", "collar")),
    "ghost": TypeStyle("purple", (104, 82, 164), (176, 226, 220), "sheet", ("wisps", "collar", "horns", "cheeks")),
    "grass": TypeStyle("green", (104, 196, 92), (40, 134, 62), "sprout", ("leaves", "petals", "cheeks", "claws")),
    "ground": TypeStyle("brown", (212, 166, 96), (128, 84, 48), "mole", ("mound", "claws", "spikes", "horns")),
    "ice": TypeStyle("white", (206, 240, 246), (92, 198, 224), "crystal", ("icicles", "orbs", "spikes", "gem")),
    "normal": TypeStyle("brown", (206, 180, 148), (246, 232, 206), "cat", ("ears", "tail", "collar", "cheeks")),
    "poison": TypeStyle("purple", (164, 66, 172), (150, 210, 72), "jellyfish",
        ("slime", "bubbles", "warts", "spikes")),
    "psychic": TypeStyle("pink", (240, 84, 144), (120, 216, 232), "thinker", ("orbs", "gem", "crest", "collar")),
    "rock": TypeStyle("brown", (150, 126, 92), (104, 92, 84), "boulders", ("rocks", "warts", "gem", "spikes")),
    "steel": TypeStyle("gray", (158, 170, 186), (96, 110, 134), "robot", ("plates", "spikes", "horns", "gem")),
    "water": TypeStyle("blue", (56, 136, 232), (140, 224, 250), "fish", ("fins", "bubbles", "cheeks", "horns")),
}
PATTERNS = (
    (oval("body", PATCH, 0, 4, 5.5, 5),),
    (poly("body", PATCH, "0,1 6,0 5,3 0,4"), poly("body", PATCH, "0,6 5,5 4,8 0,9")),
    (oval("body", PATCH, 0, 3, 1.5, 1.5), oval("body", PATCH, 5, 5, 2, 2)),
)
EYES = (
    (oval("head", DARK, 4, 0, 2, 3), oval("head", WHITE, 3.6, -1.2, 0.8, 0.8)),
    (oval("head", WHITE, 4, 0, 2.8, 3), oval("head", DARK, 3.6, 0.4, 1.4, 1.8)),
    (oval("head", WHITE, 4, 0, 2.8, 2.4), oval("head", DARK, 3.6, 0.4, 1.3, 1.6),
        poly("head", DARK, "0.8,-1.6 7.5,-4 7.5,-2.6 1,0")),
)
MOUTHS = (
    (oval("head", DARK, 0, 5, 2.5, 0.7),),
    (poly("head", DARK, "0,5.5 3,4 4.4,4 3,6.4 0,7.2"),),
    (oval("head", DARK, 0, 5.5, 1.6, 1.6),),
)
# fmt: on


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
        extras=[str(name) for name in rng.permutation(TYPE_STYLES[type1].features[1:])],
    )


def _ramp(color: np.ndarray) -> list[np.ndarray]:
    """Outline, shadow, base and light of a color; shadows are more violet and lights more yellow, as in sunlight."""
    tones = (((24, 14, 44), 72), ((44, 24, 92), 30), ((0, 0, 0), 0), ((255, 252, 228), 45))
    return [(color * (100 - percent) + np.array(other) * percent) // 100 for other, percent in tones]


def _palette(type1: str, type2: str, tint: np.ndarray) -> np.ndarray:
    """The colors, uint8 (15, 3), in the order of `RAMPS` and `FLAT`."""
    style = TYPE_STYLES[type1]
    mark = style.accent if type2 == NONE else TYPE_STYLES[type2].body
    ramps = [tone for color in (style.body, style.accent, mark) for tone in _ramp(np.array(color) + tint)]
    # Only the background is pure white.
    foreground = np.array([*ramps, OFF_WHITE, NEAR_BLACK]).clip(0, max(OFF_WHITE))
    return np.array([BACKGROUND, *foreground], dtype=np.uint8)


def _stretched(part: Part, reach: float) -> Part:
    """Multiplies the length of what is outside the frame's ellipse by `reach`."""
    distance = np.sqrt((part.points**2).sum(axis=1, keepdims=True)).clip(10)
    return replace(part, points=part.points * (1 + (reach - 1) * (1 - 10 / distance)))


def _assembled(type1: str, type2: str, traits: Traits, stage: int) -> list[Part]:
    """All parts of a creature from back to front, each still in its frame."""
    style, reach = TYPE_STYLES[type1], traits.reach * REACHES[stage]
    back, front = [], []
    if type2 != NONE:
        feature = BODY_FEATURES[TYPE_STYLES[type2].features[0]]
        parts = [replace(_stretched(part, 0.8 * reach), role=SECOND_TYPE_ROLES[part.role]) for part in feature.parts]
        (front if feature.in_front else back).extend(parts)
    for name in (style.features[0], *traits.extras[:stage]):
        feature = BODY_FEATURES[name]
        (front if feature.in_front else back).extend(_stretched(part, reach) for part in feature.parts)
    return [*back, *BODY_PLANS[style.plan].parts, *traits.pattern, *front, *traits.face]


def _on_grid(parts: list[Part], frames: dict[str, Frame], size: int) -> list[Part]:
    """The parts in grid pixels, x from the axis and y from the top; with outlines the longer side is `size`."""
    parts = [part.placed((frame.rx / 10, frame.ry / 10), frame.y) for part in parts for frame in [frames[part.frame]]]
    ends = np.concatenate([part.points + sign * part.radii for part in parts for sign in (-1, 1)])
    (_, top), (right, bottom) = ends.min(axis=0), ends.max(axis=0)
    scale = (size - 2) / max(2 * right, bottom - top)
    return [part.placed((scale, scale), (GRID - scale * (top + bottom)) / 2) for part in parts]


def _mask(part: Part) -> np.ndarray:
    """The pixels of the right half whose centers are inside the part, bool (48, 24)."""
    x, y = np.arange(GRID // 2) + 0.5, np.arange(GRID)[:, None] + 0.5
    if part.radii.any():
        rx, ry = part.radii.clip(0.75)  # a smaller oval could fall between the pixel centers and vanish
        return ((x - part.points[0, 0]) / rx) ** 2 + ((y - part.points[0, 1]) / ry) ** 2 <= 1
    # A center is inside if a ray from it to the right crosses an odd number of edges.
    x0, y0 = part.points.T[:, :, None, None]
    x1, y1 = np.roll(part.points, -1, axis=0).T[:, :, None, None]
    crossing = x0 + (y - y0) * ((x1 - x0) / np.where(y0 == y1, 1, y1 - y0))
    return np.logical_xor.reduce(((y0 <= y) != (y1 <= y)) & (x < crossing))


def _paint(canvas: np.ndarray, part: Part) -> None:
    """Writes the part's palette numbers into the right half of the image, uint8 (48, 24), in place."""
    mask = _mask(part)
    if part.role in FLAT:
        canvas[mask & (canvas > 0)] = FLAT[part.role]  # has no outline and stays inside the creature
        return
    outline = mask | np.roll(mask, 1, axis=0) | np.roll(mask, -1, axis=0)
    outline[:, 1:] |= mask[:, :-1]
    outline[:, :-1] |= mask[:, 1:]
    depth = 2 if mask.any(axis=1).sum() > 8 else 1
    base, light = mask & np.roll(mask, -depth, axis=0), mask & ~np.roll(mask, depth, axis=0)
    for tone, pixels in enumerate((outline, mask, base, light)):
        canvas[pixels] = RAMPS[part.role] + tone


def starter_sprite(type1: str, type2: str, line: int, stage: int) -> np.ndarray:
    """Generates a creature.

    Args:
        type1: One of `TYPES`; it decides the body.
        type2: Another one, which decides one color and one feature, or "none".
        line: The number of the evolution line, 0 or more; it decides the proportions, the face and the pattern.
        stage: Of the evolution: 0, 1 or 2.

    Returns:
        The image, uint8 (96, 96, 3): up to 15 colors; only the background is pure white.

    Raises:
        ValueError: If a type is unknown.
    """
    for name, known in ((type1, TYPES), (type2, (*TYPES, NONE))):
        if name not in known:
            raise ValueError(f"Unknown type {name!r}. {nearest(name, known)}")
    traits, plan = _traits(type1, line), BODY_PLANS[TYPE_STYLES[type1].plan]
    head = traits.head * HEADS[stage]
    frames = {
        "head": Frame(plan.head.y, plan.head.rx * head, plan.head.ry * head),
        "body": Frame(plan.body.y, plan.body.rx * traits.width, plan.body.ry),
    }
    half = np.zeros((GRID, GRID // 2), dtype=np.uint8)
    for part in _on_grid(_assembled(type1, type2, traits, stage), frames, SIZES[stage] + traits.larger):
        _paint(half, part)
    whole = np.concatenate([half[:, ::-1], half], axis=1).repeat(ZOOM, axis=0).repeat(ZOOM, axis=1)
    return _palette(type1, type2, traits.tint)[whole]


def _second_type(type_id: int, number: int) -> str:
    """Every second line of a type has one; the step from type to type varies, which gives many pairs of types."""
    if number % 2 == 0:
        return NONE
    step = 1 + (type_id + 3 * (number // 2)) % (len(TYPES) - 1)
    return TYPES[(type_id + step) % len(TYPES)]


def starter_sprites() -> Iterator[tuple[dict, np.ndarray]]:
    """Generates the whole set: for each type 20 lines of 3 stages, 1,080 creatures, always in the same order.

    Yields:
        The labels, a value for every column of the data set but the image and the path, and "split"; and the image,
        uint8 (96, 96, 3). The three stages of a line share the split. `game` is always "any".
    """
    for index in range(len(TYPES) * LINES_PER_TYPE * STAGES):
        line, stage = divmod(index, STAGES)
        type_id, number = divmod(line, LINES_PER_TYPE)
        type1, type2 = TYPES[type_id], _second_type(type_id, number)
        height = (SIZES[stage] + _traits(type1, line).larger) ** 2 // 100
        labels = {
            "split": SPLIT_OF_LINE[number],
            "type1": type1,
            "type2": type2,
            "color": TYPE_STYLES[type1].color,
            "shape": BODY_PLANS[TYPE_STYLES[type1].plan].shape,
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
        yield labels, starter_sprite(type1, type2, line, stage)
