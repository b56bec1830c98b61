"""The art of the starter sprites: shapes, colours, and what each type looks like. Drawing is `starter_sprites`'s.

A creature is a list of `Part`s, ovals and polygons, from five tables: `BUILDS` (the body of its type), `FEATURES`
(what it wears: flames, fins, wings), `PATTERNS` (on its belly), `EYES` and `MOUTHS`. Only the right half is written
down, the left half mirrors it.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

# Inks. The first three come with outline, shadow and light; the others are flat patches of one colour.
BODY, ACCENT, MARK = "body", "accent", "mark"
SHADE, LIGHT, SPOT, PATCH, WHITE, DARK = "body shade", "body light", "spot", "patch", "white", "dark"
RAMPS = {BODY: 1, ACCENT: 5, MARK: 9}  # where their four colours begin in the palette; 0 is the background
FLAT = {SHADE: 2, LIGHT: 4, SPOT: 7, PATCH: 11, WHITE: 13, DARK: 14}
# The inks of a feature, and those that a creature wears it in whose second type it comes from.
BORROWED = {BODY: MARK, ACCENT: MARK, SPOT: PATCH, WHITE: WHITE}
BACKGROUND, OFF_WHITE, NEAR_BLACK = (255, 255, 255), (248, 248, 248), (28, 22, 38)


@dataclass(frozen=True)
class Part:
    """A polygon, or an oval if it has radii, in a frame: an ellipse of radius 10, x to the right and y down."""

    frame: str  # "head" or "body"
    ink: str
    points: np.ndarray  # float (n, 2), the corners or the one centre
    radii: np.ndarray  # float (2,)

    def placed(self, scale: tuple[float, float], y: float) -> "Part":
        return replace(self, points=self.points * scale + (0, y), radii=self.radii * scale)


def oval(frame: str, ink: str, x: float, y: float, rx: float, ry: float) -> Part:
    return Part(frame, ink, np.array([(x, y)], dtype=float), np.array((rx, ry), dtype=float))


def poly(frame: str, ink: str, corners: str) -> Part:
    """A polygon whose corners are written as in SVG: "x,y x,y ..."."""
    return Part(frame, ink, np.array([corner.split(",") for corner in corners.split()], dtype=float), np.zeros(2))


class Frame(NamedTuple):
    """The ellipse, centred on the creature's axis, that the parts of a head or of a body are drawn around."""

    y: float
    rx: float
    ry: float


class Build:
    """The body of a type: the word for its shape, its frames, and its parts from back to front."""

    def __init__(self, shape: str, head: Frame, body: Frame, *parts: Part):
        self.shape, self.head, self.body, self.parts = shape, head, body, parts


class Feature:
    """Something to wear; its parts go behind the build's parts, or in front of them."""

    def __init__(self, *parts: Part, in_front: bool = False):
        self.parts, self.in_front = parts, in_front


class Look(NamedTuple):
    """What tells a type from the others. Its first feature is its badge: creatures of this second type wear it too."""

    color: str
    body: tuple[int, int, int]
    accent: tuple[int, int, int]
    build: str
    features: tuple[str, ...]


