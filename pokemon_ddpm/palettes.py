"""Sprites in the colors of others, and of real shinies."""

import functools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy import ndimage
from scipy.optimize import linprog

from pokemon_ddpm.likeness import color_change
from pokemon_ddpm.pipelines.sprite_preprocessing import oklab
from pokemon_ddpm.postprocessing import from_oklab, reduce_palette
from pokemon_ddpm.preprocessing import as_tensor

# Of shared palettes.
SLACK = 1.3  # how much of a color of the palette may be used, times its share
COST = (1.0, 0.5, 0.5)  # of squared differences of L, a and b in OKLab: shading must stay, a wrong hue may go
BLACK, BLACK_COST = 0.2, 0.3  # a lightness, and the cost of falling below it: a body has no patches of outlines

# Of shinies: colors below this lightness are outlines, below the second one where most of a sprite is dark; no others
# become darker than the third one.
DARK, DARKEST, LEAST = 0.35, 0.2, 0.45
SHADING = (0.4, 1.0, 1.0)  # of differences of L, a and b: colors of an area differ in lightness most
SAME_AREA = 0.08  # such a distance
MAX_CONTRAST = 1.5  # see `match_colors`
LIGHT = 0.8  # a lightness above which an edge has no outline, see `close_outline`
MIN_AREA, MAIN_AREAS = 0.08, 3  # share of an area that is recolored, since eyes are none; and how many are, at most
# Palettes of which the first is taken that changes the mean color so much; real shinies do by 0.095 in the mean.
SHINY_DRAWS, SHINY_CHANGE = 8, 0.08
SHINY_TABLE = Path(__file__).with_name("shinies.json")


