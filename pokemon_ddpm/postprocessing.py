"""From a generated image to a sprite: transparent background, few colors, enlargement without smoothing."""

import math

import numpy as np
from PIL import Image, ImageDraw

from pokemon_ddpm.preprocessing import on_white

MAX_OUTPUT_PIXELS = 2**26  # of an enlarged image or a sheet; 200 MB in RGB
WHITE_TOLERANCE = 28  # the white of generated sprites is noisy
NOISE_TOLERANCE = 8  # a color this near to white is white and noise, even inside a sprite


def remove_background(image: Image.Image, tolerance: int = WHITE_TOLERANCE) -> Image.Image:
    """Makes the background of a sprite transparent: RGB to RGBA, with alpha 0 and white for the background.

    It is every pixel that is connected to the border, horizontally or vertically, through pixels that differ from
    white by at most `tolerance` (0 to 255) in each channel. Real sprites need a tolerance of 0: they are on exact
    white and can have pale parts without an outline.
    """
    pixels = np.array(image.convert("RGBA"))
    pixels[_background(np.asarray(image), tolerance)] = (255, 255, 255, 0)
    return Image.fromarray(pixels)


def reduce_palette(image: Image.Image, colors: int = 16) -> Image.Image:
    """Reduces an image, RGB or RGBA, to at most `colors` colors without dithering; noisy white becomes exact white.

    Pixels with alpha 0 do not count and are not changed. An image of few colors is not changed.

    Raises:
        ValueError: If `colors` is not from 2 to 256.
    """
    _check_whole("The number of colors", colors, 2, 256)
    pixels = np.array(image)
    color, opaque = pixels[..., :3], np.asarray(on_white(image))
    visible = np.ones(color.shape[:2], dtype=bool) if image.mode == "RGB" else pixels[..., 3] > 0
    if len(unique_colors(color[visible])) <= colors:
        return image.copy()
    border = _distance_from_white(np.concatenate([opaque[0], opaque[-1], opaque[:, 0], opaque[:, -1]]))
    # Where nearly white border pixels are exactly white, nearly white elsewhere is no noise.
    is_exact = not border[border <= WHITE_TOLERANCE].any()
    background = _background(opaque, 0 if is_exact else WHITE_TOLERANCE)
    white = visible & (background | (_distance_from_white(color) <= NOISE_TOLERANCE))
    white &= background.any()  # an image that is not on white needs all colors for itself
    others = visible & ~white
    color[white] = 255
    if others.any():
        palette = fit_palette(color[others], colors - int(white.any()))
        palette[_distance_from_white(palette) <= NOISE_TOLERANCE] = 255
        color[others] = palette[nearest_color(color[others], palette)]
    return Image.fromarray(pixels)


def enlarge(image: Image.Image, factor: int) -> Image.Image:
    """Makes every pixel a square of `factor` x `factor` pixels.

    Raises:
        ValueError: If the factor is not a whole number from 1, or the result would exceed `MAX_OUTPUT_PIXELS`.
    """
    _check_whole("The enlargement", factor, 1, math.isqrt(MAX_OUTPUT_PIXELS // (image.width * image.height)))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


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


def nearest_color(pixels: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Indices int64 (N,) of the nearest colors, for pixels uint8 (N, 3) and a palette uint8 (K, 3).

    Of equally near colors the first. (Pillow's own mapping rounds colors to blocks of four levels.)
    """
    _, first, inverse = np.unique(color_codes(pixels), return_index=True, return_inverse=True)
    present = pixels[first].astype(np.int32)
    least = np.full(len(present), np.iinfo(np.int32).max, dtype=np.int32)
    nearest = np.zeros(len(present), dtype=np.int64)
    for i, color in enumerate(palette.astype(np.int32)):  # all pairs at once need too much memory
        distance = np.square(present - color).sum(axis=1, dtype=np.int32)
        nearer = distance < least
        least[nearer], nearest[nearer] = distance[nearer], i
    return nearest[inverse]


def _check_whole(name: str, value: object, low: int, high: int) -> None:
    if type(value) is not int or not low <= value <= high:
        raise ValueError(f"{name} must be a whole number from {low} to {high}, but is {value!r}.")


def _distance_from_white(color: np.ndarray) -> np.ndarray:
    """The largest difference of a channel from 255: uint8 (..., 3) to uint8 (...)."""
    return 255 - color.min(axis=-1)


def _background(pixels: np.ndarray, tolerance: int) -> np.ndarray:
    """The mask bool (H, W) of the background of uint8 (H, W, 3); see `remove_background`."""
    near_white = _distance_from_white(pixels) <= tolerance
    # A ring of white around the image connects the whole border, so one flood fill from a corner reaches all of it.
    ring = np.pad(near_white, 1, constant_values=True).astype(np.uint8)
    canvas = Image.fromarray(ring).copy()  # an image from an array is read-only
    ImageDraw.floodfill(canvas, (0, 0), 2)
    return np.asarray(canvas)[1:-1, 1:-1] == 2
