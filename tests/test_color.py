import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage

from pokemon_ddpm.color import (
    DISTINCT,
    EQUAL_NEIGHBOR,
    color_areas,
    color_codes,
    fit_palette,
    from_oklab,
    merge_colors,
    oklab,
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


def test_a_palette_has_the_means_of_the_clusters_of_ward() -> None:
    different = random_colors(40)
    pixels = np.repeat(different, np.random.default_rng(1).integers(1, 9, 40), axis=0)
    lab = oklab(pixels)
    clusters = fcluster(linkage(lab, "ward"), 7, "maxclust")
    expected = from_oklab(np.array([lab[clusters == cluster].mean(axis=0) for cluster in range(1, 8)]))
    assert np.array_equal(unique_colors(fit_palette(pixels, 7)), unique_colors(expected))
    assert len(fit_palette(random_colors(5000), 16)) == 16  # more than the cells


def energy(lab: np.ndarray, visible: np.ndarray, found: np.ndarray) -> float:
    """Of the colors `found`, uint8 (H, W, 3), pixel by pixel and pair by pair."""
    total = np.square(lab - oklab(found))[visible].sum()
    for y, x in np.argwhere(visible):
        for other in ((y + 1, x), (y, x + 1)):
            if other[0] < len(visible) and other[1] < len(visible) and visible[other]:
                total -= EQUAL_NEIGHBOR * np.array_equal(found[y, x], found[other])
    return total


def noisy_areas(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Twelve by twelve noisy pixels, of which a corner is invisible."""
    pixels = shades(seed)[:: 600 // 144][:144].reshape(12, 12, 3)
    visible = np.ones((12, 12), dtype=bool)
    visible[:4, :4] = False
    return pixels, visible


@pytest.mark.parametrize("seed", range(3))
def test_areas_of_color_lower_their_energy_until_no_pixel_alone_can(seed: int) -> None:
    pixels, visible = noisy_areas(seed)
    lab, palette = oklab(pixels), pixels[5, :9]  # a bad start
    errors = [energy(lab, visible, color_areas(pixels, visible, palette, count)) for count in (1, 2, 3, 5, 50)]
    assert errors[0] > errors[1] and all(np.diff(errors) < 1e-3)  # colors are rounded
    found = color_areas(pixels, visible, palette, 50)
    colors = unique_colors(found[visible])
    for color in colors:
        its = visible & (found == color).all(axis=2)
        assert np.array_equal(from_oklab(lab[its].mean(axis=0)), color)
    for y, x in np.argwhere(visible):
        for color in colors:
            changed = found.copy()
            changed[y, x] = color
            assert energy(lab, visible, changed) > errors[-1] - 1e-3


def test_a_noisy_surface_becomes_flat_and_a_single_dark_pixel_stays() -> None:
    clean = np.full((16, 16, 3), (220, 150, 60), dtype=np.uint8)
    clean[:, 9:] = (80, 120, 200)
    clean[5, 4] = (20, 20, 20)
    noise = np.random.default_rng(0).normal(0, 10, clean.shape)
    pixels = (clean + noise).clip(0, 255).astype(np.uint8)
    visible = np.ones((16, 16), dtype=bool)
    found = color_areas(pixels, visible, unique_colors(clean.reshape(-1, 3)))
    names, areas = np.unique(found.reshape(-1, 3), axis=0, return_inverse=True)
    assert len(names) == 3
    assert np.array_equal(areas, np.unique(clean.reshape(-1, 3), axis=0, return_inverse=True)[1])


def test_invisible_pixels_are_unchanged_and_without_influence() -> None:
    pixels, visible = noisy_areas(0)
    other = pixels.copy()
    other[~visible] = random_colors(16)
    one, two = (color_areas(each, visible, pixels[5, :9]) for each in (pixels, other))
    assert np.array_equal(one[visible], two[visible]) and np.array_equal(two[~visible], other[~visible])


def test_colors_without_pixels_are_dropped() -> None:
    palette = np.uint8([[255, 0, 0], [0, 0, 255], [0, 255, 0]])
    pixels = np.uint8([[[250, 10, 10], [250, 10, 10]], [[10, 10, 250], [10, 10, 250]]])
    assert np.array_equal(color_areas(pixels, np.ones((2, 2), dtype=bool), palette), pixels)


@pytest.mark.parametrize("colors", [2, 5, 16, 40])
def test_merged_colors_are_few_and_distinct_and_of_15_bits(colors: int) -> None:
    pixels = np.concatenate([shades(), random_colors(60)])
    found = merge_colors(pixels, colors)
    palette = unique_colors(found)
    distance = np.linalg.norm(oklab(palette)[:, None] - oklab(palette), axis=2) + 9 * np.eye(len(palette))
    assert 1 < len(palette) <= colors and distance.min() > DISTINCT - 0.03  # rounding to 15 bits moves them
    assert np.isin(palette, np.arange(32) * 255 // 31).all()
    for color in unique_colors(pixels):  # equal colors stay equal
        assert len(unique_colors(found[(pixels == color).all(axis=1)])) == 1


def test_merging_takes_the_weighted_mean_of_the_nearest_first() -> None:
    red, also_red, blue = [[180, 40, 40]] * 3, [[190, 50, 40]], [[40, 40, 180]] * 2
    found = merge_colors(np.uint8(red + also_red + blue), 3)
    mean = from_oklab(oklab(np.uint8(red + also_red)).mean(axis=0))
    expected = np.uint8([mean] * 4 + blue)
    assert np.abs(found.astype(int) - expected).max() <= 5  # 15 bits
    assert len(unique_colors(found)) == 2
    assert len(unique_colors(merge_colors(np.uint8(red + also_red + blue), 3, 0.0))) == 3
    assert len(unique_colors(merge_colors(np.uint8(red + also_red + blue), 1))) == 1


def test_what_is_nearly_white_or_black_becomes_what_real_sprites_have() -> None:
    found = merge_colors(np.uint8([[240, 244, 236]] * 50 + [[30, 20, 24], [120, 90, 60]]), 4)
    assert found[:51].tolist() == [[255] * 3] * 50 + [[16] * 3] and len(unique_colors(found)) == 3
