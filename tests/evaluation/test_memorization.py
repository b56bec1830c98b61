import pytest
import torch
from scipy.special import comb

from pokemon_ddpm.evaluation.metrics import count_copies, memorization, nearest_by_pixels


def noise(count: int, seed: int = 0, side: int = 8) -> torch.Tensor:
    return torch.randint(256, (count, 3, side, side), generator=torch.Generator().manual_seed(seed)).byte()


def sprites(count: int, seed: int) -> torch.Tensor:
    """Squares of colors on white, which resemble each other more than noise does."""
    images = torch.full((count, 3, 16, 16), 255, dtype=torch.uint8)
    images[:, :, 2:-2, 2:-2] = noise(count, seed, 4).repeat_interleave(3, 2).repeat_interleave(3, 3)
    return images


def on_canvas(image: torch.Tensor, y: int, x: int, margin: int = 4) -> torch.Tensor:
    side = image.shape[-1]
    canvas = torch.full((3, side + 2 * margin, side + 2 * margin), 255, dtype=torch.int64)
    canvas[:, margin + y : margin + y + side, margin + x : margin + x + side] = image
    return canvas


def test_nearest_by_pixels_is_exact():
    images, train = noise(5, 0), noise(12, 1)
    images[0], images[1] = 255 - images[0] // 8, train[3] // 2 + 100
    nearest = nearest_by_pixels(images, train)
    shifts = range(-2, 3)
    for row, image in enumerate(images):
        views = [on_canvas(view, y, x) for view in (image, image.flip(-1)) for y in shifts for x in shifts]
        squares = [min(int((view - on_canvas(other, 0, 0)).square().sum()) for view in views) for other in train]
        assert nearest.index[row] == min(range(12), key=squares.__getitem__)
        assert nearest.distance[row].item() == pytest.approx((min(squares) / (3 * 8 * 8)) ** 0.5, rel=1e-12)


def test_mirrored_and_shifted_images_have_distance_0_and_the_first_of_equal_ones_is_found_in_any_batch():
    train = sprites(40, 0)
    images = [train[7], train[8].flip(-1), train[9].roll((2, -1), (1, 2)), train[10].flip(-1).roll((-2, -2), (1, 2))]
    nearest = nearest_by_pixels(torch.stack(images), train)
    assert nearest.index.tolist() == [7, 8, 9, 10] and (nearest.distance == 0).all()
    assert nearest_by_pixels(train[9:10].roll(3, 2), train[9:10]).distance > 0
    images, train = sprites(70, 0), sprites(50, 1).repeat(2, 1, 1, 1)
    together = nearest_by_pixels(images, train)
    assert (together.index < 50).all()
    for row in (0, 33, 69):
        alone = nearest_by_pixels(images[row : row + 1], train)
        assert (alone.index, alone.distance) == (together.index[row], together.distance[row])


def test_chance_is_beta_binomial_and_the_threshold_the_5_percent_quantile():
    """Of n + m distances from one distribution in random order, i samples come before the k-th held-out distance."""
    n, m, k = 30, 60, 3
    figures = memorization(torch.ones(n), torch.ones(m))
    probabilities = [comb(i + k - 1, i) * comb(n - i + m - k, n - i) / comb(n + m, n) for i in range(n + 1)]
    cumulative = torch.tensor(probabilities).cumsum(0)
    assert cumulative[-1].item() == pytest.approx(1)
    for end, tail in ((figures["chance_low"], 0.025), (figures["chance_high"], 0.975)):
        assert round(end * n) == int((cumulative < tail).sum())
    figures = memorization(torch.tensor([0.0, 4.5, 5.0, 50.0]), torch.arange(1.0, 101.0).flip(0))
    assert (figures["threshold"], figures["nearer"].value, figures["nearer"].n, figures["identical"]) == (5, 0.5, 4, 1)


def test_samples_near_training_images_are_counted():
    train, held_out = (noise(8, seed, 16) for seed in (0, 1))
    assert count_copies(torch.cat([train[:3], 255 - train]), train, held_out) == 3