# The art, as tables; left to itself the formatter would spread them over three times as many lines.
# fmt: off
HEAD, TORSO = oval("head", BODY, 0, 0, 10, 10), oval("body", BODY, 0, 0, 10, 10)
BUILDS = {
    "lizard": Build("upright", Frame(-7, 7, 6), Frame(5, 6, 7), oval("body", BODY, 6, 10, 5, 2.5), TORSO,
        oval("body", BODY, 10, -1, 2.5, 5), HEAD, oval("head", BODY, 0, 5, 6, 4)),
    "cat": Build("quadruped", Frame(-5, 8, 6.5), Frame(6, 7, 6), oval("body", BODY, 9, 6, 4, 5), TORSO,
        poly("body", BODY, "2,0 7,0 7,12 2,12"), HEAD),
    "dress": Build("humanoid", Frame(-6, 6.5, 6), Frame(7, 6, 8), poly("body", BODY, "3,-7 15,-1 15,3 4,-1"),
        poly("body", BODY, "0,-10 4,-9 12,9 6,8 4,10 0,9"), HEAD),
    "thinker": Build("humanoid", Frame(-4, 10, 7.5), Frame(8, 4.5, 6), oval("body", BODY, 10, -1, 7, 2.5),
        oval("body", BODY, 7, 8, 7, 3), TORSO, poly("head", BODY, "0,-9 3,-11 8,-9 11,-3 9,4 5,10 0,11")),
    "boxer": Build("arms", Frame(-9, 4.5, 4.5), Frame(1, 7, 6), poly("body", BODY, "1,7 8,7 9,17 2,17"),
        poly("body", BODY, "0,-11 11,-9 7,9 0,10"), oval("body", BODY, 13, -3, 4, 7),
        oval("body", ACCENT, 14, 7, 5, 5.5), HEAD),
    "bird": Build("wings", Frame(-5, 6, 5.5), Frame(4, 7, 8), poly("body", ACCENT, "1,8 6,8 5,13 2,13"), TORSO, HEAD,
        poly("head", ACCENT, "0,1 4,4 0,10")),
    "sheet": Build("blob", Frame(-3, 8, 8), Frame(4, 8, 9), oval("body", BODY, 12, 0, 4, 2.5),
        poly("head", BODY, "0,-10 5,-9 9,-5 10,0 12,17 9,14 7,21 4,15 2,19 0,15")),
    "sprout": Build("legs", Frame(0, 8, 7.5), Frame(3, 8, 7), oval("body", BODY, 6, 11, 4, 3),
        poly("head", BODY, "0,-11 3,-8 8,-2 10,5 8,11 3,13 0,13")),
    "mole": Build("armor", Frame(-1, 8, 7), Frame(3, 11, 8), poly("body", BODY, "0,-11 5,-10 9,-6 11,1 11,8 0,9"),
        poly("body", SHADE, "0,-9 5,-8 9,-2 7,-4 4,-6 0,-7"), oval("head", BODY, 0, 5, 8, 7),
        oval("body", ACCENT, 8, 7, 3, 3)),
    "crystal": Build("upright", Frame(-2, 7, 8), Frame(4, 7, 8), poly("head", BODY, "0,-14 5,-10 10,-1 9,8 4,17 0,18"),
        poly("head", SHADE, "10,-1 9,8 4,17 6,7"), poly("head", WHITE, "0,-12 4,-9 2,-6 0,-7")),
    "jellyfish": Build("tentacles", Frame(-4, 10, 7.5), Frame(3, 9, 8), poly("body", BODY, "0,0 2,0 3,8 1,15 0,15"),
        poly("body", BODY, "4,0 7,0 9,8 6,13"), poly("body", BODY, "7,-2 10,-2 14,5 12,11 11,5"),
        poly("head", BODY, "0,-11 6,-9 10,-3 11,5 8,8 4,6 0,8")),
    "boulders": Build("heads", Frame(-1, 8, 7.5), Frame(4, 8, 7), poly("head", BODY, "9,-4 14,-6 18,-2 18,5 12,7 9,5"),
        oval("head", DARK, 13, 0, 0.8, 1.2), oval("head", DARK, 16, 0, 0.8, 1.2),
        poly("head", BODY, "0,-13 5,-12 10,-5 12,13 0,14"), poly("head", SHADE, "10,-5 12,13 7,5"),
        poly("head", LIGHT, "0,-12 4,-11 7,-6 0,-4")),
    "robot": Build("armor", Frame(-6, 6.5, 5), Frame(5, 7, 6), poly("body", BODY, "2,8 8,8 9,16 1,16"),
        poly("body", BODY, "0,-10 10,-10 10,7 7,10 0,10"), poly("body", ACCENT, "8,-12 15,-12 17,4 11,4"),
        poly("head", BODY, "0,-10 8,-10 10,-7 10,8 8,10 0,10"), poly("head", DARK, "0,-4 9,-4 9,5 0,5")),
    "fish": Build("fish", Frame(-2, 9, 8), Frame(2, 8, 8), poly("body", ACCENT, "0,8 3,9 7,13 15,16 14,23 5,21 0,15"),
        poly("head", BODY, "0,-10 6,-9 10,-3 10,3 7,10 3,16 0,17")),
    "beetle": Build("bug-wings", Frame(-7, 5, 4.5), Frame(4, 5, 7), oval("body", ACCENT, 15, -6, 9, 5),
        oval("body", ACCENT, 13, 3, 6, 4), oval("body", BODY, 0, 8, 6, 6), oval("body", BODY, 0, 3, 8, 6),
        oval("body", BODY, 0, -3, 10, 6), HEAD),
    "spark": Build("ball", Frame(0, 8, 8), Frame(2, 8, 8),
        poly("head", BODY, "0,-10 2,-9 6,-14 7,-8 14,-8 10,-1 15,4 9,5 10,12 4,9 0,15")),
}
FEATURES = {
    "antennae": Feature(poly("head", ACCENT, "2,-8 8,-20 10,-19 5,-7"), oval("head", ACCENT, 9, -20, 3, 3)),
    "bat wings": Feature(poly("body", ACCENT, "5,-5 17,-18 27,-14 27,-2 22,-5 19,2 15,-1 8,5"),
        poly("head", ACCENT, "3,-8 7,-16 14,-21 11,-14 9,-5")),
    "bolts": Feature(poly("head", BODY, "3,-6 10,-14 4,-14 10,-25 18,-25 13,-18 20,-18 8,-4")),
    "bow": Feature(poly("head", ACCENT, "0,-10 9,-16 11,-6 0,-7"), oval("head", ACCENT, 0, -9, 2.5, 2.5),
        in_front=True),
    "bubbles": Feature(oval("head", ACCENT, 13, -10, 3, 3), oval("head", ACCENT, 17, -3, 2, 2)),
    "butterfly wings": Feature(oval("body", ACCENT, 14, -8, 8, 7), oval("body", ACCENT, 12, 4, 5, 5)),
    "cheeks": Feature(oval("head", SPOT, 7, 4, 2.2, 1.8), in_front=True),
    "claws": Feature(poly("body", ACCENT, "6,8 13,8 12,13 10,10 8,13"), in_front=True),
    "collar": Feature(poly("body", ACCENT, "0,-7 7,-9 9,-6 4,-3 0,-1"), in_front=True),
    "crest": Feature(poly("head", ACCENT, "0,-19 3,-14 7,-17 6,-6 0,-6")),
    "ears": Feature(oval("head", BODY, 8, -9, 4.5, 5.5), oval("head", SPOT, 8, -9, 2, 3)),
    "fins": Feature(poly("head", ACCENT, "0,-18 3,-16 6,-8 0,-8"),
        poly("head", ACCENT, "7,-5 18,-9 15,-3 19,2 14,3 15,8 7,6")),
    "flame": Feature(poly("head", ACCENT, "0,-33 3,-24 6,-27 7,-19 12,-22 12,-10 7,-4 0,-4"),
        poly("head", BODY, "0,-21 2,-15 5,-17 6,-8 0,-7")),
    "flame arms": Feature(poly("body", ACCENT, "7,-2 13,-9 14,-3 19,-5 15,4 9,6")),
    "gem": Feature(poly("head", ACCENT, "0,-9 3,-6 0,-2"), in_front=True),
    "headband": Feature(poly("head", ACCENT, "0,-7 10,-5 10,-2 0,-4"), poly("head", ACCENT, "9,-5 16,-2 15,4 9,-2"),
        in_front=True),
    "horns": Feature(poly("head", ACCENT, "4,-8 7,-15 15,-20 12,-13 9,-5")),
    "icicles": Feature(poly("head", ACCENT, "0,-22 3,-15 3,-6 0,-6"), poly("head", ACCENT, "3,-8 12,-19 9,-5"),
        poly("head", ACCENT, "7,-5 18,-9 9,1")),
    "leaves": Feature(poly("head", ACCENT, "0,-8 5,-19 15,-21 13,-13 5,-7"),
        poly("head", ACCENT, "3,-6 13,-11 20,-6 14,-3 6,-3")),
    "mound": Feature(poly("body", ACCENT, "0,7 5,9 9,5 13,8 16,13 0,14"), in_front=True),
    "orbs": Feature(oval("head", ACCENT, 15, -9, 3.5, 4)),
    "petals": Feature(oval("head", MARK, 0, -13, 4, 4), oval("head", MARK, 6, -11, 4, 4)),
    "plates": Feature(poly("head", ACCENT, "0,-17 2,-12 8,-11 10,-5 0,-7"), oval("head", WHITE, 6, -9, 0.8, 0.8),
        in_front=True),
    "pointed ears": Feature(poly("head", BODY, "2,-8 10,-22 10,-3"), poly("head", SPOT, "5,-8 9,-17 9,-6")),
    "rocks": Feature(poly("body", ACCENT, "6,-8 10,-14 16,-12 16,-5 9,-2"),
        poly("head", ACCENT, "0,-14 4,-13 7,-7 0,-5")),
    "slime": Feature(poly("head", ACCENT, "0,-12 6,-10 10,-5 11,3 9,3 8,-5 4,-6 3,-3 2,-6 0,-6"), in_front=True),
    "spikes": Feature(poly("body", ACCENT, "7,-9 16,-12 10,-4"), poly("body", ACCENT, "8,-3 17,-3 9,3"),
        poly("body", ACCENT, "8,4 15,7 6,9")),
    "tail": Feature(poly("body", BODY, "5,8 13,8 14,0 18,-4 19,6 15,12 6,12")),
    "warts": Feature(oval("head", SPOT, 5, -6, 1.6, 1.6), oval("head", SPOT, 0, -8, 1.2, 1.2), in_front=True),
    "wings": Feature(poly("body", ACCENT, "5,-5 16,-16 28,-17 25,-11 26,-8 22,-5 22,-1 17,0 6,4")),
    "wisps": Feature(poly("head", ACCENT, "18,-20 21,-11 19,-7 16,-7 14,-11")),
}
LOOKS = {
    "bug": Look("green", (156, 190, 48), (222, 236, 178), "beetle", ("antennae", "spikes", "warts", "collar")),
    "dark": Look("black", (76, 70, 88), (214, 52, 66), "cat", ("pointed ears", "tail", "spikes", "collar")),
    "dragon": Look("blue", (66, 76, 188), (244, 190, 84), "lizard", ("bat wings", "spikes", "tail", "gem")),
    "electric": Look("yellow", (252, 214, 44), (110, 190, 250), "spark", ("bolts", "spikes", "orbs", "claws")),
    "fairy": Look("pink", (252, 186, 216), (240, 92, 150), "dress", ("bow", "butterfly wings", "cheeks", "collar")),
    "fighting": Look("red", (178, 76, 54), (240, 222, 190), "boxer", ("headband", "collar", "spikes", "crest")),
    "fire": Look("red", (240, 106, 44), (255, 206, 64), "lizard", ("flame", "flame arms", "tail", "claws")),
    "flying": Look("blue", (132, 190, 246), (238, 240, 244), "bird", ("wings", "cheeks", "crest", "collar")),
    "ghost": Look("purple", (104, 82, 164), (176, 226, 220), "sheet", ("wisps", "collar", "horns", "cheeks")),
    "grass": Look("green", (104, 196, 92), (40, 134, 62), "sprout", ("leaves", "petals", "cheeks", "claws")),
    "ground": Look("brown", (212, 166, 96), (128, 84, 48), "mole", ("mound", "claws", "spikes", "horns")),
    "ice": Look("white", (206, 240, 246), (92, 198, 224), "crystal", ("icicles", "orbs", "spikes", "gem")),
    "normal": Look("brown", (206, 180, 148), (246, 232, 206), "cat", ("ears", "tail", "collar", "cheeks")),
    "poison": Look("purple", (164, 66, 172), (150, 210, 72), "jellyfish", ("slime", "bubbles", "warts", "spikes")),
    "psychic": Look("pink", (240, 84, 144), (120, 216, 232), "thinker", ("orbs", "gem", "crest", "collar")),
    "rock": Look("brown", (150, 126, 92), (104, 92, 84), "boulders", ("rocks", "warts", "gem", "spikes")),
    "steel": Look("gray", (158, 170, 186), (96, 110, 134), "robot", ("plates", "spikes", "horns", "gem")),
    "water": Look("blue", (56, 136, 232), (140, 224, 250), "fish", ("fins", "bubbles", "cheeks", "horns")),
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
