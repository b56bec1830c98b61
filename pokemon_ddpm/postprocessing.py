"""From a generated sample to a sprite: transparent background, no fragments, few colors, enlargement into squares."""

import math

import numpy as np
from PIL import Image
from scipy import ndimage

from pokemon_ddpm.color import DISTINCT, color_areas, fit_palette, merge_colors
from pokemon_ddpm.pipelines.sprite_preprocessing import TRANSPARENT, binary_alpha, oklab, transparent, unique_colors

MAX_OUTPUT_PIXELS = 2**26  # of an enlarged image or a sheet; 200 MB in RGB
WHITE_TOLERANCE = 28  # the white of models without transparency is noisy
PALETTE_SIZE = 16
MIN_FRAGMENT = 256  # pixels: at 64x64 a larger second part is as rare in samples as in real sprites, 1 in 200 and 400
NEAR_FRAGMENT = 32  # chosen by eye: hands, tails and flames beside the body stay, specks go; see docs/report.md


def to_sprite(
    image: Image.Image,
    palette: int | None = PALETTE_SIZE,
    min_fragment: int = MIN_FRAGMENT,
    near_fragment: int = NEAR_FRAGMENT,
) -> Image.Image:
    """Finishes a sample: RGB on white or RGBA to RGBA, alpha 0 or 255 and white where it is 0.

    Args:
        image: The sample.
        palette: See `reduce_palette`; None keeps all colors.
        min_fragment: See `remove_fragments`; 1 keeps all fragments.
        near_fragment: See `remove_fragments`.

    Raises:
        ValueError: If a number is out of its range.
    """
    sprite = remove_fragments(remove_background(image), min_fragment, near_fragment)
    return sprite if palette is None else reduce_palette(sprite, palette)


def remove_background(image: Image.Image, tolerance: int = WHITE_TOLERANCE) -> Image.Image:
    """Makes the background transparent: RGB or RGBA to RGBA, alpha 0 or 255 and white where it is 0.

    In RGBA it is every pixel with an alpha below one half. In RGB it is found by `transparent`, with a
    `tolerance` for generated images; real sprites, which are on exact white and have pale parts, need 0.
    """
    pixels = np.asarray(image)
    return Image.fromarray(transparent(pixels, tolerance) if image.mode == "RGB" else binary_alpha(pixels))


def remove_fragments(image: Image.Image, min_pixels: int = MIN_FRAGMENT, near: int = NEAR_FRAGMENT) -> Image.Image:
    """Removes the parts of a sprite, RGBA, that have fewer than `min_pixels` pixels and are not near the largest one.

    A part is what is connected horizontally, vertically or diagonally. It is near if it has at least `distance / near`
    of the largest part's pixels. One transparent pixel between them is a distance of 2, also diagonally; with 0 for
    `near` no part is near.

    Raises:
        ValueError: If `min_pixels` is not from 1 to 1000, or `near` not from 0 to 1000.
    """
    _check_whole("The size of a fragment", min_pixels, 1000)
    _check_whole("The factor for near fragments", near, 1000, least=0)
    pixels = np.array(image)
    parts, count = ndimage.label(pixels[..., 3] > 0, structure=np.ones((3, 3)))
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0  # the background
    distances = ndimage.distance_transform_cdt(parts != sizes.argmax(), "chessboard")
    distances = ndimage.minimum(distances, parts, np.arange(count + 1))  # of each part
    stays = (sizes >= min(min_pixels, sizes.max())) | (sizes * near >= sizes.max() * distances)
    stays[0] = False
    pixels[~stays[parts]] = TRANSPARENT
    return Image.fromarray(pixels)


def reduce_palette(image: Image.Image, colors: int = PALETTE_SIZE) -> Image.Image:
    """Reduces an image, RGB or RGBA, to at most `colors` colors: `color_areas` of half as many more, `merge_colors`.

    Pixels with alpha 0 do not count and are not changed, neither is an image of few colors.

    Raises:
        ValueError: If `colors` is not from 1 to 256.
    """
    _check_whole("The number of colors", colors, 256)
    pixels = np.array(image)
    visible = pixels[..., 3] > 0 if image.mode == "RGBA" else np.ones(pixels.shape[:2], dtype=bool)
    if len(unique_colors(pixels[visible, :3])) > colors:
        lab = oklab(pixels[..., :3])
        areas, palette = color_areas(lab, visible, fit_palette(lab[visible], min(256, colors * 3 // 2)))
        chosen, distinct = areas[visible], DISTINCT * min(1, PALETTE_SIZE / colors)
        pixels[visible, :3] = merge_colors(palette, np.bincount(chosen), colors, distinct)[chosen]
    return Image.fromarray(pixels)


def enlarge(image: Image.Image, factor: int) -> Image.Image:
    """Makes every pixel a square of `factor` x `factor` pixels.

    Raises:
        ValueError: If the factor is not a whole number from 1, or the result would exceed `MAX_OUTPUT_PIXELS`.
    """
    _check_whole("The enlargement", factor, math.isqrt(MAX_OUTPUT_PIXELS // (image.width * image.height)))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def _check_whole(name: str, value: object, most: int, least: int = 1) -> None:
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{name} must be a whole number from {least} to {most}, but is {value!r}.")
