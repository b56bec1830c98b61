"""The colors of a sprite after those of another one: one palette for both, by optimal transport, or a palette swap."""

import numpy as np
from PIL import Image
from scipy.optimize import linprog

from pokemon_ddpm.pipelines.sprite_preprocessing import color_codes, oklab, unique_colors

SLACK = 1.3  # how much of a color of the palette may be used, times its share
COST = (1.0, 0.5, 0.5)  # of squared differences of L, a and b in OKLab: shading must stay, a wrong hue may go


def transport(colors: np.ndarray, counts: np.ndarray, palette: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """Where the most pixels of each color go in the cheapest transport, int64 (K,), places in the palette.

    A linear program: all of a color's share of the pixels goes to colors of the palette, each of which takes at most
    `SLACK` times its own share. The first of equal places wins.

    Args:
        colors, palette: uint8 (K, 3) and (M, 3).
        counts, limits: Their numbers of pixels, (K,) and (M,).
    """
    cost = np.square(oklab(colors)[:, None] - oklab(palette)) @ COST
    rows, columns = np.eye(len(colors)).repeat(len(palette), axis=1), np.tile(np.eye(len(palette)), len(colors))
    most = SLACK * limits / limits.sum()
    plan = linprog(cost.ravel(), A_ub=columns, b_ub=most, A_eq=rows, b_eq=counts / counts.sum(), method="highs").x
    return plan.reshape(cost.shape).round(9).argmax(axis=1)


def share_palette(image: Image.Image, other: Image.Image) -> Image.Image:
    """Gives a sprite, RGBA, the colors of another one by `transport`; both have few."""
    pixels, others = np.array(image), np.asarray(other)
    visible, shown = (each[each[..., 3] > 0][:, :3] for each in (pixels, others))
    if not len(visible) or not len(shown):
        return image
    (colors, palette), codes = (unique_colors(visible), unique_colors(shown)), color_codes(visible)
    places, limits = np.unique(codes, return_inverse=True)[1], np.unique(color_codes(shown), return_counts=True)[1]
    pixels[pixels[..., 3] > 0, :3] = palette[transport(colors, np.bincount(places), palette, limits)][places]
    return Image.fromarray(pixels)


def swap_palette(image: Image.Image, one: Image.Image, other: Image.Image) -> Image.Image:
    """Gives each color of a sprite, RGBA, what most pixels of that color in `one` have in `other`, the same drawing.

    All are RGBA sprites of one size. So a shiny keeps the drawing to the pixel. A color that `one` does not have is
    taken for the nearest one in OKLab.
    """
    pixels, before, after = np.array(image), np.asarray(one), np.asarray(other)
    both, visible = (before[..., 3] > 0) & (after[..., 3] > 0), pixels[..., 3] > 0
    if not both.any() or not visible.any():
        return image
    codes, kept = color_codes(before[both][:, :3]), after[both][:, :3]
    known = unique_colors(before[both][:, :3])
    becomes = []
    for code in color_codes(known):
        colors, counts = np.unique(kept[codes == code], axis=0, return_counts=True)
        becomes.append(colors[counts.argmax()])
    distances = np.linalg.norm(oklab(pixels[visible][:, None, :3]) - oklab(known), axis=2)
    pixels[visible, :3] = np.array(becomes)[distances.argmin(axis=1)]
    return Image.fromarray(pixels)
