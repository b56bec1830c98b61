"""Palettes, fitted in OKLab, in which equal distances look about equally different."""

import numpy as np
from PIL import Image

from pokemon_ddpm.pipelines.sprite_preprocessing import CONES, LAB, color_codes, oklab, unique_colors


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


def refine_palette(pixels: np.ndarray, palette: np.ndarray, iterations: int = 16) -> np.ndarray:
    """Moves a palette, uint8 (K, 3), towards the means of the pixels, uint8 (N, 3), that are nearest to each color.

    This is Lloyd's algorithm in OKLab; colors that no pixel is near to are dropped.
    """
    present, counts = np.unique(pixels, axis=0, return_counts=True)
    lab = oklab(present)
    for _ in range(iterations):
        nearest = nearest_color(present, palette)
        used, nearest = np.unique(nearest, return_inverse=True)
        sums = np.zeros((len(used), 3))
        np.add.at(sums, nearest, lab * counts[:, None])
        moved = from_oklab(sums / np.bincount(nearest, counts)[:, None])
        if np.array_equal(moved, palette):
            break
        palette = moved
    return palette


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
