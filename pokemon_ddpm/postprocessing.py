"""From pictures to sheets of pictures."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

MARGIN = 4


def sprite_sheet(
    images: Sequence[Image.Image], columns: int, row_labels: Sequence[str] = (), scale: int = 2
) -> Image.Image:
    """Lays pictures out in rows on white, enlarged by a whole factor without smoothing.

    Args:
        images: RGB pictures of one size.
        columns: Pictures a row.
        row_labels: A word to the left of each row; none for no labels.
        scale: Enlargement, from 1.

    Returns:
        An RGB picture.

    Raises:
        ValueError: If there are no pictures, their sizes differ, or the labels do not fit the number of rows.
    """
    if not images or len({image.size for image in images}) > 1:
        raise ValueError(f"A sheet needs pictures of one size, but got {sorted({image.size for image in images})}.")
    rows = -(-len(images) // columns)
    if row_labels and len(row_labels) != rows:
        raise ValueError(f"{rows} rows need as many labels, but got {len(row_labels)}.")
    width, height = images[0].width * scale, images[0].height * scale
    font = ImageFont.load_default(size=max(10, min(20, height // 4)))
    gutter = MARGIN + max((int(font.getlength(label)) + MARGIN for label in row_labels), default=0)
    sheet = Image.new("RGB", (gutter + columns * (width + MARGIN), MARGIN + rows * (height + MARGIN)), (255, 255, 255))
    draw = ImageDraw.Draw(sheet)
    for row, label in enumerate(row_labels):
        middle = MARGIN + row * (height + MARGIN) + height // 2
        draw.text((MARGIN, middle), label, fill=(40, 40, 40), font=font, anchor="lm")
    for i, image in enumerate(images):
        row, column = divmod(i, columns)
        enlarged = image.resize((width, height), Image.Resampling.NEAREST)
        sheet.paste(enlarged, (gutter + column * (width + MARGIN), MARGIN + row * (height + MARGIN)))
    return sheet
