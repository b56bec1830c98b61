"""Transparent backgrounds, palettes and enlargement on pictures drawn by hand, and on real sprites."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pokemon_ddpm.postprocessing import (
    check_whole,
    enlarge,
    fit_palette,
    nearest_color,
    on_white,
    reduce_palette,
    remove_background,
    unique_colors,
)

COLORS = {"#": (20, 20, 20), "o": (220, 60, 40), ".": (255, 255, 255), "n": (251, 255, 238), "w": (227, 255, 255)}


def drawn(*rows: str) -> Image.Image:
    """A picture of one pixel a letter: # outline, o body, . white, n noisy white, w as far from white as allowed."""
    return Image.fromarray(np.array([[COLORS[letter] for letter in row] for row in rows], dtype=np.uint8))


def seen(image: Image.Image) -> list[str]:
    """Alpha as letters: a dot where nothing is seen, # where it is opaque."""
    letters = {0: ".", 255: "#"}
    return ["".join(letters[value] for value in row) for row in np.asarray(image)[..., 3].tolist()]


def colors_of(image: Image.Image) -> set[tuple[int, ...]]:
    return {tuple(color) for color in np.asarray(image.convert("RGB")).reshape(-1, 3).tolist()}


def noisy_sprite(seed: int = 0, size: int = 24) -> Image.Image:
    """A disc of hundreds of colours with a hole of noisy white, on noisy white."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] - size / 2
    radius = np.hypot(x, y)[..., None]
    white = random.integers(248, 256, (size, size, 3))
    body = random.integers(30, 200, (size, size, 3))
    return Image.fromarray(np.where((radius > size / 3) | (radius < 3), white, body).astype(np.uint8))


def test_white_around_a_sprite_goes_and_white_within_stays():
    image = drawn(
        ".......",
        ".n###..",
        ".#...#.",
        ".#.o.#w",
        ".#...#.",
        "..###.n",
        ".......",
    )
    result = remove_background(image)
    assert result.mode == "RGBA"
    # The outline is closed only diagonally: the flood must not slip through its corners.
    assert seen(result) == [".......", "..###..", ".#####.", ".#####.", ".#####.", "..###..", "......."]
    pixels = np.asarray(result)
    assert np.array_equal(pixels[..., :3][pixels[..., 3] == 255], np.asarray(image)[pixels[..., 3] == 255])
    assert (pixels[..., :3][pixels[..., 3] == 0] == 255).all()


def test_every_corner_of_white_at_the_border_is_reached():
    image = drawn("..#..", ".###.", "#####", ".###.", "..#..")
    assert seen(remove_background(image)) == ["..#..", ".###.", "#####", ".###.", "..#.."]


def test_white_reaches_the_inside_through_a_gap_of_one_pixel():
    image = drawn("#####", "#...#", "###.#", "#...#", "#.###")
    assert seen(remove_background(image)) == ["#####", "#...#", "###.#", "#...#", "#.###"]


def test_a_sprite_at_the_border_is_not_eaten():
    image = drawn("oo##", "oooo", "#oo.", "....")
    assert seen(remove_background(image)) == ["####", "####", "###.", "...."]


def test_a_picture_without_white_at_its_border_stays_opaque():
    result = remove_background(drawn("ooo", "o.o", "ooo"))
    assert seen(result) == ["###", "###", "###"]
    assert np.array_equal(np.asarray(result)[..., :3], np.asarray(drawn("ooo", "o.o", "ooo")))


@pytest.mark.parametrize(("tolerance", "reached"), [(0, ".##"), (16, ".##"), (17, "..#"), (27, "..#"), (28, "...")])
def test_the_tolerance_is_the_largest_difference_of_a_channel(tolerance, reached):
    assert seen(remove_background(drawn("#####", ".nw##", "#####"), tolerance))[1] == reached + "##"


def test_the_picture_given_stays_as_it_was():
    image = drawn("...", ".#.", ".nw")
    before = np.array(image)
    remove_background(image)
    reduce_palette(image, 2)
    assert np.array_equal(np.asarray(image), before)


@pytest.mark.parametrize("tolerance", [-1, 256, 1.0, True])
def test_a_tolerance_out_of_range_is_refused(tolerance):
    with pytest.raises(ValueError, match="tolerance must be"):
        remove_background(drawn("..."), tolerance)


@pytest.mark.parametrize("mode", ["RGBA", "L", "P"])
def test_only_rgb_has_a_background_to_remove(mode):
    with pytest.raises(ValueError, match=f"must be in RGB, but is in {mode}"):
        remove_background(drawn("...").convert(mode))


@pytest.mark.parametrize("colors", [2, 3, 4, 16, 256])
@pytest.mark.parametrize("transparent", [False, True])
def test_a_palette_has_no_more_colors_than_asked_for(colors, transparent):
    image = noisy_sprite()
    image = remove_background(image) if transparent else image
    result = reduce_palette(image, colors)
    assert (result.mode, result.size) == (image.mode, image.size)
    pixels = np.asarray(result)
    visible = pixels[..., 3] > 0 if transparent else np.ones(pixels.shape[:2], dtype=bool)
    assert len(unique_colors(pixels[..., :3][visible])) <= colors
    if transparent:
        assert np.array_equal(pixels[..., 3], np.asarray(image)[..., 3])


@pytest.mark.parametrize("seed", range(5))
def test_noisy_white_becomes_pure_white_outside_and_inside(seed):
    pixels = np.asarray(reduce_palette(noisy_sprite(seed)))
    y, x = np.mgrid[:24, :24] - 12
    radius = np.hypot(x, y)
    assert (pixels[(radius > 8) | (radius < 3)] == 255).all()
    assert (pixels[(radius <= 8) & (radius >= 3)] < 230).all()


def test_as_many_groups_of_colors_as_colors_are_found():
    random = np.random.default_rng(0)
    centres = np.array([[40, 40, 40], [200, 30, 30], [30, 200, 30], [40, 60, 220]])
    which = random.integers(0, 4, (16, 16))
    pixels = np.full((20, 20, 3), 255)
    pixels[2:18, 2:18] = centres[which] + random.integers(-6, 7, (16, 16, 3))
    result = np.asarray(reduce_palette(Image.fromarray(pixels.astype(np.uint8)), colors=5)).astype(int)
    assert (result[:2] == 255).all()
    for group, centre in enumerate(centres):
        found = unique_colors(result[2:18, 2:18][which == group])
        assert len(found) == 1 and np.abs(found[0] - centre).max() <= 2


def test_a_picture_of_few_colors_is_unchanged():
    image = drawn(".n#", "owo", "...")
    assert np.array_equal(np.asarray(reduce_palette(image, 5)), np.asarray(image))
    assert colors_of(reduce_palette(image, 4)) != colors_of(image)


def test_invisible_pixels_use_up_no_color_and_are_left_alone():
    pixels = np.zeros((4, 4, 4), dtype=np.uint8)
    pixels[:2, :, :3] = np.random.default_rng(0).integers(0, 256, (2, 4, 3))
    pixels[2] = (200, 0, 0, 255)
    pixels[3] = (0, 0, 200, 120)
    assert np.array_equal(np.asarray(reduce_palette(Image.fromarray(pixels), 2)), pixels)
    pixels[3, 0] = (0, 4, 200, 255)
    result = np.asarray(reduce_palette(Image.fromarray(pixels), 2))
    assert np.array_equal(result[:2], pixels[:2])
    assert np.array_equal(result[..., 3], pixels[..., 3])
    assert len(unique_colors(result[2:, :, :3])) == 2


def test_a_dark_picture_spends_no_color_on_white():
    pixels = np.full((6, 6, 3), 30, dtype=np.uint8)
    pixels[3:] = 160
    pixels[:, 0] += 1
    result = reduce_palette(Image.fromarray(pixels), 2)
    assert all(min(np.abs(np.subtract(color, shade)).max() for shade in (30, 160)) <= 1 for color in colors_of(result))
    assert len(colors_of(result)) == 2


def test_nothing_but_noisy_white_becomes_white():
    pixels = np.random.default_rng(0).integers(240, 256, (8, 8, 3), dtype=np.uint8)
    assert colors_of(reduce_palette(Image.fromarray(pixels), 2)) == {(255, 255, 255)}


def test_a_pale_wing_on_pure_white_is_not_background():
    pixels = np.full((12, 12, 3), 255, dtype=np.uint8)
    pixels[2:6, 2:10] = (232, 232, 248)
    pixels[6:10, 2:10] = np.random.default_rng(0).integers(20, 90, (4, 8, 3))
    result = np.asarray(reduce_palette(Image.fromarray(pixels), 8)).astype(int)
    assert np.abs(result[2:6, 2:10] - (232, 232, 248)).max() <= 2
    assert (result[:2] == 255).all()


def test_a_palette_is_the_same_every_time():
    first, second = (np.asarray(reduce_palette(noisy_sprite(3))) for _ in range(2))
    assert np.array_equal(first, second)


@pytest.mark.parametrize("colors", [1, 0, 257, 16.0, True, "16"])
def test_a_number_of_colors_out_of_range_is_refused(colors):
    with pytest.raises(ValueError, match="colors must be"):
        reduce_palette(drawn("..."), colors)


def test_a_palette_of_another_mode_is_refused():
    with pytest.raises(ValueError, match="in RGB or RGBA, but is in L"):
        reduce_palette(drawn("...").convert("L"))


def test_the_nearest_color_is_that_of_all_distances():
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (500, 3), dtype=np.uint8)
    palette = random.integers(0, 256, (40, 3), dtype=np.uint8)
    distance = np.square(pixels[:, None].astype(int) - palette[None].astype(int)).sum(axis=2)
    assert np.array_equal(nearest_color(pixels, palette), distance.argmin(axis=1))


def test_a_color_of_the_palette_is_its_own_nearest():
    palette = np.array(list(product((252, 253, 254, 255), repeat=3)), dtype=np.uint8)
    assert np.array_equal(nearest_color(palette, palette), np.arange(len(palette)))


def test_one_color_stands_for_all_by_their_mean():
    pixels = np.array([[10, 20, 30]] * 3 + [[50, 60, 110]], dtype=np.uint8)
    assert np.abs(fit_palette(pixels, 1).astype(int) - [[20, 30, 50]]).max() <= 1
    assert fit_palette(pixels, 2).tolist() == [[10, 20, 30], [50, 60, 110]]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P"])
@pytest.mark.parametrize("factor", [1, 2, 5])
def test_enlarging_makes_every_pixel_a_square(mode, factor):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (3, 4, 3), dtype=np.uint8)).convert(mode)
    result = enlarge(image, factor)
    assert (result.mode, result.size) == (mode, (4 * factor, 3 * factor))
    assert np.array_equal(np.asarray(result), np.asarray(image).repeat(factor, axis=0).repeat(factor, axis=1))


@pytest.mark.parametrize("factor", [0, -2, 1.5, 2.0, True, "2", None])
def test_enlarging_by_anything_but_a_whole_factor_is_refused(factor):
    with pytest.raises(ValueError, match="factor must be"):
        enlarge(drawn("..."), factor)


def test_numpys_whole_numbers_are_whole_numbers():
    check_whole("n", np.int64(3), 1, 3)
    for value in (np.bool_(True), np.float32(2)):
        with pytest.raises(ValueError, match="n must be a whole number"):
            check_whole("n", value, 0)


def test_alpha_is_laid_on_white():
    pixels = np.array([[[10, 20, 30, 0], [10, 20, 30, 255], [0, 0, 0, 51]]], dtype=np.uint8)
    assert np.asarray(on_white(Image.fromarray(pixels))).tolist() == [[[255] * 3, [10, 20, 30], [204] * 3]]


def test_real_sprites_lose_their_white_and_nothing_else(sprites_dir: Path):
    for name in ("0000-Bulbasaur-1/front/normal/1-gen5", "0033-Spearow-21/front/normal/21-gen4_dp-frame2"):
        sprite = Image.open(sprites_dir / "sprites" / f"{name}.png").convert("RGB")
        original = np.asarray(sprite)
        result = np.asarray(remove_background(sprite))
        gone = result[..., 3] == 0
        assert 0.3 < gone.mean() < 0.95
        assert gone[[0, -1]].all() and gone[:, [0, -1]].all()
        assert (original[gone] == 255).all()
        assert np.array_equal(result[..., :3], original)


def test_a_real_sprite_of_many_colors_keeps_its_white_and_its_look(sprites_dir: Path):
    sprite = Image.open(sprites_dir / "sprites/0000-Bulbasaur-1/front/normal/1-gen5.png").convert("RGB")
    original = np.asarray(sprite).astype(int)
    result = np.asarray(reduce_palette(sprite, 8)).astype(int)
    assert 2 < len(unique_colors(result)) <= 8
    assert (result[(original == 255).all(axis=2)] == 255).all()
    assert np.abs(result - original).mean() < 5
