"""From a picture to a sprite: transparent background, few colours, enlargement without smoothing."""

from numbers import Integral

import numpy as np
from PIL import Image, ImageDraw

WHITE_TOLERANCE = 28
MAX_COLORS = 256
# A colour this near to white differs from it by noise alone, wherever in a sprite it lies.
_SURELY_WHITE = 8


def remove_background(image: Image.Image, tolerance: int = WHITE_TOLERANCE) -> Image.Image:
    """Makes the white around a sprite transparent; white that the outline encloses stays.

    The background is what can be reached from the border, up, down, left and right, through pixels that differ from
    white by at most `tolerance` in every channel. So an outline that is closed only diagonally holds, and colours of
    a sprite that touches the border stay.

    Args:
        image: An RGB picture of a sprite on white, or on white that is a little noisy.
        tolerance: From 0 to 255. The default suits generated sprites, whose white is noisy. Sprites on pure white, as
            the real ones are, keep pale wings and clouds without an outline by a tolerance of 0.

    Returns:
        An RGBA picture. Alpha is 0 on the background, whose colour becomes pure white, and 255 elsewhere.

    Raises:
        ValueError: If the picture is not in RGB, or the tolerance is out of its range.
    """
    check_whole("tolerance", tolerance, 0, 255)
    _check_mode(image, ("RGB",))
    pixels = np.asarray(image)
    background = _reached_from_the_border(pixels, tolerance)
    color = np.where(background[..., None], np.uint8(255), pixels)
    alpha = np.where(background, np.uint8(0), np.uint8(255))
    return Image.fromarray(np.dstack([color, alpha]))


def reduce_palette(image: Image.Image, colors: int = 16) -> Image.Image:
    """Gives a picture at most `colors` colours, white among them, each pixel the nearest of them: no dithering.

    A background of noisy white becomes pure white, as does anything within it that is white but for noise; the other
    colours are fitted to the other pixels. The same picture always gets the same colours.

    Args:
        image: An RGB or RGBA picture.
        colors: From 2 to 256. Only visible pixels (alpha above 0) count.

    Returns:
        A picture of the same mode and size, with the same alpha; invisible pixels are left as they are, and so is a
        picture that has no more colours than asked for.

    Raises:
        ValueError: If the picture has another mode, or `colors` is out of its range.
    """
    check_whole("colors", colors, 2, MAX_COLORS)
    _check_mode(image, ("RGB", "RGBA"))
    pixels = np.array(image)
    color, flat = pixels[..., :3], np.asarray(on_white(image))
    visible = np.ones(color.shape[:2], dtype=bool) if image.mode == "RGB" else pixels[..., 3] > 0
    if len(unique_colors(color[visible])) <= colors:
        return image.copy()
    background = _reached_from_the_border(flat, 0 if _has_clean_border(flat) else WHITE_TOLERANCE)
    white = visible & (background | (_distance_from_white(color) <= _SURELY_WHITE))
    if not background.any():
        white[:] = False  # a picture that is not on white spends none of its colours on a white it may not have
    others = visible & ~white
    color[white] = 255
    if others.any():
        palette = fit_palette(color[others], colors - int(white.any()))
        palette[_distance_from_white(palette) <= _SURELY_WHITE] = 255
        color[others] = palette[nearest_color(color[others], palette)]
    return Image.fromarray(pixels)


def enlarge(image: Image.Image, factor: int) -> Image.Image:
    """Makes every pixel a square of `factor` x `factor` pixels.

    Args:
        image: A picture of any mode.
        factor: A whole number from 1.

    Returns:
        A picture of the same mode.

    Raises:
        ValueError: If the factor is not a whole number or below 1.
    """
    check_whole("factor", factor, 1)
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def on_white(image: Image.Image) -> Image.Image:
    """Lays a picture of any mode on white, in RGB."""
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, image).convert("RGB")


def unique_colors(pixels: np.ndarray) -> np.ndarray:
    """The different colours of uint8 pixels (N, 3), sorted, as uint8 (K, 3)."""
    return np.unique(pixels.reshape(-1, 3), axis=0)


def fit_palette(pixels: np.ndarray, colors: int) -> np.ndarray:
    """Finds colours that stand for those of many pixels: median cut, improved by k-means.

    Args:
        pixels: uint8 array (N, 3), N from 1.
        colors: From 1 to 256.

    Returns:
        uint8 array (K, 3) of different colours, K at most `colors`: the very colours of the pixels if these are few
        enough.
    """
    present = unique_colors(pixels)
    if len(present) <= colors:
        return present
    row = Image.fromarray(pixels[None])
    fitted = row.quantize(colors, Image.Quantize.MEDIANCUT, kmeans=1, dither=Image.Dither.NONE)
    return unique_colors(np.array(fitted.getpalette("RGB"), dtype=np.uint8)[: 3 * colors])


def nearest_color(pixels: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Finds the nearest colour of a palette by Euclidean distance in RGB, the first of equally near ones.

    (Pillow's own way to apply a palette rounds colours to blocks of four levels, and so misses exact ones.)

    Args:
        pixels: uint8 array (N, 3).
        palette: uint8 array (K, 3), K from 1.

    Returns:
        int64 array (N,) of rows of the palette.
    """
    present, which = np.unique(pixels, axis=0, return_inverse=True)
    present, entries = present.astype(np.int32), palette.astype(np.int32)
    least = np.full(len(present), np.iinfo(np.int32).max, dtype=np.int32)
    nearest = np.zeros(len(present), dtype=np.int64)
    for i, entry in enumerate(entries):  # one entry at a time: all pairs at once would not fit memory
        distance = np.square(present - entry).sum(axis=1, dtype=np.int32)
        nearer = distance < least
        least[nearer], nearest[nearer] = distance[nearer], i
    return nearest[which.reshape(-1)]


def check_whole(name: str, value: object, low: int, high: int | None = None) -> None:
    """Raises ValueError unless a value is a whole number (no bool, no float) in the range, ends included."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, Integral):
        raise ValueError(f"{name} must be a whole number, but is {value!r}.")
    if value < low or (high is not None and value > high):
        allowed = f"{low} or more" if high is None else f"from {low} to {high}"
        raise ValueError(f"{name} must be {allowed}, but is {value}.")


def _check_mode(image: Image.Image, modes: tuple[str, ...]) -> None:
    if image.mode not in modes:
        raise ValueError(
            f"The picture must be in {' or '.join(modes)}, but is in {image.mode}: convert it with "
            f'image.convert("{modes[0]}").'
        )


def _distance_from_white(color: np.ndarray) -> np.ndarray:
    """The largest difference of a channel from 255: uint8 (..., 3) to uint8 (...)."""
    return 255 - color.min(axis=-1)


def _has_clean_border(pixels: np.ndarray) -> bool:
    """Whether what is nearly white at the border is pure white; then what is nearly white elsewhere may be drawn."""
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    distance = _distance_from_white(border)
    return not distance[distance <= WHITE_TOLERANCE].any()


def _reached_from_the_border(pixels: np.ndarray, tolerance: int) -> np.ndarray:
    """Where an RGB picture is background, uint8 (H, W, 3) to bool (H, W); see `remove_background`."""
    near_white = _distance_from_white(pixels) <= tolerance
    # A ring of white around the picture connects the whole border, so that one flood reaches it from one corner.
    ringed = np.pad(near_white, 1, constant_values=True).astype(np.uint8)
    canvas = Image.fromarray(ringed).copy()  # `fromarray` may share the array's memory, which must not be painted on
    ImageDraw.floodfill(canvas, (0, 0), 2)
    return np.asarray(canvas)[1:-1, 1:-1] == 2
