"""Sprites in the colors of others or of real shinies."""

import numpy as np
from PIL import Image

from pokemon_ddpm.palettes import close_outline, match_colors, recolor, shaded_areas, share_palette
from pokemon_ddpm.pipelines.sprite_preprocessing import oklab

RED, BLUE = (200, 30, 30), (30, 30, 200)
DARK_RED, PALE_RED = (90, 10, 10), (250, 190, 190)
DARK_BLUE, PALE_BLUE = (10, 10, 90), (190, 190, 250)
OUTLINE, WHITE, GREEN, LIME = (16, 16, 16), (255, 255, 255), (20, 140, 60), (150, 220, 110)


def sprite(*rows: tuple) -> Image.Image:
    pixels = np.array([[(*color, 255)] * 10 for color in rows], dtype=np.uint8)
    pixels[:, 0] = (255, 255, 255, 0)
    return Image.fromarray(pixels)


def test_shades_go_to_shades_of_another_hue() -> None:
    shared = share_palette(sprite(BLUE, BLUE, DARK_BLUE, PALE_BLUE), sprite(RED, DARK_RED, RED, PALE_RED))
    assert shared == sprite(RED, RED, DARK_RED, PALE_RED)
    assert share_palette(shared, sprite(RED, DARK_RED, RED, PALE_RED)) == shared


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
    result = recolor(eye, shaded_areas(eye), np.uint8([GREEN, LIME]))
    assert np.asarray(result)[-2:, 1, :3].tolist() == [[255] * 3, [16] * 3]


def test_colors_get_the_mean_and_the_contrast_of_others_and_outlines_stay() -> None:
    dark, light, lighter, red, pink = (20,) * 3, (110, 100, 110), (130, 120, 130), (160, 60, 60), (250, 90, 90)
    pale, vivid = (Image.fromarray(np.uint8([[(*color, 255) for color in colors]]))
                   for colors in ([dark, light, light, lighter, lighter], [red, red, pink, pink]))  # fmt: skip
    made = np.asarray(match_colors(pale, vivid))[0]
    assert made[0].tolist() == [20, 20, 20, 255]
    own, others, found = (oklab(np.asarray(image).reshape(-1, 4)[-4:, :3]) for image in (pale, vivid, made))
    assert np.allclose(found.mean(axis=0), others.mean(axis=0), atol=0.01)
    assert np.isclose(found[:, 0].std() / own[:, 0].std(), 1.5, atol=0.1)
    assert np.array_equal(match_colors(pale, Image.new("RGBA", (2, 2))), pale)
