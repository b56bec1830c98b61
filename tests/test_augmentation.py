"""Augmentation: the distributions of the parameters, and exact transformations of images of 8 pixels."""

import math

import pytest
import torch
from torch.nn import functional

from pokemon_ddpm.augmentation import AUGMENTATION_DIM, KINDS, augment, sample_augmentation

SIZE = 8
COLUMNS = {"translate": [0, 1], "scale": [2], "rotate": [3, 4], "brightness": [5], "hue": [6, 7]}
ALL = dict.fromkeys(COLUMNS, 1.0)


def sample(count: int, probabilities: dict[str, float], resolution: int = 1024, seed: int = 0) -> torch.Tensor:
    return sample_augmentation(count, probabilities, resolution, torch.Generator().manual_seed(seed))


def random_images(count: int = 1) -> torch.Tensor:
    return torch.randint(256, (count, 3, SIZE, SIZE), generator=torch.Generator().manual_seed(0)) / 127.5 - 1


def parameters(right=0, down=0, scale=0.0, degrees=0.0, brightness=0.0, hue=0.0) -> torch.Tensor:
    """(1, AUGMENTATION_DIM) as documented; translations in pixels."""
    angle, color = math.radians(degrees), math.radians(hue)
    numbers = [right / SIZE, down / SIZE, scale, math.cos(angle) - 1, math.sin(angle)]
    return torch.tensor([[*numbers, brightness, math.cos(color) - 1, math.sin(color)]])


def shifted(images: torch.Tensor, right: int, down: int) -> torch.Tensor:
    """Cut out of a larger white background."""
    padded = functional.pad(images, [SIZE] * 4, value=1.0)
    return padded[:, :, SIZE - down : 2 * SIZE - down, SIZE - right : 2 * SIZE - right]


