"""Animated GIF of a denoising process, and the second frame of an idle animation."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from pokemon_ddpm.files import save_image
from pokemon_ddpm.pipelines.sprite_preprocessing import TRANSPARENT
from pokemon_ddpm.postprocessing import enlarge
from pokemon_ddpm.preprocessing import on_white

MAX_SIDE = 65_535  # of a GIF
SQUASH = 20  # rows of a sprite of which an idle animation leaves one out


def save_animation(
    frames: Sequence[Image.Image], path: str | Path, duration_ms: int = 60, hold_ms: int = 2000, scale: int = 1
) -> None:
    """Saves frames as a GIF that repeats forever. Each has at most 256 colors.

    Args:
        frames: RGB or RGBA images of one size; they are shown on white.
        path: A file that ends in .gif.
        duration_ms: Of a frame, in steps of 10, from 20; viewers slow down what is faster.
        hold_ms: Duration of the last frame.
        scale: Enlargement without smoothing.

    Raises:
        ValueError: If the enlarged frames are too large.
    """
    side = scale * max(frames[0].size)
    if side > MAX_SIDE:
        advice = f"{MAX_SIDE:,} are possible. Choose fewer sprites or a smaller scale."
        raise ValueError(f"An animation with a side of {side:,} pixels is too large; {advice}")
    first, *others = [enlarge(on_white(frame), scale) for frame in frames]
    durations = [duration_ms] * len(others) + [hold_ms]
    save_image(first, path, save_all=True, append_images=others, duration=durations, loop=0)


def squash(sprite: Image.Image) -> Image.Image:
    """The second frame of an idle animation: a sprite, RGBA, that is one row of pixels in `SQUASH` lower.

    Its bottom stays where it is. Of each `SQUASH` rows that one goes which is most like the row below it, so that eyes
    and outlines stay.
    """
    pixels = np.asarray(sprite)
    rows = np.flatnonzero(pixels[..., 3].any(axis=1))[:-1]  # the last one stays
    changes = (pixels[rows] != pixels[rows + 1]).any(axis=2).sum(axis=1)
    parts = np.array_split(np.arange(len(rows)), max(1, len(rows) // SQUASH))
    gone = [rows[part[changes[part].argmin()]] for part in parts if len(part)]
    above = np.full((len(gone), *pixels.shape[1:]), TRANSPARENT, dtype=np.uint8)
    return Image.fromarray(np.concatenate([above, np.delete(pixels, gone, axis=0)]))
