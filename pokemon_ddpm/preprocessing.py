"""From a sprite on a white canvas to a square picture of the training resolution.

The background is opaque white and the result is padded with white, so that resizing RGB here is the same as resizing
premultiplied alpha and laying it on white: no alpha step is needed.
"""

import numpy as np
from PIL import Image

MODES = ("fit", "thesis")


def check_resolution(resolution: int) -> None:
    """Raises ValueError unless `resolution` is a positive multiple of 8, as a network of four levels needs."""
    if resolution < 8 or resolution % 8:
        raise ValueError(f"resolution must be a positive multiple of 8 (32 and 64 are usual), but is {resolution}.")


def preprocess(image: Image.Image, resolution: int, mode: str = "fit") -> np.ndarray:
    """Crops a sprite to its box and brings it to a square of the training resolution.

    Args:
        image: A sprite in RGB on a white background, of any size.
        resolution: Side S of the result in pixels, a multiple of 8.
        mode: "fit" keeps the aspect ratio, never enlarges and centres on white: below 64 px a margin of one pixel
            is kept (32: longest side 30), from 64 px on sprites that fit are pasted one to one. "thesis" does what
            the thesis did, faults included, for comparison.

    Returns:
        uint8 array (S, S, 3), RGB in [0, 255].

    Raises:
        ValueError: If the resolution is not a multiple of 8, or the mode is unknown.
    """
    check_resolution(resolution)
    if mode not in MODES:
        raise ValueError(f"Unknown preprocessing mode {mode!r}. Known: {', '.join(MODES)}.")
    pixels = np.asarray(image.convert("RGB"))
    return _fit(pixels, resolution) if mode == "fit" else _thesis(pixels, resolution)


def _box(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    """First and last row and column of a boolean mask (H, W) that hold a true value; None where there is none."""
    if not mask.any():
        return None
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return rows[0], rows[-1], columns[0], columns[-1]


def _fit(pixels: np.ndarray, resolution: int) -> np.ndarray:
    canvas = np.full((resolution, resolution, 3), 255, dtype=np.uint8)
    box = _box((pixels < 255).any(axis=2))
    if box is None:
        return canvas
    top, bottom, left, right = box
    sprite = pixels[top : bottom + 1, left : right + 1]
    longest = resolution if resolution >= 64 else resolution - 2
    scale = longest / max(sprite.shape[:2])
    if scale < 1:
        height, width = (max(1, round(side * scale)) for side in sprite.shape[:2])
        # Hamming is as sharp as bicubic, and its ringing tints the white less than Lanczos's does.
        reduced = Image.fromarray(sprite).resize((width, height), Image.Resampling.HAMMING)
        sprite = np.asarray(reduced)
    height, width = sprite.shape[:2]
    y, x = (resolution - height) // 2, (resolution - width) // 2
    canvas[y : y + height, x : x + width] = sprite
    return canvas


def _thesis(pixels: np.ndarray, resolution: int) -> np.ndarray:
    """The thesis's preprocessing: a pixel with any channel at 255 counts as background, one pixel of margin is kept
    at the top and left and none at the bottom and right, and the box is stretched to the square, bilinear without
    antialiasing. The thesis kept floats; here they are rounded to a grey level.
    """
    # Where no pixel qualifies, the thesis's code fails; the whole canvas is as good an answer as any.
    height, width = pixels.shape[:2]
    top, bottom, left, right = _box((pixels < 255).all(axis=2)) or (0, height - 1, 0, width - 1)
    # bottom and right ends are exclusive, and a margin of one pixel was added to the last index
    sprite = pixels[max(0, top - 1) : min(height, bottom + 1), max(0, left - 1) : min(width, right + 1)]
    for axis in (0, 1):
        sprite = _stretch(sprite, resolution, axis)
    return sprite.round().astype(np.uint8)


def _stretch(pixels: np.ndarray, size: int, axis: int) -> np.ndarray:
    """Resizes one axis bilinearly: pixel centres at half-integers, no antialiasing, as `tf.image.resize` does."""
    position = (np.arange(size) + 0.5) * pixels.shape[axis] / size - 0.5
    position = position.clip(0, pixels.shape[axis] - 1)
    before = np.floor(position).astype(int)
    after = np.minimum(before + 1, pixels.shape[axis] - 1)
    share = np.expand_dims(position - before, (1, 2) if axis == 0 else (0, 2))
    return pixels.take(before, axis) * (1 - share) + pixels.take(after, axis) * share
