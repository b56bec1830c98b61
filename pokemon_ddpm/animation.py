"""Animated GIF or WebP of a denoising process."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from pokemon_ddpm.files import save_image
from pokemon_ddpm.postprocessing import color_codes, enlarge, fit_palette, nearest_color, unique_colors

SUFFIXES = (".gif", ".webp")
MAX_SIDE = 16_383  # WebP's limit
GIF_COLORS = 255  # of 256; the last one is free for programs that add transparency to make a file smaller
GIF_LAST_COLORS = 192  # for a last frame with more than `GIF_COLORS`; the others are for the frames before it


def save_animation(
    frames: Sequence[Image.Image], path: str | Path, duration_ms: int = 60, hold_ms: int = 2000, scale: int = 1
) -> None:
    """Saves frames as an animation that repeats forever.

    WebP is lossless. A GIF has at most 255 colors for all frames together, without dithering: first those of the last
    frame (exact up to 255, otherwise 192 fitted ones), then colors fitted to the frames before it. Its durations are
    rounded to hundredths of a second.

    Args:
        frames: RGB images of one size.
        path: A file with one of `SUFFIXES`.
        duration_ms: Duration of a frame, from 20; viewers slow down what is faster.
        hold_ms: Duration of the last frame.
        scale: Enlargement without smoothing.

    Raises:
        ValueError: If the enlarged frames have a side above `MAX_SIDE` or too many pixels, see `enlarge`.
        OSError: If the file cannot be written.
    """
    side = scale * max(frames[0].size)
    if side > MAX_SIDE:
        raise ValueError(
            f"An animation can be {MAX_SIDE:,} pixels wide and high, but this one would have a side of {side:,}. "
            "Choose fewer sprites or a smaller scale."
        )
    durations = [duration_ms] * (len(frames) - 1) + [hold_ms]
    if Path(path).suffix.lower() == ".webp":
        options = {"lossless": True, "quality": 80}  # the quality is the effort where nothing is lost
    else:
        durations = [10 * round(duration / 10) for duration in durations]
        frames, palette = _with_shared_palette(frames)
        options = {"palette": palette}  # without it Pillow repeats the palette in every frame
    first, *others = [enlarge(frame, scale) for frame in frames]
    save_image(first, path, save_all=True, append_images=others, duration=durations, loop=0, **options)


def _with_shared_palette(frames: Sequence[Image.Image]) -> tuple[list[Image.Image], bytes]:
    """Frames in mode P with one palette, and this palette."""
    different = [frame for frame, _ in itertools.groupby(frames)]  # equal frames in a row count once
    palette = _shared_palette([np.asarray(frame).reshape(-1, 3) for frame in different])
    indexed = []
    for frame in frames:
        index = nearest_color(np.asarray(frame).reshape(-1, 3), palette).astype(np.uint8)
        indexed.append(Image.fromarray(index.reshape(frame.height, frame.width)))
        indexed[-1].putpalette(palette.tobytes())
    return indexed, palette.tobytes()


def _shared_palette(frames: list[np.ndarray]) -> np.ndarray:
    """At most `GIF_COLORS` different colors, uint8 (K, 3), for frames uint8 (N, 3)."""
    palette = unique_colors(frames[-1])
    if len(palette) > GIF_COLORS:
        palette = fit_palette(frames[-1], GIF_LAST_COLORS if len(frames) > 1 else GIF_COLORS)
    pixels = np.concatenate(frames)
    others = pixels[~np.isin(color_codes(pixels), color_codes(palette))]
    free = GIF_COLORS - len(palette)
    if free and len(others):
        palette = unique_colors(np.concatenate([palette, fit_palette(others, free)]))
    return palette
