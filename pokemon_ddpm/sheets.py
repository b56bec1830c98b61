"""Sheets and animations of sprites: sheets with labels for people, sheets for game engines, and animated GIFs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pokemon_ddpm.files import save_image
from pokemon_ddpm.pipelines.sprite_preprocessing import TRANSPARENT
from pokemon_ddpm.postprocessing import MAX_OUTPUT_PIXELS, enlarge
from pokemon_ddpm.preprocessing import on_white

MARGIN = 4
GAME_COLUMNS = 4  # of a sheet for games
MAX_SIDE = 65_535  # of a GIF
MAX_ANIMATION_PIXELS = 2**28  # of all frames together; 800 MB in RGB
SQUASH = 20  # rows of a sprite of which an idle animation leaves one out


def check_sheet_size(count: int, columns: int, size: int, scale: int = 1, panels: int = 1) -> None:
    """Raises ValueError if a sheet of so many sprites, with a longer side of `size` pixels, would be too large."""
    row = columns * panels
    pixels = -(-count // row) * row * (size * scale + MARGIN) ** 2
    if pixels > MAX_OUTPUT_PIXELS:
        raise ValueError(
            f"A sheet of {count:,} sprites with sides of {size * scale:,} pixels is too large: it needs {pixels:,} "
            f"pixels, and {MAX_OUTPUT_PIXELS:,} are possible. Choose fewer sprites or a smaller scale."
        )


def sprite_sheet(
    images: Sequence[Image.Image], columns: int, row_labels: Sequence[str] = (), scale: int = 2, panels: int = 1
) -> Image.Image:
    """A sheet, RGB on white, of RGB or RGBA sprites of one size in rows, enlarged without smoothing.

    The labels are to the left of the rows. With several panels side by side, the first rows are in the left one.
    """
    check_sheet_size(len(images), columns, max(images[0].size), scale, panels)
    width, height = (side * scale for side in images[0].size)
    rows = -(-len(images) // columns)
    font = ImageFont.load_default(size=max(10, min(20, height // 4)))
    gutter = MARGIN + max((int(font.getlength(label)) + MARGIN for label in row_labels), default=0)
    panel_width, panel_rows = gutter + columns * (width + MARGIN), -(-rows // panels)
    sheet = Image.new("RGB", (panels * panel_width, MARGIN + panel_rows * (height + MARGIN)), "white")
    canvas = ImageDraw.Draw(sheet)
    for row in range(rows):
        panel, row_in_panel = divmod(row, panel_rows)
        left, top = panel * panel_width, MARGIN + row_in_panel * (height + MARGIN)
        if row_labels:
            canvas.text((left + MARGIN, top + height // 2), row_labels[row], fill="#282828", font=font, anchor="lm")
        for column, image in enumerate(images[row * columns : (row + 1) * columns]):
            sheet.paste(enlarge(on_white(image), scale), (left + gutter + column * (width + MARGIN), top))
    return sheet


def game_sheet(images: Sequence[Image.Image], columns: int) -> Image.Image:
    """A sheet, RGBA, without labels or margins, in rows from the upper left; transparent where there is no sprite."""
    width, height = images[0].size
    check_sheet_size(len(images), columns, max(width, height))
    sheet = Image.new("RGBA", (columns * width, -(-len(images) // columns) * height), TRANSPARENT)
    for i, image in enumerate(images):
        sheet.paste(image.convert("RGBA"), (i % columns * width, i // columns * height))
    return sheet


def sheet_description(
    image: str, size: tuple[int, int], columns: int, names: Sequence[str], metadata: Sequence[dict], **of_sheet: object
) -> dict[str, Any]:
    """The content of the JSON file beside a game sheet, as TexturePacker's "JSON (Array)", with metadata."""
    width, height = size
    whole = {"x": 0, "y": 0, "w": width, "h": height}
    untrimmed = {"rotated": False, "trimmed": False, "spriteSourceSize": whole}
    untrimmed |= {"sourceSize": {"w": width, "h": height}}
    places = [{**whole, "x": i % columns * width, "y": i // columns * height} for i in range(len(names))]
    parts = zip(names, places, metadata, strict=True)
    frames = [{"filename": name, "frame": place, **untrimmed, **about} for name, place, about in parts]
    sheet_size = {"w": columns * width, "h": -(-len(names) // columns) * height}
    meta = {"app": "pokemon-ddpm", "image": image, "format": "RGBA8888", "size": sheet_size, "scale": "1"}
    return {"frames": frames, "meta": {**meta, **of_sheet}}


def check_animation(width: int, height: int, count: int) -> None:
    """Raises ValueError if a GIF with so many frames of this size is not possible, or would be too large."""
    if max(width, height) > MAX_SIDE or count * width * height > MAX_ANIMATION_PIXELS:
        size = f"{count:,} frames of {width:,}x{height:,} pixels"
        raise ValueError(f"{size} are too many for an animation. Choose fewer sprites or steps, or a smaller scale.")


def save_animation(
    frames: Sequence[Image.Image], path: str | Path, duration_ms: int = 60, hold_ms: int = 2000, scale: int = 1
) -> None:
    """Saves frames, RGB or RGBA of one size, on white as a GIF that repeats forever. Each has at most 256 colors.

    Durations are in steps of 10 ms, from 20, since viewers slow down what is faster; the last frame has `hold_ms`.
    """
    check_animation(scale * frames[0].width, scale * frames[0].height, len(frames))
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
