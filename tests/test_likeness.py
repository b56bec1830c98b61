"""Copies, sprites in pieces, and sprites in the colors of others or of real shinies."""

import numpy as np
import pytest
import torch
from PIL import Image

from pokemon_ddpm.likeness import (
    close_outline,
    color_change,
    fault,
    is_torn,
    match_colors,
    overlaps,
    recolor,
    shaded_areas,
    share_palette,
    silhouettes,
)
from pokemon_ddpm.pipelines.sprite_preprocessing import oklab
from pokemon_ddpm.preprocessing import as_tensor

RED, PINK, BLUE = (200, 30, 30, 255), (250, 110, 110, 255), (30, 30, 200, 255)


def boxes(*corners: tuple[int, int, int, int], color: tuple[int, ...] = RED) -> Image.Image:
    image = Image.new("RGBA", (32, 32), (255, 255, 255, 0))
    for corner in corners:
        image.paste(color, corner)
    return image


BODY, WIDE, PARTS = boxes((8, 8, 20, 24)), boxes((2, 12, 30, 24)), boxes((8, 8, 20, 24), (24, 8, 28, 16))
FAMILY = WIDE.copy()  # other colors in the middle only
FAMILY.paste(PINK, (8, 12, 20, 24))


def test_silhouettes_overlap_wherever_they_are_and_the_better_facing_counts() -> None:
    images = as_tensor([boxes((0, 0, 4, 10)), boxes((27, 22, 31, 32)), boxes((3, 3, 13, 7)), boxes((5, 5, 13, 25))])
    torch.testing.assert_close(overlaps(images[:2], images), torch.tensor([[1, 1, 16 / 64, 40 / 160]] * 2).double())
    assert silhouettes(images)[0].nonzero()[0].tolist() == [11, 14]
    assert torch.equal(*silhouettes(images[:2]))
    blank = as_tensor([boxes(), BODY])
    assert overlaps(blank, blank).tolist() == [[1, 0], [0, 1]]
    images = as_tensor([boxes((0, 0, 3, 9), (0, 6, 9, 9)), boxes((11, 0, 14, 9), (5, 6, 14, 9))])  # as L, and as J
    assert overlaps(images, images)[0, 1] == 1


def test_colors_change_by_their_distance_in_oklab() -> None:
    black, white = boxes((0, 2, 8, 6), color=(0, 0, 0, 255)), boxes((4, 2, 12, 6), color=(255, 255, 255, 255))
    assert color_change(as_tensor([black]), as_tensor([white])).item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("sprite", "relation", "expected"),
    [
        (boxes((8, 8, 20, 24), color=BLUE), "same", None),  # the outline of a back is that of its front, mirrored
        (WIDE, "same", None),  # with one color nobody can tell
        (boxes((2, 12, 30, 24), color=BLUE), "next", "palette"),
        (FAMILY, "next", None),
        (WIDE, "next", "colors"),
        (boxes((12, 2, 18, 6)), "next", "smaller"),
        (boxes((2, 12, 30, 24), (2, 2, 10, 8), color=BLUE), "next", "torn"),
        (boxes(), "same", "torn"),
        (BODY, None, None),
        (BODY, "previous", None),
    ],
)
def test_faults(sprite: Image.Image, relation: str | None, expected: str | None) -> None:
    assert fault(sprite, sprite, None if relation is None else BODY, relation) == expected


def test_copies_of_sprites_with_two_colors() -> None:
    body, turned, taller = boxes((8, 8, 20, 24)), boxes((8, 8, 20, 24), color=PINK), boxes((8, 8, 20, 27), color=PINK)
    body.paste(PINK, (8, 16, 20, 24))
    for image in (turned, taller):
        image.paste(RED, (8, 16, 20, image.getbbox()[3]))
    for image, kind, expected in ((body, "same", "drawing"), (turned, "same", None), (taller, "next", "silhouette")):
        assert fault(image, image, body, kind) == expected


def test_what_is_made_of_a_sprite_in_pieces_may_be_in_pieces() -> None:
    assert is_torn(PARTS) and not is_torn(BODY) and not is_torn(boxes((8, 8, 20, 24), (24, 8, 27, 11)))
    blue = boxes((2, 12, 30, 24), (2, 2, 10, 8), color=BLUE)
    assert fault(blue, blue, PARTS, "same") is None


DARK_RED, PALE_RED = (90, 10, 10), (250, 190, 190)
DARK_BLUE, PALE_BLUE = (10, 10, 90), (190, 190, 250)
OUTLINE, WHITE, GREEN, LIME = (16, 16, 16), (255, 255, 255), (20, 140, 60), (150, 220, 110)


def sprite(*rows: tuple) -> Image.Image:
    pixels = np.array([[(*color[:3], 255)] * 10 for color in rows], dtype=np.uint8)
    pixels[:, 0] = (255, 255, 255, 0)
    return Image.fromarray(pixels)


def test_shades_go_to_shades_of_another_hue() -> None:
    shared = share_palette(sprite(BLUE, BLUE, DARK_BLUE, PALE_BLUE), sprite(RED, DARK_RED, RED, PALE_RED))
    assert shared == sprite(RED, RED, DARK_RED, PALE_RED)
    assert share_palette(shared, sprite(RED, DARK_RED, RED, PALE_RED)) == shared


def test_empty_sprites_give_and_take_no_color() -> None:
    empty, other = Image.new("RGBA", (4, 4), (255, 255, 255, 0)), sprite(RED, BLUE)
    assert close_outline(empty) == share_palette(empty, other) == empty and share_palette(other, empty) == other
    assert recolor(empty, shaded_areas(empty), np.uint8([RED[:3]])) == empty


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
    own, others, found = (oklab(np.asarray(each).reshape(-1, 4)[-4:, :3]) for each in (pale, vivid, made))
    assert np.allclose(found.mean(axis=0), others.mean(axis=0), atol=0.01)
    assert np.isclose(found[:, 0].std() / own[:, 0].std(), 1.5, atol=0.1)
    assert np.array_equal(match_colors(pale, Image.new("RGBA", (2, 2))), pale)
