"""Sprites in the colors of others, and in those of real shinies."""

import numpy as np
from PIL import Image

from pokemon_ddpm.likeness import close_outline, recolor, shaded_areas, share_palette
from pokemon_ddpm.pipelines.sprite_preprocessing import oklab

DARK_RED, RED, PINK = (90, 10, 10), (200, 30, 30), (250, 190, 190)
DARK_BLUE, BLUE, PALE_BLUE = (10, 10, 90), (30, 30, 200), (190, 190, 250)
OUTLINE, WHITE, GREEN, LIME = (16, 16, 16), (255, 255, 255), (20, 140, 60), (150, 220, 110)


def sprite(*rows: tuple) -> Image.Image:
    pixels = np.array([[(*color, 255)] * 10 for color in rows], dtype=np.uint8)
    pixels[:, 0] = (255, 255, 255, 0)
    return Image.fromarray(pixels)


def test_shades_go_to_shades_of_another_hue() -> None:
    shared = share_palette(sprite(BLUE, BLUE, DARK_BLUE, PALE_BLUE), sprite(RED, DARK_RED, RED, PINK))
    assert shared == sprite(RED, RED, DARK_RED, PINK)
    assert share_palette(shared, sprite(RED, DARK_RED, RED, PINK)) == shared


def test_an_area_does_not_become_an_outline() -> None:
    """Even if its color is nearest to black, unless there is no room elsewhere."""
    dark = (60, 30, 70)
    assert share_palette(sprite(OUTLINE, dark), sprite(OUTLINE, OUTLINE, RED, RED)) == sprite(OUTLINE, RED)
    assert share_palette(sprite(dark, dark), sprite(OUTLINE, OUTLINE)) == sprite(OUTLINE, OUTLINE)


def test_light_edges_become_an_outline() -> None:
    """If the sprite has a dark color. The first column is empty, and the last one the edge of the image."""
    closed = np.array(sprite(WHITE, WHITE, RED, OUTLINE))
    closed[0, 1:] = closed[1, 1] = closed[1, 9] = (*OUTLINE, 255)
    assert np.array_equal(close_outline(sprite(WHITE, WHITE, RED, OUTLINE)), closed)
    assert close_outline(sprite(WHITE, PINK)) == sprite(WHITE, PINK)


def test_empty_sprites_give_and_take_no_color() -> None:
    empty, other = Image.new("RGBA", (4, 4), (255, 255, 255, 0)), sprite(RED, BLUE)
    assert close_outline(empty) == share_palette(empty, other) == empty and share_palette(other, empty) == other
    assert recolor(empty, shaded_areas(empty), np.uint8([RED])) == empty


def creature(*fills: tuple) -> Image.Image:
    """Areas of ten rows with an outline below."""
    return sprite(*(color for fill in fills for color in [fill] * 10), OUTLINE)


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
    found = recolor(eye, shaded_areas(eye), np.uint8([GREEN, LIME]))
    assert np.asarray(found)[-2:, 1, :3].tolist() == [[255] * 3, [16] * 3]
