"""From pictures to sheets of pictures."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

MARGIN = 4
INK = (40, 40, 40)


def sprite_sheet(
    images: Sequence[Image.Image], columns: int, row_labels: Sequence[str] = (), scale: int = 2, panels: int = 1
) -> Image.Image:
    """Lays pictures out in rows on white, enlarged by a whole factor without smoothing.

    Args:
        images: RGB pictures of one size.
        columns: Pictures a row.
        row_labels: A word to the left of each row; none for no labels.
        scale: Enlargement, from 1.
        panels: Number of panels side by side that the rows are spread over, the first ones in the left panel.

    Returns:
        An RGB picture.

    Raises:
        ValueError: If a number is below 1, there are no pictures, their sizes differ, or the labels do not fit the
            number of rows.
    """
    for name, value in (("columns", columns), ("scale", scale), ("panels", panels)):
        if value < 1:
            raise ValueError(f"{name} must be 1 or more, but is {value}.")
    sizes = sorted({image.size for image in images})
    if len(sizes) != 1:
        raise ValueError(f"A sheet needs pictures of one size, but got {sizes or 'no pictures'}.")
    rows = -(-len(images) // columns)
    if row_labels and len(row_labels) != rows:
        raise ValueError(f"{rows} rows need as many labels, but got {len(row_labels)}.")
    width, height = (side * scale for side in sizes[0])
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
        enlarged = image.resize((width, height), Image.Resampling.NEAREST)
        sheet.paste(enlarged, (left + gutter + column * (width + MARGIN), top))
    return sheet
