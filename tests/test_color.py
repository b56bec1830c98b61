import numpy as np
import pytest

from pokemon_ddpm.color import (
    color_codes,
    fit_palette,
    from_oklab,
    nearest_color,
    oklab,
    refine_palette,
    unique_colors,
)

# CSS Color Module Level 4 gives these values of Ottosson's space.
PUBLISHED = {
    (255, 255, 255): (1, 0, 0),
    (0, 0, 0): (0, 0, 0),
    (255, 0, 0): (0.62796, 0.22486, 0.12585),
    (0, 255, 0): (0.86644, -0.23389, 0.17950),
    (0, 0, 255): (0.45201, -0.03246, -0.31153),
}


def random_colors(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 3), dtype=np.uint8)


def shades(seed: int = 0) -> np.ndarray:
    """600 pixels around four colors, uint8 (600, 3)."""
    random = np.random.default_rng(seed)
    centers = np.array([[200, 40, 40], [40, 160, 60], [60, 60, 200], [240, 230, 200]]).repeat(150, axis=0)
    return (centers + random.normal(0, 12, centers.shape)).clip(0, 255).astype(np.uint8)


def squared_error(pixels: np.ndarray, palette: np.ndarray) -> float:
    """Of the nearest colors, in OKLab, from all pairs."""
    return np.square(oklab(pixels)[:, None] - oklab(palette)).sum(axis=2).min(axis=1).sum()


@pytest.mark.parametrize(("color", "expected"), PUBLISHED.items())
def test_oklab_has_the_published_values(color: tuple, expected: tuple) -> None:
    assert oklab(np.uint8(color)) == pytest.approx(expected, abs=2e-5)


def test_every_color_comes_back_from_oklab() -> None:
    colors = np.concatenate([random_colors(100_000), np.arange(256, dtype=np.uint8)[:, None].repeat(3, axis=1)])
    assert np.array_equal(from_oklab(oklab(colors)), colors)


def test_a_color_that_srgb_lacks_becomes_one_that_it_has() -> None:
    assert from_oklab(np.array([[1.2, 0, 0], [-0.2, 0, 0]])).tolist() == [[255] * 3, [0] * 3]


def test_different_colors_are_found_once_and_sorted() -> None:
    pixels = random_colors(400) // 64
    assert np.array_equal(unique_colors(pixels), np.unique(pixels, axis=0))
    assert color_codes(np.uint8([[1, 2, 3]])).tolist() == [0x010203]


@pytest.mark.parametrize("colors", [1, 2, 16, 256])
def test_a_fitted_palette_has_at_most_so_many_colors(colors: int) -> None:
    assert len(fit_palette(random_colors(2000), colors)) <= colors
    few = random_colors(colors).repeat(3, axis=0)
    assert np.array_equal(fit_palette(few, colors), unique_colors(few))


@pytest.mark.parametrize("seed", range(3))
def test_refining_lowers_the_error_until_each_color_is_the_mean_of_its_pixels(seed: int) -> None:
    pixels = shades(seed)
    palette = pixels[:: len(pixels) // 8][:8]  # a bad start
    errors = [squared_error(pixels, refine_palette(pixels, palette, iterations)) for iterations in range(5)]
    assert errors[0] > errors[1] >= errors[2] >= errors[4] > 0 and errors[4] < 0.7 * errors[0]
    refined = refine_palette(pixels, palette, 1000)
    assert np.array_equal(refine_palette(pixels, refined), refined)
    nearest = np.square(oklab(pixels)[:, None] - oklab(refined)).sum(axis=2).argmin(axis=1)
    means = [oklab(pixels[nearest == i]).mean(axis=0) for i in range(len(refined))]
    assert np.array_equal(from_oklab(np.array(means)), refined)


def test_refining_drops_colors_without_pixels() -> None:
    palette = np.uint8([[255, 0, 0], [0, 0, 255], [0, 255, 0]])
    pixels = np.uint8([[250, 10, 10], [250, 10, 10], [10, 10, 250]])
    assert refine_palette(pixels, palette).tolist() == [[250, 10, 10], [10, 10, 250]]


def test_the_nearest_color_is_that_of_oklab_and_the_first_of_equal_ones() -> None:
    pixels, palette = random_colors(500), random_colors(40, seed=1).repeat(2, axis=0)
    distance = np.square(oklab(pixels)[:, None] - oklab(palette)).sum(axis=2)
    assert np.array_equal(nearest_color(pixels, palette), distance.argmin(axis=1))
    # In RGB the second one is nearer, but much darker.
    assert nearest_color(np.uint8([[0, 128, 0]]), np.uint8([[64, 128, 64], [0, 64, 0]])).tolist() == [0]
