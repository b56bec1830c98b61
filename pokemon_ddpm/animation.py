"""Animated GIF of a denoising process."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from pokemon_ddpm.files import save_image
from pokemon_ddpm.postprocessing import enlarge
from pokemon_ddpm.preprocessing import on_white

MAX_SIDE = 65_535  # of a GIF
HOLD_MS = 2000  # duration of the last frame


def save_animation(frames: Sequence[Image.Image], path: str | Path, duration_ms: int = 60, scale: int = 1) -> None:
    """Saves frames as a GIF that repeats forever. Each has at most 256 colors.

    Args:
        frames: RGB or RGBA images of one size; they are shown on white.
        path: A file that ends in .gif.
        duration_ms: Of a frame, in steps of 10, from 20; viewers slow down what is faster.
        scale: Enlargement without smoothing.

    Raises:
        ValueError: If the enlarged frames are too large.
    """
    side = scale * max(frames[0].size)
    if side > MAX_SIDE:
        advice = f"{MAX_SIDE:,} are possible. Choose fewer sprites or a smaller scale."
        raise ValueError(f"An animation with a side of {side:,} pixels is too large; {advice}")
    first, *others = [enlarge(on_white(frame), scale) for frame in frames]
    durations = [duration_ms] * len(others) + [HOLD_MS]
    save_image(first, path, save_all=True, append_images=others, duration=durations, loop=0)
