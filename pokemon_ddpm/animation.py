"""An animated GIF or WebP of a picture that appears out of noise."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import GifImagePlugin, Image

from pokemon_ddpm.postprocessing import check_whole, enlarge, fit_palette, nearest_color, unique_colors

SUFFIXES = (".gif", ".webp")
MAX_DURATION_MS = 60_000
MAX_SIDE = 16_383  # WebP's limit
# A GIF has 256 entries; one is kept for transparency.
_GIF_COLORS = 255
# What a last frame of more colours than that gets of them; the noise before it needs some of its own.
_GIF_LAST_COLORS = 192
_GIF_TICK_MS = 10
_GIF_MAX_TICKS = 65_535
_OPAQUE_FROM = 128


class _Shot(NamedTuple):
    """A frame, uint8 (H, W, 4) in RGBA, and how long it is shown."""

    pixels: np.ndarray
    duration_ms: int


def save_animation(
    frames: Sequence[Image.Image], path: str | Path, duration_ms: int = 60, hold_ms: int = 2000, scale: int = 1
) -> None:
    """Writes frames as an animation that repeats for ever.

    WebP keeps every visible pixel exactly. A GIF has at most 255 colours for all frames together, without dithering:
    first those of the last frame, exactly if they are so few (else 192 that stand for them), then colours fitted to
    the frames before it. Its transparency is all or nothing: alpha below 128 is transparent. Its times are rounded to
    hundredths of a second.

    Args:
        frames: RGB or RGBA pictures of one size, from the first to the last. Equal ones in a row are written as one,
            shown for as long as all of them.
        path: A file whose name ends in .gif or .webp.
        duration_ms: Milliseconds a frame, from 20 (viewers slow down what is faster) to 60,000.
        hold_ms: Milliseconds of the last frame, from `duration_ms` to 60,000.
        scale: Enlargement by a whole factor, without smoothing.

    Raises:
        ValueError: If the suffix is another one, there are no frames, their sizes differ or they have another mode,
            a number is not a whole one in its range, the enlarged frames have a side above 16,383 pixels, or equal
            frames together stand longer than a GIF can say.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"An animation's file must end in {' or '.join(SUFFIXES)}, but is {path}.")
    _check_frames(frames)
    check_whole("duration_ms", duration_ms, 20, MAX_DURATION_MS)
    check_whole("hold_ms", hold_ms, duration_ms, MAX_DURATION_MS)
    check_whole("scale", scale, 1, MAX_SIDE // max(frames[0].size))
    durations = [duration_ms] * (len(frames) - 1) + [hold_ms]
    if suffix == ".webp":
        _save_webp(_merged(_rgba(frames), durations), path, scale)
        return
    ticks = [_GIF_TICK_MS * round(duration / _GIF_TICK_MS) for duration in durations]
    _save_gif(_merged(_without_half_alpha(_rgba(frames)), ticks), path, scale)


def _check_frames(frames: Sequence[Image.Image]) -> None:
    sizes = sorted({frame.size for frame in frames})
    if len(sizes) != 1:
        raise ValueError(f"An animation needs frames of one size, but got {sizes or 'no frames'}.")
    if min(sizes[0]) < 1 or max(sizes[0]) > MAX_SIDE:
        raise ValueError(f"Frames must have sides from 1 to {MAX_SIDE} pixels, but have {sizes[0]}.")
    modes = sorted({frame.mode for frame in frames} - {"RGB", "RGBA"})
    if modes:
        raise ValueError(f'Frames must be in RGB or RGBA, but some are in {", ".join(modes)}: convert them to "RGB".')


def _rgba(frames: Sequence[Image.Image]) -> list[np.ndarray]:
    """Pixels without colour where nothing is seen, so that frames that look equal are equal."""
    pixels = [np.asarray(frame.convert("RGBA")) for frame in frames]
    return [np.where(frame[..., 3:] > 0, frame, np.uint8(0)) for frame in pixels]


def _without_half_alpha(frames: list[np.ndarray]) -> list[np.ndarray]:
    """The same with an alpha of 0 or 255 only."""
    seen = [frame[..., 3:] >= _OPAQUE_FROM for frame in frames]
    opaque = [np.dstack([frame[..., :3], np.full_like(frame[..., 3:], 255)]) for frame in frames]
    return [np.where(part, frame, np.uint8(0)) for part, frame in zip(seen, opaque, strict=True)]


def _merged(frames: list[np.ndarray], durations: list[int]) -> list[_Shot]:
    """Joins equal frames in a row, as an encoder may or may not do, so that no time is lost."""
    shots: list[_Shot] = []
    for pixels, duration in zip(frames, durations, strict=True):
        if shots and np.array_equal(shots[-1].pixels, pixels):
            shots[-1] = _Shot(pixels, shots[-1].duration_ms + duration)
        else:
            shots.append(_Shot(pixels, duration))
    return shots


def _save_webp(shots: list[_Shot], path: Path, scale: int) -> None:
    first, *others = [enlarge(Image.fromarray(shot.pixels), scale) for shot in shots]
    # quality is the effort here, as nothing is lost.
    first.save(
        path,
        "WEBP",
        save_all=True,
        append_images=others,
        duration=[shot.duration_ms for shot in shots],
        loop=0,
        lossless=True,
        quality=80,
    )


def _save_gif(shots: list[_Shot], path: Path, scale: int) -> None:
    longest = max(shot.duration_ms for shot in shots)
    if longest > _GIF_MAX_TICKS * _GIF_TICK_MS:
        raise ValueError(
            f"A GIF shows a frame for at most {_GIF_MAX_TICKS * _GIF_TICK_MS} ms, but equal frames in a row take "
            f"{longest} ms: lower duration_ms or hold_ms, or write a .webp."
        )
    palette = _shared_palette([shot.pixels for shot in shots])
    transparent = len(palette)
    table = np.concatenate([palette, _unused_color(palette)[None]]).tobytes()
    pictures = []
    for shot in shots:
        index = nearest_color(shot.pixels[..., :3].reshape(-1, 3), palette).reshape(shot.pixels.shape[:2])
        index[shot.pixels[..., 3] == 0] = transparent
        picture = Image.fromarray(index.astype(np.uint8))
        picture.putpalette(table)
        pictures.append(enlarge(picture, scale))
    # Frame by frame: Pillow's own way to save them all repeats the palette in every frame, and writes a second header
    # where a transparent frame is empty, which ends the file for a browser.
    see_through = any((shot.pixels[..., 3] == 0).any() for shot in shots)
    # Transparent pixels show what was there before, unless each frame is cleared away (disposal 2).
    options = {"transparency": transparent, "disposal": 2} if see_through else {}
    header, _ = GifImagePlugin.getheader(pictures[0], info={"loop": 0})
    parts = list(header)
    for picture, shot in zip(pictures, shots, strict=True):
        parts += GifImagePlugin.getdata(picture, duration=shot.duration_ms, **options)
    path.write_bytes(b"".join(parts) + b";")


def _shared_palette(frames: list[np.ndarray]) -> np.ndarray:
    """At most 255 different colours for all frames, those of the last one first: uint8 (K, 3)."""
    visible = [frame[frame[..., 3] > 0][:, :3] for frame in frames]
    everything = np.concatenate(visible)
    if not len(everything):
        return np.full((1, 3), 255, dtype=np.uint8)
    palette = unique_colors(visible[-1])
    if len(palette) > _GIF_COLORS:
        palette = fit_palette(visible[-1], _GIF_LAST_COLORS if len(frames) > 1 else _GIF_COLORS)
    codes = _code(everything)
    others = everything[~np.isin(codes, _code(palette))]
    left = _GIF_COLORS - len(palette)
    if left and len(others):
        palette = unique_colors(np.concatenate([palette, fit_palette(others, left)]))
    return palette


def _code(colors: np.ndarray) -> np.ndarray:
    """One number a colour: uint8 (N, 3) to int64 (N,)."""
    return colors.astype(np.int64) @ np.array([65536, 256, 1])


def _unused_color(palette: np.ndarray) -> np.ndarray:
    """A colour that is not in the palette, for the transparent entry: a table with two equal entries is ambiguous."""
    used = set(_code(palette).tolist())
    code = next(code for code in range(len(used) + 1) if code not in used)
    return np.array([0, code >> 8, code & 255], dtype=np.uint8)
