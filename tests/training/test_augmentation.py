"""Augmentation of whole pixels: its distributions, and what it does to images."""

import math

import pytest
import torch

from pokemon_ddpm.training.augmentation import augment, sample_augmentation

SIZE = 8
COLUMNS = {"translate": [0, 1], "hue": [2, 3]}
ALL = dict.fromkeys(COLUMNS, 1.0)


def boxes(count: int, side: int = SIZE, top: int = 0, left: int = 0, height: int = 1, width: int = 1) -> torch.Tensor:
    """The same box of random colors on a transparent background, uint8 (count, 4, side, side)."""
    images = torch.full((count, 4, side, side), 255, dtype=torch.uint8)
    images[:, 3] = 0
    box = torch.randint(256, (4, height, width), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    box[3] = 255
    images[:, :, top : top + height, left : left + width] = box
    return images


CENTERED = boxes(20_000, 17, 8, 8)  # has room for nearly four standard deviations on each side
INNER = boxes(6, SIZE, 3, 2, 2, 3)


def sample(images: torch.Tensor, probabilities: dict[str, float], seed: int = 0) -> torch.Tensor:
    return sample_augmentation(images, probabilities, torch.Generator().manual_seed(seed))


def scaled(images: torch.Tensor) -> torch.Tensor:
    return images / 127.5 - 1


def parameters(hue: float) -> torch.Tensor:
    """(1, AUGMENTATION_DIM) as documented, with the hue in degrees."""
    return torch.tensor([[0, 0, math.cos(math.radians(hue)) - 1, math.sin(math.radians(hue)), 0]])


def assert_near(one: torch.Tensor, other: torch.Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_each_kind_has_its_probability_independently_of_the_others():
    parameters, count = sample(CENTERED, {"translate": 0.12, "hue": 0.7}), len(CENTERED)
    translated, hued = (parameters[:, columns].any(dim=1).double() for columns in COLUMNS.values())
    unmoved = math.erf(0.5 / (0.125 * 17) / math.sqrt(2)) ** 2  # both translations are rounded to 0
    expected = 0.12 * (1 - unmoved)
    # The standard deviation of a share is at most sqrt(0.25 / 20000) = 0.0035.
    shares = [chosen.sum().item() / count for chosen in (translated, hued, translated * hued)]
    assert shares == pytest.approx([expected, 0.7, 0.7 * expected], abs=0.015)


def test_the_distributions():
    """The translation is that of Karras et al. 2022, table 6, by whole pixels; angles are uniform."""
    parameters = sample(CENTERED, ALL).double()[:, :4]
    pixels, (cos, sin) = parameters[:, :2] * 17, parameters[:, 2:].unbind(dim=1)
    assert_near(pixels, pixels.round())
    # Rounding adds the variance of a uniform error of half a pixel to each side.
    std = torch.full((2,), math.sqrt((0.125 * 17) ** 2 + 1 / 12), dtype=torch.float64)
    torch.testing.assert_close(pixels.std(dim=0), std, rtol=0.02, atol=0)
    fourth = (pixels / std).pow(4).mean(dim=0)
    torch.testing.assert_close(fourth, torch.full_like(fourth, 3.0), rtol=0.1, atol=0)
    assert (torch.corrcoef(parameters.T) - torch.eye(4)).abs().max() < 0.04
    torch.testing.assert_close((cos + 1).square() + sin.square(), torch.ones_like(cos), rtol=0, atol=1e-6)
    counts = torch.histc(torch.atan2(sin, cos + 1) / (2 * math.pi) + 0.5, bins=20, min=0, max=1)
    assert ((counts - 1000).square() / 1000).sum() < 43.8  # the 99.9 % quantile for 19 degrees of freedom


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize(("top", "left", "height", "width"), [(3, 2, 2, 3), (0, 1, 8, 5)])
def test_a_translation_keeps_every_pixel_of_the_sprite(channels, top, left, height, width):
    images = boxes(500, SIZE, top, left, height, width)[:, :channels]
    images[:, :, top, left] = images[:, :, top + height - 1, left + width - 1] = 0  # not white
    images[:, 3:, top : top + height, left : left + width] = 255
    given = sample(images, {"translate": 1.0}, seed=1)
    moved, pixels = augment(scaled(images), given), (given[:, :2] * SIZE).round().long()
    assert pixels.amin(dim=0).tolist() == [-left, -top]
    assert pixels.amax(dim=0).tolist() == [SIZE - left - width, SIZE - top - height]
    box = scaled(images[0, :, top : top + height, left : left + width])
    background = torch.tensor([1.0, 1, 1, -1])[:channels]
    for image, (right, down) in zip(moved, pixels.tolist(), strict=True):
        expected = background.view(-1, 1, 1).repeat(1, SIZE, SIZE)
        expected[:, top + down : top + down + height, left + right : left + right + width] = box
        assert torch.equal(image, expected)


def test_images_with_zero_parameters_are_unchanged_bit_for_bit():
    images, given = scaled(INNER), sample(INNER, ALL, seed=5)
    given[::2] = 0
    augmented = augment(images, given)
    assert torch.equal(augmented[::2], images[::2]) and torch.equal(images, scaled(INNER))
    assert all(not torch.allclose(augmented[i], images[i], atol=1e-3) for i in (1, 3, 5))
    for i in range(6):  # each as if it was alone
        assert_near(augment(images[i : i + 1], given[i : i + 1])[0], augmented[i])
    empty = torch.full((50, 4, SIZE, SIZE), 255, dtype=torch.uint8).index_fill(1, torch.tensor([3]), 0)
    assert not sample(empty, {"translate": 1.0}).any() and not sample(empty[:, :3], {"translate": 1.0}).any()


@pytest.mark.parametrize("hue", [-140, 90])
def test_hue_rotates_about_the_gray_axis(hue):
    """Grays, among them black and white, and alpha stay."""
    images = torch.rand(1, 4, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) - 0.5  # nothing is clipped
    images[:, :3, 0] = torch.linspace(-1, 1, SIZE)
    rotated = augment(images, parameters(hue=hue))
    assert torch.equal(rotated[:, 3], images[:, 3])
    assert_near(rotated[:, :, 0], images[:, :, 0])
    one, other = (colors[:, :3, 1:] for colors in (images, rotated))
    assert_near(other.sum(dim=1), one.sum(dim=1))
    assert_near(other.square().sum(dim=1), one.square().sum(dim=1))
    one, other = (colors - colors.mean(dim=1, keepdim=True) for colors in (one, other))
    cos = (one * other).sum(dim=1) / one.square().sum(dim=1)
    torch.testing.assert_close(cos, torch.full_like(cos, math.cos(math.radians(hue))), rtol=0, atol=1e-3)


def test_what_leaves_the_range_is_clipped():
    red = torch.tensor([1.0, -1, -1]).view(1, 3, 1, 1)
    assert_near(augment(red, parameters(hue=180)).flatten(), torch.tensor([-1.0, 1 / 3, 1 / 3]))
