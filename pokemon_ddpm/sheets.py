"""Sheets of pictures: for people, with labels on white, and for a game engine, in equal transparent cells."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from pokemon_ddpm.postprocessing import check_whole, enlarge, on_white

MARGIN = 4
INK = (40, 40, 40)
PLACE = ("x", "y", "width", "height")


def sprite_sheet(
    images: Sequence[Image.Image], columns: int, row_labels: Sequence[str] = (), scale: int = 2, panels: int = 1
) -> Image.Image:
    """Lays pictures out in rows on white, enlarged by a whole factor without smoothing.

    Args:
        images: RGB or RGBA pictures of one size.
        columns: Pictures a row.
        row_labels: A word to the left of each row; none for no labels.
        scale: Enlargement, from 1.
        panels: Number of panels side by side that the rows are spread over, the first ones in the left panel.

    Returns:
        An RGB picture.

    Raises:
        ValueError: If a number is not a whole one from 1, there are no pictures, their sizes differ, or the labels do
            not fit the number of rows.
    """
    for name, value in (("columns", columns), ("scale", scale), ("panels", panels)):
        check_whole(name, value, 1)
    width, height = (side * scale for side in _common_size(images))
    rows = -(-len(images) // columns)
    if row_labels and len(row_labels) != rows:
        raise ValueError(f"{rows} rows need as many labels, but got {len(row_labels)}.")
    font = ImageFont.load_default(size=max(10, min(20, height // 4)))
    gutter = MARGIN + max((int(font.getlength(label)) + MARGIN for label in row_labels), default=0)
    panel_width, panel_rows = gutter + columns * (width + MARGIN), -(-rows // panels)
    size = (panels * panel_width, MARGIN + panel_rows * (height + MARGIN))
    sheet = Image.new("RGB", size, (255, 255, 255))
    draw = ImageDraw.Draw(sheet)

    def corner(row: int) -> tuple[int, int]:
        panel, row = divmod(row, panel_rows)
        return panel * panel_width, MARGIN + row * (height + MARGIN)

    for row, label in enumerate(row_labels):
        left, top = corner(row)
        draw.text((left + MARGIN, top + height // 2), label, fill=INK, font=font, anchor="lm")
    for i, image in enumerate(images):
        row, column = divmod(i, columns)
        left, top = corner(row)
        sheet.paste(enlarge(on_white(image), scale), (left + gutter + column * (width + MARGIN), top))
    return sheet


def game_sheet(
    images: Sequence[Image.Image], columns: int, padding: int = 0, metadata: Sequence[Mapping[str, Any]] = ()
) -> tuple[Image.Image, list[dict[str, Any]]]:
    """Lays sprites out in equal cells without labels or lines, as a game engine cuts them out again.

    A cell is a sprite with `padding` transparent pixels on each of its four sides, against neighbours that shine
    through where the engine smooths. Cell (row, column) begins at (column * cell width, row * cell height).

    Args:
        images: RGB or RGBA pictures of one size; enlarge them before if need be.
        columns: Cells a row. Cells that are left over in the last row are transparent.
        padding: Pixels, from 0.
        metadata: What is to be said of each sprite (condition, seed), JSON-able, one an image; none for nothing.

    Returns:
        An RGBA picture, and one dict an image: "x", "y", "width" and "height" of the sprite itself in pixels from the
        upper left corner, without the padding, and its metadata. See `sheet_description`.

    Raises:
        ValueError: If a number is not a whole one in its range, there are no pictures, their sizes differ, or the
            metadata do not fit the number of pictures, hold one of those four names or cannot be written as JSON.
    """
    check_whole("columns", columns, 1)
    check_whole("padding", padding, 0)
    width, height = _common_size(images)
    _check_metadata(metadata, len(images))
    cell_width, cell_height = width + 2 * padding, height + 2 * padding
    rows = -(-len(images) // columns)
    sheet = Image.new("RGBA", (columns * cell_width, rows * cell_height), (255, 255, 255, 0))
    cells = []
    for i, image in enumerate(images):
        row, column = divmod(i, columns)
        x, y = column * cell_width + padding, row * cell_height + padding
        sheet.paste(image.convert("RGBA"), (x, y))
        about = dict(metadata[i]) if metadata else {}
        cells.append({"x": x, "y": y, "width": width, "height": height, **about})
    return sheet, cells


def sheet_description(
    image_name: str, columns: int, cells: Sequence[Mapping[str, Any]], padding: int = 0
) -> dict[str, Any]:
    """Describes a game sheet, to be written as JSON beside the picture.

    The format, for two sprites of 32x32 in cells with a padding of 1 (metadata as the caller gave them):

        {
          "image": "sprites.png",
          "cell": [34, 34],
          "columns": 2,
          "padding": 1,
          "sprites": [
            {"x": 1, "y": 1, "width": 32, "height": 32, "condition": {"type": "fire"}, "seed": 0},
            {"x": 35, "y": 1, "width": 32, "height": 32, "condition": {"type": "fire"}, "seed": 1}
          ]
        }

    "cell" is width and height of a cell with its padding, as an engine's grid import asks for them. Sprites are in
    rows from the upper left; the last row may hold fewer than "columns".

    Args:
        image_name: File name of the picture.
        columns: As given to `game_sheet`.
        cells: What `game_sheet` returned.
        padding: As given to `game_sheet`.

    Raises:
        ValueError: If there are no cells.
    """
    if not cells:
        raise ValueError("A description needs the cells of a sheet, but got none.")
    size = [cells[0]["width"] + 2 * padding, cells[0]["height"] + 2 * padding]
    sprites = [dict(cell) for cell in cells]
    return {"image": image_name, "cell": size, "columns": columns, "padding": padding, "sprites": sprites}


def _common_size(images: Sequence[Image.Image]) -> tuple[int, int]:
    sizes = sorted({image.size for image in images})
    if len(sizes) != 1:
        raise ValueError(f"A sheet needs pictures of one size, but got {sizes or 'no pictures'}.")
    return sizes[0]


def _check_metadata(metadata: Sequence[Mapping[str, Any]], count: int) -> None:
    if metadata and len(metadata) != count:
        raise ValueError(f"{count} pictures need as many metadata, but got {len(metadata)}.")
    for i, about in enumerate(metadata):
        taken = [name for name in PLACE if name in about]
        if taken:
            raise ValueError(f"The metadata of picture {i} must not hold {', '.join(taken)}: the sheet says it.")
        try:
            json.dumps(dict(about), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"The metadata of picture {i} cannot be written as JSON: {error}.") from error
