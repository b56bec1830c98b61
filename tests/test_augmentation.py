"""Augmentation: the distributions of what is drawn, and pictures of 8 pixels that are moved and coloured exactly."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from pokemon_ddpm.augmentation import AUGMENTATION_DIM, KINDS, augment, draw_augmentation

SIZE = 8
COLUMNS = {"translate": [0, 1], "scale": [2], "rotate": [3, 4], "brightness": [5], "hue": [6, 7]}
ALL = dict.fromkeys(COLUMNS, 1.0)


def draw(count: int, probabilities: dict[str, float], resolution: int = 1024, seed: int = 0) -> torch.Tensor:
    return draw_augmentation(count, probabilities, resolution, torch.Generator().manual_seed(seed))


def pictures(count: int, seed: int = 0, size: int = SIZE) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def told(
    right: int = 0, down: int = 0, scale: float = 0, degrees: float = 0, brightness: float = 0, hue: float = 0
) -> torch.Tensor:
    """Parameters (1, AUGMENTATION_DIM) as they are documented; translations in pixels."""
    angle, colour = math.radians(degrees), math.radians(hue)
    numbers = [right / SIZE, down / SIZE, scale, math.cos(angle) - 1, math.sin(angle)]
    return torch.tensor([[*numbers, brightness, math.cos(colour) - 1, math.sin(colour)]])


def shifted(images: torch.Tensor, right: int, down: int) -> torch.Tensor:
    """Pictures on a larger white ground, and from there cut out."""
    pad = SIZE
    ground = functional.pad(images, [pad] * 4, value=1.0)
    return ground[:, :, pad - down : pad - down + SIZE, pad - right : pad - right + SIZE]


def close(one: torch.Tensor, other: torch.Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_the_parameters_have_their_places():
    assert list(KINDS) == list(COLUMNS)
    assert list(KINDS.values()) == [len(columns) for columns in COLUMNS.values()]
    assert AUGMENTATION_DIM == 8


@pytest.mark.parametrize("probabilities", [{}, {"translate": 0.0, "hue": 0.0}, dict.fromkeys(COLUMNS, 0.0)])
def test_without_probability_all_parameters_are_zero(probabilities):
    parameters = draw(200, probabilities)
    assert parameters.dtype == torch.float32 and parameters.shape == (200, AUGMENTATION_DIM)
    assert (parameters == 0).all()


@pytest.mark.parametrize("kind", COLUMNS)
def test_a_kind_fills_its_own_parameters_only(kind):
    columns = draw(500, {kind: 1.0}).abs().amax(dim=0).nonzero().flatten().tolist()
    assert columns == COLUMNS[kind]


def test_every_kind_has_its_share_of_the_pictures_whatever_the_others_have():
    probabilities = {"translate": 0.12, "scale": 0.5, "rotate": 0.9, "brightness": 0.3, "hue": 0.7}
    parameters = draw(20_000, probabilities)
    changed = torch.stack([parameters[:, columns].any(dim=1) for columns in COLUMNS.values()]).double()
    # The standard deviation of a share is at most sqrt(0.25 / 20000) = 0.0035.
    expected = torch.tensor(list(probabilities.values()), dtype=torch.float64)
    torch.testing.assert_close(changed.mean(dim=1), expected, rtol=0, atol=0.015)
    both = changed @ changed.T / 20_000
    independent = expected.outer(expected)
    independent.diagonal().copy_(expected)
    torch.testing.assert_close(both, independent, rtol=0, atol=0.015)


def test_the_distributions_are_those_of_karras_et_al():
    """2022, table 6."""
    parameters = draw(20_000, ALL).double()
    straight = parameters[:, [0, 1, 2, 5]]
    std = torch.tensor([0.125, 0.125, 0.2, 0.2], dtype=torch.float64)
    # The relative standard deviation of a standard deviation is sqrt(1 / 40000) = 0.5 %.
    torch.testing.assert_close(straight.std(dim=0), std, rtol=0.02, atol=0)
    assert (straight.mean(dim=0).abs() < 4 * std / 20_000**0.5).all()
    normal = straight / std
    torch.testing.assert_close(normal.pow(4).mean(dim=0), torch.full((4,), 3.0).double(), rtol=0.1, atol=0)
    # None of them tells of another.
    correlation = torch.corrcoef(parameters.T) - torch.eye(8)
    assert correlation.abs().max() < 0.04


@pytest.mark.parametrize("kind", ["rotate", "hue"])
def test_angles_are_uniform(kind):
    cos, sin = draw(20_000, {kind: 1.0})[:, COLUMNS[kind]].double().unbind(dim=1)
    torch.testing.assert_close((cos + 1).square() + sin.square(), torch.ones(20_000).double(), rtol=0, atol=1e-6)
    turn = torch.atan2(sin, cos + 1) / (2 * math.pi) + 0.5
    counts = torch.histc(turn, bins=20, min=0, max=1)
    assert ((counts - 1000).square() / 1000).sum() < 43.8  # the 99.9 % quantile for 19 degrees of freedom


@pytest.mark.parametrize("resolution", [8, 32, 96])
def test_translations_are_by_whole_pixels_and_told_as_shares_of_the_side(resolution):
    shares = draw(5000, ALL, resolution)[:, :2].double()
    pixels = shares * resolution
    torch.testing.assert_close(pixels, pixels.round(), rtol=0, atol=1e-5)
    # Rounding adds the variance of a uniform error of half a pixel to each side.
    std = math.sqrt(0.125**2 + 1 / 12 / resolution**2)
    torch.testing.assert_close(shares.std(dim=0), torch.full((2,), std).double(), rtol=0.04, atol=0)


def test_parameters_are_a_function_of_the_generator():
    assert torch.equal(draw(50, ALL, seed=1), draw(50, ALL, seed=1))
    assert not torch.equal(draw(50, ALL, seed=1), draw(50, ALL, seed=2))


def test_what_is_drawn_of_one_kind_does_not_depend_on_the_other_kinds():
    """And the generator is as far afterwards."""
    generators = [torch.Generator().manual_seed(3) for _ in range(2)]
    alone = draw_augmentation(50, {"scale": 0.5}, 32, generators[0])
    together = draw_augmentation(50, {**ALL, "scale": 0.5}, 32, generators[1])
    assert torch.equal(alone[:, 2], together[:, 2])
    assert torch.equal(generators[0].get_state(), generators[1].get_state())


def test_zero_parameters_return_the_picture_to_the_bit():
    images = pictures(5)
    assert torch.equal(augment(images, torch.zeros(5, AUGMENTATION_DIM)), images)


@pytest.mark.parametrize("kind", [*COLUMNS, None])
def test_also_among_pictures_that_are_changed(kind):
    images = pictures(6)
    before = images.clone()
    parameters = draw(6, ALL if kind is None else {kind: 1.0}, seed=5)
    parameters[::2] = 0
    assert parameters[1::2].any(dim=1).all()
    changed = augment(images, parameters)
    assert changed.dtype == torch.float32 and changed.shape == images.shape
    assert torch.equal(changed[::2], images[::2])
    assert all(not torch.allclose(changed[i], images[i], atol=1e-3) for i in (1, 3, 5))
    assert torch.equal(images, before)


def test_each_picture_is_changed_as_if_it_were_alone():
    images, parameters = pictures(6), draw(6, dict.fromkeys(COLUMNS, 0.6), SIZE, seed=6)
    together = augment(images, parameters)
    for i in range(6):
        close(augment(images[i : i + 1], parameters[i : i + 1])[0], together[i])


@pytest.mark.parametrize(("right", "down"), [(1, 0), (0, 1), (-2, 3), (5, -4), (-7, -7), (0, 8)])
def test_a_translation_is_a_shift_to_the_right_and_down_with_white_behind(right, down):
    images = pictures(1)
    close(augment(images, told(right, down)), shifted(images, right, down))


def test_the_told_translation_is_the_one_that_is_made():
    images, parameters = pictures(20), draw(20, {"translate": 1.0}, SIZE)
    moved = augment(images, parameters)
    for i in range(20):
        right, down = (parameters[i, :2] * SIZE).round().int().tolist()
        close(moved[i : i + 1], shifted(images[i : i + 1], right, down))


@pytest.mark.parametrize("quarters", [1, 2, 3, -1])
def test_a_rotation_turns_right_to_down(quarters):
    """Clockwise, then, as positive angles do where the second axis points down; torch.rot90 turns the other way."""
    images = pictures(2)
    turned = augment(images, told(degrees=90 * quarters).repeat(2, 1))
    close(turned, torch.rot90(images, -quarters, dims=(2, 3)))


def test_a_pixel_right_of_the_centre_turns_down():
    images = torch.ones(1, 3, SIZE, SIZE)
    images[:, :, 3:5, 7] = -1  # at the right edge
    turned = augment(images, told(degrees=90))
    expected = torch.ones(1, 3, SIZE, SIZE)
    expected[:, :, 7, 3:5] = -1  # at the lower edge
    close(turned, expected)


def test_a_rotation_by_45_degrees_interpolates_and_loses_the_corners():
    images = torch.ones(1, 3, SIZE, SIZE)
    images[:, :, 3:5, 3:5] = -1
    images[:, :, 0, 0] = -1
    turned = augment(images, told(degrees=45))
    # The middle pixels come from sqrt(1/2) beside the centre, along an axis: 0.207 beyond the centres of black ones.
    close(turned[:, :, 3:5, 3:5], torch.full((1, 3, 2, 2), -1 + 2 * (0.5**0.5 - 0.5)))
    outside = torch.ones(SIZE, SIZE, dtype=torch.bool)
    outside[1:-1, 1:-1] = False
    assert (turned[:, :, outside] == 1).all()


def test_a_scale_of_1_is_twice_as_large_about_the_centre():
    images = pictures(2)
    doubled = functional.interpolate(images, scale_factor=2, mode="bilinear", align_corners=False)
    close(augment(images, told(scale=1).repeat(2, 1)), doubled[:, :, 4:12, 4:12])


def test_a_scale_of_minus_1_is_half_as_large_on_white():
    images = pictures(2)
    expected = torch.ones(2, 3, SIZE, SIZE)
    expected[:, :, 2:6, 2:6] = functional.avg_pool2d(images, 2)
    close(augment(images, told(scale=-1).repeat(2, 1)), expected)


def test_scale_and_rotation_come_before_the_translation():
    images = pictures(1)
    turned = torch.rot90(images, -1, dims=(2, 3))
    close(augment(images, told(right=2, down=1, degrees=90)), shifted(turned, 2, 1))
    half = torch.ones(1, 3, SIZE, SIZE)
    half[:, :, 2:6, 2:6] = functional.avg_pool2d(turned, 2)
    close(augment(images, told(right=-3, down=2, scale=-1, degrees=90)), shifted(half, -3, 2))


def test_white_stays_white_whatever_is_moved():
    white = torch.ones(50, 3, SIZE, SIZE)
    parameters = draw(50, {"translate": 1.0, "scale": 1.0, "rotate": 1.0}, SIZE)
    assert torch.equal(augment(white, parameters), white)


def test_moved_pictures_stay_in_range():
    parameters = draw(50, {"translate": 1.0, "scale": 1.0, "rotate": 1.0}, SIZE)
    moved = augment(pictures(50), parameters)
    assert moved.min() >= -1 and moved.max() <= 1 + 1e-6


@pytest.mark.parametrize("brightness", [-0.7, 0.25, 1.5])
def test_brightness_is_added_and_may_lead_out_of_range(brightness):
    images = pictures(1)
    close(augment(images, told(brightness=brightness)), images + brightness)


@pytest.mark.parametrize("hue", [-140, -30, 10, 90, 180])
def test_hue_keeps_gray_and_lengths_and_turns_by_the_angle(hue):
    gray = torch.linspace(-1, 1, SIZE).view(1, 1, 1, SIZE).repeat(1, 3, SIZE, 1)
    close(augment(gray, told(hue=hue)), gray)
    images = pictures(1)
    turned = augment(images, told(hue=hue))
    close(turned.sum(dim=1), images.sum(dim=1))
    close(turned.square().sum(dim=1), images.square().sum(dim=1))
    # What of a colour is not gray has turned by that angle.
    one, other = (picture - picture.mean(dim=1, keepdim=True) for picture in (images, turned))
    cos = (one * other).sum(dim=1) / one.square().sum(dim=1)
    torch.testing.assert_close(cos, torch.full_like(cos, math.cos(math.radians(hue))), rtol=0, atol=1e-3)


def test_hue_by_a_third_of_a_turn_takes_red_to_green_to_blue():
    images = pictures(1)
    red, green, blue = images.split(1, dim=1)
    close(augment(images, told(hue=120)), torch.cat([blue, red, green], dim=1))
    close(augment(images, told(hue=-120)), torch.cat([green, blue, red], dim=1))


def test_hue_and_brightness_change_no_place():
    images = pictures(1)
    parameters = told(right=2, down=-1, degrees=180, brightness=0.3, hue=120)
    expected = shifted(torch.rot90(images, 2, dims=(2, 3)), 2, -1)[:, [2, 0, 1]] + 0.3
    close(augment(images, parameters), expected)


def test_augmenting_is_not_random():
    images, parameters = pictures(10), draw(10, ALL, SIZE)
    np.testing.assert_array_equal(augment(images, parameters).numpy(), augment(images, parameters).numpy())
