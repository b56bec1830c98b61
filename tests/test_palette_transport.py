"""Moving the colors of one sprite onto those of another one."""

import numpy as np
from PIL import Image

from pokemon_ddpm.palette_transport import share_palette, swap_palette, transport
from pokemon_ddpm.pipelines.sprite_preprocessing import unique_colors

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


def test_a_palette_swap_keeps_the_drawing_and_takes_the_usual_color() -> None:
    normal, shiny = sprite(BLUE, BLUE, DARK_BLUE, BLUE, PALE_BLUE), sprite(RED, PINK, DARK_RED, RED, PINK)
    assert swap_palette(normal, normal, shiny) == sprite(RED, RED, DARK_RED, RED, PINK)
    back = sprite((12, 12, 95), PALE_BLUE, BLUE)  # the first is nearest to dark blue
    assert swap_palette(back, normal, shiny) == sprite(DARK_RED, PINK, RED)
    empty = Image.new("RGBA", (10, 5), (255, 255, 255, 0))
    assert swap_palette(normal, normal, empty) == normal and swap_palette(empty, normal, shiny) == empty
