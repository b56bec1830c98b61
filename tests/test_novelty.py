"""Nearest training pictures against all shifts tried one by one; a memorising model is caught, a new one is not."""

import pytest
import torch

pytest.importorskip("scipy")

from pokemon_ddpm.evaluation.novelty import (  # noqa: E402
    Nearest,
    closest_pairs,
    closest_pairs_figure,
    nearest_by_features,
    nearest_by_pixels,
    novelty,
)


def sprites(count: int, seed: int, side: int = 8) -> torch.Tensor:
    """Noise up to the frame."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, side, side), generator=generator, dtype=torch.uint8)


def smooth(count: int, seed: int) -> torch.Tensor:
    """Blobs of colour on white, which resemble each other more than noise does."""
    small = sprites(count, seed, 4)
    images = torch.full((count, 3, 16, 16), 255, dtype=torch.uint8)
    images[:, :, 2:-2, 2:-2] = small.repeat_interleave(3, 2).repeat_interleave(3, 3)
    return images


def on_canvas(image: torch.Tensor, y: int, x: int, margin: int = 4) -> torch.Tensor:
    """A picture moved over a large white canvas, as whole numbers."""
    side = image.shape[-1]
    canvas = torch.full((3, side + 2 * margin, side + 2 * margin), 255, dtype=torch.int64)
    canvas[:, margin + y : margin + y + side, margin + x : margin + x + side] = image
    return canvas


@pytest.mark.parametrize("max_shift", [0, 2])
def test_the_nearest_picture_is_that_of_all_shifts_and_mirror_images(max_shift: int) -> None:
    images, train = sprites(5, 0), sprites(12, 1)
    images[0], images[1] = 255 - images[0] // 8, train[3] // 2 + 100
    found = nearest_by_pixels(images, train, max_shift)
    shifts = range(-max_shift, max_shift + 1)
    for row, image in enumerate(images):
        views = [on_canvas(view, y, x) for view in (image, image.flip(-1)) for y in shifts for x in shifts]
        squares = [min(int((view - on_canvas(each, 0, 0)).square().sum()) for view in views) for each in train]
        assert found.index[row] == min(range(12), key=squares.__getitem__)
        assert found.distance[row].item() == pytest.approx((min(squares) / (3 * 8 * 8)) ** 0.5, rel=1e-12)


def test_copies_are_found_mirrored_and_shifted() -> None:
    train = smooth(40, 0)
    copies = [train[7], train[8].flip(-1), train[9].roll((2, -1), (1, 2)), train[10].flip(-1).roll((-2, -2), (1, 2))]
    found = nearest_by_pixels(torch.stack(copies), train)
    assert found.index.tolist() == [7, 8, 9, 10] and (found.distance == 0).all()
    assert nearest_by_pixels(train[9:10].roll(2, 2), train[9:10], max_shift=1).distance > 0


def test_what_a_shift_moves_out_of_the_frame_counts() -> None:
    """A line at the edge is not the empty picture, though a shift would hide it."""
    image = torch.full((1, 3, 8, 8), 255, dtype=torch.uint8)
    image[..., 0] = 0
    white = torch.full((1, 3, 8, 8), 255, dtype=torch.uint8)
    assert nearest_by_pixels(image, white).distance.item() == pytest.approx(255 * (1 / 8) ** 0.5)


def test_the_nearest_does_not_depend_on_the_batch_and_is_the_first_of_equal_ones() -> None:
    images, train = smooth(70, 0), smooth(50, 1).repeat(2, 1, 1, 1)
    together = nearest_by_pixels(images, train)
    alone = [nearest_by_pixels(images[i : i + 1], train) for i in (0, 33, 69)]
    assert [each.index.item() for each in alone] == together.index[[0, 33, 69]].tolist()
    assert [each.distance.item() for each in alone] == together.distance[[0, 33, 69]].tolist()
    assert (together.index < 50).all()


def test_the_nearest_by_features_is_over_mirror_images() -> None:
    generator = torch.Generator().manual_seed(0)
    train, features, mirrored = (torch.randn(n, 6, generator=generator) for n in (50, 40, 40))
    mirrored[5] = train[17]
    found = nearest_by_features(features, mirrored, train)
    both = torch.minimum(*((each.double()[:, None] - train.double()).norm(dim=2) for each in (features, mirrored)))
    assert torch.equal(found.index, both.argmin(dim=1))
    assert torch.allclose(found.distance, both.amin(dim=1))
    assert found.distance[5] == 0 and found.index[5] == 17


def test_no_pictures_have_no_nearest() -> None:
    assert len(nearest_by_pixels(sprites(0, 0), sprites(3, 0)).index) == 0


@pytest.mark.parametrize("train", [sprites(0, 0), sprites(3, 0, 16)])
def test_training_pictures_that_cannot_be_compared_are_refused(train: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="there must be some, of the same size"):
        nearest_by_pixels(sprites(2, 0), train)
    with pytest.raises(ValueError, match=r"Features must be"):
        nearest_by_features(torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(len(train), 4))


# Against held-out pictures


def test_a_memorising_model_is_caught() -> None:
    """One that returns training pictures, moved, mirrored and with some noise of its own, half of the time."""
    train, held_out, new = smooth(150, 0), smooth(100, 1), smooth(60, 2)
    noise = torch.randint(-6, 7, (30, 3, 16, 16), generator=torch.Generator().manual_seed(3))
    copied = (train[:30].flip(-1).roll((1, -1), (2, 3)).int() + noise).clamp(0, 255).to(torch.uint8)
    scale = nearest_by_pixels(held_out, train).distance
    honest = novelty(nearest_by_pixels(new, train).distance, scale)
    caught = novelty(nearest_by_pixels(torch.cat([copied, new[:30]]), train).distance, scale)
    assert not honest.memorises and honest.chance_low <= honest.nearer.value <= honest.chance_high
    assert caught.memorises and 0.5 <= caught.nearer.value < 0.6 and caught.nearer.low > caught.chance_high
    assert caught.copies == 0 and caught.median < caught.held_out_median
    exact = novelty(nearest_by_pixels(train[:60], train).distance, scale)
    assert exact.copies == 60 and exact.nearer.value == 1 and (exact.n, exact.m) == (60, 100)


def test_chance_is_as_wide_as_it_is_said_to_be() -> None:
    """New samples are rarely outside, with a threshold that is an estimate itself."""
    generator = torch.Generator().manual_seed(0)
    found = [novelty(torch.rand(80, generator=generator), torch.rand(60, generator=generator)) for _ in range(120)]
    inside = sum(each.chance_low <= each.nearer.value <= each.chance_high for each in found)
    assert 0.9 * 120 <= inside < 120
    shares = torch.tensor([each.nearer.value for each in found], dtype=torch.float64)
    assert shares.mean().item() == pytest.approx(3 / 61, abs=4 * shares.std().item() / 120**0.5)


def test_the_threshold_is_the_5_percent_quantile() -> None:
    found = novelty(torch.tensor([0.0, 4.5, 5.0, 50.0]), torch.arange(1.0, 101.0).flip(0))
    assert (found.threshold, found.nearer.value, found.nearer.n, found.copies) == (5, 0.5, 4, 1)
    assert (found.median, found.held_out_median) == (4.75, 50.5) and found.warnings == ()


def test_novelty_warns_and_refuses() -> None:
    assert "12 held-out pictures" in novelty(torch.ones(5), torch.ones(12)).warnings[0]
    assert "among the training pictures" in novelty(torch.ones(5), torch.zeros(100)).warnings[0]
    with pytest.raises(ValueError, match="there are 0 and 5"):
        novelty(torch.ones(0), torch.ones(5))


# The closest pairs


def test_the_closest_pairs_come_nearest_first() -> None:
    nearest = Nearest(torch.tensor([3.0, 1.0, 2.0, 1.0]), torch.tensor([4, 5, 6, 7]))
    assert closest_pairs(nearest).tolist() == [1, 3, 2, 0]
    assert closest_pairs(nearest, 2).tolist() == [1, 3]


def test_the_figure_shows_each_sample_above_its_training_picture() -> None:
    images, train = sprites(5, 0), sprites(9, 1)
    nearest = Nearest(torch.tensor([3.0, 1.0, 2.0, 5.0, 4.0]), torch.tensor([4, 5, 6, 7, 8]))
    figure = closest_pairs_figure(images, nearest, train, count=3, columns=2)
    shown = [axes.images[0].get_array() for axes in figure.axes]
    expected = [images[1], train[5], images[2], train[6], images[0], train[4]]
    assert len(shown) == 6
    assert all((a == b.permute(1, 2, 0).numpy()).all() for a, b in zip(shown, expected, strict=True))
    assert [axes.get_title() for axes in figure.axes] == ["1", "", "2", "", "3", ""]
    figure.canvas.draw()
    places = [axes.get_position() for axes in figure.axes]
    assert places[0].y0 > places[1].y0 > places[4].y0 > places[5].y0 and places[0].x0 == places[1].x0 < places[2].x0


def test_names_stand_in_place_of_training_pictures() -> None:
    images = sprites(3, 0)
    nearest = Nearest(torch.tensor([3.0, 1.0, 2.0]), torch.tensor([1, 0, 1]))
    figure = closest_pairs_figure(images, nearest, names=["Abra\ngen5, front", "Zubat\ngen3, back"], count=2)
    shown = [(axes.get_title(), axes.get_xlabel(), axes.images[0].get_array()) for axes in figure.axes]
    assert [each[:2] for each in shown] == [("1", "Abra\ngen5, front"), ("2", "Zubat\ngen3, back")]
    assert all((each[2] == images[i].permute(1, 2, 0).numpy()).all() for each, i in zip(shown, (1, 2), strict=True))
