"""Sheets of sprites: with labels on white for people, and in equal transparent cells for game engines."""

from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from pokemon_ddpm.postprocessing import MAX_OUTPUT_PIXELS, enlarge
from pokemon_ddpm.preprocessing import on_white

MARGIN = 4
TEXT_COLOR = (40, 40, 40)


def check_sheet_size(count: int, columns: int, size: int, scale: int = 1, panels: int = 1) -> None:
    """Checks that a sheet is not too large; this is possible before its sprites are sampled.

    Args:
        count: Number of sprites.
        columns: Sprites per row of a panel.
        size: Longer side of a sprite in pixels.
        scale: Enlargement.
        panels: Panels side by side.

    Raises:
        ValueError: If the sheet would have more than `MAX_OUTPUT_PIXELS` pixels.
    """
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
    """A sheet of sprites in rows on white, enlarged without smoothing.

    Args:
        images: RGB or RGBA, of one size.
        columns: Sprites per row.
        row_labels: Text to the left of each row; empty for no labels.
        scale: Enlargement.
        panels: Panels side by side among which the rows are divided, the first rows to the left.

    Returns:
        RGB.

    Raises:
        ValueError: If the sheet is too large, see `check_sheet_size`.
    """
    check_sheet_size(len(images), columns, max(images[0].size), scale, panels)
    width, height = (side * scale for side in images[0].size)
    rows = -(-len(images) // columns)
    font = ImageFont.load_default(size=max(10, min(20, height // 4)))
    gutter = MARGIN + max((int(font.getlength(label)) + MARGIN for label in row_labels), default=0)
    panel_width, panel_rows = gutter + columns * (width + MARGIN), -(-rows // panels)
    size = (panels * panel_width, MARGIN + panel_rows * (height + MARGIN))
    sheet = Image.new("RGB", size, (255, 255, 255))
    canvas = ImageDraw.Draw(sheet)

    def corner(row: int) -> tuple[int, int]:
        panel, row = divmod(row, panel_rows)
        return panel * panel_width, MARGIN + row * (height + MARGIN)

    for row, label in enumerate(row_labels):
        left, top = corner(row)
        canvas.text((left + MARGIN, top + height // 2), label, fill=TEXT_COLOR, font=font, anchor="lm")
    for i, image in enumerate(images):
        row, column = divmod(i, columns)
        left, top = corner(row)
        sheet.paste(enlarge(on_white(image), scale), (left + gutter + column * (width + MARGIN), top))
    return sheet


def game_sheet(
    images: Sequence[Image.Image], columns: int, metadata: Sequence[Mapping[str, Any]] = ()
) -> tuple[Image.Image, list[dict[str, Any]]]:
    """A sheet of sprites without labels or margins, in rows from the upper left.

    Args:
        images: RGB or RGBA, of one size.
        columns: Sprites per row.
        metadata: What the description says of each sprite, such as its condition and seed.

    Returns:
        RGBA, transparent where the last row is not full, and one dict per image: its metadata and "x", "y", "width"
        and "height" in pixels.

    Raises:
        ValueError: If the sheet is too large, see `check_sheet_size`.
    """
    check_sheet_size(len(images), columns, max(images[0].size))
    width, height = images[0].size
    sheet = Image.new("RGBA", (columns * width, -(-len(images) // columns) * height), (255, 255, 255, 0))
    cells = []
    for i, image in enumerate(images):
        x, y = i % columns * width, i // columns * height
        sheet.paste(image.convert("RGBA"), (x, y))
        cells.append({"x": x, "y": y, "width": width, "height": height, **(metadata[i] if metadata else {})})
    return sheet, cells


def sheet_description(image_name: str, columns: int, cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The content of the JSON file beside a game sheet, with the cells that `game_sheet` returned."""
    size = [cells[0]["width"], cells[0]["height"]]
    return {"image": image_name, "cell": size, "columns": columns, "padding": 0, "sprites": list(cells)}