def assert_equal(one: torch.Tensor, other: torch.Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", COLUMNS)
def test_each_kind_has_its_own_parameters(kind):
    assert [len(columns) for columns in COLUMNS.values()] == list(KINDS.values())
    found = sample(500, {kind: 1.0})
    assert found.dtype == torch.float32 and found.shape == (500, AUGMENTATION_DIM) == (500, 8)
    assert found.abs().amax(dim=0).nonzero().flatten().tolist() == COLUMNS[kind]
    assert (sample(200, {kind: 0.0}) == 0).all()


def test_each_kind_has_its_probability_independently_of_the_others():
    probabilities = {"translate": 0.12, "scale": 0.5, "rotate": 0.9, "brightness": 0.3, "hue": 0.7}
    found = sample(20_000, probabilities)
    changed = torch.stack([found[:, columns].any(dim=1) for columns in COLUMNS.values()]).double()
    # The standard deviation of a share is at most sqrt(0.25 / 20000) = 0.0035.
    expected = torch.tensor(list(probabilities.values()), dtype=torch.float64)
    torch.testing.assert_close(changed.mean(dim=1), expected, rtol=0, atol=0.015)
    independent = expected.outer(expected)
    independent.diagonal().copy_(expected)
    torch.testing.assert_close(changed @ changed.T / 20_000, independent, rtol=0, atol=0.015)


def test_the_distributions_are_those_of_karras_et_al():
    """2022, table 6."""
    found = sample(20_000, ALL).double()
    gaussian = found[:, [0, 1, 2, 5]]
    std = torch.tensor([0.125, 0.125, 0.2, 0.2], dtype=torch.float64)
    # The relative standard deviation of a standard deviation is sqrt(1 / 40000) = 0.5 %.
    torch.testing.assert_close(gaussian.std(dim=0), std, rtol=0.02, atol=0)
    assert (gaussian.mean(dim=0).abs() < 4 * std / 20_000**0.5).all()
    fourth = (gaussian / std).pow(4).mean(dim=0)
    torch.testing.assert_close(fourth, torch.full((4,), 3.0).double(), rtol=0.1, atol=0)
    assert (torch.corrcoef(found.T) - torch.eye(8)).abs().max() < 0.04


@pytest.mark.parametrize("kind", ["rotate", "hue"])
def test_angles_are_uniform(kind):
    cos, sin = sample(20_000, {kind: 1.0})[:, COLUMNS[kind]].double().unbind(dim=1)
    torch.testing.assert_close((cos + 1).square() + sin.square(), torch.ones(20_000).double(), rtol=0, atol=1e-6)
    turn = torch.atan2(sin, cos + 1) / (2 * math.pi) + 0.5
    counts = torch.histc(turn, bins=20, min=0, max=1)
    assert ((counts - 1000).square() / 1000).sum() < 43.8  # the 99.9 % quantile for 19 degrees of freedom


@pytest.mark.parametrize("resolution", [8, 32, 96])
def test_translations_are_by_whole_pixels(resolution):
    shares = sample(5000, ALL, resolution)[:, :2].double()
    torch.testing.assert_close(shares * resolution, (shares * resolution).round(), rtol=0, atol=1e-5)
    # Rounding adds the variance of a uniform error of half a pixel to each side.
    std = math.sqrt(0.125**2 + 1 / 12 / resolution**2)
    torch.testing.assert_close(shares.std(dim=0), torch.full((2,), std).double(), rtol=0.04, atol=0)


def test_parameters_are_a_function_of_the_generator_whatever_the_other_kinds():
    alone, together = (sample(50, kinds, 32, seed=3) for kinds in ({"scale": 0.5}, {**ALL, "scale": 0.5}))
    assert torch.equal(alone[:, 2], together[:, 2])
    assert not torch.equal(together, sample(50, {**ALL, "scale": 0.5}, 32, seed=4))


@pytest.mark.parametrize("kind", [*COLUMNS, None])
def test_images_with_zero_parameters_are_unchanged_bit_for_bit(kind):
    images = random_images(6)
    before, given = images.clone(), sample(6, ALL if kind is None else {kind: 1.0}, seed=5)
    given[::2] = 0
    found = augment(images, given)
    assert found.dtype == torch.float32 and found.shape == images.shape
    assert torch.equal(found[::2], images[::2])
    assert all(not torch.allclose(found[i], images[i], atol=1e-3) for i in (1, 3, 5))
    assert torch.equal(images, before) and torch.equal(augment(images, given), found)
    for i in range(6):  # each as if it was alone
        assert_equal(augment(images[i : i + 1], given[i : i + 1])[0], found[i])


@pytest.mark.parametrize(("right", "down"), [(1, 0), (0, 1), (-2, 3), (5, -4), (-7, -7), (0, 8)])
def test_a_translation_shifts_to_the_right_and_down_on_white(right, down):
    images = random_images()
    assert_equal(augment(images, parameters(right, down)), shifted(images, right, down))


@pytest.mark.parametrize("quarters", [1, 2, 3, -1])
def test_a_rotation_is_clockwise(quarters):
    images = random_images()
    # torch.rot90 is counterclockwise.
    assert_equal(augment(images, parameters(degrees=90 * quarters)), torch.rot90(images, -quarters, dims=(2, 3)))


def test_scales_are_about_the_centre():
    images = random_images()
    doubled = functional.interpolate(images, scale_factor=2, mode="bilinear", align_corners=False)
    assert_equal(augment(images, parameters(scale=1)), doubled[:, :, 4:12, 4:12])
    half = torch.ones(1, 3, SIZE, SIZE)
    half[:, :, 2:6, 2:6] = functional.avg_pool2d(images, 2)
    assert_equal(augment(images, parameters(scale=-1)), half)


@pytest.mark.parametrize("hue", [-140, -30, 10, 90, 180])
def test_hue_rotates_about_the_gray_axis(hue):
    gray = torch.linspace(-1, 1, SIZE).view(1, 1, 1, SIZE).repeat(1, 3, SIZE, 1)
    assert_equal(augment(gray, parameters(hue=hue)), gray)
    images = random_images()
    found = augment(images, parameters(hue=hue))
    assert_equal(found.sum(dim=1), images.sum(dim=1))
    assert_equal(found.square().sum(dim=1), images.square().sum(dim=1))
    one, other = (each - each.mean(dim=1, keepdim=True) for each in (images, found))
    cos = (one * other).sum(dim=1) / one.square().sum(dim=1)
    torch.testing.assert_close(cos, torch.full_like(cos, math.cos(math.radians(hue))), rtol=0, atol=1e-3)


def test_all_kinds_together():
    """Scale and rotation come before the translation; a third of a turn of the hue moves red to green to blue."""
    images, half = random_images(), torch.ones(1, 3, SIZE, SIZE)
    half[:, :, 2:6, 2:6] = functional.avg_pool2d(torch.rot90(images, -1, dims=(2, 3)), 2)
    given = parameters(right=-3, down=2, scale=-1, degrees=90, brightness=0.3, hue=120)
    assert_equal(augment(images, given), shifted(half, -3, 2)[:, [2, 0, 1]] + 0.3)
