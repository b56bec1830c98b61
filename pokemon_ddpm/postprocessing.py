"""From a generated sample to a sprite: transparent background, no fragments, few colors, enlargement into squares."""

import math
from collections.abc import Callable
from numbers import Integral

import numpy as np
from PIL import Image
from scipy import ndimage

from pokemon_ddpm.pipelines.file_checks import check_number
from pokemon_ddpm.pipelines.sprite_preprocessing import CONES, LAB, TRANSPARENT, binary_alpha, oklab, transparent

MAX_OUTPUT_PIXELS = 2**26  # of an enlarged image or a sheet; 200 MB in RGB
WHITE_TOLERANCE = 28  # the white of models without transparency is noisy
PALETTE_SIZE = 16
MIN_FRAGMENT = 256  # pixels: at 64x64 a larger second part is as rare in samples as in real sprites, 1 in 200 and 400
# Of palettes, which are fitted in OKLab, in which equal distances look about equally different.
EQUAL_NEIGHBOR = 0.008  # what a neighbor of the same color is worth, in squared OKLab distance
# Colors of a sprite that are nearer in OKLab are one color. In nine of ten real sprites the median color has none
# within 0.073; nine of ten have this white, or one that looks like it, and eight of ten this outline.
DISTINCT = 0.065
CELL = 0.075  # side of the cells in OKLab to which a palette is fitted; grays and white are not on a border
COMMON_COLORS = np.uint8([[16, 16, 16], [255, 255, 255]])  # the darkest first


def to_sprite(image: Image.Image, palette: int | None = PALETTE_SIZE, min_fragment: int = MIN_FRAGMENT) -> Image.Image:
    """Makes a sprite of a sample, RGB on white or RGBA: RGBA, alpha 0 or 255. A palette of None keeps all colors."""
    sprite = remove_fragments(remove_background(image), min_fragment)
    return sprite if palette is None else reduce_palette(sprite, palette)


def remove_background(image: Image.Image) -> Image.Image:
    """A sample, RGB or RGBA, as RGBA with alpha 0 or 255; in RGB the background is found by `transparent`."""
    pixels = np.asarray(image)
    return Image.fromarray(transparent(pixels, WHITE_TOLERANCE) if image.mode == "RGB" else binary_alpha(pixels))


def remove_fragments(image: Image.Image, min_pixels: int = MIN_FRAGMENT) -> Image.Image:
    """Removes the parts of a sprite, RGBA, of fewer than `min_pixels` pixels (also diagonal), but not the largest."""
    check_number("The size of a fragment", min_pixels, 1, 1000, Integral)
    pixels = np.array(image)
    parts, _ = ndimage.label(pixels[..., 3] > 0, structure=np.ones((3, 3)))
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0  # the background
    stays = sizes >= min(min_pixels, sizes.max())
    stays[0] = False
    pixels[~stays[parts]] = TRANSPARENT
    return Image.fromarray(pixels)


