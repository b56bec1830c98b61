"""Sprites in the colors of others, and in those of real shinies."""

import re

import numpy as np
import pytest
from PIL import Image

from pokemon_ddpm import palettes
from pokemon_ddpm.palettes import LEAST, recolor, shaded_areas, share_palette, shiny, transport
from pokemon_ddpm.pipelines.sprite_preprocessing import oklab, unique_colors
from pokemon_ddpm.vocabulary import TYPES

DARK_RED, RED, PINK = (90, 10, 10), (200, 30, 30), (250, 190, 190)
DARK_BLUE, BLUE, PALE_BLUE = (10, 10, 90), (30, 30, 200), (190, 190, 250)


def sprite(*rows: tuple) -> Image.Image:
    pixels = np.array([[(*color, 255)] * 10 for color in rows], dtype=np.uint8)
    pixels[:, 0] = (255, 255, 255, 0)
    return Image.fromarray(pixels)


def test_shades_go_to_shades_of_another_hue() -> None:
    shared = share_palette(sprite(BLUE, BLUE, DARK_BLUE, PALE_BLUE), sprite(RED, DARK_RED, RED, PINK))
    assert shared == sprite(RED, RED, DARK_RED, PINK)
    assert share_palette(shared, sprite(RED, DARK_RED, RED, PINK)) == shared


def test_a_color_of_the_palette_takes_little_more_than_its_share() -> None:
    colors, palette = np.uint8([RED, (190, 30, 30)]), np.uint8([RED, BLUE])
    assert transport(colors, np.array([5, 5]), palette, np.array([9, 1])).tolist() == [0, 0]
    assert transport(colors, np.array([5, 5]), palette, np.array([5, 5])).tolist() == [0, 1]


def test_random_sprites_get_colors_of_the_palette_only_and_empty_ones_stay() -> None:
    one, other = (Image.fromarray(np.random.default_rng(i).integers(0, 256, (4, 4, 4), np.uint8)) for i in (0, 1))
    shared, palette = (
        np.asarray(each)[np.asarray(each)[..., 3] > 0][:, :3] for each in (share_palette(one, other), other)
    )
    assert set(map(tuple, unique_colors(shared))) <= set(map(tuple, unique_colors(palette)))
    empty = Image.new("RGBA", (4, 4), (255, 255, 255, 0))
    assert share_palette(empty, other) == empty and share_palette(one, empty) == one


OUTLINE, WHITE, GREEN, LIME = (16, 16, 16), (255, 255, 255), (20, 140, 60), (150, 220, 110)


def creature(*fills: tuple) -> Image.Image:
    """Areas of ten rows with an outline below."""
    return sprite(*(color for fill in fills for color in [fill] * 10), OUTLINE)


def lightness(image: Image.Image) -> np.ndarray:
    return oklab(np.asarray(image)[:, 1, :3])[:, 0]


def test_the_areas_of_a_shiny_get_its_colors_in_the_order_of_lightness_with_their_shading() -> None:
    front = creature(RED, (150, 20, 20), PALE_BLUE)  # a body in two shades, and a belly
    areas = shaded_areas(front)
    assert [round(area.share, 2) for area in areas] == [0.67, 0.33]
    recolored = recolor(front, areas, np.uint8([LIME, GREEN]))
    hues = oklab(np.asarray(recolored)[::10, 1, :3])
    assert (hues[:3, 1] < -0.03).all() and tuple(np.asarray(recolored)[-1, 1, :3]) == OUTLINE
    assert hues[1, 0] < hues[0, 0] < hues[2, 0]
    back = creature(PALE_BLUE, RED)
    assert np.array_equal(np.asarray(recolor(back, areas, np.uint8([LIME, GREEN])))[0], np.asarray(recolored)[20])
    eye = sprite(*[RED] * 30, WHITE, OUTLINE)  # too small for a color of its own
    assert np.asarray(recolor(eye, shaded_areas(eye), np.uint8([GREEN, LIME])))[-2:, 1, :3].tolist() == [
        [255] * 3,
        [16] * 3,
    ]


def test_outlines_stay_and_nothing_becomes_as_dark() -> None:
    front = creature(WHITE, PINK, (230, 120, 120))
    dark = np.uint8([(20, 20, 20), (30, 25, 20), OUTLINE])
    assert (lightness(recolor(front, shaded_areas(front), dark))[:-1] >= LEAST - 0.01).all()
    shadow = creature((45, 45, 50), (60, 50, 70))  # a dark body is no outline
    recolored = recolor(shadow, shaded_areas(shadow), np.uint8([LIME, RED]))
    assert (lightness(recolored)[:-1] > lightness(shadow)[:-1]).all() and lightness(recolored)[-1] < 0.2
    for image in (creature(OUTLINE), Image.new("RGBA", (4, 4), (255, 255, 255, 0))):
        assert recolor(image, shaded_areas(image), dark) == image


def test_a_shiny_is_drawn_until_it_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    front = creature(RED, RED, DARK_RED)
    same, other = ("".join(f"{part:02x}" for part in color) for color in (RED, BLUE))
    table = {"fire": [same, other], "water": [other]}
    monkeypatch.setattr(palettes, "shiny_table", lambda: table)
    seen = shiny(front, front, ["water"], [0])
    assert shiny(front, front, ["fire"], [0, 1, 0]) == shiny(front, front, [], [1]) == seen != front
    assert shiny(front, front, ["fire"], [0, 0]) == shiny(front, front, ["elves"], [0]) == front


def test_the_colors_of_real_shinies() -> None:
    table = palettes.shiny_table()
    assert table.keys() == {*TYPES} and min(map(len, table.values())) >= 15
    assert all(re.fullmatch("([0-9a-f]{6}){1,3}", colors) for row in table.values() for colors in row)
