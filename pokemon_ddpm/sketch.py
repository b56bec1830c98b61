"""Sketches of animals and things, from which their sprites begin.

What is rare among training images, such as a mushroom, a network does not make of noise alone. So sprites of an animal
or a thing begin from a sketch of it, with noise (SDEdit, Meng et al. 2022, section 3).
"""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageColor

from pokemon_ddpm.vocabulary import ANY, CONDITIONS

# In 16x16 cells: "." for the background, "#" for the color, "o" for a lighter one, "x" for eyes. The page has the same
# table and rules, sketch.js.
TABLE: dict[str, Any] = json.loads((Path(__file__).parent / "page" / "sketches.json").read_text(encoding="utf-8"))
SKETCHES: dict[str, Any] = TABLE["sketches"]
CELLS = 16
EYE = (24, 24, 32)
# What a sketch leaves open, in this order; in a row each goes on by this part of 2^32 along the shares of its values,
# so that neighbors are unlike each other (Roberts 2018, R1 and R2).
DRAWN = {"type": 3242174889, "color": 2654435769, "size": 2447445414}
# How sketches are bent: degrees, logarithms of width and height, and in half sides a field of 5x5 points.
ANGLE, SCALE, BEND, POINTS = 8.0, 0.15, 0.09, 5
ROOM = 0.9  # of the square, that bending needs
# As of the pipeline's `image`: of a sketch where the table has no other one, and where only the pose is to stay.
SKETCH_STRENGTH, POSE_STRENGTH = 0.5, 0.75


def strength_of(name: str) -> float:
    """The strength of the noise on a sketch."""
    return SKETCHES[name].get("strength", SKETCH_STRENGTH)


def drawn_sketch(
    types: Iterable[str], shape: str | None, seed: int, without: Iterable[tuple[str, str]] = ()
) -> str | None:
    """A sketch for one of these types, or any, or one of a given shape, by chance: a network likes one pose best.

    Those that are denied are none of them: (attribute, value)s of sketches and shapes.
    """
    chosen, denied = {*types}, {*without}
    known = {n: own for n, own in SKETCHES.items() if not {("sketch", n), ("shape", own["shape"])} & denied}
    names = [name for name, sketch in known.items() if not chosen or chosen & {*sketch["types"].split()}]
    if shape not in (None, ANY):
        of_shape = [name for name, sketch in known.items() if sketch["shape"] == shape]
        names = [name for name in of_shape if name in names] or of_shape
    return names[seed // 5**3 % len(names)] if names else None


def drawn_like(
    name: str, given: Mapping[str, Any], seed: int, number: int, without: Iterable[tuple[str, str]] = ()
) -> dict[str, str]:
    """Type, color and size of sprite `number` of a row with a sketch, where they are not given or denied; its shape.

    They are those of creatures that look like it: the table has shares for the values of each, and for a type, with
    which color and size go, how much more frequent each is than among all.
    """
    drawn, denied = {"shape": SKETCHES[name]["shape"]}, {*without}
    for (attribute, step), own in zip(DRAWN.items(), SKETCHES[name]["drawn"].split(), strict=True):
        if attribute in given:
            continue
        known, weights = {**given, **drawn}, []
        for place, (value, share) in enumerate(zip(CONDITIONS[attribute], own, strict=True)):
            weight = int(share) * ((attribute, value) not in denied)
            of_types = [value] if attribute == "type" else str(known.get("type")).split("/")
            for kind in (kind for kind in of_types if kind in TABLE["lifts"]):
                for other, lifts in zip(("color", "size"), TABLE["lifts"][kind].split(), strict=True):
                    if other == attribute:
                        weight *= int(lifts[place])
                    elif attribute == "type" and known.get(other) in CONDITIONS[other]:
                        weight *= int(lifts[CONDITIONS[other].index(known[other])])
            weights.append(weight)
        begin = next(_words(f"{seed}/{name}/{attribute}"))
        share = (begin + number * step) % 2**32 * sum(weights) // 2**32
        if any(weights):
            drawn[attribute] = CONDITIONS[attribute][int(np.searchsorted(np.cumsum(weights), share, side="right"))]
    return {attribute: value for attribute, value in drawn.items() if attribute not in given}


def _words(key: str) -> Iterator[int]:
    """Numbers of 32 bits for a key."""
    for part in range(2**16):
        digest = hashlib.sha256(f"{key}/{part}".encode()).digest()
        yield from (int.from_bytes(digest[i : i + 4], "big") for i in range(0, 32, 4))


def sketch_image(name: str, conditions: Mapping[str, Any], side: int, seed: int) -> Image.Image:
    """A sketch for the pipeline's `image`: RGBA, transparent around it, with `side` pixels a side.

    Of the conditions color and size count; where there is none, it is gray and large. Another seed turns, scales and
    bends it otherwise, by numbers that are nearly normal, sums of four bytes; and chooses among several drawings.
    """
    color = ImageColor.getrgb(TABLE["colors"].get(conditions.get("color"), TABLE["colors"]["gray"]))
    length = side * ROOM * TABLE["sizes"].get(conditions.get("size"), TABLE["sizes"]["large"])
    words = _words(f"{seed}/sketch")
    pose = next(words) % (len(SKETCHES[name]["rows"]) // CELLS) * CELLS
    cells = np.array([[*row.ljust(CELLS, ".")] for row in SKETCHES[name]["rows"][pose : pose + CELLS]])
    angle, *logarithms = (_normal(next(words)) * amount for amount in (ANGLE * math.pi / 180, SCALE, SCALE))
    width, height = (min(side, length * math.exp(logarithm)) for logarithm in logarithms)
    fields = [[_normal(next(words)) * (BEND * side / 2) for _ in range(POINTS**2)] for _ in range(2)]
    y, x = np.indices((side, side)) + 0.5
    bent = [_between(np.reshape(field, (POINTS, POINTS)), x / side, y / side) for field in fields]
    right, down, cos, sin = x - side / 2 + bent[0], y - side / 2 + bent[1], math.cos(angle), math.sin(angle)
    column = np.floor(((right * cos + down * sin) / width + 0.5) * CELLS).astype(int)
    row = np.floor(((down * cos - right * sin) / height + 0.5) * CELLS).astype(int)
    inside = (np.minimum(row, column) >= 0) & (np.maximum(row, column) < CELLS)
    letters = np.where(inside, cells[row * inside, column * inside], ".")
    lighter = [value + (255 - value) * 13 // 20 for value in color]
    pixels = np.full((side, side, 4), (255, 255, 255, 0), dtype=np.uint8)
    for letter, rgb in {"#": color, "o": lighter, "x": EYE}.items():
        pixels[letters == letter] = [*rgb, 255]
    return Image.fromarray(pixels)


def _normal(word: int) -> float:
    """A number with mean 0 and standard deviation 1 from 32 random bits."""
    return (sum(word.to_bytes(4, "big")) - 510) / 147.8


def _between(field: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Values of a field of points (P, P) at places from 0 to 1, linear between the points."""
    left, top = np.floor(x * (POINTS - 1)).astype(int), np.floor(y * (POINTS - 1)).astype(int)
    right, down = x * (POINTS - 1) - left, y * (POINTS - 1) - top
    upper = field[top, left] * (1 - right) + field[top, left + 1] * right
    lower = field[top + 1, left] * (1 - right) + field[top + 1, left + 1] * right
    return upper * (1 - down) + lower * down