def reduce_palette(image: Image.Image, colors: int = PALETTE_SIZE) -> Image.Image:
    """Reduces an image, RGB or RGBA, to at most `colors` colors, if it has more; those with alpha 0 do not count."""
    check_number("The number of colors", colors, 1, 256, Integral)
    pixels = np.array(image)
    visible = pixels[..., 3] > 0 if image.mode == "RGBA" else np.ones(pixels.shape[:2], dtype=bool)
    if Image.fromarray(pixels[visible, :3][None]).getcolors(colors) is None:  # there are more
        lab = oklab(pixels[..., :3])
        areas, palette = color_areas(lab, visible, fit_palette(lab[visible], min(256, colors * 3 // 2)))
        chosen, distinct = areas[visible], DISTINCT * min(1, PALETTE_SIZE / colors)
        pixels[visible, :3] = merge_colors(palette, np.bincount(chosen), colors, distinct)[chosen]
    return Image.fromarray(pixels)


def check_enlargement(width: int, height: int, factor: int) -> None:
    """Raises ValueError if the factor is not a whole number from 1, or `MAX_OUTPUT_PIXELS` would be exceeded."""
    check_number("The enlargement", factor, 1, math.isqrt(MAX_OUTPUT_PIXELS // (width * height)), Integral)


def enlarge(image: Image.Image, factor: int) -> Image.Image:
    """Makes every pixel a square of `factor` x `factor` pixels, see `check_enlargement`."""
    check_enlargement(image.width, image.height, factor)
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def from_oklab(lab: np.ndarray) -> np.ndarray:
    """The inverse of `oklab`: float (..., 3) to uint8 (..., 3), the nearest color that sRGB has in each channel."""
    linear = (lab @ np.linalg.inv(LAB).T) ** 3 @ np.linalg.inv(CONES).T
    linear = linear.clip(0, 1)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return (srgb * 255).round().astype(np.uint8)


def fit_palette(lab: np.ndarray, colors: int) -> np.ndarray:
    """At most `colors` colors, float64 (K, 3), for pixels (N, 3), both in OKLab.

    Those two groups of pixels are merged, again and again, that add least to the squared error in OKLab (Ward 1963,
    *Hierarchical grouping to optimize an objective function*), beginning with the cells of a cubic grid. It is coarse
    so that the palette is robust: finer cells merge in another order after a change of a single gray level.
    """
    _, cell, weights = np.unique(np.rint(lab / CELL), axis=0, return_inverse=True, return_counts=True)
    means = np.zeros((len(weights), 3))
    np.add.at(means, cell.ravel(), lab)
    means, weights = means / weights[:, None], weights.astype(np.float64)

    def cost(group: int) -> np.ndarray:
        harmonic = weights * weights[group] / (weights + weights[group])
        return harmonic * np.square(means - means[group]).sum(axis=1)

    groups = _merge(means, weights, cost, lambda count, _: count <= colors)
    return means[np.unique(groups)]


def _merge(
    means: np.ndarray, weights: np.ndarray, cost: Callable[[int], np.ndarray], is_done: Callable[[int, float], bool]
) -> np.ndarray:
    """Merges the two groups that cost least until `is_done` of the number of groups and the least cost.

    A place in the means and weights of the groups, float64 (N, 3) and (N,), gets the mean and sum of each merged one.
    `cost` gives the costs (N,) of merging a group with each. Returns the place of each group's own one, int64 (N,).
    """
    groups, alive = np.arange(len(means)), np.ones(len(means), dtype=bool)
    costs = np.array([cost(group) for group in groups])
    np.fill_diagonal(costs, np.inf)
    for count in range(len(means), 1, -1):
        one, other = np.unravel_index(costs.argmin(), costs.shape)
        if is_done(count, costs[one, other]):
            break
        means[one] = np.average(means[[one, other]], axis=0, weights=weights[[one, other]])
        weights[one] += weights[other]
        groups[groups == other], alive[other] = one, False
        costs[one] = costs[:, one] = np.where(alive, cost(one), np.inf)
        costs[one, one] = np.inf
        costs[other] = costs[:, other] = np.inf
    return groups


def color_areas(lab: np.ndarray, visible: np.ndarray, palette: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Divides an image into areas of the colors of a palette, which adapts to them.

    This is the adaptive clustering of Pappas 1992, with one mean of each color. Colors and palette lower the energy

        sum of |pixel - its color|^2 in OKLab - `EQUAL_NEIGHBOR` * number of pairs of neighbors of one color

    in turns: every pixel takes the best color given its four neighbors (iterated conditional modes, Besag 1986, on the
    two halves of a checkerboard), and every color moves to the mean of its pixels. A noisy surface so becomes flat,
    while an eye, a single pixel of another color, stays.

    Pixels are float64 (H, W, 3); those that are not visible have no influence. Returns the place in the palette of
    each visible pixel, int64 (H, W), and the palette without colors that became unused, float64 (K, 3).
    """
    means, channels = palette, np.ascontiguousarray(np.moveaxis(lab, 2, 0))
    half = np.indices(visible.shape).sum(axis=0) % 2

    def distances() -> np.ndarray:  # (K, H, W); a sum along a last axis of three is slow
        return sum(np.square(channel - mean[:, None, None]) for channel, mean in zip(channels, means.T, strict=True))

    chosen, before = distances().argmin(axis=0), None
    for _ in range(12):  # at most; few are needed
        distance = distances()
        for part in (0, 1):
            has = (chosen == np.arange(len(means))[:, None, None]) & visible
            has = np.pad(has, ((0, 0), (1, 1), (1, 1))).astype(np.int8)
            equal = has[:, :-2, 1:-1] + has[:, 2:, 1:-1] + has[:, 1:-1, :-2] + has[:, 1:-1, 2:]
            chosen = np.where(half == part, (distance - EQUAL_NEIGHBOR * equal).argmin(axis=0), chosen)
        used, places = np.unique(chosen[visible], return_inverse=True)
        sums = [np.bincount(places, channel[visible]) for channel in channels]
        means = np.stack(sums, axis=1) / np.bincount(places)[:, None]
        chosen = np.zeros_like(chosen)
        chosen[visible] = places
        if before is not None and np.array_equal(chosen, before):
            break
        before = chosen
    return chosen, means


def merge_colors(means: np.ndarray, weights: np.ndarray, colors: int, distinct: float = DISTINCT) -> np.ndarray:
    """Merges similar colors until at most `colors` remain and none are similar.

    Colors darker than the darkest of `COMMON_COLORS` become as light, since OKLab stretches differences there: one
    real sprite in 25 has two near-blacks. What is near to a common color becomes it. Then the nearest two are
    replaced by their mean again and again. The colors, float64 (K, 3), are in OKLab, in which similar ones are nearer
    than `distinct`; their weights are numbers of pixels.

    Returns:
        What each becomes, uint8 (K, 3), of 15 bits, as those of the consoles that the sprites were made for.
    """
    means, weights, commons = means.copy(), weights.astype(np.float64), oklab(COMMON_COLORS)
    means[:, 0] = means[:, 0].clip(min=commons[0, 0])
    for common in commons:
        near = np.linalg.norm(means - common, axis=1) < distinct
        means[near], weights[near] = common, 1e9  # it stays where it is

    def distances(group: int) -> np.ndarray:
        return np.linalg.norm(means - means[group], axis=1)

    groups = _merge(means, weights, distances, lambda count, least: count <= colors and least >= distinct)
    five_bits = (from_oklab(means) * (31 / 255)).round().astype(int)
    return (five_bits * 255 // 31).astype(np.uint8)[groups]
