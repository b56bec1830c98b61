"""Animated GIF or WebP of a denoising process."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.spatial import KDTree

from pokemon_ddpm.files import save_image
from pokemon_ddpm.pipelines.sprite_preprocessing import color_codes, oklab, unique_colors
from pokemon_ddpm.postprocessing import enlarge
from pokemon_ddpm.preprocessing import on_white

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
        frames: RGB or RGBA images of one size; they are shown on white.
        path: A file with one of `SUFFIXES`.
        duration_ms: Of a frame, from 20; viewers slow down what is faster.
        hold_ms: Duration of the last frame.
        scale: Enlargement without smoothing.

    Raises:
        ValueError: If the enlarged frames are too large.
    """
    side = scale * max(frames[0].size)
    if side > MAX_SIDE:
        advice = f"{MAX_SIDE:,} are possible. Choose fewer sprites or a smaller scale."
        raise ValueError(f"An animation with a side of {side:,} pixels is too large; {advice}")
    frames = [on_white(frame) for frame in frames]
    durations = [duration_ms] * (len(frames) - 1) + [hold_ms]
    if Path(path).suffix.lower() == ".webp":
        options = {"lossless": True, "quality": 80}  # the quality is the effort where nothing is lost
    else:
        durations = [10 * round(duration / 10) for duration in durations]
        palette = _shared_palette(frames)
        frames = [_indexed(frame, palette) for frame in frames]
        options = {"palette": palette.tobytes()}  # without it Pillow repeats the palette in every frame
    first, *others = [enlarge(frame, scale) for frame in frames]
    save_image(first, path, save_all=True, append_images=others, duration=durations, loop=0, **options)


def _indexed(frame: Image.Image, palette: np.ndarray) -> Image.Image:
    """The frame in mode P, with the colors that are nearest in OKLab; Pillow finds the nearest only roughly."""
    pixels = np.asarray(frame).reshape(-1, 3)
    _, first, color = np.unique(color_codes(pixels), return_index=True, return_inverse=True)  # each color once
    _, nearest = KDTree(oklab(palette)).query(oklab(pixels[first]))
    image = Image.fromarray(nearest[color].astype(np.uint8).reshape(frame.height, frame.width))
    image.putpalette(palette.tobytes())
    return image


def _shared_palette(frames: Sequence[Image.Image]) -> np.ndarray:
    """At most `GIF_COLORS` different colors, uint8 (K, 3)."""
    pixels = [np.asarray(frame).reshape(-1, 3) for frame in frames]
    is_exact = len(unique_colors(pixels[-1])) <= GIF_COLORS
    palette = _fit_palette(pixels[-1], GIF_COLORS if is_exact else GIF_LAST_COLORS)
    others = np.concatenate(pixels)
    others = others[~np.isin(color_codes(others), color_codes(palette))]
    free = GIF_COLORS - len(palette)
    return unique_colors(np.concatenate([palette, _fit_palette(others, free)])) if free and len(others) else palette


def _fit_palette(pixels: np.ndarray, colors: int) -> np.ndarray:
    """At most `colors` colors, uint8 (K, 3), for pixels uint8 (N, 3); their own if these are no more."""
    row = Image.fromarray(pixels[None])
    fitted = row.quantize(colors, Image.Quantize.MEDIANCUT, kmeans=1, dither=Image.Dither.NONE)
    return unique_colors(np.array(fitted.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)[:colors])
