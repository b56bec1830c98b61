import numpy as np
import pytest
from PIL import Image
from scipy.cluster.hierarchy import fcluster, linkage

from pokemon_ddpm.pipelines.sprite_preprocessing import oklab, unique_colors
from pokemon_ddpm.postprocessing import (
    CELL,
    DISTINCT,
    EQUAL_NEIGHBOR,
    color_areas,
    fit_palette,
    from_oklab,
    merge_colors,
    reduce_palette,
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


def test_a_palette_has_the_means_of_the_clusters_of_ward() -> None:
    """All in cells of their own."""
    random = np.random.default_rng(1)
    cells = random.choice(12**3, 40, replace=False)
    cells = np.stack([cells // 144, cells // 12 % 12, cells % 12], axis=1)
    different = CELL * (cells + random.uniform(-0.4, 0.4, (40, 3)))
    lab = np.repeat(different, random.integers(1, 9, 40), axis=0)
    clusters = fcluster(linkage(lab, "ward"), 7, "maxclust")
    expected = np.array([lab[clusters == cluster].mean(axis=0) for cluster in range(1, 8)])
    found = fit_palette(lab, 7)
    assert np.allclose(found[found[:, 0].argsort()], expected[expected[:, 0].argsort()])


def test_a_few_gray_levels_hardly_change_a_sprite() -> None:
    """Samples of two machines differ by one level here and there, and stay the same sprite."""
    equal = []
    for seed in range(20):
        random = np.random.default_rng(seed)
        centers = random.integers(0, 256, (12, 3))[random.integers(0, 12, (16, 16))]
        centers = centers.repeat(4, axis=0).repeat(4, axis=1)
        one = (centers + random.normal(0, 12, centers.shape)).clip(1, 254).astype(np.uint8)
        other = one.copy()
        for y, x, channel in random.integers((64, 64, 3), size=(6, 3)):
            other[y, x, channel] += random.choice([-1, 1])
        sprites = [np.asarray(reduce_palette(Image.fromarray(each))) for each in (one, other)]
        equal.append((sprites[0] == sprites[1]).all(axis=2).mean())
    assert np.mean(equal) > 0.998


def energy(lab: np.ndarray, visible: np.ndarray, chosen: np.ndarray, palette: np.ndarray) -> float:
    """Pixel by pixel and pair by pair."""
    total = np.square(lab - palette[chosen])[visible].sum()
    for y, x in np.argwhere(visible):
        for other in ((y + 1, x), (y, x + 1)):
            if other[0] < len(visible) and other[1] < len(visible) and visible[other]:
                total -= EQUAL_NEIGHBOR * (chosen[y, x] == chosen[other])
    return total


def noisy_areas(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Twelve by twelve noisy pixels in OKLab, of which a corner is invisible."""
    visible = np.ones((12, 12), dtype=bool)
    visible[:4, :4] = False
    return oklab(shades(seed)[:: 600 // 144][:144].reshape(12, 12, 3)), visible


@pytest.mark.parametrize("seed", range(3))
def test_areas_of_color_lower_their_energy_until_no_pixel_alone_can(seed: int) -> None:
    lab, visible = noisy_areas(seed)
    palette = lab[5, :9]  # a bad start
    errors = [energy(lab, visible, *color_areas(lab, visible, palette, count)) for count in (1, 2, 3, 5, 50)]
    assert errors[0] > errors[1] and all(np.diff(errors) < 1e-9)
    chosen, means = color_areas(lab, visible, palette, 50)
    for color, mean in enumerate(means):
        assert np.allclose(lab[visible & (chosen == color)].mean(axis=0), mean)
    for y, x in np.argwhere(visible):
        for color in range(len(means)):
            changed = chosen.copy()
            changed[y, x] = color
            assert energy(lab, visible, changed, means) > errors[-1] - 1e-9


def merged(pixels: np.ndarray, *arguments: float) -> np.ndarray:
    """`merge_colors` of the colors of pixels: uint8 (N, 3) to the same."""
    colors, place, weights = np.unique(pixels, axis=0, return_inverse=True, return_counts=True)
    return merge_colors(oklab(colors), weights, *arguments)[place.ravel()]


@pytest.mark.parametrize("colors", [2, 5, 16, 40])
def test_merged_colors_are_few_and_distinct_and_of_15_bits(colors: int) -> None:
    pixels = np.concatenate([shades(), random_colors(60)])
    found = merged(pixels, colors)
    palette = unique_colors(found)
    distance = np.linalg.norm(oklab(palette)[:, None] - oklab(palette), axis=2) + 9 * np.eye(len(palette))
    assert 1 < len(palette) <= colors and distance.min() > DISTINCT - 0.03  # rounding to 15 bits moves them
    assert np.isin(palette, np.arange(32) * 255 // 31).all()


def test_merging_takes_the_weighted_mean_of_the_nearest_first() -> None:
    red, also_red, blue = [[180, 40, 40]] * 3, [[190, 50, 40]], [[40, 40, 180]] * 2
    found = merged(np.uint8(red + also_red + blue), 3)
    mean = from_oklab(oklab(np.uint8(red + also_red)).mean(axis=0))
    expected = np.uint8([mean] * 4 + blue)
    assert np.abs(found.astype(int) - expected).max() <= 5  # 15 bits
    assert len(unique_colors(found)) == 2
    assert len(unique_colors(merged(np.uint8(red + also_red + blue), 3, 0.0))) == 3
    assert len(unique_colors(merged(np.uint8(red + also_red + blue), 1))) == 1


def test_what_is_nearly_white_or_black_becomes_what_real_sprites_have() -> None:
    found = merged(np.uint8([[240, 244, 236]] * 50 + [[30, 20, 24], [120, 90, 60]]), 4)
    assert found[:51].tolist() == [[255] * 3] * 50 + [[16] * 3] and len(unique_colors(found)) == 3


def test_darker_colors_than_the_outline_become_it() -> None:
    """Black and the black of outlines are 0.17 apart in OKLab; dark blue is another color."""
    found = merged(np.uint8([[0, 0, 0], [4, 8, 0], [16, 16, 16], [30, 34, 90]]), 16)
    assert found[:3].tolist() == [[16] * 3] * 3 and len(unique_colors(found)) == 2
