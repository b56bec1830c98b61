"""Sheets of pictures: where each lies, that no pixel changes, and what is said of each."""

import json

import numpy as np
import pytest
from PIL import Image

from pokemon_ddpm.sheets import MARGIN, game_sheet, sheet_description, sprite_sheet


def noise_pictures(count: int, width: int = 5, height: int = 7) -> list[Image.Image]:
    """Pictures without a white pixel, every one different."""
    pixels = np.random.default_rng(0).integers(0, 250, (count, height, width, 3), dtype=np.uint8)
    return [Image.fromarray(each) for each in pixels]


def cell(sheet: np.ndarray, row: int, column: int, width: int, height: int, left: int = MARGIN) -> np.ndarray:
    top, left = MARGIN + row * (height + MARGIN), left + column * (width + MARGIN)
    return sheet[top : top + height, left : left + width]


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_pictures_lie_row_by_row_and_every_pixel_becomes_a_square(scale):
    pictures = noise_pictures(6)
    sheet = sprite_sheet(pictures, columns=3, scale=scale)
    width, height = 5 * scale, 7 * scale
    assert sheet.mode == "RGB"
    assert sheet.size == (MARGIN + 3 * (width + MARGIN), MARGIN + 2 * (height + MARGIN))
    pixels = np.asarray(sheet)
    for i, picture in enumerate(pictures):
        expected = np.asarray(picture).repeat(scale, axis=0).repeat(scale, axis=1)
        assert np.array_equal(cell(pixels, i // 3, i % 3, width, height), expected)
    assert (pixels == 255).all(axis=2).sum() == sheet.width * sheet.height - 6 * width * height


def test_the_default_scale_is_two():
    assert sprite_sheet(noise_pictures(1), columns=1).size == (2 * MARGIN + 10, 2 * MARGIN + 14)


def test_an_unfinished_row_ends_in_white():
    sheet = np.asarray(sprite_sheet(noise_pictures(4), columns=3, scale=1))
    assert sheet.shape == (MARGIN + 2 * (7 + MARGIN), MARGIN + 3 * (5 + MARGIN), 3)
    assert (cell(sheet, 1, 1, 5, 7) == 255).all() and (cell(sheet, 1, 2, 5, 7) == 255).all()
    assert (cell(sheet, 1, 0, 5, 7) < 250).all()


def test_labels_stand_to_the_left_of_their_rows_and_touch_no_picture():
    pictures = noise_pictures(4, width=16, height=16)
    plain = sprite_sheet(pictures, columns=2)
    labelled = sprite_sheet(pictures, columns=2, row_labels=["fire", "electric"])
    assert labelled.height == plain.height
    gutter = labelled.width - plain.width
    assert gutter > 0
    pixels = np.asarray(labelled)
    assert np.array_equal(pixels[:, gutter:], np.asarray(plain))
    for row in range(2):
        band = pixels[MARGIN + row * 36 : MARGIN + row * 36 + 32, :gutter]
        assert (band < 128).any(), "no label"
    assert (pixels[:MARGIN, :gutter] == 255).all() and (pixels[36:40, :gutter] == 255).all()


def test_panels_share_out_the_rows_and_fill_from_the_left():
    pictures = noise_pictures(9, width=8, height=8)
    sheet = sprite_sheet(pictures, columns=2, scale=1, panels=2)  # 5 rows: 3 and 2
    panel = MARGIN + 2 * (8 + MARGIN)
    assert sheet.size == (2 * panel, MARGIN + 3 * (8 + MARGIN))
    pixels = np.asarray(sheet)
    for i, picture in enumerate(pictures):
        row = i // 2
        left = MARGIN + (row // 3) * panel
        assert np.array_equal(cell(pixels, row % 3, i % 2, 8, 8, left), np.asarray(picture))
    assert (pixels == 255).all(axis=2).sum() == sheet.width * sheet.height - 9 * 64


def test_every_row_of_every_panel_has_its_label():
    pictures = noise_pictures(4, width=16, height=16)
    pixels = np.asarray(sprite_sheet(pictures, columns=1, row_labels=["a", "bb", "ccc", "d"], panels=2))
    gutter = (pixels.shape[1] - 2 * (32 + MARGIN)) // 2
    for panel, row in [(0, 0), (0, 1), (1, 0), (1, 1)]:
        left, top = panel * pixels.shape[1] // 2, MARGIN + row * 36
        assert (pixels[top : top + 32, left : left + gutter] < 128).any()
        picture = np.asarray(pictures[2 * panel + row]).repeat(2, axis=0).repeat(2, axis=1)
        assert np.array_equal(pixels[top : top + 32, left + gutter : left + gutter + 32], picture)


def test_pictures_are_left_as_they_were():
    pictures = noise_pictures(2)
    before = [np.array(picture) for picture in pictures]
    sprite_sheet(pictures, columns=1, row_labels=["a", "b"])
    assert all(np.array_equal(np.asarray(picture), pixels) for picture, pixels in zip(pictures, before, strict=True))


def test_no_picture_is_refused():
    with pytest.raises(ValueError, match="needs pictures"):
        sprite_sheet([], columns=3)


def test_pictures_of_different_sizes_are_refused():
    with pytest.raises(ValueError, match=r"one size, but got \[\(5, 7\), \(7, 5\)\]"):
        sprite_sheet([*noise_pictures(1), *noise_pictures(1, 7, 5)], columns=2)


@pytest.mark.parametrize("labels", [["fire"], ["fire", "water", "grass"]])
def test_labels_that_do_not_fit_the_rows_are_refused(labels):
    with pytest.raises(ValueError, match=f"2 rows need as many labels, but got {len(labels)}"):
        sprite_sheet(noise_pictures(4), columns=2, row_labels=labels)


@pytest.mark.parametrize(("name", "arguments"), [("columns", {"columns": 0}), ("columns", {"columns": -1}),
                                                  ("scale", {"columns": 1, "scale": 0}),
                                                  ("panels", {"columns": 1, "panels": 0})])  # fmt: skip
def test_a_number_below_one_is_refused_by_name(name, arguments):
    with pytest.raises(ValueError, match=name):
        sprite_sheet(noise_pictures(2), **arguments)


@pytest.mark.parametrize("columns", [2.0, True, "2"])
def test_a_number_that_is_not_whole_is_refused(columns):
    with pytest.raises(ValueError, match="columns must be a whole number"):
        sprite_sheet(noise_pictures(2), columns)


def with_alpha(picture: Image.Image, alpha: np.ndarray) -> Image.Image:
    return Image.fromarray(np.dstack([np.asarray(picture), alpha.astype(np.uint8)]))


def test_a_transparent_picture_lies_on_white_beside_an_opaque_one():
    opaque, behind = noise_pictures(2)
    alpha = np.full((7, 5), 255)
    alpha[:3] = 0
    pixels = np.asarray(sprite_sheet([opaque, with_alpha(behind, alpha)], columns=2, scale=1))
    assert np.array_equal(cell(pixels, 0, 0, 5, 7), np.asarray(opaque))
    assert (cell(pixels, 0, 1, 5, 7)[:3] == 255).all()
    assert np.array_equal(cell(pixels, 0, 1, 5, 7)[3:], np.asarray(behind)[3:])


@pytest.mark.parametrize("padding", [0, 1, 3])
def test_cells_of_a_game_sheet_are_equal_and_cut_out_the_very_pictures(padding):
    alpha = np.random.default_rng(1).integers(0, 256, (7, 5))
    pictures = [*noise_pictures(4), with_alpha(noise_pictures(5)[4], alpha)]
    sheet, cells = game_sheet(pictures, columns=3, padding=padding)
    width, height = 5 + 2 * padding, 7 + 2 * padding
    assert (sheet.mode, sheet.size) == ("RGBA", (3 * width, 2 * height))
    assert len(cells) == 5
    rest = np.array(sheet)[..., 3]
    for i, (picture, place) in enumerate(zip(pictures, cells, strict=True)):
        row, column = divmod(i, 3)
        assert place == {"x": column * width + padding, "y": row * height + padding, "width": 5, "height": 7}
        box = (place["x"], place["y"], place["x"] + 5, place["y"] + 7)
        assert np.array_equal(np.asarray(sheet.crop(box)), np.asarray(picture.convert("RGBA")))
        rest[box[1] : box[3], box[0] : box[2]] = 0
    assert not rest.any(), "something but the sprites can be seen"


def test_a_game_sheet_keeps_the_columns_asked_for():
    assert game_sheet(noise_pictures(2), columns=4)[0].size == (20, 7)


def test_a_game_sheet_is_described_as_its_documentation_shows():
    pictures = noise_pictures(2, 32, 32)
    metadata = [{"condition": {"type": "fire"}, "seed": seed} for seed in (0, 1)]
    _, cells = game_sheet(pictures, columns=2, padding=1, metadata=metadata)
    description = sheet_description("sprites.png", 2, cells, padding=1)
    shown = sheet_description.__doc__.split("gave them):")[1].split('"cell" is width')[0]
    assert json.loads(json.dumps(description)) == json.loads(shown)
    assert list(description) == list(json.loads(shown))


def test_the_callers_metadata_are_left_as_they_were():
    metadata = [{"seed": 3}]
    _, cells = game_sheet(noise_pictures(1), columns=1, metadata=metadata)
    assert metadata == [{"seed": 3}] and cells[0]["seed"] == 3


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ([{}], "2 pictures need as many metadata, but got 1"),
        ([{}, {"x": 3, "width": 1}], "picture 1 must not hold x, width"),
        ([{"seed": {1, 2}}, {}], "picture 0 cannot be written as JSON"),
        ([{}, {"guidance_scale": float("nan")}], "picture 1 cannot be written as JSON"),
    ],
)
def test_metadata_that_do_not_fit_are_refused(metadata, message):
    with pytest.raises(ValueError, match=message):
        game_sheet(noise_pictures(2), columns=2, metadata=metadata)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"columns": 0}, "columns must be 1 or more, but is 0"),
        ({"columns": 1.5}, "columns must be a whole number, but is 1.5"),
        ({"columns": 1, "padding": -1}, "padding must be 0 or more, but is -1"),
    ],
)
def test_a_game_sheet_refuses_numbers_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        game_sheet(noise_pictures(2), **arguments)


def test_a_game_sheet_of_different_sizes_or_of_nothing_is_refused():
    with pytest.raises(ValueError, match="one size"):
        game_sheet([*noise_pictures(1), *noise_pictures(1, 7, 5)], columns=2)
    with pytest.raises(ValueError, match="no pictures"):
        game_sheet([], columns=2)
    with pytest.raises(ValueError, match="got none"):
        sheet_description("sprites.png", 2, [])