def transport(colors: np.ndarray, counts: np.ndarray, palette: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """Where the most pixels of each color go in the cheapest transport, int64 (K,), places in the palette.

    A linear program: all of a color's share of the pixels goes to colors of the palette, each of which takes at most
    `SLACK` times its own share. Both are uint8 (K, 3) and (M, 3), with their numbers of pixels, (K,) and (M,).
    """
    ones, others = oklab(colors)[:, None], oklab(palette)
    cost = np.square(ones - others) @ COST + BLACK_COST * ((ones[..., 0] >= BLACK) & (others[:, 0] < BLACK))
    rows, columns = np.eye(len(colors)).repeat(len(palette), axis=1), np.tile(np.eye(len(palette)), len(colors))
    most = SLACK * limits / limits.sum()
    plan = linprog(cost.ravel(), A_ub=columns, b_ub=most, A_eq=rows, b_eq=counts / counts.sum(), method="highs").x
    return plan.reshape(cost.shape).round(9).argmax(axis=1)


def match_colors(image: Image.Image, other: Image.Image) -> Image.Image:
    """Gives the colors of an image, RGBA, the mean of another one's, and its contrast where that is higher.

    This is the transfer of Reinhard et al. 2001, *Color Transfer between Images*, in OKLab without outlines, up to
    `MAX_CONTRAST`: backs are generated paler than their fronts, and almost flat.
    """
    pixels, (own, others) = np.array(image), map(_fill, (image, other))
    if len(own) and len(others):
        shown = (pixels[..., 3] > 0) & (oklab(pixels[..., :3])[..., 0] >= DARK)
        contrast = np.clip(others[:, 0].std() / max(1e-3, own[:, 0].std()), 1, MAX_CONTRAST)
        pixels[shown, :3] = from_oklab((own - own.mean(axis=0)) * [contrast, 1, 1] + others.mean(axis=0))
    return Image.fromarray(pixels)


def _fill(image: Image.Image) -> np.ndarray:
    """The pixels of a sprite, RGBA, that are no outline, in OKLab, float64 (K, 3)."""
    pixels = np.asarray(image)
    colors = oklab(pixels[pixels[..., 3] > 0][:, :3])
    return colors[colors[:, 0] >= DARK]


def close_outline(image: Image.Image) -> Image.Image:
    """Gives the light pixels at the edge of a sprite, RGBA, its darkest color, where that is dark.

    On a white ground white edges are holes: a front's white belly makes them of its back, and a pale shiny has them.
    """
    pixels = np.array(image)
    shown = pixels[..., 3] > 0
    lightness = np.where(shown, oklab(pixels[..., :3])[..., 0], 1)
    if lightness.min() < DARK:
        edge = shown & ~ndimage.binary_erosion(shown)
        pixels[edge & (lightness > LIGHT)] = pixels[np.unravel_index(lightness.argmin(), shown.shape)]
    return Image.fromarray(pixels)


def share_palette(image: Image.Image, other: Image.Image) -> Image.Image:
    """Gives a sprite, RGBA, the colors of another one by `transport`; both have few."""
    pixels, others = np.array(image), np.asarray(other)
    visible = pixels[..., 3] > 0
    colors, places, counts = np.unique(pixels[visible, :3], axis=0, return_inverse=True, return_counts=True)
    palette, limits = np.unique(others[others[..., 3] > 0, :3], axis=0, return_counts=True)
    if len(colors) and len(palette):
        pixels[visible, :3] = palette[transport(colors, counts, palette, limits)][places.ravel()]
    return Image.fromarray(pixels)


class Area(NamedTuple):
    """Colors of a sprite that differ by their shading only, in OKLab."""

    center: np.ndarray  # the most frequent one
    mean: np.ndarray
    lightness: tuple[float, float]  # the lowest and the highest
    share: float  # of all areas' pixels


def shaded_areas(image: Image.Image, most: int = MAIN_AREAS) -> list[Area]:
    """The areas of a sprite, RGBA, the largest first; of more than `most` the others are parts of these."""
    pixels = np.asarray(image)
    shown = pixels[pixels[..., 3] > 0][:, :3]
    colors, counts = np.unique(shown, axis=0, return_counts=True)
    lab = oklab(colors)
    fill = lab[:, 0] >= DARK
    if counts[fill].sum() < counts.sum() / 2:
        fill = lab[:, 0] >= DARKEST
    lab, counts = lab[fill], counts[fill]
    centers = lab[:0]
    for color in lab[np.argsort(-counts, kind="stable")]:
        if not (_distances(color[None], centers) <= SAME_AREA).any():
            centers = np.vstack([centers, color])
    if not len(lab):
        return []
    sizes = np.bincount(_distances(lab, centers).argmin(axis=1), counts)
    order = np.argsort(-sizes, kind="stable")
    centers = centers[[*order[:most], *(k for k in order[most:] if sizes[k] < MIN_AREA * counts.sum())]]
    areas, nearest = [], _distances(lab, centers).argmin(axis=1)
    for place, center in enumerate(centers):
        own, pixels = lab[nearest == place], counts[nearest == place]
        mean = np.average(own, axis=0, weights=pixels)
        areas.append(Area(center, mean, (own[:, 0].min(), own[:, 0].max()), pixels.sum() / counts.sum()))
    return sorted(areas, key=lambda area: -area.share)


def _distances(colors: np.ndarray, centers: np.ndarray) -> np.ndarray:
    return np.linalg.norm((colors[:, None] - centers) * SHADING, axis=2)


def recolor(image: Image.Image, areas: Sequence[Area], palette: np.ndarray) -> Image.Image:
    """Gives the main areas of a sprite, RGBA, the colors of a palette in the order of lightness, with their shading.

    Outlines and small areas stay. The areas are those of the sprite or of another one in the same colors; the palette
    is that of the main areas of a shiny, the largest first, uint8 (M, 3).
    """
    pixels = np.array(image)
    main = [place for place, area in enumerate(areas[: len(palette)]) if area.share >= MIN_AREA]
    targets = sorted(oklab(palette[: len(main)]), key=lambda color: color[0])
    lab, visible = oklab(pixels[..., :3]), pixels[..., 3] > 0
    fill = visible & (lab[..., 0] >= min((area.lightness[0] for area in areas), default=np.inf))
    if not main or not fill.any():
        return image
    lab = lab[fill]
    nearest = _distances(lab, np.array([area.center for area in areas])).argmin(axis=1)
    for place, target in zip(sorted(main, key=lambda place: areas[place].mean[0]), targets, strict=True):
        own, (low, high) = nearest == place, areas[place].lightness
        shift = np.clip(target[0] - areas[place].mean[0], min(0, LEAST - low), max(0, 1 - high))
        lightness = lab[own, 0] + shift
        # Black and white have no chroma, and colors near them have less.
        chroma = np.minimum(lightness / target[0], (1 - lightness) / max(1e-3, 1 - target[0])).clip(0, 1)
        lab[own] = np.column_stack([lightness, np.outer(chroma, target[1:])])
    pixels[fill, :3] = from_oklab(lab)
    return Image.fromarray(pixels)


@functools.cache
def shiny_table() -> dict[str, list[str]]:
    """Type -> the main colors of real shinies, see `benchmarks/shiny_table.py`, of six hexadecimal digits each."""
    return json.loads(SHINY_TABLE.read_text(encoding="utf-8"))


def shiny(image: Image.Image, front: Image.Image, types: Iterable[str], seeds: Iterable[int]) -> Image.Image:
    """Gives a sprite, RGBA, the colors of a real shiny: of some that seeds draw, the first that all can see.

    The first front of its creature decides which color becomes which. For other types, such as classes of own images,
    shinies of all types are drawn. If none changes enough, that which changes most is taken.
    """
    table, front, drawn = shiny_table(), reduce_palette(front), []
    palettes = [colors for name in types for colors in table.get(name, ())] or [*sum(table.values(), [])]
    before = as_tensor([front])
    for seed in seeds:
        palette = np.uint8([*bytes.fromhex(palettes[seed % len(palettes)])]).reshape(-1, 3)
        areas = shaded_areas(front, len(palette))
        change = float(color_change(before, as_tensor([recolor(front, areas, palette)])))
        drawn.append((change, areas, palette))
        if change >= SHINY_CHANGE:
            break
    _, areas, palette = max(drawn, key=lambda draw: draw[0])
    return close_outline(recolor(image, areas, palette))
