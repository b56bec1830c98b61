"""Palettes, fitted in OKLab, in which equal distances look about equally different."""

import numpy as np
from PIL import Image

from pokemon_ddpm.pipelines.sprite_preprocessing import CONES, LAB, color_codes, oklab, unique_colors

EQUAL_NEIGHBOR = 0.008  # what a neighbor of the same color is worth, in squared OKLab distance
# Colors of a sprite that are nearer in OKLab are one color. In nine of ten real sprites the median color has none
# within 0.073; nine of ten have this white, or one that looks like it, and eight of ten this outline.
DISTINCT = 0.065
COMMON_COLORS = np.uint8([[16, 16, 16], [255, 255, 255]])


def from_oklab(lab: np.ndarray) -> np.ndarray:
    """The inverse of `oklab`: float (..., 3) to uint8 (..., 3), the nearest color that sRGB has in each channel."""
    linear = (lab @ np.linalg.inv(LAB).T) ** 3 @ np.linalg.inv(CONES).T
    linear = linear.clip(0, 1)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return (srgb * 255).round().astype(np.uint8)


def fit_palette(pixels: np.ndarray, colors: int) -> np.ndarray:
    """At most `colors` colors, uint8 (K, 3), for pixels uint8 (N, 3): their own, or median cut refined by k-means."""
    present = unique_colors(pixels)
    if len(present) <= colors:
        return present
    row = Image.fromarray(pixels[None])
    fitted = row.quantize(colors, Image.Quantize.MEDIANCUT, kmeans=1, dither=Image.Dither.NONE)
    return unique_colors(np.array(fitted.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)[:colors])


def color_areas(pixels: np.ndarray, visible: np.ndarray, palette: np.ndarray, iterations: int = 12) -> np.ndarray:
    """Gives pixels the colors of a palette, which adapts to them, in areas: uint8 (H, W, 3).

    This is the adaptive clustering of Pappas 1992, with one mean of each color. Colors and palette lower the energy

        sum of |pixel - its color|^2 in OKLab - `EQUAL_NEIGHBOR` * number of pairs of neighbors of one color

    in turns: every pixel takes the best color given its four neighbors (iterated conditional modes, Besag 1986, on the
    two halves of a checkerboard), and every color moves to the mean of its pixels. A noisy surface so becomes flat,
    while an eye, a single pixel of another color, stays.

    Args:
        pixels: uint8 (H, W, 3).
        visible: bool (H, W). The other pixels have no influence and are not changed.
        palette: uint8 (K, 3), to begin with; colors that become unused are dropped.
        iterations: At most; few are needed.
    """
    lab, means = oklab(pixels), oklab(palette)
    half = np.indices(visible.shape).sum(axis=0) % 2
    chosen, before = np.square(lab[:, :, None] - means).sum(axis=3).argmin(axis=2), None
    for _ in range(iterations):
        distance = np.square(lab[:, :, None] - means).sum(axis=3)
        for part in (0, 1):
            has = (chosen[..., None] == np.arange(len(means))) & visible[..., None]
            has = np.pad(has, ((1, 1), (1, 1), (0, 0))).astype(np.float64)
            equal = has[:-2, 1:-1] + has[2:, 1:-1] + has[1:-1, :-2] + has[1:-1, 2:]
            chosen = np.where(half == part, (distance - EQUAL_NEIGHBOR * equal).argmin(axis=2), chosen)
        used, places = np.unique(chosen[visible], return_inverse=True)
        sums = np.zeros((len(used), 3))
        np.add.at(sums, places, lab[visible])
        means = sums / np.bincount(places)[:, None]
        chosen = np.zeros_like(chosen)
        chosen[visible] = places
        if before is not None and np.array_equal(chosen, before):
            break
        before = chosen
    return np.where(visible[..., None], from_oklab(means)[chosen], pixels)


def merge_colors(pixels: np.ndarray, colors: int, distinct: float = DISTINCT) -> np.ndarray:
    """Merges similar colors of a sprite until at most `colors` remain and none are similar: uint8 (N, 3) to the same.

    What is near to one of `COMMON_COLORS` becomes it. Then the nearest two are replaced by their mean again and again.
    Colors are rounded to 15 bits, as those of the consoles that the sprites were drawn for.

    Args:
        distinct: Distance in OKLab below which two colors are similar.
    """
    present, area = np.unique(pixels, axis=0, return_inverse=True)
    area = area.reshape(-1)
    means, weights, used = oklab(present), np.bincount(area).astype(np.float64), np.ones(len(present), dtype=bool)
    for common in oklab(COMMON_COLORS):
        near = np.linalg.norm(means - common, axis=1) < distinct
        means[near], weights[near] = common, 1e9  # it stays where it is
    while used.sum() > 1:
        distance = np.linalg.norm(means[:, None] - means, axis=2)
        distance[~(used & used[:, None]) | np.eye(len(used), dtype=bool)] = np.inf
        one, other = np.unravel_index(distance.argmin(), distance.shape)
        if used.sum() <= colors and distance[one, other] >= distinct:
            break
        means[one] = np.average(means[[one, other]], axis=0, weights=weights[[one, other]])
        weights[one] += weights[other]
        area[area == other], used[other] = one, False
    five_bits = (from_oklab(means) * (31 / 255)).round().astype(int)
    return (five_bits * 255 // 31).astype(np.uint8)[area]


def nearest_color(pixels: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Indices int64 (N,) of the nearest colors in OKLab, for pixels uint8 (N, 3) and a palette uint8 (K, 3).

    Of equally near colors the first.
    """
    _, first, inverse = np.unique(color_codes(pixels), return_index=True, return_inverse=True)
    present = oklab(pixels[first])
    least, nearest = np.full(len(present), np.inf), np.zeros(len(present), dtype=np.int64)
    for i, color in enumerate(oklab(palette)):  # all pairs at once need too much memory
        distance = np.square(present - color).sum(axis=1)
        nearer = distance < least
        least[nearer], nearest[nearer] = distance[nearer], i
    return nearest[inverse]
