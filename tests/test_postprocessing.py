from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pokemon_ddpm import postprocessing
from pokemon_ddpm.pipelines.sprite_preprocessing import transparent, unique_colors
from pokemon_ddpm.postprocessing import enlarge, reduce_palette, remove_background, remove_fragments, to_sprite

# n is noisy white, w as far from white as the tolerance allows, v is farther.
COLORS = {
    "#": (20, 20, 20),
    "o": (220, 60, 40),
    ".": (255, 255, 255),
    "n": (251, 255, 238),
    "w": (227, 255, 255),
    "v": (226, 255, 255),
}
RADIUS = np.hypot(*np.mgrid[-12:12, -12:12])
DISC = (RADIUS >= 3) & (RADIUS <= 8)


def image_of(*rows: str) -> Image.Image:
    """An image with one pixel per letter."""
    return Image.fromarray(np.array([[COLORS[letter] for letter in row] for row in rows], dtype=np.uint8))


def opacity(image: Image.Image) -> list[str]:
    """Alpha as letters: a dot for 0, # for 255."""
    return ["".join({0: ".", 255: "#"}[value] for value in row) for row in np.asarray(image)[..., 3].tolist()]


def noisy_sprite(seed: int = 0) -> Image.Image:
    """A disc of hundreds of colors with a hole of noisy white, on noisy white."""
    random = np.random.default_rng(seed)
    low, high = np.where(DISC, 30, np.where(RADIUS < 3, 248, 230)), np.where(DISC, 200, 256)
    return Image.fromarray(random.integers(low[..., None], high[..., None], (24, 24, 3)).astype(np.uint8))


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (  # white inside a closed outline stays, even if the outline is connected only diagonally
            [".......", ".n###..", ".#...#.", ".#.o.#w", ".#...#.", "..###.n", "......."],
            [".......", "..###..", ".#####.", ".#####.", ".#####.", "..###..", "......."],
        ),
        (["#####", "#...#", "###.#", "#...#", "#.###"],) * 2,  # through a gap of one pixel
        (["#####", "wwv##", "#####"], ["#####", "..###", "#####"]),  # v is one level too dark
        (["ooo", "o.o", "ooo"], ["###", "###", "###"]),  # no white at the border
    ],
)
def test_background_is_white_that_is_connected_to_the_border(rows, expected):
    result = remove_background(image_of(*rows))
    assert opacity(result) == expected
    color, visible = np.asarray(result)[..., :3], np.asarray(result)[..., 3] == 255
    assert np.array_equal(color[visible], np.asarray(image_of(*rows))[visible]) and (color[~visible] == 255).all()


def test_soft_transparency_becomes_none_or_all():
    pixels = np.full((1, 4, 4), 90, dtype=np.uint8)
    pixels[0, :, 3] = [0, 127, 128, 255]
    expected = [[255, 255, 255, 0]] * 2 + [[90, 90, 90, 255]] * 2
    assert np.asarray(remove_background(Image.fromarray(pixels))).tolist() == [expected]


@pytest.mark.parametrize(
    ("min_pixels", "expected"),
    [
        (3, ["#.......", ".#......", "..#.....", "......##", "####..##", "####...."]),  # a diagonal is connected
        (4, ["........", "........", "........", "......##", "####..##", "####...."]),
        (9, ["........", "........", "........", "........", "####....", "####...."]),  # the largest part stays
    ],
)
def test_fragments_have_fewer_pixels_and_are_not_connected(min_pixels, expected):
    image = remove_background(image_of("#..#....", ".#..#...", "..#.....", "......##", "####..##", "####...."))
    result = remove_fragments(image, min_pixels)
    assert opacity(result) == expected
    pixels, before = np.asarray(result), np.asarray(image)
    removed = (pixels[..., 3] == 0) & (before[..., 3] > 0)
    assert (pixels[removed] == (255, 255, 255, 0)).all() and np.array_equal(pixels[~removed], before[~removed])


def test_nothing_is_left_to_remove_from_an_empty_image():
    empty = Image.new("RGBA", (3, 3), (255, 255, 255, 0))
    assert remove_fragments(empty).tobytes() == to_sprite(empty).tobytes() == empty.tobytes()
    assert to_sprite(image_of("...", ".n.", "...")).tobytes() == empty.tobytes()


@pytest.mark.parametrize("colors", [1, 3, 16])
def test_a_palette_has_at_most_the_given_number_of_colors(colors):
    pixels = np.asarray(reduce_palette(noisy_sprite(), colors)).reshape(-1, 3)
    assert 1 <= len(unique_colors(pixels)) <= colors
    few = image_of(".n#", "owo", "...")
    assert reduce_palette(few, 5) == few


def test_invisible_pixels_take_no_color_and_are_unchanged():
    pixels = np.zeros((4, 4, 4), dtype=np.uint8)
    pixels[:2, :, :3] = np.random.default_rng(0).integers(0, 256, (2, 4, 3))
    pixels[2] = (200, 0, 0, 255)
    pixels[3] = (0, 0, 200, 120)
    pixels[3, 0] = (0, 4, 200, 255)
    result = np.asarray(reduce_palette(Image.fromarray(pixels), 2))
    assert np.array_equal(result[:2], pixels[:2]) and np.array_equal(result[..., 3], pixels[..., 3])
    assert len(unique_colors(result[2:, :, :3].reshape(-1, 3))) == 2


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_sample_becomes_a_sprite(mode):
    """A disc of hundreds of colors, a fragment of two pixels, and in RGBA an uncertain edge."""
    pixels = np.array(noisy_sprite().convert(mode))
    pixels[0, :2, :3] = 20
    if mode == "RGBA":
        pixels[..., 3] = np.random.default_rng(1).integers(128, 256, DISC.shape) * (RADIUS <= 8)
        pixels[0, :2, 3] = 255
    sprite = np.asarray(to_sprite(Image.fromarray(pixels)))
    assert np.array_equal(sprite[..., 3], 255 * (RADIUS <= 8)) and (sprite[RADIUS > 8, :3] == 255).all()
    assert 12 <= len(unique_colors(sprite[sprite[..., 3] > 0][:, :3])) <= 16
    everything = np.asarray(to_sprite(Image.fromarray(pixels), palette=None, min_fragment=1))
    assert np.array_equal(everything[..., :3][RADIUS <= 8], pixels[..., :3][RADIUS <= 8])
    assert (everything[0, :3, 3] == [255, 255, 0]).all()


def test_a_real_sprite_stays_as_it_is(sprites_dir: Path):
    image = Image.open(sprites_dir / "sprites/0000-Bulbasaur-1/front/normal/1-gen5.png").convert("RGB")
    sprite = Image.fromarray(transparent(np.asarray(image), 0))
    assert to_sprite(sprite).tobytes() == sprite.tobytes()


@pytest.mark.parametrize("number", [0, 1001, 16.0, True, None])
def test_a_number_out_of_range_is_refused(number):
    assert (256 * 32) ** 2 == postprocessing.MAX_OUTPUT_PIXELS
    clear = image_of("...").convert("RGBA")
    for function, image, message in (
        (enlarge, Image.new("L", (32, 32)), "enlargement must be a whole number from 1 to 256, not"),
        (reduce_palette, clear, "number of colors must be a whole number from 1 to 256, not"),
        (remove_fragments, clear, "size of a fragment must be a whole number from 1 to 1000, not"),
    ):
        with pytest.raises(ValueError, match=message):
            function(image, number)
