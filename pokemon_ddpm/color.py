"""Sets of colors: counting, palettes, and OKLab, in which equal distances look about equally different."""

import numpy as np
from PIL import Image

# Ottosson 2020, "A perceptual color space for image processing": linear sRGB to cone responses, and to L, a, b.
_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def oklab(colors: np.ndarray) -> np.ndarray:
    """OKLab of sRGB colors: uint8 (..., 3) to float64 (..., 3), lightness in [0, 1] and a, b within about 0.33."""
    srgb = colors / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    return np.cbrt(linear @ _CONES.T) @ _LAB.T


def from_oklab(lab: np.ndarray) -> np.ndarray:
    """The inverse of `oklab`: float (..., 3) to uint8 (..., 3), the nearest color that sRGB has in each channel."""
    linear = (lab @ np.linalg.inv(_LAB).T) ** 3 @ np.linalg.inv(_CONES).T
    linear = linear.clip(0, 1)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return (srgb * 255).round().astype(np.uint8)


def color_codes(pixels: np.ndarray) -> np.ndarray:
    """One number per color, which is sorted much faster than three: uint8 (N, 3) to int32 (N,)."""
    red, green, blue = pixels.astype(np.int32).T
    return red << 16 | green << 8 | blue


def unique_colors(pixels: np.ndarray) -> np.ndarray:
    """The different colors of uint8 (N, 3), sorted, as uint8 (K, 3)."""
    codes = np.unique(color_codes(pixels))
    return np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=1).astype(np.uint8)


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
