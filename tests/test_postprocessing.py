"""Backgrounds, fragments and few colors; tests/publishing/test_page_rules.py has a second implementation of them."""

import numpy as np
import pytest
from PIL import Image
from scipy.cluster.hierarchy import fcluster, linkage

from pokemon_ddpm import postprocessing
from pokemon_ddpm.pipelines.sprite_preprocessing import oklab, transparent, unique_colors
from pokemon_ddpm.postprocessing import CELL, enlarge, fit_palette, reduce_palette, remove_fragments, to_sprite

COLORS = {"#": (20, 20, 20), "o": (220, 60, 40), ".": (255, 255, 255), "n": (251, 255, 238)}  # n is noisy white


def image_of(*rows: str) -> Image.Image:
    """An image with one pixel per letter."""
    return Image.fromarray(np.array([[COLORS[letter] for letter in row] for row in rows], dtype=np.uint8))


@pytest.mark.parametrize(("min_pixels", "expected"), [
    (3, ["#.......", ".#......", "..#.....", "......##", "####..##", "####...."]),  # a diagonal is connected
    (4, ["........", "........", "........", "......##", "####..##", "####...."]),
    (9, ["........", "........", "........", "........", "####....", "####...."]),  # the largest part stays
])  # fmt: skip
def test_fragments_have_fewer_pixels_and_are_not_connected(min_pixels, expected):
    rows = ("#..#....", ".#..#...", "..#.....", "......##", "####..##", "####....")
    image = postprocessing.remove_background(image_of(*rows))
    pixels, before = np.asarray(remove_fragments(image, min_pixels)), np.asarray(image)
    assert ["".join(".#"[alpha // 255] for alpha in row) for row in pixels[..., 3]] == expected
    removed = (pixels[..., 3] == 0) & (before[..., 3] > 0)
    assert (pixels[removed] == (255, 255, 255, 0)).all() and np.array_equal(pixels[~removed], before[~removed])


def test_nothing_is_left_to_remove_from_an_empty_image():
    empty = Image.new("RGBA", (3, 3), (255, 255, 255, 0))
    assert remove_fragments(empty).tobytes() == to_sprite(empty).tobytes() == empty.tobytes()
    assert to_sprite(image_of("...", ".n.", "...")).tobytes() == empty.tobytes()
    few = image_of(".n#", "ono", "...")
    assert reduce_palette(few, 5) == few


def test_a_real_sprite_stays_as_it_is(sprites_dir):
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


# CSS Color Module Level 4 gives these values of Ottosson's space.
PUBLISHED = {
    (255, 255, 255): (1, 0, 0),
    (0, 0, 0): (0, 0, 0),
    (255, 0, 0): (0.62796, 0.22486, 0.12585),
    (0, 255, 0): (0.86644, -0.23389, 0.17950),
    (0, 0, 255): (0.45201, -0.03246, -0.31153),
}


def test_oklab_has_the_published_values_and_its_inverse_every_color() -> None:
    np.testing.assert_allclose(oklab(np.uint8([*PUBLISHED])), [*PUBLISHED.values()], rtol=0, atol=2e-5)
    random = np.random.default_rng(0).integers(0, 256, (100_000, 3), dtype=np.uint8)
    colors = np.concatenate([random, np.arange(256, dtype=np.uint8)[:, None].repeat(3, axis=1)])
    assert np.array_equal(postprocessing.from_oklab(oklab(colors)), colors)


def test_a_palette_has_the_means_of_the_clusters_of_ward() -> None:
    random = np.random.default_rng(1)
    cells = random.choice(12**3, 40, replace=False)
    cells = np.stack([cells // 144, cells // 12 % 12, cells % 12], axis=1)
    lab = np.repeat(CELL * (cells + random.uniform(-0.4, 0.4, (40, 3))), random.integers(1, 9, 40), axis=0)
    clusters = fcluster(linkage(lab, "ward"), 7, "maxclust")
    expected = np.array([lab[clusters == cluster].mean(axis=0) for cluster in range(1, 8)])
    palette = fit_palette(lab, 7)
    assert np.allclose(palette[palette[:, 0].argsort()], expected[expected[:, 0].argsort()])


def merged(pixels: np.ndarray, *arguments: float) -> np.ndarray:
    """`merge_colors` of the colors of pixels: uint8 (N, 3) to the same."""
    colors, place, weights = np.unique(pixels, axis=0, return_inverse=True, return_counts=True)
    return postprocessing.merge_colors(oklab(colors), weights, *arguments)[place.ravel()]


def test_what_is_nearly_white_or_darker_than_an_outline_becomes_what_real_sprites_have() -> None:
    colors = merged(np.uint8([[240, 244, 236]] * 50 + [[30, 20, 24], [120, 90, 60]]), 4)
    assert colors[:51].tolist() == [[255] * 3] * 50 + [[16] * 3] and len(unique_colors(colors)) == 3
    # Black and the black of outlines are 0.17 apart in OKLab; dark blue is another color.
    colors = merged(np.uint8([[0, 0, 0], [4, 8, 0], [16, 16, 16], [30, 34, 90]]), 16)
    assert colors[:3].tolist() == [[16] * 3] * 3 and len(unique_colors(colors)) == 2
